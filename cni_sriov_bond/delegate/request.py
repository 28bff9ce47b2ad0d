"""A network's config in, the range sets that serve an attachment out, every mistake told at once."""

from cni_sriov_bond import schema
from cni_sriov_bond.delegate import ranges
from cni_sriov_bond.delegate.schema import IPAM, NETWORK, RANGE, ROUTE
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DATA_DIR = "/var/lib/cni/networks"  # host-local's: who changes the type finds the reservations
_ONE_PER_FAMILY = ("0.1.0", "0.2.0")
_ARGS = ("IP", "MAC", "VLAN")
_YES, _NO = ("1", "true"), ("0", "false")


class Request:
    """What a call asks of the delegate: the sets that serve the attachment, in order, and all that goes into its result.

    ``others`` are the sets of other VLANs, to say in an error where an address belongs.
    """

    __slots__ = ("data_dir", "name", "others", "requested", "resolv_conf", "routes", "sets", "vlan")

    def __init__(self, value: "dict[str, Any]", ipam: "dict[str, Any]") -> None:
        self.name: str = value["name"]
        self.data_dir: str = ipam.get("dataDir") or DATA_DIR
        self.resolv_conf: str = ipam.get("resolvConf") or ""
        self.vlan: int = value.get("vlan") or 0
        self.requested: list[ranges.Ip] = []
        self.routes: list[dict[str, Any]] = list(ipam.get("routes") or ())
        self.sets: list[ranges.RangeSet] = []
        self.others: dict[str, list[ranges.Range]] = {}

    def holds(self, address: "ranges.Ip") -> bool:
        """Tell whether an address belongs to a range of any VLAN."""
        inside = any(one.range_of(address) for one in self.sets)
        return inside or any(one.holds(address) for members in self.others.values() for one in members)

    def elsewhere(self, address: "ranges.Ip") -> str:
        """Give the words for the VLAN that an address belongs to, when it is another than the attachment's."""
        for words, members in self.others.items():
            if any(one.holds(address) for one in members):
                return f"; it is of {words}, and the attachment is on {_vlan(self.vlan)}"
        return ""


def where(value: "dict[str, Any]") -> tuple[str, str]:
    """Give the directory and name of a network's reservations: all that a DEL needs, however wrong the rest has become.

    :raises CniError: INVALID_CONFIG when the directory is none.
    """
    ipam = value.get("ipam")
    found = _folded(ipam, IPAM).get("dataDir") if isinstance(ipam, dict) else None
    if not isinstance(found, str | None):
        raise CniError(INVALID_CONFIG, f"network {value['name']!r}: ipam.dataDir must be a string, not {found!r}")
    return found or DATA_DIR, value["name"]


def parse(value: "dict[str, Any]", version: str, args: str, strict: bool = False) -> Request:
    """Check a config and the arguments of a call.

    :param args: CNI_ARGS.
    :param strict: an ADD's arguments must all be known, as to host-local; what other verbs do not understand they pass over.
    :raises CniError: INVALID_ENVIRONMENT for the arguments, INVALID_CONFIG listing every mistake of the config with its path.
    """
    words = _arguments(args, strict)
    value = _normal(value)
    found = schema.issues(value, NETWORK)
    if not found:
        value["vlan"] = _chosen_vlan(value, words)
        request = Request(value, value["ipam"])
        reader = _Reader(found)
        _read(request, value, reader, strict)
        _read_requested(request, value, words, reader)
        if not found:
            found += _mistakes(request, version)
    if found:
        raise CniError(INVALID_CONFIG, f"network {value['name']!r}: {'; '.join(found)}")
    return request


def _chosen_vlan(value: "dict[str, Any]", words: dict[str, str]) -> int:
    """Give the VLAN of the attachment: an argument's where the plugin is ours, which has held it against vlanAllowed by now."""
    if value.get("type") == "sriov-bond" and value.get("vlanAllowed"):
        for chosen in ((value.get("args") or {}).get("cni", {}).get("vlan"), words.get("VLAN")):
            word = str(chosen) if isinstance(chosen, str | int) else ""
            if word.isascii() and word.isdigit() and len(word) <= 4:
                return int(word)
    return value.get("vlan") or 0


