"""The only builder and reader of CNI result documents, for every version.

Inside, a result is always in the form of 1.1.0: ``interfaces``, ``ips``, ``routes``, ``dns``. Shapes of the versions:
CNI's SPEC.md of each, and types/020, 040, 100 of its library.
"""

from _socket import inet_pton

from cni_sriov_bond import jsontext
from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OLD = ("0.1.0", "0.2.0")
_WITH_IP_VERSION = ("0.3.0", "0.3.1", "0.4.0")
_AF_INET, _AF_INET6 = 2, 10
_LATEST = "1.1.0"
_ROUTE_KEYS = ("mtu", "advmss", "priority", "table", "scope")


class Cidr:
    """An address or a network: family (2 or 10), packed address, prefix length, and the text it came from."""

    __slots__ = ("family", "ip", "prefix", "text")

    def __init__(self, text: object) -> None:
        ip, _, prefix = text.partition("/") if isinstance(text, str) else ("", "", "")
        self.text = str(text)
        self.family = family_of(ip)
        # A length is written in one to three of our digits: int() would take others, and fails on thousands of them.
        if not (prefix.isascii() and prefix.isdecimal() and len(prefix) <= 3 and _is_ip(ip)):
            raise ValueError(f"{text!r} is no address with a prefix length")
        self.ip = inet_pton(self.family, ip)
        self.prefix = int(prefix)
        if self.prefix > len(self.ip) * 8:
            raise ValueError(f"{text!r} is no address with a prefix length")

    @property
    def network(self) -> bytes:
        """The packed address of its network: the kernel refuses an IPv4 route with host bits, and shows none of an IPv6 one."""
        host = len(self.ip) * 8 - self.prefix
        return (int.from_bytes(self.ip, "big") >> host << host).to_bytes(len(self.ip), "big")


def family_of(ip: str) -> int:
    """Give the address family of an IP address in text."""
    return _AF_INET6 if ":" in ip else _AF_INET


def _is_ip(ip: object) -> bool:
    """Tell whether a value is an IP address in text."""
    try:
        return isinstance(ip, str) and bool(inet_pton(family_of(ip), ip))
    except (OSError, ValueError):
        return False


def parse(text: str, default_version: str, whose: str) -> "dict[str, Any]":
    """Read a result of any version.

    :param whose: the words for its author in an error.
    :raises CniError: DECODING_FAILURE when it is not one.
    """
    try:
        found = normal(jsontext.loads(text), default_version)
        for ip in found["ips"]:
            if ip.get("gateway") and family_of(ip["gateway"]) != Cidr(ip["address"]).family:
                raise ValueError(f"the address {ip['address']} has the gateway {ip['gateway']}, which is of the other family")
        return found
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"{whose} gave no CNI result: {wrong}", text[:500]) from None


def normal(value: object, default_version: str) -> "dict[str, Any]":
    """Give a result in the form of 1.1.0, checked.

    :raises ValueError: saying what is wrong with it, and nothing else, whatever it holds.
    """
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    version = value.get("cniVersion") or default_version
    if version in _OLD:
        value = _from_old(value)
    elif version not in _WITH_IP_VERSION and version not in ("1.0.0", "1.1.0"):
        raise ValueError(f"it is of version {version!r}, which we do not know")
    ips = [_known(ip, "address", "gateway", "interface") for ip in _objects(value, "ips")]
    routes = [_known(route, "dst", "gw", *_ROUTE_KEYS) for route in _objects(value, "routes")]
    for ip in ips:
        Cidr(_must(ip, "address"))
        _bare(ip.get("gateway"))
    for route in routes:
        to = Cidr(_must(route, "dst"))
        _bare(route.get("gw"))
        if route.get("gw") and family_of(route["gw"]) != to.family:
            raise ValueError(f"the route {route['dst']} has the gateway {route['gw']}, which is of the other family")
        _numbers(route)
    interfaces = [dict(one) for one in _objects(value, "interfaces")]
    return {"interfaces": interfaces, "ips": ips, "routes": routes, "dns": dict(_object(value, "dns"))}


def _objects(value: "dict[str, Any]", key: str) -> "list[dict[str, Any]]":
    """Give a member that is a list of objects, empty where it is null or not there."""
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{key} is no list of objects")
    return found


