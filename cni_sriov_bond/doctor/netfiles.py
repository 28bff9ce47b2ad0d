"""The network files that runtimes read, as values: which plugins, pool, VLANs, subnets and gateways each network has."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_sriov_bond.cni.address import to_text
from cni_sriov_bond.ctl import check, documents, networkfile
from cni_sriov_bond.doctor import runtimes
from cni_sriov_bond.doctor.tree import Tree
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.ipam.ranges import Range
from cni_sriov_bond.ipam.request import DATA_DIR

SUFFIXES = (".conflist", ".conf", ".json")
_OF_FILES = ("sriov-bond-ipam", "host-local")  # IPAM plugins that keep their reservations in files


class Subnet(NamedTuple):
    """A range of addresses of a network, on a VLAN; ``gateway`` is empty where it has none.

    ``routed`` is whether the network counts on the gateway: it names it, or has routes. Else it is the subnet's first address.
    """

    vlan: int | None
    range: Range
    gateway: str
    routed: bool


class Network(NamedTuple):
    """A network with sriov-bond. ``vlan`` is the one of attachments that request none; None leaves it untouched.

    ``types`` are the executables that it needs. ``data_dir`` is that of its reservations, empty for an IPAM plugin that keeps
    none in files. ``state_dir`` is the one that its file names, or "".
    """

    file: str
    name: str
    pool: str
    vlan: int | None
    mtu: int | None
    types: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    data_dir: str
    state_dir: str


class NetworkFile(NamedTuple):
    """A file in a runtime's directory of networks: what is wrong in it, and its network if that is one of ours."""

    file: str
    problems: tuple[str, ...]
    network: Network | None


def read(tree: Tree) -> list[NetworkFile]:
    """Return every network file that has one of our plugins or cannot be read, in the runtimes' order: by name."""
    found = []
    for directory in runtimes.network_directories(tree):
        for name in tree.listed(directory):
            if name.endswith(SUFFIXES):
                file = _file(tree, f"{directory}/{name}")
                if file is not None:
                    found.append(file)
    return found


def _file(tree: Tree, path: str) -> NetworkFile | None:
    here = tree.path(path)
    try:
        document = documents.parse_json(documents.read(here))
    except CniError as failed:
        return NetworkFile(path, (failed.msg,), None)
    if document.readable and not networkfile.has_ours(document.value):
        return None
    report = check.check(here)
    problems = tuple(
        f"{f'line {finding.line}: ' if finding.line else ''}{finding.path} {finding.problem}".replace("  ", " ").strip()
        for finding in report.findings
    )
    network = _network(path, document.value) if document.readable and isinstance(document.value, dict) else None
    return NetworkFile(path, problems, network)


def _network(path: str, value: dict[str, Any]) -> Network | None:
    """Return the network of a document, of which any part may be wrong."""
    entries = value.get("plugins") if "plugins" in value else [value]
    plugins = [plugin for plugin in entries if isinstance(plugin, dict)] if isinstance(entries, list) else []
    ours = next((plugin for plugin in plugins if plugin.get("type") == networkfile.PLUGIN), None)
    if ours is None:
        return None
    ipam = ours["ipam"] if isinstance(ours.get("ipam"), dict) else {}
    types = [plugin.get("type") for plugin in plugins]
    types += [plugin["ipam"].get("type") for plugin in plugins if isinstance(plugin.get("ipam"), dict)]
    keeps = ipam.get("type") in _OF_FILES
    mtu, vlan = ours.get("mtu"), ours.get("vlan")
    return Network(
        path,
        _text(value.get("name")),
        _text(ours.get("pool")),
        vlan if isinstance(vlan, int) else None,
        mtu if isinstance(mtu, int) and mtu else None,
        tuple(dict.fromkeys(kind for kind in types if isinstance(kind, str) and kind)),
        tuple(_subnets(ours, ipam)) if keeps else (),
        (_text(ipam.get("dataDir")) or DATA_DIR) if keeps else "",
        _text(ours.get("stateDir")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _entries(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _subnets(ours: dict[str, Any], ipam: dict[str, Any]) -> Iterator[Subnet]:
    """Yield every range of an IPAM part that is valid: ``subnet``, ``ranges``, and the ``subnets`` of each VLAN."""
    own = ours.get("vlan") if isinstance(ours.get("vlan"), int) else None
    parts: list[tuple[int | None, object]] = [(own, ipam)] if ipam.get("subnet") else []
    for members in _entries(ipam.get("ranges")):
        parts += [(own, member) for member in _entries(members)]
    for entry in _entries(ipam.get("subnets")):
        parts.append((entry.get("vlan") if isinstance(entry, dict) else None, entry))
    for vlan, part in parts:
        if isinstance(part, dict):
            try:
                member = Range(part)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # reported as a mistake of the file
            gateway = to_text(member.gateway) if member.gateway else ""
            yield Subnet(vlan, member, gateway, bool(part.get("gateway") or ipam.get("routes")))