def _arguments(args: str, strict: bool) -> dict[str, str]:
    """Take CNI_ARGS apart; as to host-local, what is unknown is a mistake unless IgnoreUnknown says otherwise."""
    found: dict[str, str] = {}
    for pair in args.split(";") if args else ():
        key, sign, word = pair.partition("=")
        if sign and "=" not in word:
            found[key] = word
        elif strict:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS has the invalid pair {pair!r}; write KEY=VALUE;KEY=VALUE")
    ignore = found.pop("IgnoreUnknown", "0").lower()
    if strict and ignore not in _YES + _NO:
        raise CniError(INVALID_ENVIRONMENT, f"IgnoreUnknown in CNI_ARGS must be 1 or 0, not {ignore!r}")
    unknown = [key for key in found if key not in _ARGS]
    if strict and unknown and ignore in _NO:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS has unknown keys: {', '.join(unknown)}; IgnoreUnknown=1 lets them pass")
    return found


def _folded(value: "dict[str, Any]", known: "dict[str, Any]") -> "dict[str, Any]":
    """Give an object as Go reads it: null is absent, and keys are ours whatever their case."""
    names = {name.lower(): name for name in known}
    return {names.get(key.lower(), key): part for key, part in value.items() if part is not None}


def _object(part: object, known: "dict[str, Any]") -> object:
    """Fold what is an object; what has another type than it should is left for the schema to tell."""
    return _folded(part, known) if isinstance(part, dict) else part


def _list(part: object, change: "Callable[[object], object]") -> object:
    return [change(one) for one in part] if isinstance(part, list) else part


def _a_route(part: object) -> object:
    return _object(part, ROUTE)


def _a_range(part: object) -> object:
    found = _object(part, _SUBNET)
    if isinstance(found, dict) and "routes" in found:
        found["routes"] = _list(found["routes"], _a_route)
    return found


def _a_set(part: object) -> object:
    return _list(part, _a_range)


_SUBNET: "dict[str, Any]" = IPAM["subnets"]["items"]["properties"]
_PARTS: "dict[str, Any]" = NETWORK["properties"]
_FOLDED = {
    "ipam": IPAM,
    "runtimeConfig": _PARTS["runtimeConfig"]["properties"],
    "args": _PARTS["args"]["properties"],
}
_INSIDE: "dict[str, Callable[[object], object]]" = {
    "ranges": _a_set,
    "ipRanges": _a_set,
    "subnets": _a_range,
    "routes": _a_route,
}


def _normal(value: "dict[str, Any]") -> "dict[str, Any]":
    """Fold all objects that are ours."""
    found = {key: part for key, part in value.items() if part is not None}
    for key, known in _FOLDED.items():
        part = _object(found.get(key), known)
        if isinstance(part, dict):
            found[key] = {name: _list(one, _INSIDE[name]) if name in _INSIDE else one for name, one in part.items()}
            if isinstance(part.get("cni"), dict):
                found[key]["cni"] = _folded(part["cni"], {"ips": None, "vlan": None})
    return found


class _Reader:
    """Reads values and collects what is wrong with them, each with its path."""

    def __init__(self, found: list[str]) -> None:
        self._found = found

    def read(self, path: str, how: "Callable[[Any], Any]", value: object) -> "Any":
        """Give what ``how`` makes of a value, or None when it is wrong."""
        try:
            return how(value)
        except CniError as wrong:
            self._found.append(f"{path}: {wrong.msg}")
            return None

    def wrong(self, text: str) -> None:
        """Collect a mistake."""
        self._found.append(text)


