"""ADD: lease a bond, create it in the container, and answer with the result; undo everything if a step fails."""

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
from cni_sriov_bond.kernel import netns, sysfs
from cni_sriov_bond.network import config
from cni_sriov_bond.network.bond_rules import MIIMON, moves_its_mac
from cni_sriov_bond.plugin.acquire import acquire
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.ports import LINK_STATE_ENABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.cni.result import Interface, Result
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.kernel.netns import Netns
    from cni_sriov_bond.kernel.objects import Link
    from cni_sriov_bond.kernel.sriov import Host
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Lease
    from cni_sriov_bond.ports import BondOptions, Port

# A new port has carrier after 0.6 to 1.4 s on emulated igb, sooner on real NICs. An ADD does not fail if there is none.
_CARRIER_SECONDS = 3.0
# How much later than another port the preferred one may have carrier and still be the active one. In the lab it is 0 to 0.3 s.
_PREFERRED_SECONDS = 1.0


class _Site:
    """What one ADD works on: the container's namespace, a netlink socket in it, and the lease.

    Two attributes are for the undo. ``delegate_started``: whether the delegate may have allocated addresses. ``port_in_use``:
    the kernel's message if a VF cannot become a port because something else uses it.
    """

    __slots__ = ("container", "delegate_started", "lease", "namespace", "port_in_use")

    def __init__(self, namespace: "Netns", container: "Netlink", lease: "Lease") -> None:
        self.namespace = namespace
        self.container = container
        self.lease = lease
        self.delegate_started = False
        self.port_in_use = ""

    @property
    def ports(self) -> "list[Port]":
        """The ports of the leased bond."""
        return self.lease.record.ports


def add(call: "Call", network: "Network", context: "Context", answer: "Callable[[str], None]") -> None:
    """Lease a bond, create it in the container, and answer with the result.

    :param answer: sends the result; if that fails, the runtime has no result and everything is undone.
    :raises CniError: everything is then as before the call, except for what the error's details name.
    """
    log = context.log
    for hint in config.hints(network.document):
        log.warn(hint)
    executable = invoke.find(network.delegate, call.path) if network.delegate else ""
    before = result.parse_previous(network.prev_result, network.version, network.name)
    if not executable and network.version in ("0.1.0", "0.2.0"):
        raise CniError(INVALID_CONFIG, f"a result of version {network.version} must have an address; add an ipam")
    namespace = netns.require(call.netns)
    container = netns.open_netlink(namespace)
    if container.link(call.ifname) is not None:
        raise CniError(NAME_TAKEN, f"the container {call.netns} has a device {call.ifname} already; DEL it first")
    log.step("validated")
    work = context.until(context.deadline.keeping(UNDO_SECONDS))
    site = _Site(namespace, container, acquire(call, network, namespace, work))
    log.bond = site.lease.pool, site.lease.entry.bond
    log.step(f"leased {site.lease.entry.bond}")
    # From here on every failure is undone, from the first step that changes the kernel. The undo needs no list of steps: the
    # lease has all that it restores.
    try:
        _create(call, network, site, work)
        site.delegate_started = bool(executable)
        ipam_result = _run_delegate(call, network, executable, site.lease.lock, work)
        log.step("ran the IPAM plugin")
        _configure(call, network, site, ipam_result, work)
        ours = _result(call, network, site, ipam_result)
        # Before the answer: a container that runs must have a lease that is ready, or the next ADD would release its bond.
        site.lease.save(READY)
        log.step("recorded")
        answer(result.build(result.join(before, ours), network.version))
    except BaseException as failed:
        _undo(site, context, failed)
        raise
    finally:
        site.lease.close()


def _undo(site: _Site, context: "Context", failed: BaseException) -> None:
    """Undo an unfinished ADD by a release of its lease; add to the error's details what could not be undone."""
    signal(SIGINT, SIG_IGN)  # a second Ctrl-C must not stop the undo
    from cni_sriov_bond.plugin import release  # late: an ADD that succeeds does not need it

    policy = release.undo_policy(site.delegate_started, isinstance(failed, DelegateError))
    outcome = release.release(site.lease, context, policy, site.namespace)
    if outcome.free and site.port_in_use:
        # What uses the VF cannot be seen from here, e.g. a macvlan in a namespace that outlived its container. The next ADD
        # would take the same bond and fail too. The bond's lock is still held, so no ADD can take it in between.
        outcome.run_step(_quarantine, site.lease, site.port_in_use)
    if outcome.problems and isinstance(failed, CniError):
        problems = "; ".join(problem.msg for problem in outcome.problems)
        failed.details = f"{failed.details}; while undoing: {problems}".lstrip("; ")


