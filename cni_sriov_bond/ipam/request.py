"""A network's config in, the range sets that serve an attachment out, every mistake told at once."""

from cni_sriov_bond.cni.address import network, to_number, to_text
from cni_sriov_bond.cni.call import parse_args
from cni_sriov_bond.cni.result import Route
from cni_sriov_bond.cni.result import route as result_route
from cni_sriov_bond.cni.schema import issues, path_text, refuse
from cni_sriov_bond.errors import INVALID_CONFIG, CniError, Issue
from cni_sriov_bond.ipam import ranges
from cni_sriov_bond.ipam.schema import IPAM, NETWORK, RANGE, ROUTE
from cni_sriov_bond.network.arguments import choose_vlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from cni_sriov_bond.cni.address import Ip
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.errors import Path

    T = TypeVar("T")
    # A part of the config whose shape the schema has checked.
    Checked = dict[str, Any]

DATA_DIR = "/var/lib/cni/networks"  # the same as host-local's, so that who changes the type finds the reservations
_ONE_PER_FAMILY = ("0.1.0", "0.2.0")
_ARGS = ("IP", "MAC", "VLAN")


class Request:
    """What a call asks of the delegate: the sets that serve the attachment, in order, and all that goes into its result.

    ``others`` are the ranges of other VLANs, to say in an error where an address belongs.
    """

    __slots__ = ("data_dir", "name", "others", "requested", "resolv_conf", "routes", "sets", "vlan")

    def __init__(self, name: str, vlan: int, data_dir: str, resolv_conf: str) -> None:
        self.name = name
        self.vlan = vlan
        self.data_dir = data_dir
        self.resolv_conf = resolv_conf
        self.requested: list[Ip] = []
        self.routes: list[Route] = []
        self.sets: list[ranges.RangeSet] = []
        self.others: dict[str, list[ranges.Range]] = {}

    def holds(self, address: "Ip") -> bool:
        """Return whether an address belongs to a range of any VLAN."""
        inside = any(one.range_of(address) for one in self.sets)
        return inside or any(one.holds(address) for members in self.others.values() for one in members)

    def elsewhere(self, address: "Ip") -> str:
        """Return the words for the VLAN that an address belongs to, when it is another than the attachment's."""
        for words, members in self.others.items():
            if any(one.holds(address) for one in members):
                return f"; it is of {words}, and the attachment is on {_vlan(self.vlan)}"
        return ""


def directory(document: "Mapping[str, object]") -> tuple[str, str]:
    """Return the directory and name of a network's reservations: all that a DEL needs, however wrong the rest has become.

    :raises CniError: INVALID_CONFIG when the directory is none.
    """
    ipam, name = document.get("ipam"), str(document["name"])
    data_dir = _folded(ipam, IPAM).get("dataDir") if isinstance(ipam, dict) else None
    if not isinstance(data_dir, str | None):
        raise CniError(INVALID_CONFIG, f"network {name!r}: ipam.dataDir must be a string, not {data_dir!r}")
    return data_dir or DATA_DIR, name


def parse(call: "Call", strict: bool = False) -> Request:
    """Check the config and the arguments of a call.

    :param strict: an ADD's arguments must all be known, as to host-local; what other verbs do not understand they pass over.
    :raises CniError: INVALID_ENVIRONMENT for the arguments, INVALID_CONFIG listing every mistake of the config.
    """
    args = parse_args(call.args, _ARGS, strict)
    value = _normal(call.document)
    name: str = value["name"]
    refuse(name, issues(value, NETWORK))
    ipam: Checked = value["ipam"]
    request = Request(name, _attachments_vlan(value, args), ipam.get("dataDir") or DATA_DIR, ipam.get("resolvConf") or "")
    reader = _Reader()
    _read_sets(request, value, reader)
    whole = _read_subnets(request, ipam.get("subnets") or [], reader)
    if strict and whole and ipam.get("subnets") and not request.sets:
        have = ", ".join(request.others)
        words = f"ipam.subnets has none of {_vlan(request.vlan)}, which the attachment is on; it has those of {have}"
        reader.wrong(("ipam", "subnets"), words)
    if not (request.sets or reader.issues or ipam.get("subnets")):
        reader.wrong(("ipam",), "no IP ranges specified: ipam needs a subnet, ranges or subnets")
    request.routes[:0] = reader.read_all(("ipam", "routes"), _route, ipam.get("routes") or ())
    _read_requested(request, value, args, reader)
    refuse(name, reader.issues or _mistakes(request, call.version))
    return request


def _attachments_vlan(value: "Checked", args: "Mapping[str, str]") -> int:
    """Return the VLAN of the attachment, 0 for none: where the plugin is ours, the one that it has chosen by the same rules."""
    chosen = choose_vlan(value, args)[0] if value.get("type") == "sriov-bond" else None
    return chosen if chosen is not None else value.get("vlan") or 0


def _folded(value: "dict[str, object]", known: "Iterable[str]") -> "dict[str, object]":
    """Return an object as Go reads it: null is absent, and keys are ours whatever their case."""
    names = {name.lower(): name for name in known}
    return {names.get(key.lower(), key): part for key, part in value.items() if part is not None}


def _object(part: object, known: "Iterable[str]") -> object:
    """Fold what is an object; what has another type than it should is left for the schema to tell."""
    return _folded(part, known) if isinstance(part, dict) else part


