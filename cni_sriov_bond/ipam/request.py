"""Read a network's config: the range sets that serve the attachment, and every mistake in one error."""

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

DATA_DIR = "/var/lib/cni/networks"  # the same as host-local's, so that switching ``type`` keeps the reservations
_ONE_ADDRESS_PER_FAMILY = ("0.1.0", "0.2.0")
_ARGS = ("IP", "MAC", "VLAN", "DEVICE")


class Request:
    """What a call asks for: the sets that serve the attachment, in order, and the rest of its result.

    ``others`` are the ranges of other VLANs, by the VLAN as text. They must not overlap with the sets, and errors name the
    VLAN that an address belongs to.
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

    def contains(self, address: "Ip") -> bool:
        """Return whether an address is in a range of any VLAN."""
        in_sets = any(members.range_of(address) for members in self.sets)
        return in_sets or any(member.contains(address) for members in self.others.values() for member in members)

    def other_vlan(self, address: "Ip") -> str:
        """Return the end of a sentence that names the VLAN of an address, or "" if that is not another one."""
        for vlan, members in self.others.items():
            if any(member.contains(address) for member in members):
                return f"; it belongs to {vlan}, and the attachment is on {_vlan(self.vlan)}"
        return ""


def directory(document: "Mapping[str, object]") -> tuple[str, str]:
    """Return data directory and name of a network's reservations.

    DEL and GC need nothing else, so that they work with a config that became invalid after the ADD.

    :raises CniError: INVALID_CONFIG when dataDir is not a string.
    """
    ipam, name = document.get("ipam"), str(document["name"])
    data_dir = _fold(ipam, IPAM).get("dataDir") if isinstance(ipam, dict) else None
    if not isinstance(data_dir, str | None):
        raise CniError(INVALID_CONFIG, f"network {name!r}: ipam.dataDir must be a string, not {data_dir!r}")
    return data_dir or DATA_DIR, name


def parse(call: "Call", strict: bool = False) -> Request:
    """Check the config and the arguments of a call and return the request.

    :param strict: whether an unknown argument and a VLAN without a subnet are errors, as for ADD; other verbs ignore them.
    :raises CniError: INVALID_ENVIRONMENT for the arguments, INVALID_CONFIG listing every mistake of the config.
    """
    args = parse_args(call.args, _ARGS, strict)
    value = _normalise(call.document)
    name: str = value["name"]
    refuse(name, issues(value, NETWORK))
    ipam: Checked = value["ipam"]
    request = Request(name, _attachment_vlan(value, args), ipam.get("dataDir") or DATA_DIR, ipam.get("resolvConf") or "")
    reader = _Reader()
    _read_sets(request, value, reader)
    all_read = _read_subnets(request, ipam.get("subnets") or [], reader)
    if strict and all_read and ipam.get("subnets") and not request.sets:
        vlans = ", ".join(request.others)
        sentence = f"ipam.subnets has none of {_vlan(request.vlan)}, which the attachment is on; it has those of {vlans}"
        reader.report(("ipam", "subnets"), sentence)
    if not (request.sets or reader.issues or ipam.get("subnets")):
        reader.report(("ipam",), "no IP ranges specified: ipam needs a subnet, ranges or subnets")
    request.routes[:0] = reader.read_all(("ipam", "routes"), _route, ipam.get("routes") or ())
    _read_requested(request, value, args, reader)
    refuse(name, reader.issues or _conflicts(request, call.version))
    return request


def _attachment_vlan(value: "Checked", args: "Mapping[str, str]") -> int:
    """Return the VLAN of the attachment, 0 for none.

    Where the plugin is sriov-bond the attachment may have chosen it, and both plugins decide that by the same function.
    """
    chosen = choose_vlan(value, args)[0] if value.get("type") == "sriov-bond" else None
    return chosen if chosen is not None else value.get("vlan") or 0


def _fold(value: "dict[str, object]", known: "Iterable[str]") -> "dict[str, object]":
    """Return an object as Go reads it: null counts as absent, and the case of known keys is ignored."""
    names = {name.lower(): name for name in known}
    return {names.get(key.lower(), key): part for key, part in value.items() if part is not None}


def _fold_object(part: object, known: "Iterable[str]") -> object:
    """Fold an object; a value of another type is left as it is, and the schema reports it."""
    return _fold(part, known) if isinstance(part, dict) else part


def _map_list(part: object, change: "Callable[[object], object]") -> object:
    return [change(entry) for entry in part] if isinstance(part, list) else part


def _fold_route(part: object) -> object:
    return _fold_object(part, ROUTE)


def _fold_range(part: object) -> object:
    folded = _fold_object(part, _SUBNET)
    if isinstance(folded, dict) and "routes" in folded:
        folded["routes"] = _map_list(folded["routes"], _fold_route)
    return folded


def _fold_set(part: object) -> object:
    return _map_list(part, _fold_range)


_PARTS = NETWORK["properties"]
_SUBNET = IPAM["subnets"]["items"]["properties"]
_FOLDED = {
    "ipam": IPAM,
    "runtimeConfig": _PARTS["runtimeConfig"]["properties"],
    "args": _PARTS["args"]["properties"],
}
_FOLDED_ENTRIES: "dict[str, Callable[[object], object]]" = {
    "ranges": _fold_set,
    "ipRanges": _fold_set,
    "subnets": _fold_range,
    "routes": _fold_route,
}


def _normalise(document: "Checked") -> "Checked":
    """Fold every object whose keys are in our schema."""
    value = {key: part for key, part in document.items() if part is not None}
    for key, known in _FOLDED.items():
        part = _fold_object(value.get(key), known)
        if isinstance(part, dict):
            value[key] = {
                name: _map_list(entries, _FOLDED_ENTRIES[name]) if name in _FOLDED_ENTRIES else entries
                for name, entries in part.items()
            }
            if isinstance(part.get("cni"), dict):
                value[key]["cni"] = _fold(part["cni"], ("ips", "vlan"))
    return value


class _Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def report(self, path: "Path", sentence: str) -> None:
        """Add an issue."""
        self.issues.append(Issue(path, sentence))

    def read(self, path: "Path", parser: "Callable[[Any], T]", value: object) -> "T | None":
        """Return the parsed value, or None after adding an issue."""
        try:
            return parser(value)
        except ValueError as invalid:
            self.report(path, f"{path_text(path)}: {invalid}")
            return None

    def read_all(self, path: "Path", parser: "Callable[[Any], T]", values: "Iterable[object]") -> "list[T]":
        """Return the parsed entries of a list without those that are wrong."""
        entries = [self.read((*path, number), parser, value) for number, value in enumerate(values)]
        return [entry for entry in entries if entry is not None]


def _read_sets(request: Request, value: "Checked", reader: _Reader) -> None:
    """Read the sets that belong to no VLAN, in host-local's order: from the runtime, the one in ipam itself, ``ranges``."""
    ipam: Checked = value["ipam"]
    from_runtime = (value.get("runtimeConfig") or {}).get("ipRanges") or ()
    sources: list[tuple[Path, list[Checked]]] = []
    sources += [(("runtimeConfig", "ipRanges", index), entry) for index, entry in enumerate(from_runtime)]
    if ipam.get("subnet"):
        sources.append((("ipam",), [{key: ipam[key] for key in RANGE if key in ipam}]))
    sources += [(("ipam", "ranges", index), entry) for index, entry in enumerate(ipam.get("ranges") or ())]
    for number, (path, entries) in enumerate(sources):
        if not entries:
            reader.report(path, f"{path_text(path)} is an empty range set")
        elif path == ("ipam",):
            single = reader.read(path, ranges.Range, entries[0])
            request.sets += [ranges.RangeSet(str(number), [single])] if single else []
        else:
            members = reader.read_all(path, ranges.Range, entries)
            request.sets += [ranges.RangeSet(str(number), members)] if len(members) == len(entries) else []