def _quarantine(lease: "Lease", reason: str) -> None:
    from cni_sriov_bond.pool import quarantine

    quarantine.add(lease.pool_path, lease.entry.bond, reason)


def _create(call: "Call", network: "Network", site: _Site, context: "Context") -> None:
    """Create the bond in the container, move its VFs there and make them its ports."""
    from cni_sriov_bond.kernel import bond as bonds  # late: an ADD that gets no bond needs none of it

    log = context.log
    mac = site.lease.record.mac
    options: BondOptions = {"miimon": MIIMON, **network.bond}
    if network.bond.get("arp_interval"):
        options["miimon"] = 0
    link = bonds.create(site.container, call.ifname, mac, options)
    log.step("created the bond")
    _move_vfs(network, site, call, context)
    ports = bonds.find_ports(site.container, site.ports)
    members = [ports[port.address] for port in site.ports if port.address in ports]
    if len(members) != len(site.ports):
        raise CniError(POOL_UNUSABLE, f"a VF of {site.lease} did not arrive in {call.netns}; try again")
    _set_advertisements(network, site, [link.name, *(member.name for member in members)])
    try:
        bonds.add_ports(site.container, link, members, context.deadline)
    except KernelError as refused:
        site.port_in_use = refused.msg if refused.errno == EBUSY else ""
        raise
    bonds.bring_up(site.container, link, network.mtu, ports.get(site.lease.record.requested.primary))
    log.step("brought the bond up")


def _move_vfs(network: "Network", site: _Site, call: "Call", context: "Context") -> None:
    """Set up the VFs and move them into the container.

    All are set up before the first is moved: a setting that a NIC does not have moves nothing.
    """
    from cni_sriov_bond.kernel import sriov

    host = sriov.Host(deadline=context.deadline)
    links = []
    warnings: list[str] = []
    for port in site.ports:
        link, missing = _set_up(host, port, network, site)
        links.append(link)
        warnings += host.consequences(port, missing)
    if network.vf.link_state == LINK_STATE_ENABLE:
        warnings.append(
            "link_state enable keeps its ports up without a cable, so the bond cannot see by carrier that one failed"
        )
    for warning in dict.fromkeys(warnings):  # the ports have mostly the same
        context.log.warn(f"container {call.container_id}: {warning}")
    context.log.step("set up the VFs")
    for port, link in zip(site.ports, links, strict=True):
        sriov.move_in(host, port, link, site.namespace.fd, f"the container's namespace {site.namespace.path}")
    context.log.step("moved the VFs in")


def _set_advertisements(network: "Network", site: _Site, names: list[str]) -> None:
    """Let the bond, the first of the devices, take router advertisements, or let all of them ignore these.

    It is done before they come up: the kernel takes an address and a default route from the first advertisement.
    """
    if network.router_advertisements is None:
        return
    from cni_sriov_bond.kernel import ipv6

    if network.router_advertisements:
        ipv6.take_advertisements(site.namespace, names[0])
    else:
        ipv6.ignore_advertisements(site.namespace, names)


def _set_up(host: "Host", port: "Port", network: "Network", site: _Site) -> "tuple[Link, list[str]]":
    """Set up a VF for the container, while it is in the host.

    The settings come before the move: in the container the VF must not receive frames of another VLAN, not even briefly.

    :return: its network device, and the defaults that its driver does not have: CHECK does not look for them.
    """
    link = host.netdev(port)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"{port.name} at {port.address} disappeared from the host during the ADD; try again")
    host.bring_down(link)
    host.netlink.drop_altnames(link)  # an altname that exists in the target netns makes the move fail
    record = site.lease.record
    missing = host.configure(port, link, network.vf, record.port_macs[port.address])
    record.requested.vf = record.requested.vf.without(missing)
    return link, missing


def _run_delegate(call: "Call", network: "Network", executable: str, lock: int, context: "Context") -> "Result":
    """Run the delegate's ADD and return its result; without a delegate return one without addresses.

    :param lock: the descriptor of the bond's lock. The delegate inherits it: if we are killed, no other process leases the bond
        while the delegate may still allocate addresses for it.
    """
    if not executable:
        return result.Result([], [], [], {})
    seconds = context.deadline.left(invoke.SECONDS)
    if not seconds:
        raise CniError(TRY_AGAIN_LATER, f"no time was left to ask the IPAM plugin {network.delegate} for addresses")
    with context.deadline.wait(f"the IPAM plugin {network.delegate} at ADD"):
        text = context.delegates.run(executable, "ADD", call.environ, network.raw, seconds, lock)
    parsed = result.parse(text, network.version, f"the IPAM plugin {network.delegate}")
    if not parsed.ips:
        raise CniError(DELEGATE_FAILED, f"IPAM plugin {network.delegate} returned missing IP config")
    return parsed


