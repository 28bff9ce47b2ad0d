"""The CNI verbs as stories: what is done in which order, and how it is undone."""

from _signal import SIG_IGN, SIGINT, signal
from errno import EBUSY

from cni_sriov_bond import addresses as ip_addresses
from cni_sriov_bond import bond as bonds
from cni_sriov_bond import claim, config, ipam, leases, netns, pool, readiness, recover, release, result, sriov
from cni_sriov_bond.bonding import encode
from cni_sriov_bond.bondrules import MIIMON
from cni_sriov_bond.call import valid_attachments, with_attachments
from cni_sriov_bond.deadline import UNDO_SECONDS
from cni_sriov_bond.errors import (
    CHECK_DIFFERS,
    DECODING_FAILURE,
    DELEGATE_FAILED,
    INVALID_CONFIG,
    LIMITED_CONNECTIVITY,
    NAME_TAKEN,
    NOT_AVAILABLE,
    POOL_UNUSABLE,
    TRY_AGAIN_LATER,
    CniError,
    DelegateError,
    KernelError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.bonding import BondOptions
    from cni_sriov_bond.call import Call
    from cni_sriov_bond.config import Network
    from cni_sriov_bond.context import Context
    from cni_sriov_bond.leases import Lease
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.netlink import Netlink
    from cni_sriov_bond.netns import Netns
    from cni_sriov_bond.ports import Port
    from cni_sriov_bond.result import Interface, Result

# A fresh port has carrier after 0.6 to 1.4 s on emulated igb, sooner on real NICs; an ADD does not fail for want of it.
_CARRIER_SECONDS = 3.0
# The part of a GC's time that is kept for the delegate's GC.
_FORWARD_SECONDS = 25.0


class _Site:
    """What one ADD works on: the container's namespace, a netlink socket in it, and the lease."""

    __slots__ = ("inside", "lease", "port_taken", "target")

    def __init__(self, target: "Netns", inside: "Netlink", lease: "Lease") -> None:
        self.target = target
        self.inside = inside
        self.lease = lease
        self.port_taken = ""  # the kernel's message, when something else holds a VF so that it cannot be a port

    @property
    def ports(self) -> "list[Port]":
        """The ports of the leased bond."""
        return self.lease.record.ports


def add(call: "Call", network: "Network", context: "Context", answer: "Callable[[str], None]") -> None:
    """Lease a bond, make it in the container, and answer with the result.

    :param answer: delivers the result; if it fails, the runtime has no result and everything is undone.
    :raises CniError: after which everything is as it was before the call.
    """
    log = context.log
    for hint in config.hints(network.document):
        log.warn(hint)
    executable = ipam.find(network.delegate, call.path) if network.delegate else ""
    before = _prev_result(network)
    if not executable and network.version in ("0.1.0", "0.2.0"):
        raise CniError(INVALID_CONFIG, f"a result of version {network.version} must have an address; add an ipam")
    target = netns.require(call.netns)
    inside = release.open_netlink(target)
    if inside.link(call.ifname) is not None:
        raise CniError(NAME_TAKEN, f"the container {call.netns} has a device {call.ifname} already; DEL it first")
    log.step("validated")
    work = context.until(context.deadline.keeping(UNDO_SECONDS))
    site = _Site(target, inside, claim.acquire(call, network, target, work))
    log.step(f"leased {site.lease.entry.bond}")
    # Made before the first step that can half-fail: what is undone goes by the lease, which knows every step.
    undo = _Undo(site, network.state_dir, context)
    try:
        _make(call, network, site, log)
        undo.delegate_asked = bool(executable)
        said = _ask_delegate(call, network, executable, site.lease.lock, work)
        log.step("asked the delegate")
        _use(call, network, site, said, work)
        ours = _result(call, network, site, said)
        site.lease.record.addresses = [ip.address.text for ip in ours.ips]
        site.lease.save(leases.READY)
        log.step("recorded")
        answer(result.build(result.join(before, ours), network.version))
    except BaseException as failed:
        undo.run(failed)
        raise
    finally:
        site.lease.close()


class _Undo:
    """The reversal of an unfinished ADD: a release of its lease."""

    def __init__(self, site: _Site, state_dir: str, context: "Context") -> None:
        self._site = site
        self._state_dir = state_dir
        self._context = context
        self.delegate_asked = False

    def run(self, failed: BaseException) -> None:
        """Undo, and add to the error's details what could not be undone."""
        signal(SIGINT, SIG_IGN)  # a second Ctrl-C must not stop the undoing
        site = self._site
        policy = release.undo_policy(self.delegate_asked, isinstance(failed, DelegateError))
        outcome = release.release(site.lease, self._context, policy, site.target)
        if outcome.free and site.port_taken:
            # What holds a VF cannot be seen from here, e.g. a macvlan in a namespace that outlived its container. The next
            # ADD would take the same bond and fail too.
            outcome.run_step(lambda: claim.quarantine_leased(self._state_dir, site.lease, site.port_taken))
        if outcome.problems and isinstance(failed, CniError):
            left = "; ".join(problem.msg for problem in outcome.problems)
            failed.details = f"{failed.details}; while undoing: {left}".lstrip("; ")


def _make(call: "Call", network: "Network", site: _Site, log: "Log") -> None:
    """Make the bond in the container and give it its two VFs."""
    mac = site.lease.record.mac
    options: BondOptions = {"miimon": MIIMON, **network.bond}
    if network.bond.get("arp_interval"):
        options["miimon"] = 0
    link = bonds.make(site.inside, call.ifname, mac, options)
    log.step("made the bond")
    host = sriov.Host()
    for port in site.ports:
        _move_in(host, port, network, site)
    log.step("moved the VFs in")
    ports = bonds.ports(site.inside, site.ports)
    members = [ports[port.pci] for port in site.ports if port.pci in ports]
    if len(members) != len(site.ports):
        raise CniError(POOL_UNUSABLE, f"a VF of {site.lease} was lost on its way into {call.netns}")
    try:
        bonds.add_ports(site.inside, link, members)
    except KernelError as refused:
        site.port_taken = refused.msg if refused.errno == EBUSY else ""
        raise
    bonds.start(site.inside, link, network.mtu, ports.get(site.lease.record.requested.primary))
    log.step("brought the bond up")


def _move_in(host: sriov.Host, port: "Port", network: "Network", site: _Site) -> None:
    link = host.netdev(port)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"{port.name} at {port.pci} left the host while it was leased")
    if link.up:
        host.netlink.set_up(link, False)
    if link.nosy:
        host.netlink.make_quiet(link)
    host.netlink.drop_altnames(link)  # an altname that exists in the target netns makes the move fail
    host.apply(port, network.vf)
    host.set_macs(port, link, site.lease.record.port_macs[port.pci])
    name = port.name if link.name != port.name else ""
    host.netlink.move(link, site.target.fd, f"the container's namespace {site.target.path}", name)


