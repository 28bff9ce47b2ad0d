"""The plugin's own network config: a JSON object in, validated values out, every mistake told at once."""

from cni_sriov_bond import files
from cni_sriov_bond.cni.call import is_name
from cni_sriov_bond.cni.schema import issues, refuse
from cni_sriov_bond.errors import Issue
from cni_sriov_bond.files import is_path
from cni_sriov_bond.kernel.bond_options import OPTIONS, TARGETS
from cni_sriov_bond.network.arguments import NO_MAC, choose, is_mac, vlan_range
from cni_sriov_bond.network.bond_rules import mistakes, swaps_macs
from cni_sriov_bond.network.schema import NETWORK
from cni_sriov_bond.ports import VfSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.kernel.bond_options import BondOptions

_FOR_TEARDOWN = frozenset(("name", "type", "stateDir", "ipam", "logLevel", "logFile"))
_WORDS = frozenset(key for key, part in NETWORK["properties"].items() if part.get("type") == "string" or "enum" in part)
_MOST_HINTS = 20
# Keys of the specification that are in most configs, so that most calls need not compare any spelling.
_OF_CNI = frozenset(("name", "cniVersion", "capabilities", "args", "runtimeConfig"))
_SWITCHES = {"off": 0, "on": 1}
_LINK_STATES = {"auto": 0, "enable": 1, "disable": 2}
_VLAN_PROTOCOLS = {"802.1q": 0x8100, "802.1ad": 0x88A8}
# bond-cni's spelling, the kernel's older names and its newer one are one option.
_SPELLINGS = {"failOverMac": "fail_over_mac", "num_grat_arp": "num_peer_notif", "num_unsol_na": "num_peer_notif"}


class Network:
    """A validated network config.

    ``raw`` is the config's own bytes for the delegate, ``document`` what they say, ``bond`` the bonding options by kernel
    name, as numbers, ``vf`` what each VF is set to through its PF. ``prev_result`` and ``dns`` are foreign JSON.
    """

    __slots__ = (
        "bond", "delegate", "device", "dns", "document", "link_monitor", "log_file", "log_level", "mac", "mtu", "name", "pool",
        "prev_result", "primary", "raw", "state_dir", "version", "vf", "vlan",
    )  # fmt: skip

    def __init__(
        self, raw: bytes, document: "dict[str, Any]", value: "dict[str, Any]", version: str, bond: "BondOptions"
    ) -> None:
        self.raw = raw
        self.document = document
        self.name: str = value["name"]
        self.version = version
        self.pool: str = value.get("pool", "")
        self.state_dir: str = value.get("stateDir", files.STATE_DIR)
        self.vlan: int | None = value.get("vlan")
        self.mtu: int | None = value.get("mtu")
        self.mac: str = value.get("mac", "").lower()
        self.device: str = value.get("deviceID", "")
        self.link_monitor: str = value.get("linkMonitor", "auto")
        self.log_level: str = value.get("logLevel", "warning")
        self.log_file: str = value.get("logFile", "")
        self.delegate: str = (value.get("ipam") or {}).get("type") or ""
        self.dns: dict[str, object] = value.get("dns") or {}
        self.prev_result: dict[str, object] | None = value.get("prevResult")
        self.primary: str = value.get("primary", "")
        self.bond = bond
        self.vf = _vf_settings(value)


def parse_network(data: bytes, document: "dict[str, Any]", version: str, args: str | None = None) -> Network:
    """Check our own keys and return the network.

    :param args: CNI_ARGS of an ADD; with None the attachment's own choices are not looked at.
    :raises CniError: INVALID_CONFIG listing every mistake; INVALID_ENVIRONMENT for CNI_ARGS.
    """
    value = normalise(document)
    found = issues(value, NETWORK)
    invalid = {issue.key for issue in found}
    good = {key: part for key, part in value.items() if key not in invalid}
    bond = _bond_options(good)
    found += _mistakes(good, invalid) + _bond_mistakes(good, bond, invalid)
    if args is not None:
        chosen, problems = choose(good, args)
        found += problems
        value.update(chosen)
    refuse(document["name"], found, "; ".join(hints(document)) if found else "")
    return Network(data, document, value, version, bond)


