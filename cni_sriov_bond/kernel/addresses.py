"""The delegate's answer on the bond: addresses, routes, and what the neighbours are told and asked."""

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

# How long a gateway may take to answer before the bond is not made to depend on it, and how often it is asked.
GATEWAY_SECONDS = 1.0
_GATEWAY_EVERY = 0.2
_TARGETS = {rtnetlink.AF_INET: "arp_ip_target", rtnetlink.AF_INET6: "ns_ip6_target"}


def put(inside: "Netlink", target: Netns, link: Link, answer: "Result") -> list[str]:
    """Set addresses and routes on a device that is up, and return which routes another device has.

    Of two networks with a default route the first one's is used, as with the kernel's own tools.

    :raises CniError: when the kernel refuses one, naming it.
    """
    cidrs = [ip.address for ip in answer.ips]
    if any(cidr.family == rtnetlink.AF_INET6 for cidr in cidrs):
        _allow_ipv6(target, link.name)
    for cidr in cidrs:
        inside.add_address(link, cidr.family, cidr.ip, cidr.prefix, cidr.text)
    taken = []
    for route in answer.routes:
        new = _route(link.index, route, answer.ips)
        words = f"{route.dst.text} via {route.gw or 'the gateway'}"
        if not inside.add_route(new, words):
            owner = _owner(inside, new)
            taken += [f"the route {words} is not added to {link.name}: {owner} has it already"] if owner else []
    return taken


def _owner(inside: "Netlink", new: NewRoute) -> str:
    """Return the name of the device that has a route to the same network while the new route's has none, or ""."""
    wanted = (new.family, new.dst if new.prefix else b"", new.prefix, new.table or RT_TABLE_MAIN)
    have = [found.index for found in inside.routes() if (found.family, found.dst, found.prefix, found.table) == wanted]
    if not have or new.index in have:
        return ""
    # A blackhole, or a route over several devices, has none of its own: 0.
    link = inside.link(index=have[0]) if have[0] else None
    return link.name if link else "another route"


def _allow_ipv6(target: Netns, ifname: str) -> None:
    """Enable IPv6 on the bond, and keep its addresses when it goes down, as the reference plugins do (ipam_linux.go)."""
    with Entered(target):
        for key, value in (("disable_ipv6", "0"), ("keep_addr_on_down", "1")):
            try:
                with open(f"/proc/sys/net/ipv6/conf/{ifname}/{key}", "w", encoding="ascii") as file:
                    file.write(value)
            except OSError as failed:
                raise CniError(
                    POOL_UNUSABLE, f"cannot set {key} of {ifname}: {failed.strerror}; is IPv6 off in the kernel?"
                ) from None


def _route(index: int, route: "Route", ips: "list[IpConfig]") -> NewRoute:
    to = route.dst
    gateways = [ip.gateway for ip in ips if ip.gateway and family_of(ip.gateway) == to.family]
    via = route.gw or (gateways[0] if gateways else "")
    new = NewRoute(index, to.family, to.network, to.prefix, packed(via) if via else b"")
    for key in ("table", "priority", "mtu", "advmss", "scope"):
        value = getattr(route, key)
        if value is not None:
            setattr(new, key, value)
    return new


def announce(target: Netns, ifname: str, mac: str, ips: "list[IpConfig]") -> None:
    """Announce every address to the neighbours: ARP announcement and unsolicited neighbour advertisement."""
    with Entered(target):
        line = arp_nd.RawSocket(ifname, mac)
    for ip in ips:
        line.announce(ip.address.family, ip.address.ip)
    line.close()


def answering(
    target: Netns, ifname: str, mac: str, ips: "list[IpConfig]", seconds: float = GATEWAY_SECONDS
) -> "dict[str, list[str]]":
    """Return the gateways that answer on a device within ``seconds``, by the bonding option that would watch them."""
    questions = [(ip.address.family, ip.address.ip, packed(ip.gateway)) for ip in ips if ip.gateway]
    if not questions:
        return {}
    with Entered(target):
        line = arp_nd.RawSocket(ifname, mac)
    heard = line.answered(questions, seconds, _GATEWAY_EVERY)
    line.close()
    targets: dict[str, list[str]] = {}
    for family, _, gateway in questions:
        if gateway in heard:
            targets.setdefault(_TARGETS[family], []).append(inet_ntop(family, gateway))
    return targets


def differences(inside: "Netlink", link: Link, ips: "list[IpConfig]", routes: "list[Route]") -> list[str]:
    """Return which addresses and routes of a result a device has not; others that it has are nobody's business."""
    have = {(present.family, present.ip, present.prefix) for present in inside.addresses() if present.index == link.index}
    missing = [f"{link.name} does not have the address {ip.address.text}" for ip in ips if ip.address.key not in have]
    known = {(present.family, present.dst, present.prefix) for present in inside.routes()}
    for route in routes:
        to = route.dst
        if (to.family, to.network if to.prefix else b"", to.prefix) not in known:
            missing.append(f"the container has no route to {to.text}")
    return missing