def _ask_delegate(call: "Call", network: "Network", executable: str, lock: int, context: "Context") -> "Result":
    """Return the delegate's answer; without a delegate, one without addresses."""
    if not executable:
        return result.Result([], [], [], {})
    seconds = context.deadline.left(ipam.SECONDS)
    if not seconds:
        raise CniError(TRY_AGAIN_LATER, f"no time was left to ask the IPAM plugin {network.delegate} for addresses")
    with context.deadline.wait(f"the IPAM plugin {network.delegate} at ADD"):
        text = context.delegates.run(executable, "ADD", call.environ, network.raw, seconds, lock)
    found = result.parse(text, network.version, f"the IPAM plugin {network.delegate}")
    if not found.ips:
        raise CniError(DELEGATE_FAILED, f"IPAM plugin {network.delegate} returned missing IP config")
    return found


def _use(call: "Call", network: "Network", site: _Site, said: "Result", context: "Context") -> None:
    """Give the bond its addresses and routes, wait for its carrier, tell the neighbours, and choose its monitor."""
    log = context.log
    link = site.inside.link(call.ifname)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"the bond {call.ifname} vanished from {call.netns}")
    for taken in ip_addresses.put(site.inside, site.target, link, said):
        log.warn(f"container {call.container_id}: {taken}")
    log.step("set addresses and routes")
    with context.deadline.wait(f"carrier of {call.ifname}"):
        carrier = site.inside.wait_for_carrier(call.ifname, context.deadline.left(_CARRIER_SECONDS))
    if not carrier:
        log.warn(f"{call.ifname} of container {call.container_id} has no carrier after {_CARRIER_SECONDS:.0f} s")
    log.step("waited for carrier")
    if said.ips:
        ip_addresses.announce(site.target, call.ifname, link.mac, said.ips)
    _watch(call, network, site, said, context)