def parse_for_teardown(data: bytes, document: "dict[str, Any]", version: str) -> "tuple[Network, list[Issue]]":
    """Return the network for a verb that gives things back, and what was left out of it.

    A config that went wrong since the ADD must not keep anybody's bond or address: only what these verbs use is looked at.

    :raises CniError: INVALID_CONFIG for a state directory that is none, since nothing can be found then.
    """
    used = {key: part for key, part in normalise(document).items() if key in _FOR_TEARDOWN}
    found = issues(used, NETWORK) + _path_mistakes(used)
    invalid = {issue.key for issue in found}
    if "stateDir" in invalid:
        refuse(document["name"], found)
    good = {key: part for key, part in used.items() if key not in invalid}
    return Network(data, document, good, version, _bond_options(good)), found


def normalise(document: "dict[str, Any]") -> "dict[str, Any]":
    """Return the config without what is null or an empty word, which to Go is absent, and with numbers of the bond as numbers.

    Templates render words that nobody gave as empty strings. bond-cni has ``miimon`` as a string of digits, the kernel takes
    a number for each of its words, and sriov-cni takes a VLAN protocol in either case.
    """
    value = {key: part for key, part in document.items() if not (part is None or (part == "" and key in _WORDS))}
    ipam = value.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type", "") is None:
        value["ipam"] = {key: part for key, part in ipam.items() if key != "type"}
    for key, part in value.items():
        if not isinstance(part, str):
            continue
        if _SPELLINGS.get(key, key) in OPTIONS and part.isascii() and part.isdecimal():
            value[key] = int(part[:11])  # longer ones are out of every range
        elif key == "vlanProto":
            value[key] = part.lower()
    return value


def hints(document: "dict[str, Any]") -> list[str]:
    """Return which unknown keys are ours but for case, "_" and "-". They are no mistake: runtimes and templates add keys."""
    known = NETWORK["properties"]
    unknown = [key for key in document if is_unknown(key)]
    names = {_bare(key): key for key in known} if unknown else {}
    near = [key for key in unknown if _bare(key) in names][:_MOST_HINTS]
    return [f"the key {key[:64]!r} is not known and ignored; did you mean {names[_bare(key)]}?" for key in near]


def is_unknown(key: str) -> bool:
    """Return whether a key is neither ours nor one of the CNI specification."""
    return key not in NETWORK["properties"] and key not in _OF_CNI


