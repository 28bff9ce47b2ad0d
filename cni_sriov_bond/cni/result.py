"""Read and write CNI result documents of every version. No other module does.

A ``Result`` has what version 1.1.0 can express: interfaces, addresses, routes and DNS settings. The documents of the other
versions are in their SPEC.md, and in types/020, 040 and 100 of the CNI library.
"""

from _socket import AF_INET6

from cni_sriov_bond import jsontext
from cni_sriov_bond.cni.address import Cidr, family_of, packed
from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # JSON of other plugins: unknown keys are passed on unchanged.
    Interface = dict[str, object]
    Dns = dict[str, object]
    Document = dict[str, Any]

_OLD = ("0.1.0", "0.2.0")
_WITH_IP_VERSION = ("0.3.0", "0.3.1", "0.4.0")
_LATEST = "1.1.0"
_SINCE_LATEST = ("mtu", "socketPath", "pciID")  # of an interface
_ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")


class IpConfig:
    """An address of a result, with its gateway or "", and the index of its interface in the result or None."""

    __slots__ = ("address", "gateway", "interface")

    def __init__(self, address: Cidr, gateway: str = "", interface: int | None = None) -> None:
        self.address = address
        self.gateway = gateway
        self.interface = interface


class Route:
    """A route of a result. An empty ``gw`` stands for the gateway of the address, a None for the kernel's default."""

    __slots__ = ("advmss", "dst", "gw", "mtu", "priority", "scope", "table")

    def __init__(
        self,
        dst: Cidr,
        gw: str = "",
        mtu: int | None = None,
        advmss: int | None = None,
        priority: int | None = None,
        table: int | None = None,
        scope: int | None = None,
    ) -> None:
        self.dst = dst
        self.gw = gw
        self.mtu = mtu
        self.advmss = advmss
        self.priority = priority
        self.table = table
        self.scope = scope


class Result:
    """The result of an ADD."""

    __slots__ = ("dns", "interfaces", "ips", "routes")

    def __init__(self, interfaces: "list[Interface]", ips: list[IpConfig], routes: list[Route], dns: "Dns") -> None:
        self.interfaces = interfaces
        self.ips = ips
        self.routes = routes
        self.dns = dns


def parse(text: str, default_version: str, author: str) -> Result:
    """Return the result in a delegate's output, of any version.

    :param default_version: the version of a document without cniVersion.
    :param author: who wrote it, for the error.
    :raises CniError: DECODING_FAILURE when it is not a valid result.
    """
    try:
        result = from_json(jsontext.loads(text), default_version)
        for ip in result.ips:
            if ip.gateway and family_of(ip.gateway) != ip.address.family:
                subject = f"the address {ip.address.text} has the gateway {ip.gateway}"
                raise ValueError(f"{subject}, which is of the other address family")
        return result
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"{author} returned no valid CNI result: {wrong}", text[:500]) from None


def parse_previous(value: "Document | None", version: str, network: str) -> Result | None:
    """Return prevResult as a result, or None if the config has none.

    :param network: the network's name, for the error.
    :raises CniError: DECODING_FAILURE when it is not a valid result.
    """
    if value is None:
        return None
    try:
        return from_json(value, version)
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"prevResult of network {network!r} is not a valid CNI result: {wrong}") from None


def from_json(value: object, default_version: str) -> Result:
    """Return the result in a document of any version.

    :raises ValueError: when it is not a valid result; no other exception, whatever the document is.
    """
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    version = value.get("cniVersion") or default_version
    if version in _OLD:
        value = _from_old(value)
    elif version not in _WITH_IP_VERSION and version not in ("1.0.0", "1.1.0"):
        raise ValueError(f"its cniVersion {version!r} is not supported")
    ips = [_ip(entry) for entry in _objects(value, "ips")]
    routes = [route(entry) for entry in _objects(value, "routes")]
    interfaces = [dict(entry) for entry in _objects(value, "interfaces")]
    return Result(interfaces, ips, routes, dict(_object(value, "dns")))


def _ip(entry: "Document") -> IpConfig:
    interface = entry.get("interface")
    if interface is not None and type(interface) is not int:
        raise ValueError(f"the interface of an address must be a number, not {interface!r}")
    return IpConfig(Cidr(_required(entry, "address")), _gateway(entry, "gateway"), interface)


def route(entry: "Document") -> Route:
    """Return the route of an entry of ``routes``.

    :raises ValueError: when the entry is not valid.
    """
    dst = Cidr(_required(entry, "dst"))
    gw = _gateway(entry, "gw")
    if gw and family_of(gw) != dst.family:
        raise ValueError(f"the route {dst.text} has the gateway {gw}, which is of the other address family")
    return Route(dst, gw, **{key: _number(entry, key) for key in _ROUTE_NUMBERS})


def _objects(value: "Document", key: str) -> "list[Document]":
    """Return a member that is a list of objects; empty if it is null or absent."""
    entries = value.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{key} is not a list of objects")
    return entries