def _configure(call: "Call", network: "Network", site: _Site, ipam_result: "Result", context: "Context") -> None:
    """Set addresses and routes, wait for carrier, announce the addresses, and choose the bond's link monitor."""
    log = context.log
    link = site.container.link(call.ifname)
    if link is None:
        raise _disappeared(call)
    if ipam_result.ips or ipam_result.routes:
        from cni_sriov_bond.kernel import addresses  # late: an ADD without an IPAM plugin needs none of it

        for conflict in addresses.configure(site.container, site.namespace, link, ipam_result):
            log.warn(f"container {call.container_id}: {conflict}")
    log.step("set addresses and routes")
    # Before the announcements: without carrier they are lost, and neighbours keep the MAC of an address's last owner.
    with context.deadline.wait(f"carrier of {call.ifname}"):
        carrier = site.container.wait_for_carrier(call.ifname, context.deadline.left(_CARRIER_SECONDS))
    if not carrier:
        log.warn(f"{call.ifname} of container {call.container_id} has no carrier after {_CARRIER_SECONDS:.0f} s")
    log.step("waited for carrier")
    if carrier and moves_its_mac(network.bond):
        _activate_preferred(call, site, context)
    site.lease.record.addresses = [ip.address.text for ip in ipam_result.ips]
    if ipam_result.ips:
        from cni_sriov_bond.kernel import addresses

        # Read again: in active-backup the bond has by now the MAC of its active port.
        link = site.container.link(call.ifname) or link
        addresses.announce(site.namespace, call.ifname, link.mac, ipam_result.ips)
    _choose_monitor(call, network, site, ipam_result, context)


def _activate_preferred(call: "Call", site: _Site, context: "Context") -> None:
    """Let the preferred port be the active one, or the next that has a path: the bond has the MAC of its active port.

    So the bond has the MAC that was requested, and the containers of a host use one NIC. A VF may have carrier although the
    cable of its PF is out, so the PF is asked.
    """
    preferred = next((port for port in site.lease.record.ports_by_preference if sysfs.has_carrier(port.pf_address)), None)
    if preferred is None:
        return
    from cni_sriov_bond.kernel import active_port  # late: most modes do not need it

    end = context.deadline.part(_PREFERRED_SECONDS)
    with context.deadline.wait(f"carrier of {preferred.name}"):
        active = active_port.activate(site.container, call.ifname, preferred.address, end)
    if not active:
        context.log.warn(
            f"{call.ifname} of container {call.container_id} is not active on {preferred.name}, its preferred port: it has no "
            f"link {_PREFERRED_SECONDS:.0f} s after another"
        )
    context.log.step("activated the preferred port")


def _choose_monitor(call: "Call", network: "Network", site: _Site, ipam_result: "Result", context: "Context") -> None:
    """Let the bond monitor its path where carrier is not reliable, if a gateway answers."""
    from cni_sriov_bond.kernel import bond as bonds

    drivers = [sysfs.driver(port.address) for port in site.ports]
    if not bonds.selects_path_monitor(network.bond, network.link_monitor, drivers):
        return
    from cni_sriov_bond.plugin import monitor

    record = site.lease.record
    gateways = [ip.gateway for ip in ipam_result.ips if ip.gateway]
    if not monitor.monitor_path(site.container, site.namespace, record, gateways):
        record.silent_gateways = gateways
        later = "; `sriov-bondctl gc` asks again" if gateways else ""
        context.log.warn(
            f"{call.ifname} of container {call.container_id} monitors carrier only, which {' and '.join(set(drivers))} may not "
            f"drop when a cable is pulled: no gateway answered{later}, or set arp_interval and arp_ip_target"
        )
    context.log.step("chose the link monitor")


def _result(call: "Call", network: "Network", site: _Site, ipam_result: "Result") -> "Result":
    """Return our part of the result, and record the bond's MTU for CHECK."""
    link = site.container.link(call.ifname)
    if link is None:
        raise _disappeared(call)
    interface: Interface = {"name": call.ifname, "mac": link.mac, "mtu": link.mtu, "sandbox": call.netns}
    if network.vf.vlan is not None:
        interface["vlan"] = network.vf.vlan
    site.lease.record.requested.mtu = link.mtu
    return result.of_interface(interface, ipam_result, network.dns)


def _disappeared(call: "Call") -> CniError:
    return CniError(POOL_UNUSABLE, f"the bond {call.ifname} disappeared from {call.netns}; is another program changing it?")