def _bare(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def is_pool_name(name: str) -> bool:
    """Tell whether a pool may be called so: its name is a directory's and a part of file names."""
    return len(name) <= 64 and is_name(name)


def _mistakes(value: "dict[str, Any]", invalid: "set[str]") -> list[Issue]:
    """Return what the schema's few words cannot tell: formats, and keys that do not go together.

    :param value: the config without the keys that are wrong in themselves, which are ``invalid``.
    """
    found = []
    pool = value.get("pool")
    if pool is not None and not is_pool_name(pool):
        found.append(Issue(("pool",), f"pool {pool!r} is no name of a pool; use letters, digits, '_', '.' and '-'"))
    found += _path_mistakes(value)
    mac = value.get("mac")
    if mac is not None and not is_mac(mac):
        found.append(Issue(("mac",), f"mac {mac!r} {NO_MAC}"))
    found += _vlan_mistakes(value, invalid)
    least, most = value.get("min_tx_rate") or 0, value.get("max_tx_rate") or 0
    if most and least > most:
        found.append(Issue(("min_tx_rate",), f"min_tx_rate {least} is above max_tx_rate {most}"))
    return found


def _path_mistakes(value: "dict[str, Any]") -> list[Issue]:
    paths = {key: value[key] for key in ("stateDir", "logFile") if isinstance(value.get(key), str) and value[key]}
    return [Issue((key,), f"{key} {path!r} is no path") for key, path in paths.items() if not is_path(path)]


def _vlan_mistakes(value: "dict[str, Any]", invalid: "set[str]") -> list[Issue]:
    found = []
    may_be_chosen = {"vlan", "vlanAllowed"} & invalid or "vlanAllowed" in value
    key = "vlanQoS" if value.get("vlanQoS") else "vlanProto" if value.get("vlanProto", "802.1q") != "802.1q" else ""
    if key and not (value.get("vlan") or may_be_chosen):
        found.append(Issue((key,), "vlanQoS and vlanProto 802.1ad need a vlan of 1 to 4094"))
    for place, entry in enumerate(value.get("vlanAllowed") or ()):
        if vlan_range(entry) is None:
            sentence = f'vlanAllowed[{place}] {entry!r} is neither a VLAN nor a range of them like "100-199"'
            found.append(Issue(("vlanAllowed", place), sentence))
    return found


def _bond_mistakes(value: "dict[str, Any]", options: "BondOptions", invalid: "set[str]") -> list[Issue]:
    found = []
    keys: dict[str, str] = {}  # how the config spells an option
    for key, name in _SPELLINGS.items():
        if key in value:
            keys.setdefault(name, key)
        if key in value and name in value and _number(name, value[key]) != _number(name, value[name]):
            sentence = f"{key} {value[key]!r} and {name} {value[name]!r} are one option; leave one out"
            found.append(Issue((key,), sentence))
    swaps = swaps_macs(options)
    if swaps and value.get("trust") != "on" and "trust" not in invalid:
        sentence = f"{swaps} moves MACs from port to port, which a NIC lets only trusted VFs do; set trust to on"
        found.append(Issue(("trust",), sentence))
    names = {_SPELLINGS.get(key, key) for key in invalid}
    for issue in mistakes(options, "primary" in value, value.get("linkMonitor", "auto"), names):
        key = issue.key
        found.append(Issue((key if key in value else keys.get(key, key), *issue.path[1:]), issue.sentence))
    return found


def _bond_options(value: "dict[str, Any]") -> "BondOptions":
    """Return what the config says of the bond, by kernel name and number; ``mode`` is always there."""
    options: BondOptions = {"mode": _number("mode", value.get("mode", "balance-xor"))}
    for key, part in value.items():
        name = _SPELLINGS.get(key, key)
        if name in TARGETS:
            options[name] = part
        elif name in OPTIONS and name != "primary":
            options[name] = _number(name, part)
    if options["mode"] == 2 and "xmit_hash_policy" not in options:
        # layer2, the kernel's default, sends everything that goes to the gateway over one NIC.
        options["xmit_hash_policy"] = _number("xmit_hash_policy", "layer3+4")
    return options


def _number(name: str, value: "str | int") -> int:
    return OPTIONS[name][2].index(value) if isinstance(value, str) else value


def _vf_settings(value: "dict[str, Any]") -> VfSettings:
    """Return what each port's VF is set to through its PF; what the config does not say stays alone."""
    # Secure by default: without a word in the config a container has neither trust nor a foreign source MAC.
    vf = VfSettings(spoofchk=_SWITCHES[value.get("spoofchk", "on")], trust=_SWITCHES[value.get("trust", "off")])
    vf.vlan = value.get("vlan")
    if vf.vlan is not None:
        # Untagged frames have neither priority nor protocol.
        vf.vlan_qos = value.get("vlanQoS", 0) if vf.vlan else 0
        vf.vlan_proto = _VLAN_PROTOCOLS[value.get("vlanProto", "802.1q") if vf.vlan else "802.1q"]
    if "link_state" in value:
        vf.link_state = _LINK_STATES[value["link_state"]]
    vf.min_tx_rate = value.get("min_tx_rate")
    vf.max_tx_rate = value.get("max_tx_rate")
    return vf