def _object(value: "Document", key: str) -> "Document":
    """Return a member that is an object; empty if it is null or absent."""
    member = value.get(key) or {}
    if not isinstance(member, dict):
        raise ValueError(f"{key} is not an object")
    return member


def _required(value: "Document", key: str) -> object:
    if value.get(key) in (None, ""):
        raise ValueError(f"{key!r} is missing")
    return value[key]


def _gateway(value: "Document", key: str) -> str:
    ip = value.get(key) or ""
    if ip:
        packed(ip)
    return str(ip)


def _number(entry: "Document", key: str) -> int | None:
    value, maximum = entry.get(key), 255 if key == "scope" else 0xFFFFFFFF
    if value is None or value == "":
        return None
    if type(value) is not int or not 0 <= value <= maximum:
        raise ValueError(f"{key} of the route {entry['dst']} must be a number from 0 to {maximum}, not {value!r}")
    return value


def _from_old(value: "Document") -> "Document":
    ips: list[Document] = []
    routes: list[Document] = []
    for family in ("ip4", "ip6"):
        part = _object(value, family)
        if part:
            ips.append({"address": _required(part, "ip"), "gateway": part.get("gateway")})
            routes += _objects(part, "routes")
    return {"ips": ips, "routes": routes, "dns": value.get("dns")}


def of_interface(interface: "Interface", answer: Result, dns: "Dns") -> Result:
    """Return the result of an interface with the addresses, routes and DNS settings of a delegate's answer.

    :param dns: the config's DNS settings, which replace those of the answer unless they are empty.
    """
    ips = [IpConfig(ip.address, ip.gateway, 0) for ip in answer.ips]
    return Result([interface], ips, answer.routes, dns or answer.dns)


def join(before: Result | None, ours: Result) -> Result:
    """Append our interfaces, addresses and routes to the result of the previous plugin in the chain."""
    if before is None:
        return ours
    offset = len(before.interfaces)
    ips = [IpConfig(ip.address, ip.gateway, None if ip.interface is None else ip.interface + offset) for ip in ours.ips]
    return Result(before.interfaces + ours.interfaces, before.ips + ips, before.routes + ours.routes, ours.dns or before.dns)


def build(result: Result, version: str) -> str:
    """Return a result as the text of a document of one version.

    :raises CniError: INVALID_CONFIG for a result without an address in 0.1.0 or 0.2.0, which cannot express it.
    """
    if version in _OLD:
        return jsontext.dumps(_to_old(result, version))
    document: dict[str, object] = {"cniVersion": version}
    interfaces = result.interfaces
    if version != _LATEST:
        interfaces = [{key: part for key, part in interface.items() if key not in _SINCE_LATEST} for interface in interfaces]
    ips = [_ip_document(ip, version) for ip in result.ips]
    routes = [_route_document(entry, version) for entry in result.routes]
    for key, part in (("interfaces", interfaces), ("ips", ips), ("routes", routes), ("dns", result.dns)):
        if part:
            document[key] = part
    return jsontext.dumps(document)


def _ip_document(ip: IpConfig, version: str) -> "dict[str, object]":
    document: dict[str, object] = {}
    if version in _WITH_IP_VERSION:
        document["version"] = "6" if ip.address.family == AF_INET6 else "4"
    document["address"] = ip.address.text
    if ip.gateway:
        document["gateway"] = ip.gateway
    if ip.interface is not None:
        document["interface"] = ip.interface
    return document


def _route_document(entry: Route, version: str) -> "dict[str, object]":
    document: dict[str, object] = {"dst": entry.dst.text}
    if entry.gw:
        document["gw"] = entry.gw
    if version == _LATEST:
        for key in _ROUTE_NUMBERS:
            value = getattr(entry, key)
            if value is not None:
                document[key] = value
    return document


def _to_old(result: Result, version: str) -> "dict[str, object]":
    families: dict[str, dict[str, object]] = {}
    for ip in result.ips:
        gateway = {"gateway": ip.gateway} if ip.gateway else {}
        families.setdefault(_old_family(ip.address), {"ip": ip.address.text, **gateway})
    for family, part in families.items():
        routes = [_route_document(entry, version) for entry in result.routes if _old_family(entry.dst) == family]
        if routes:
            part["routes"] = routes
    if not families:
        raise CniError(
            INVALID_CONFIG,
            f"a result of version {version} must have an address; use cniVersion 1.0.0, or an ipam that allocates one",
        )
    return {"cniVersion": version, **families, "dns": result.dns}


def _old_family(cidr: Cidr) -> str:
    return "ip6" if cidr.family == AF_INET6 else "ip4"


def error(code: int, msg: str, details: str, version: str) -> str:
    """Return an error document as text."""
    return jsontext.dumps({"cniVersion": version, "code": code, "msg": msg, "details": details})
