"""The IPAM plugin's result on the bond: addresses and routes, their announcement, and which gateways answer."""

from _socket import inet_ntop
from errno import EHOSTUNREACH, EINVAL, ENETUNREACH

from cni_sriov_bond.cni.address import IPV6_MIN_MTU, Cidr, family_of, packed
from cni_sriov_bond.errors import INVALID_CONFIG, CniError, KernelError
from cni_sriov_bond.kernel import arp_nd, ipv6, rtnetlink
from cni_sriov_bond.kernel.netns import Entered, Netns
from cni_sriov_bond.kernel.objects import RT_SCOPE_LINK, RT_TABLE_MAIN, Link, NewRoute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.result import IpConfig, Result, Route
    from cni_sriov_bond.kernel.netlink import Netlink

# How long a gateway may take to answer before the bond keeps carrier monitoring, and how often it is asked. It is also what a
# gateway that is silent costs an ADD.
_GATEWAY_SECONDS = 0.3
_GATEWAY_INTERVAL = 0.1
# The kernel's answers to a gateway that is on no link, or that is an address of the device (fib_semantics.c, fib_check_nh;
# net/ipv6/route.c, ip6_route_check_nh).
_NO_WAY = (ENETUNREACH, EHOSTUNREACH, EINVAL)
_LINK_LOCAL = b"\xfe\x80"  # fe80::/16 is on every link
_TARGETS = {rtnetlink.AF_INET: "arp_ip_target", rtnetlink.AF_INET6: "ns_ip6_target"}


def configure(container: "Netlink", netns: Netns, link: Link, answer: "Result") -> list[str]:
    """Add addresses and routes to a device that is up, and return a message for each route that another device has.

    Of two networks with a default route the first one's is used, as with the kernel's own tools.

    :raises CniError: when one is impossible or the kernel refuses it, naming it.
    """
    cidrs = [ip.address for ip in answer.ips]
    # Those on the link first, so that a gateway in one of them can be reached, whatever the order in the result.
    routes = sorted((_route(link.index, route, answer.ips) for route in answer.routes), key=lambda new: bool(new.gateway))
    _require_possible(link, cidrs)
    if any(cidr.family == rtnetlink.AF_INET6 for cidr in cidrs):
        ipv6.allow(netns, link.name)
    for cidr in cidrs:
        container.add_address(link, cidr.family, cidr.ip, cidr.prefix, cidr.text)
    messages = []
    for new in routes:
        text = f"{inet_ntop(new.family, new.dst)}/{new.prefix}"
        text += f" via {inet_ntop(new.family, new.gateway)}" if new.gateway else ""
        try:
            added = container.add_route(new, text)
        except KernelError as refused:
            if refused.errno not in _NO_WAY:
                raise
            raise _unreachable(link, new, text, cidrs) or refused from None
        if not added:
            owner = _owner(container, new)
            messages += [f"the route {text} is not added to {link.name}: {owner} already has it"] if owner else []
    return messages


def _require_possible(link: Link, cidrs: "list[Cidr]") -> None:
    """Refuse addresses that a device cannot have.

    :raises CniError: INVALID_CONFIG.
    """
    for index, cidr in enumerate(cidrs):
        if cidr.family == rtnetlink.AF_INET6 and link.mtu < IPV6_MIN_MTU:
            raise CniError(
                INVALID_CONFIG,
                f"{link.name} has the MTU {link.mtu}, with which it cannot have {cidr.text} of the IPAM plugin: IPv6 needs "
                f"{IPV6_MIN_MTU}; set mtu to at least that, or allocate no IPv6 address",
            )
        if any(cidr.key == other.key for other in cidrs[:index]):
            raise CniError(INVALID_CONFIG, f"the IPAM plugin returned the address {cidr.text} twice; correct its config")


def _unreachable(link: Link, route: NewRoute, text: str, cidrs: "list[Cidr]") -> CniError | None:
    """Return the error for a route that the kernel refused because of its gateway, or None if that is not the reason."""
    own = [cidr for cidr in cidrs if cidr.family == route.family]
    if (
        not route.gateway
        or route.gateway[:2] == _LINK_LOCAL
        or any(cidr.contains(route.gateway) and cidr.ip != route.gateway for cidr in own)
    ):
        return None
    gateway = inet_ntop(route.family, route.gateway)
    nothing = f"no IPv{6 if route.family == rtnetlink.AF_INET6 else 4} address"
    cause = f"is in no network of {link.name}, which has {' and '.join(cidr.text for cidr in own) or nothing}"
    if any(cidr.ip == route.gateway for cidr in own):
        cause = f"is the address of {link.name} itself"
    return CniError(INVALID_CONFIG, f"cannot add the route {text}: the gateway {gateway} {cause}; correct it in ipam")


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


def _route(index: int, route: "Route", ips: "list[IpConfig]") -> NewRoute:
    """Return a route of a result as the kernel takes it.

    Without a gateway of its own it has that of the address; with scope link, or a narrower one, it has none: its network is
    on the link.

    :raises CniError: INVALID_CONFIG when it has a gateway and such a scope.
    """
    network = route.dst
    on_link = route.scope is not None and route.scope >= RT_SCOPE_LINK
    if on_link and route.gw:
        raise CniError(
            INVALID_CONFIG,
            f"the route {network.text} of the IPAM plugin has the gateway {route.gw} and scope {route.scope}: from scope "
            f"{RT_SCOPE_LINK} (link) on a route has no gateway; remove one of them",
        )
    gateways = [ip.gateway for ip in ips if ip.gateway and family_of(ip.gateway) == network.family]
    via = "" if on_link else route.gw or (gateways[0] if gateways else "")
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
    netns: Netns, macs: "dict[str, str]", ifname: str, requests: "list[arp_nd.Request]"
) -> "dict[str, list[str]]":
    """Return the gateways that answer, by the bonding option that would monitor them.

    The bond and all its ports ask at once: the bond may send on a path that is down. A port asks without an address of the
    container: its MAC may differ from the bond's, and the gateway would learn it.

    :param macs: the MAC of each device to ask from, by name.
    :param ifname: the bond's name.
    :param requests: for each gateway, as the bond sends it.
    """
    if not requests:
        return {}
    of_ports = [arp_nd.Request(request.family, b"", request.target) for request in requests]
    with Entered(netns):
        asked = [(arp_nd.RawSocket(name, mac), requests if name == ifname else of_ports) for name, mac in macs.items()]
    answered = arp_nd.answering(asked, _GATEWAY_SECONDS, _GATEWAY_INTERVAL)
    for socket, _ in asked:
        socket.close()
    targets: dict[str, list[str]] = {}
    for request in requests:
        if request.target in answered:
            targets.setdefault(_TARGETS[request.family], []).append(inet_ntop(request.family, request.target))
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
