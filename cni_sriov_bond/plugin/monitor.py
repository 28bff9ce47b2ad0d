"""Which link a bond monitors: that to its gateways where one answers, else only the carrier of its ports.

An ADD decides it. A gateway that is silent then may answer later, so `sriov-bondctl gc` asks again.
"""

from cni_sriov_bond.cni.address import Cidr, family_of, packed
from cni_sriov_bond.kernel import addresses, arp_nd, netns
from cni_sriov_bond.kernel import bond as bonds
from cni_sriov_bond.kernel.bond_options import encode
from cni_sriov_bond.pool.lease import READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.kernel.netns import Netns
    from cni_sriov_bond.pool.lease import Lease
    from cni_sriov_bond.pool.record import LeaseRecord


def monitor_path(container: "Netlink", namespace: "Netns", record: "LeaseRecord", gateways: list[str]) -> list[str]:
    """Let a bond monitor the path to the gateways that answer, record that, and return them; with none change nothing.

    With a gateway that never answers, the path monitor would take all ports down.

    :param record: the bond's lease, with its addresses.
    """
    if record.attachment is None:
        return []
    link = container.link(record.attachment.ifname)
    if link is None:
        return []
    ports = bonds.find_ports(container, record.ports)
    macs = {link.name: link.mac} | {port.name: record.port_macs[address] for address, port in ports.items()}
    requests = _requests(record.addresses or [], gateways)
    targets = addresses.answering_gateways(namespace, macs, link.name, requests)
    if targets:
        options = bonds.path_monitor_options(record.requested.options, targets)
        container.change_bond(link.index, encode(options), f"monitor the path of {link.name}")
        record.requested.options = {**record.requested.options, **options}
        record.silent_gateways = []
    return [gateway for of_family in targets.values() for gateway in of_family]


def _requests(cidrs: list[str], gateways: list[str]) -> list[arp_nd.Request]:
    """Return the requests for gateways, from the container's address in a gateway's network, else from one of its family."""
    requests = []
    for gateway in gateways:
        family, gateway_ip = family_of(gateway), packed(gateway)
        sources = [cidr for cidr in map(Cidr, cidrs) if cidr.family == family]
        if sources:
            source = next((cidr for cidr in sources if cidr.contains(gateway_ip)), sources[0])
            requests.append(arp_nd.Request(family, source.ip, gateway_ip))
    return requests


def ask_again(lease: "Lease") -> list[str]:
    """Let a leased bond monitor its path if a gateway that was silent answers by now; return the gateways that do.

    :raises CniError: when the kernel or the file of the lease refuses.
    """
    record = lease.record
    if lease.entry.state != READY or not record.silent_gateways or record.netns is None:
        return []
    namespace = netns.find(record.netns.path)
    if namespace is None:
        return []
    try:
        if not namespace.same(record.netns):
            return []
        container = netns.open_netlink(namespace)
        try:
            answering = monitor_path(container, namespace, record, record.silent_gateways)
        finally:
            container.close()
    finally:
        namespace.close()
    if answering:
        # After the kernel: if this process dies in between, the record still has the gateways, and the next call repeats both.
        lease.save(READY)
    return answering
