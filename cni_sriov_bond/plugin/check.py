"""CHECK: compare the kernel with the lease and the result of the ADD. It changes nothing."""

from cni_sriov_bond.cni.result import parse_previous
from cni_sriov_bond.errors import CHECK_DIFFERS, INVALID_CONFIG, CniError
from cni_sriov_bond.kernel import addresses as ip_addresses
from cni_sriov_bond.kernel import bond as bonds
from cni_sriov_bond.kernel import netns, sriov
from cni_sriov_bond.network.bond_rules import moves_its_mac, swaps_macs
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool import pools
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.cni.result import Interface, Result
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Lease


def check(call: "Call", network: "Network", context: "Context") -> None:
    """Compare the kernel with the lease and prevResult, then forward the CHECK.

    :raises CniError: CHECK_DIFFERS reporting everything that differs.
    """
    before = parse_previous(network.prev_result, network.version, network.name)
    if before is None:
        raise CniError(INVALID_CONFIG, "required prevResult missing")
    attachment = Attachment(network.name, call.container_id, call.ifname)
    lease = pools.find(network.state_dir, attachment, context.deadline, read_only=True)
    if lease is None:
        raise CniError(CHECK_DIFFERS, f"{attachment} has no bond; ADD it again")
    context.log.bond = lease.pool, lease.entry.bond
    try:
        if lease.entry.state != READY or lease.record.damage:
            cause = lease.record.damage or f"it is {lease.entry.state}, not ready"
            raise CniError(CHECK_DIFFERS, f"{lease} differs from the ADD of {attachment}: {cause}; DEL it and ADD it again")
        differences = _differences(call, lease, before, context)
    finally:
        lease.close()
    if differences:
        raise CniError(CHECK_DIFFERS, f"{lease} differs from the ADD of {attachment}: {'; '.join(differences)}")
    context.log.step("compared")
    forward(call, network, context, "CHECK", network.raw)


def _differences(call: "Call", lease: "Lease", before: "Result", context: "Context") -> list[str]:
    record = lease.record
    namespace = netns.require(call.netns)
    if record.netns is None or not namespace.same(record.netns):
        return [f"{call.netns} is not the namespace of the ADD"]
    ours = _our_interface(call, before)
    container = netns.open_netlink(namespace)
    host = sriov.Host(deadline=context.deadline)
    ports = record.ports
    link = container.link(call.ifname)
    requested = record.requested
    # From the result, not from the lease: a later plugin of the chain may have given the bond, and so its ports, another MAC.
    mac = str(ours.get("mac", "")).lower()
    macs = [*record.port_macs.values()] if moves_its_mac(requested.options) else [mac]
    addresses = [port.address for port in ports]
    expected = bonds.Expected(call.ifname, macs, requested.mtu, addresses, requested.options, requested.primary)
    differences = bonds.differences(link, container.links(), expected)
    if link is not None:
        index = before.interfaces.index(ours)
        ips = [ip for ip in before.ips if ip.interface in (None, index)]
        differences += ip_addresses.differences(container, link, ips, before.routes)
    # In some modes the kernel moves MACs from port to port, and the PFs follow: nothing to compare.
    moved = bool(swaps_macs(requested.options))
    for port in ports:
        of_port = host.differences(port, requested.vf, None if moved else record.port_macs.get(port.address))
        # A PF takes over the new MAC of a VF that it trusts; else it keeps ours.
        if of_port and mac not in record.port_macs.values():
            of_port = host.differences(port, requested.vf, mac)
        differences += of_port
    container.close()
    return differences


def _our_interface(call: "Call", before: "Result") -> "Interface":
    for interface in before.interfaces:
        if interface.get("name") == call.ifname and interface.get("sandbox") == call.netns:
            return interface
    raise CniError(CHECK_DIFFERS, f"prevResult has no interface {call.ifname} in {call.netns}")