def _read(request: Request, value: "dict[str, Any]", reader: _Reader, strict: bool) -> None:
    """Make the sets and check the routes; host-local's order of the sets: of the runtime, the single one, ``ranges``."""
    ipam, runtime = value["ipam"], value.get("runtimeConfig") or {}
    sources = [(f"runtimeConfig.ipRanges[{place}]", one) for place, one in enumerate(runtime.get("ipRanges") or ())]
    if ipam.get("subnet"):
        sources.append(("ipam", [{key: ipam[key] for key in RANGE if key in ipam}]))
    sources += [(f"ipam.ranges[{place}]", one) for place, one in enumerate(ipam.get("ranges") or ())]
    for number, (path, one) in enumerate(sources):
        if not one:
            reader.wrong(f"{path} is an empty range set")
            continue
        paths = [path if path == "ipam" else f"{path}[{place}]" for place in range(len(one))]
        read = [reader.read(at, ranges.Range, part) for at, part in zip(paths, one, strict=True)]
        if None not in read:
            request.sets.append(ranges.RangeSet(str(number), read))
    whole = _read_subnets(request, ipam.get("subnets") or [], reader)
    if strict and whole and ipam.get("subnets") and not request.sets:
        have = ", ".join(request.others)
        reader.wrong(f"ipam.subnets has none of {_vlan(request.vlan)}, which the attachment is on; it has those of {have}")
    if not sources and not ipam.get("subnets"):
        reader.wrong("no IP ranges specified: ipam needs a subnet, ranges or subnets")
    for place, route in enumerate(request.routes):
        reader.read(f"ipam.routes[{place}]", _check_route, route)


def _read_requested(request: Request, value: "dict[str, Any]", words: dict[str, str], reader: _Reader) -> None:
    """Read the addresses that are asked for; host-local's order: CNI_ARGS, args, runtimeConfig."""
    asked = [("CNI_ARGS IP", words["IP"])] if words.get("IP") else []
    asked += [("args.cni.ips", one) for one in ((value.get("args") or {}).get("cni") or {}).get("ips") or ()]
    asked += [("runtimeConfig.ips", one) for one in (value.get("runtimeConfig") or {}).get("ips") or ()]
    for path, one in asked:
        address = reader.read(path, ranges.requested, one)
        if address and address not in request.requested:
            request.requested.append(address)


def _read_subnets(request: Request, subnets: "list[dict[str, Any]]", reader: _Reader) -> bool:
    """Make one set of each family of the attachment's VLAN.

    :return: whether each subnet could be read.
    """
    mine: dict[int, list[ranges.Range]] = {}
    whole = True
    for place, one in enumerate(subnets):
        path, vlan = f"ipam.subnets[{place}]", one.get("vlan") or 0
        found = reader.read(path, ranges.Range, one)
        for number, route in enumerate(one.get("routes") or ()):
            reader.read(f"{path}.routes[{number}]", _check_route, route)
        if found is None:
            whole = False
            continue
        if vlan == request.vlan:
            mine.setdefault(found.family, []).append(found)
            request.routes += one.get("routes") or ()
        else:
            request.others.setdefault(_vlan(vlan), []).append(found)
    for family, members in mine.items():
        request.sets.append(ranges.RangeSet(f"vlan{request.vlan}.{family}", members))
    return whole


def _vlan(vlan: int) -> str:
    return f"VLAN {vlan}" if vlan else "no VLAN"


def _check_route(route: "dict[str, Any]") -> bool:
    family = ranges.network(route["dst"])[0][0]
    if route.get("gw") and ranges.ip(route["gw"])[0] != family:
        raise CniError(INVALID_CONFIG, f"the gateway {route['gw']} is not of the family of {route['dst']}")
    return True


def _mistakes(request: Request, version: str) -> list[str]:
    """Say what does not go together."""
    found = [f"in range set {place}, {words}" for place, one in enumerate(request.sets) for words in one.mistakes()]
    families = [one.family for one in request.sets]
    if version in _ONE_PER_FAMILY and len(set(families)) < len(families):
        found.append(f"CNI version {version} does not support more than 1 address per family")
    members = [(f"range set {place}", one) for place, inside in enumerate(request.sets) for one in inside.ranges]
    members += [(f"the subnets of {words}", one) for words, inside in request.others.items() for one in inside]
    for place, other in ranges.overlapping([one for _, one in members]):
        (words, one), (other_words, another) = members[place], members[other]
        if words != other_words:
            found.append(f"{words} overlaps with {other_words}: {one} and {another}")
    return found