def _read_requested(request: Request, value: "Checked", args: "Mapping[str, str]", reader: _Reader) -> None:
    """Read the requested addresses, in host-local's order: CNI_ARGS, args, runtimeConfig."""
    from_args = ((value.get("args") or {}).get("cni") or {}).get("ips") or ()
    from_runtime = (value.get("runtimeConfig") or {}).get("ips") or ()
    texts: list[tuple[Path, str]] = [(("CNI_ARGS IP",), args["IP"])] if args.get("IP") else []
    texts += [(("args", "cni", "ips"), text) for text in from_args]
    texts += [(("runtimeConfig", "ips"), text) for text in from_runtime]
    for path, text in texts:
        address = reader.read(path, ranges.parse_requested, text)
        if address and address not in request.requested:
            request.requested.append(address)


def _read_subnets(request: Request, subnets: "list[Checked]", reader: _Reader) -> bool:
    """Read ``subnets``: those of the attachment's VLAN become one set per family, the others go to ``others``.

    :return: whether each subnet could be read.
    """
    by_family: dict[int, list[ranges.Range]] = {}
    all_read = True
    for number, entry in enumerate(subnets):
        path, vlan = ("ipam", "subnets", number), entry.get("vlan") or 0
        subnet = reader.read(path, ranges.Range, entry)
        routes = reader.read_all((*path, "routes"), _route, entry.get("routes") or ())
        if subnet is None:
            all_read = False
        elif vlan == request.vlan:
            by_family.setdefault(subnet.family, []).append(subnet)
            request.routes += routes
        else:
            request.others.setdefault(_vlan(vlan), []).append(subnet)
    for family, members in by_family.items():
        request.sets.append(ranges.RangeSet(f"vlan{request.vlan}.{family}", members))
    return all_read


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


def _conflicts(request: Request, version: str) -> list[Issue]:
    """Return an issue for each two values that exclude each other."""
    sentences = [
        f"in range set {index}, {conflict}" for index, members in enumerate(request.sets) for conflict in members.conflicts()
    ]
    families = [members.family for members in request.sets]
    if version in _ONE_ADDRESS_PER_FAMILY and len(set(families)) < len(families):
        sentences.append(f"CNI version {version} does not support more than 1 address per family")
    labelled = [(f"range set {index}", member) for index, members in enumerate(request.sets) for member in members.ranges]
    labelled += [(f"the subnets of {vlan}", member) for vlan, members in request.others.items() for member in members]
    for first, second in ranges.overlapping([member for _, member in labelled]):
        (label, member), (other_label, other) = labelled[first], labelled[second]
        if label != other_label:
            sentences.append(f"{label} overlaps with {other_label}: {member} and {other}")
    return [Issue(("ipam",), sentence) for sentence in sentences]
