"""The delegate's answer on the bond: addresses, routes, and what the neighbours are told and asked."""

from _socket import inet_ntop, inet_pton

from cni_sriov_bond import neighbour, wire
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.netns import Entered, Netns
from cni_sriov_bond.result import Cidr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.netlink import Netlink

# How long a gateway may take to answer before the bond is not made to depend on it, and how often it is asked.
GATEWAY_SECONDS = 1.0
_GATEWAY_EVERY = 0.2
_TARGETS = {wire.AF_INET: "arp_ip_target", wire.AF_INET6: "ns_ip6_target"}


def put(inside: "Netlink", target: Netns, link: wire.Link, answer: "dict[str, Any]") -> list[str]:
    """Give a device that is up its addresses and routes, and say which routes another device has.

    Of two networks with a default route the first one's is used, as with the kernel's own tools.

    :param answer: what the delegate said, as ``result.normal`` gives it.
    :raises CniError: when the kernel refuses one, naming it.
    """
    ips = [Cidr(ip["address"]) for ip in answer["ips"]]
    if any(ip.family == wire.AF_INET6 for ip in ips):
        _allow_ipv6(target, link.name)
    for ip in ips:
        inside.add_address(link, ip.family, ip.ip, ip.prefix, ip.text)
    taken = []
    for route in answer["routes"]:
        new = _route(link.index, route, answer["ips"])
        words = f"{route['dst']} via {route.get('gw', 'the gateway')}"
        if not inside.add_route(new, words):
            owner = _owner(inside, new)
            taken += [f"the route {words} is not added to {link.name}: {owner} has it already"] if owner else []
    return taken


def _owner(inside: "Netlink", new: wire.NewRoute) -> str:
    """Give the name of what has a route to the same network when the new one's device has none, or ""."""
    wanted = (new.family, new.dst if new.prefix else b"", new.prefix, new.table or wire.RT_TABLE_MAIN)
    have = [found.index for found in inside.routes() if (found.family, found.dst, found.prefix, found.table) == wanted]
    if not have or new.index in have:
        return ""
    # A blackhole, or a route over several devices, has none of its own: 0.
    link = inside.link(index=have[0]) if have[0] else None
    return link.name if link else "another route"


def _allow_ipv6(target: Netns, ifname: str) -> None:
    """Let the bond have IPv6 and keep its addresses when it goes down, as the reference plugins do (ipam_linux.go)."""
    with Entered(target):
        for key, value in (("disable_ipv6", "0"), ("keep_addr_on_down", "1")):
            try:
                with open(f"/proc/sys/net/ipv6/conf/{ifname}/{key}", "w", encoding="ascii") as file:
                    file.write(value)
            except OSError as failed:
                raise CniError(
                    POOL_UNUSABLE, f"cannot set {key} of {ifname}: {failed.strerror}; is IPv6 off in the kernel?"
                ) from None


def _route(index: int, route: "dict[str, Any]", ips: "list[dict[str, Any]]") -> wire.NewRoute:
    to = Cidr(route["dst"])
    via = route.get("gw") or next((gateway for family, gateway in gateways(ips) if family == to.family), "")
    new = wire.NewRoute(index, to.family, to.network, to.prefix, inet_pton(to.family, via) if via else b"")
    for key in ("table", "priority", "mtu", "advmss", "scope"):
        if key in route:
            setattr(new, key, route[key])
    return new


def gateways(ips: "list[dict[str, Any]]") -> list[tuple[int, str]]:
    """Give the gateways of a result's addresses, each with its family, in order."""
    return [(Cidr(ip["address"]).family, ip["gateway"]) for ip in ips if ip.get("gateway")]


def announce(target: Netns, ifname: str, mac: str, ips: "list[dict[str, Any]]") -> None:
    """Tell the neighbours of every address: ARP announcement and unsolicited neighbour advertisement."""
    with Entered(target):
        line = neighbour.Wire(ifname, mac)
    for ip in ips:
        cidr = Cidr(ip["address"])
        line.announce(cidr.family, cidr.ip)
    line.close()


def answering(
    target: Netns, ifname: str, mac: str, ips: "list[dict[str, Any]]", seconds: float = GATEWAY_SECONDS
) -> "dict[str, list[str]]":
    """Give the gateways that answer on a device within ``seconds``, by the bonding option that would watch them."""
    questions = []
    for ip in ips:
        if ip.get("gateway"):
            cidr = Cidr(ip["address"])
            questions.append((cidr.family, cidr.ip, inet_pton(cidr.family, ip["gateway"])))
    if not questions:
        return {}
    with Entered(target):
        line = neighbour.Wire(ifname, mac)
    heard = line.answered(questions, seconds, _GATEWAY_EVERY)
    line.close()
    found: dict[str, list[str]] = {}
    for family, _, gateway in questions:
        if gateway in heard:
            found.setdefault(_TARGETS[family], []).append(inet_ntop(family, gateway))
    return found


def differences(inside: "Netlink", link: wire.Link, ips: "list[dict[str, Any]]", routes: "list[dict[str, Any]]") -> list[str]:
    """Say which addresses and routes of a result a device has not; others that it has are nobody's business."""
    have = {(found.family, found.ip, found.prefix) for found in inside.addresses() if found.index == link.index}
    missing = [f"{link.name} has not the address {ip['address']}" for ip in ips if _key(ip["address"]) not in have]
    known = {(found.family, found.dst, found.prefix) for found in inside.routes()}
    for route in routes:
        to = Cidr(route["dst"])
        if (to.family, to.network if to.prefix else b"", to.prefix) not in known:
            missing.append(f"the container has no route to {route['dst']}")
    return missing


def _key(address: str) -> tuple[int, bytes, int]:
    cidr = Cidr(address)
    return cidr.family, cidr.ip, cidr.prefix