def _watch(call: "Call", network: "Network", site: _Site, said: "Result", context: "Context") -> None:
    """Let the bond watch its path where its carrier tells nothing; it must not depend on a gateway that never answers."""
    drivers = [sriov.driver(port.pci) for port in site.ports]
    if not bonds.wants_path(network.bond, network.link_monitor, drivers):
        return
    link = site.inside.link(call.ifname)
    targets = _answering(call, site, said)
    if link is None or not targets:
        context.log.warn(
            f"{call.ifname} of container {call.container_id} is watched by carrier, which {' and '.join(set(drivers))} may "
            "not lose with the cable: no gateway answers; set arp_interval and arp_ip_target to have the path watched"
        )
        return
    options = bonds.path_monitor(network.bond, targets)
    site.inside.change_bond(link.index, encode(options), f"watch the path of {call.ifname}")
    site.lease.record.requested.options = {**network.bond, **options}
    context.log.step(f"watches the path to {targets}")


def _answering(call: "Call", site: _Site, said: "Result") -> "dict[str, list[str]]":
    """Give the gateways that answer, by way of the bond or else of any port: the bond may have asked on a path that is dead."""
    mac = site.lease.record.mac
    found = ip_addresses.answering(site.target, call.ifname, mac, said.ips)
    if found:
        return found
    for port in bonds.ports(site.inside, site.ports).values():
        found = ip_addresses.answering(site.target, port.name, mac, said.ips, ip_addresses.GATEWAY_SECONDS / 2)
        if found:
            return found
    return {}


def _result(call: "Call", network: "Network", site: _Site, said: "Result") -> "Result":
    link = site.inside.link(call.ifname)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"the bond {call.ifname} vanished from {call.netns}")
    interface: Interface = {"name": call.ifname, "mac": link.mac, "mtu": link.mtu, "sandbox": call.netns}
    if network.vlan is not None:
        interface["vlan"] = network.vlan
    site.lease.record.requested.mtu = link.mtu
    return result.of_interface(interface, said, network.dns)


def _prev_result(network: "Network") -> "Result | None":
    """Give prevResult in our form, or None where there is none.

    :raises CniError: DECODING_FAILURE when it is no result.
    """
    if network.prev_result is None:
        return None
    try:
        return result.from_json(network.prev_result, network.version)
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"prevResult of network {network.name!r} is no CNI result: {wrong}") from None


def delete(call: "Call", network: "Network", context: "Context") -> None:
    """Release the attachment's bond and forward the DEL; without a lease, only the second.

    :raises CniError: reporting every step that failed; the others are done.
    """
    attachment = leases.Attachment(network.name, call.container_id, call.ifname)
    lease = pool.find(network.state_dir, attachment, context.deadline)
    if lease is None:
        _forward_del(call, network, context)
        _send_pending_del(network, attachment, context)
        return
    context.log.step(f"found {lease}")
    target = netns.find(call.netns)
    try:
        outcome = release.release(lease, context, release.DEL, target)
        if not outcome.missing and lease.record.delegate is None:
            # The lease was damaged, or its network had no delegate then; what this config says is the best there is.
            outcome.run_step(lambda: _forward_del(call, network, context))
    finally:
        lease.close()
    outcome.raise_any()


def _send_pending_del(network: "Network", attachment: leases.Attachment, context: "Context") -> None:
    """Send the delegate the DEL that an earlier DEL of this attachment could not, as its lease had it.

    :raises CniError: DELEGATE_FAILED when it fails again.
    """
    for name in pool.directories(network.state_dir):
        for finding in recover.send_pending_dels(pool.Pool(network.state_dir, name), context, attachment.key):
            if finding.state == recover.FAILED:
                raise CniError(DELEGATE_FAILED, f"{attachment} is released, but {finding.message}")


def _forward_del(call: "Call", network: "Network", context: "Context") -> None:
    _forward(call, network, context, "DEL", network.raw)


def _forward(call: "Call", network: "Network", context: "Context", verb: str, text: bytes) -> None:
    """Run the config's delegate for a verb that is not ADD; a network without one has nothing to forward.

    :raises CniError: what the delegate returned; INVALID_CONFIG when it is not installed.
    """
    if not network.delegate:
        return
    executable = ipam.find(network.delegate, call.path)
    seconds = context.deadline.left(ipam.SECONDS)
    with context.deadline.wait(f"the IPAM plugin {network.delegate} at {verb}"):
        context.delegates.run(executable, verb, call.environ, text, seconds)


