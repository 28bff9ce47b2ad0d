"""The CNI verbs as stories: what is done in which order, and how it is undone."""

from _signal import SIG_IGN, SIGINT, signal
from errno import EBUSY

from cni_sriov_bond.cni import invoke, result
from cni_sriov_bond.deadline import UNDO_SECONDS
from cni_sriov_bond.errors import (
    DELEGATE_FAILED,
    INVALID_CONFIG,
    NAME_TAKEN,
    POOL_UNUSABLE,
    TRY_AGAIN_LATER,
    CniError,
    DelegateError,
    KernelError,
)
from cni_sriov_bond.kernel import addresses as ip_addresses
from cni_sriov_bond.kernel import bond as bonds
from cni_sriov_bond.kernel import netns, sriov, sysfs
from cni_sriov_bond.kernel.bond_options import encode
from cni_sriov_bond.network import config
from cni_sriov_bond.network.bond_rules import MIIMON
from cni_sriov_bond.plugin import acquire, release
from cni_sriov_bond.pool.lease import READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.cni.result import Interface, Result
    from cni_sriov_bond.kernel.bond_options import BondOptions
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.kernel.netns import Netns
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Lease
    from cni_sriov_bond.ports import Port

# A fresh port has carrier after 0.6 to 1.4 s on emulated igb, sooner on real NICs; an ADD does not fail for want of it.
_CARRIER_SECONDS = 3.0


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
    executable = invoke.find(network.delegate, call.path) if network.delegate else ""
    before = result.parse_previous(network.prev_result, network.version, network.name)
    if not executable and network.version in ("0.1.0", "0.2.0"):
        raise CniError(INVALID_CONFIG, f"a result of version {network.version} must have an address; add an ipam")
    target = netns.require(call.netns)
    inside = release.open_netlink(target)
    if inside.link(call.ifname) is not None:
        raise CniError(NAME_TAKEN, f"the container {call.netns} has a device {call.ifname} already; DEL it first")
    log.step("validated")
    work = context.until(context.deadline.keeping(UNDO_SECONDS))
    site = _Site(target, inside, acquire.acquire(call, network, target, work))
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
        site.lease.save(READY)
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
            outcome.run_step(lambda: acquire.quarantine_leased(self._state_dir, site.lease, site.port_taken))
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
    seconds = context.deadline.left(invoke.SECONDS)
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
    drivers = [sysfs.driver(port.pci) for port in site.ports]
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
