"""The IPAM plugin's result on the bond: addresses and routes, their announcement, and which gateways answer."""

from _socket import inet_ntop

from cni_sriov_bond.cni.address import family_of, packed
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import arp_nd, rtnetlink
from cni_sriov_bond.kernel.netns import Entered, Netns
from cni_sriov_bond.kernel.objects import RT_TABLE_MAIN, Link, NewRoute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.result import IpConfig, Result, Route
    from cni_sriov_bond.kernel.netlink import Netlink

# How long a gateway may take to answer before the bond keeps carrier monitoring, and how often it is asked. It is also what a
# gateway that is silent costs an ADD.
_GATEWAY_SECONDS = 0.3
_GATEWAY_INTERVAL = 0.1
_TARGETS = {rtnetlink.AF_INET: "arp_ip_target", rtnetlink.AF_INET6: "ns_ip6_target"}


def configure(container: "Netlink", netns: Netns, link: Link, answer: "Result") -> list[str]:
    """Add addresses and routes to a device that is up, and return a message for each route that another device has.

    Of two networks with a default route the first one's is used, as with the kernel's own tools.

    :raises CniError: when the kernel refuses one, naming it.
    """
    cidrs = [ip.address for ip in answer.ips]
    if any(cidr.family == rtnetlink.AF_INET6 for cidr in cidrs):
        _allow_ipv6(netns, link.name)
    for cidr in cidrs:
        container.add_address(link, cidr.family, cidr.ip, cidr.prefix, cidr.text)
    messages = []
    for route in answer.routes:
        new = _route(link.index, route, answer.ips)
        text = f"{route.dst.text} via {route.gw or 'the gateway'}"
        if not container.add_route(new, text):
            owner = _owner(container, new)
            messages += [f"the route {text} is not added to {link.name}: {owner} already has it"] if owner else []
    return messages


def _owner(container: "Netlink", new: NewRoute) -> str:
    """Return the name of the device that has a route to the same network, or "" if the new route's device has one too."""
    wanted = (new.family, new.dst if new.prefix else b"", new.prefix, new.table or RT_TABLE_MAIN)
    routes = container.routes()
    indexes = [route.index for route in routes if (route.family, route.dst, route.prefix, route.table) == wanted]
    if not indexes or new.index in indexes:
        return ""
    # A blackhole, and a route over several devices, have no device: index 0.
    link = container.link(index=indexes[0]) if indexes[0] else None
    return link.name if link else "another route"


def _allow_ipv6(netns: Netns, ifname: str) -> None:
    """Enable IPv6 on the bond, and keep its addresses while it is down, as the reference plugins do (ipam_linux.go)."""
    with Entered(netns):
        for key, value in (("disable_ipv6", "0"), ("keep_addr_on_down", "1")):
            try:
                with open(f"/proc/sys/net/ipv6/conf/{ifname}/{key}", "w", encoding="ascii") as file:
                    file.write(value)
            except OSError as failed:
                raise CniError(
                    POOL_UNUSABLE, f"cannot set {key} of {ifname}: {failed.strerror}; is IPv6 off in the kernel?"
                ) from None


def _route(index: int, route: "Route", ips: "list[IpConfig]") -> NewRoute:
    network = route.dst
    gateways = [ip.gateway for ip in ips if ip.gateway and family_of(ip.gateway) == network.family]
    via = route.gw or (gateways[0] if gateways else "")
    new = NewRoute(index, network.family, network.network, network.prefix, packed(via) if via else b"")
    for key in ("table", "priority", "mtu", "advmss", "scope"):
        value = getattr(route, key)
        if value is not None:
            setattr(new, key, value)
    return new


def announce(netns: Netns, ifname: str, mac: str, ips: "list[IpConfig]") -> None:
    """Announce every address to the link: ARP announcement, or unsolicited neighbour advertisement."""
    with Entered(netns):
        socket = arp_nd.RawSocket(ifname, mac)
    for ip in ips:
        socket.announce(ip.address.family, ip.address.ip)
    socket.close()


def answering_gateways(
    netns: Netns, macs: "dict[str, str]", ifname: str, gateways: "list[tuple[int, bytes, bytes]]"
) -> "dict[str, list[str]]":
    """Return the gateways that answer, by the bonding option that would monitor them.

    The bond and all its ports ask at once: the bond may send on a path that is down. A port asks without an address of the
    container: its MAC may differ from the bond's, and the gateway would learn it.

    :param macs: the MAC of each device to ask from, by name.
    :param ifname: the bond's name.
    :param gateways: family, the container's address and the gateway's.
    """
    if not gateways:
        return {}
    asked = []
    with Entered(netns):
        sockets = {name: arp_nd.RawSocket(name, mac) for name, mac in macs.items()}
    for name, socket in sockets.items():
        requests = [arp_nd.Request(family, ip if name == ifname else b"", gateway) for family, ip, gateway in gateways]
        asked.append((socket, requests))
    answered = arp_nd.answering(asked, _GATEWAY_SECONDS, _GATEWAY_INTERVAL)
    for socket in sockets.values():
        socket.close()
    targets: dict[str, list[str]] = {}
    for family, _, gateway in gateways:
        if gateway in answered:
            targets.setdefault(_TARGETS[family], []).append(inet_ntop(family, gateway))
    return targets


def differences(container: "Netlink", link: Link, ips: "list[IpConfig]", routes: "list[Route]") -> list[str]:
    """Return which addresses and routes of a result are missing; additional ones are allowed."""
    present = {(address.family, address.ip, address.prefix) for address in container.addresses() if address.index == link.index}
    missing = [f"{link.name} does not have the address {ip.address.text}" for ip in ips if ip.address.key not in present]
    networks = {(route.family, route.dst, route.prefix) for route in container.routes()}
    for route in routes:
        network = route.dst
        if (network.family, network.network if network.prefix else b"", network.prefix) not in networks:
            missing.append(f"the container has no route to {network.text}")
    return missing