def check(call: "Call", network: "Network", context: "Context") -> None:
    """Compare the kernel with the lease and prevResult, then forward the CHECK.

    :raises CniError: CHECK_DIFFERS reporting everything that differs.
    """
    before = _prev_result(network)
    if before is None:
        raise CniError(INVALID_CONFIG, "required prevResult missing")
    attachment = leases.Attachment(network.name, call.container_id, call.ifname)
    lease = pool.find(network.state_dir, attachment, context.deadline)
    if lease is None:
        raise CniError(CHECK_DIFFERS, f"{attachment} has no bond; ADD it again")
    try:
        if lease.entry.state != leases.READY or lease.record.damage:
            why = lease.record.damage or f"it is {lease.entry.state}, not ready"
            raise CniError(CHECK_DIFFERS, f"{lease} is not as {attachment} got it: {why}; DEL it and ADD it again")
        found = _differences(call, lease, before)
    finally:
        lease.close()
    if found:
        raise CniError(CHECK_DIFFERS, f"{lease} is not as {attachment} got it: {'; '.join(found)}")
    context.log.step("compared")
    _forward(call, network, context, "CHECK", network.raw)


def _differences(call: "Call", lease: "Lease", before: "Result") -> list[str]:
    record = lease.record
    target = netns.require(call.netns)
    if record.netns is None or (target.dev, target.ino) != (record.netns.dev, record.netns.ino):
        return [f"{call.netns} is not the namespace that it was made in"]
    ours = _our_interface(call, before)
    inside = release.open_netlink(target)
    host = sriov.Host()
    ports = record.ports
    link = inside.link(call.ifname)
    # A later plugin of the chain may have given the bond another MAC, and its ports with it: the result says which is meant.
    mac = str(ours.get("mac", "")).lower()
    requested = record.requested
    addresses = [port.pci for port in ports]
    expected = bonds.Expected(call.ifname, mac, requested.mtu, addresses, requested.options, requested.primary)
    found = bonds.differences(link, inside.links(), expected)
    if link is not None:
        place = before.interfaces.index(ours)
        ips = [ip for ip in before.ips if ip.interface in (None, place)]
        found += ip_addresses.differences(inside, link, ips, before.routes)
    # Where ports differ in their MACs the kernel moves these from port to port, and the PFs follow.
    ports_mac = record.mac if len(set(record.port_macs.values())) == 1 else None
    for port in ports:
        of_port = host.differences(port, requested.vf, ports_mac)
        if of_port and mac != record.mac:  # a PF that trusts its VF takes its new MAC over, others keep the one we set
            of_port = host.differences(port, requested.vf, mac)
        found += of_port
    inside.close()
    return found


def _our_interface(call: "Call", before: "Result") -> "Interface":
    for interface in before.interfaces:
        if interface.get("name") == call.ifname and interface.get("sandbox") == call.netns:
            return interface
    raise CniError(CHECK_DIFFERS, f"prevResult has no interface {call.ifname} in {call.netns}")


def collect(call: "Call", network: "Network", context: "Context") -> None:
    """GC: release what this network has leased to attachments that are no more, and forward the GC.

    :raises CniError: reporting everything that failed; the rest is done.
    """
    live = valid_attachments(network.document, INVALID_CONFIG)
    outcome = release.Outcome()
    waiting: set[tuple[str, str]] = set()
    # The forwarded GC needs time too: it is what frees the addresses of most attachments.
    recovery = context.until(context.deadline.keeping(_FORWARD_SECONDS))
    for name in pool.directories(network.state_dir):  # the network may have named another pool before
        where = pool.Pool(network.state_dir, name)
        findings = recover.recover(where, recover.NotListed(network.name, live, recovery), recovery)
        outcome.problems += [finding.error() for finding in findings if finding.state == recover.FAILED]
        if live is not None:
            waiting |= recover.leased(where, network.name) - live
    outcome.run_step(lambda: _forward_gc(call, network, waiting, context))
    outcome.raise_any()


def _forward_gc(call: "Call", network: "Network", waiting: "set[tuple[str, str]]", context: "Context") -> None:
    """Forward GC as it came; but the addresses of a bond whose VFs are not yet in the host must not be freed.

    :param waiting: (container id, interface name) of leases that are still there and that the runtime does not list.
    """
    _forward(call, network, context, "GC", with_attachments(network.document, waiting) if waiting else network.raw)


def status(call: "Call", network: "Network", context: "Context") -> None:
    """Report whether an ADD could be served now, changing nothing, and forward the STATUS.

    :raises CniError: NOT_AVAILABLE when not; LIMITED_CONNECTIVITY when containers that are attached are affected too.
    """
    try:
        if network.delegate:
            ipam.find(network.delegate, call.path)
        readiness.require(claim.pool_of(network))
    except CniError as unable:
        code = unable.code if unable.code == LIMITED_CONNECTIVITY else NOT_AVAILABLE
        raise CniError(code, unable.msg, unable.details) from None
    context.log.step("the pool can serve")
    _forward(call, network, context, "STATUS", network.raw)