def _object(value: "dict[str, Any]", key: str) -> "dict[str, Any]":
    """Give a member that is an object, empty where it is null or not there."""
    found = value.get(key) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{key} is no object")
    return found


def _must(value: "dict[str, Any]", key: str) -> "Any":
    if key not in value:
        raise ValueError(f"{key!r} is missing")
    return value[key]


def _bare(ip: object) -> None:
    if ip and not _is_ip(ip):
        raise ValueError(f"{ip!r} is no address")


def _numbers(route: "dict[str, Any]") -> None:
    for key in _ROUTE_KEYS:
        value, most = route.get(key, 0), 255 if key == "scope" else 0xFFFFFFFF
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"{key} of the route {route['dst']} must be a number from 0 to {most}, not {value!r}")


def _known(entry: "dict[str, Any]", *keys: str) -> "dict[str, Any]":
    return {key: entry[key] for key in keys if entry.get(key) not in (None, "")}


def _from_old(value: "dict[str, Any]") -> "dict[str, Any]":
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    for family in ("ip4", "ip6"):
        part = _object(value, family)
        if part:
            ips.append({"address": _must(part, "ip"), "gateway": part.get("gateway")})
            routes += _objects(part, "routes")
    return {"ips": ips, "routes": routes, "dns": value.get("dns")}


def of_interface(interface: "dict[str, Any]", said: "dict[str, Any]", dns: "dict[str, Any]") -> "dict[str, Any]":
    """Give the result of one interface that has what the delegate said.

    :param dns: the config's, which stands for all that the delegate said of it; empty where it says nothing.
    """
    return {
        "interfaces": [interface],
        "ips": [{**ip, "interface": 0} for ip in said["ips"]],
        "routes": said["routes"],
        "dns": dns or said["dns"],
    }


def join(before: "dict[str, Any] | None", ours: "dict[str, Any]") -> "dict[str, Any]":
    """Append our interface, addresses and routes to the result of the plugin before us in the chain."""
    if before is None:
        return ours
    offset = len(before["interfaces"])
    ips = [{**ip, "interface": ip["interface"] + offset} for ip in ours["ips"]]
    return {
        "interfaces": before["interfaces"] + ours["interfaces"],
        "ips": before["ips"] + ips,
        "routes": before["routes"] + ours["routes"],
        "dns": ours["dns"] or before["dns"],
    }


def build(value: "dict[str, Any]", version: str) -> str:
    """Give a result as the text of one version.

    :raises CniError: INVALID_CONFIG where the version cannot say it: 0.1.0 and 0.2.0 have no result without an address.
    """
    if version in _OLD:
        return jsontext.dumps(_to_old(value, version))
    document: dict[str, Any] = {"cniVersion": version}
    interfaces = value["interfaces"]
    if version != _LATEST:
        interfaces = [
            {key: part for key, part in one.items() if key not in ("mtu", "socketPath", "pciID")} for one in interfaces
        ]
    ips = value["ips"]
    if version in _WITH_IP_VERSION:
        ips = [{"version": "6" if ":" in ip["address"] else "4", **ip} for ip in ips]
    routes = value["routes"]
    if version != _LATEST:
        routes = [_known(route, "dst", "gw") for route in routes]
    for key, part in (("interfaces", interfaces), ("ips", ips), ("routes", routes), ("dns", value["dns"])):
        if part:
            document[key] = part
    return jsontext.dumps(document)


def _to_old(value: "dict[str, Any]", version: str) -> "dict[str, Any]":
    document: dict[str, Any] = {"cniVersion": version}
    for ip in value["ips"]:
        family = "ip6" if ":" in ip["address"] else "ip4"
        if family not in document:
            document[family] = {"ip": ip["address"]}
            if ip.get("gateway"):
                document[family]["gateway"] = ip["gateway"]
    for route in value["routes"]:
        family = "ip6" if ":" in route["dst"] else "ip4"
        if family in document:
            document[family].setdefault("routes", []).append(_known(route, "dst", "gw"))
    if len(document) == 1:
        raise CniError(
            INVALID_CONFIG,
            f"a result of version {version} must have an address; use cniVersion 1.0.0, or an ipam that gives one",
        )
    document["dns"] = value["dns"]
    return document


def error(code: int, msg: str, details: str, version: str) -> str:
    """Give the error document."""
    return jsontext.dumps({"cniVersion": version, "code": code, "msg": msg, "details": details})