def _list(part: object, change: "Callable[[object], object]") -> object:
    return [change(entry) for entry in part] if isinstance(part, list) else part


def _a_route(part: object) -> object:
    return _object(part, ROUTE)


def _a_range(part: object) -> object:
    folded = _object(part, _SUBNET)
    if isinstance(folded, dict) and "routes" in folded:
        folded["routes"] = _list(folded["routes"], _a_route)
    return folded


def _a_set(part: object) -> object:
    return _list(part, _a_range)


_PARTS = NETWORK["properties"]
_SUBNET = IPAM["subnets"]["items"]["properties"]
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


def _normal(document: "Checked") -> "Checked":
    """Fold all objects that are ours."""
    value = {key: part for key, part in document.items() if part is not None}
    for key, known in _FOLDED.items():
        part = _object(value.get(key), known)
        if isinstance(part, dict):
            value[key] = {name: _list(one, _INSIDE[name]) if name in _INSIDE else one for name, one in part.items()}
            if isinstance(part.get("cni"), dict):
                value[key]["cni"] = _folded(part["cni"], ("ips", "vlan"))
    return value


class _Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def wrong(self, path: "Path", sentence: str) -> None:
        """Collect an issue."""
        self.issues.append(Issue(path, sentence))

    def read(self, path: "Path", how: "Callable[[Any], T]", value: object) -> "T | None":
        """Return what ``how`` makes of a value, or None when it is wrong."""
        try:
            return how(value)
        except ValueError as wrong:
            self.wrong(path, f"{path_text(path)}: {wrong}")
            return None

    def read_all(self, path: "Path", how: "Callable[[Any], T]", values: "Iterable[object]") -> "list[T]":
        """Return what ``how`` makes of each entry of a list, without those that are wrong."""
        read = [self.read((*path, number), how, value) for number, value in enumerate(values)]
        return [part for part in read if part is not None]


def _read_sets(request: Request, value: "Checked", reader: _Reader) -> None:
    """Make the sets that are not of a VLAN, in host-local's order: of the runtime, the single one, ``ranges``."""
    ipam: Checked = value["ipam"]
    of_runtime = (value.get("runtimeConfig") or {}).get("ipRanges") or ()
    sources: list[tuple[Path, list[Checked]]] = []
    sources += [(("runtimeConfig", "ipRanges", place), entry) for place, entry in enumerate(of_runtime)]
    if ipam.get("subnet"):
        sources.append((("ipam",), [{key: ipam[key] for key in RANGE if key in ipam}]))
    sources += [(("ipam", "ranges", place), entry) for place, entry in enumerate(ipam.get("ranges") or ())]
    for number, (path, entries) in enumerate(sources):
        if not entries:
            reader.wrong(path, f"{path_text(path)} is an empty range set")
        elif path == ("ipam",):
            single = reader.read(path, ranges.Range, entries[0])
            request.sets += [ranges.RangeSet(str(number), [single])] if single else []
        else:
            members = reader.read_all(path, ranges.Range, entries)
            request.sets += [ranges.RangeSet(str(number), members)] if len(members) == len(entries) else []


def _read_requested(request: Request, value: "Checked", args: "Mapping[str, str]", reader: _Reader) -> None:
    """Read the addresses that are asked for; host-local's order: CNI_ARGS, args, runtimeConfig."""
    of_args = ((value.get("args") or {}).get("cni") or {}).get("ips") or ()
    of_runtime = (value.get("runtimeConfig") or {}).get("ips") or ()
    asked: list[tuple[Path, str]] = [(("CNI_ARGS IP",), args["IP"])] if args.get("IP") else []
    asked += [(("args", "cni", "ips"), text) for text in of_args]
    asked += [(("runtimeConfig", "ips"), text) for text in of_runtime]
    for path, text in asked:
        address = reader.read(path, ranges.requested, text)
        if address and address not in request.requested:
            request.requested.append(address)


def _read_subnets(request: Request, subnets: "list[Checked]", reader: _Reader) -> bool:
    """Make one set of each family of the attachment's VLAN.

    :return: whether each subnet could be read.
    """
    mine: dict[int, list[ranges.Range]] = {}
    whole = True
    for number, entry in enumerate(subnets):
        path, vlan = ("ipam", "subnets", number), entry.get("vlan") or 0
        subnet = reader.read(path, ranges.Range, entry)
        routes = reader.read_all((*path, "routes"), _route, entry.get("routes") or ())
        if subnet is None:
            whole = False
        elif vlan == request.vlan:
            mine.setdefault(subnet.family, []).append(subnet)
            request.routes += routes
        else:
            request.others.setdefault(_vlan(vlan), []).append(subnet)
    for family, members in mine.items():
        request.sets.append(ranges.RangeSet(f"vlan{request.vlan}.{family}", members))
    return whole


def _vlan(vlan: int) -> str:
    return f"VLAN {vlan}" if vlan else "no VLAN"


def _route(value: "Checked") -> Route:
    family = network(value["dst"])[0][0]
    if not value.get("gw"):
        return result_route(value)
    gateway = to_number(value["gw"])
    if gateway[0] != family:
        raise ValueError(f"the gateway {value['gw']} is not of the family of {value['dst']}")
    return result_route({**value, "gw": to_text(gateway)})


def _mistakes(request: Request, version: str) -> list[Issue]:
    """Return what does not go together."""
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
    return [Issue(("ipam",), sentence) for sentence in found]
