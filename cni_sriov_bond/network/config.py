"""The network config of the plugin: a JSON object becomes validated values. All mistakes are reported in one error."""

from cni_sriov_bond import files
from cni_sriov_bond.cni.address import IPV6_MIN_MTU
from cni_sriov_bond.cni.call import is_name
from cni_sriov_bond.cni.schema import issues, refuse
from cni_sriov_bond.errors import INVALID_CONFIG, CniError, Issue
from cni_sriov_bond.files import is_path
from cni_sriov_bond.kernel.bond_options import OPTIONS, TARGETS
from cni_sriov_bond.network.arguments import NOT_UNICAST, choose, is_mac, vlan_range
from cni_sriov_bond.network.bond_rules import conflicts, swaps_macs
from cni_sriov_bond.network.schema import BOND_CNI, NETWORK
from cni_sriov_bond.ports import VfSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.ports import BondOptions

# The keys that DEL and GC use.
_FOR_TEARDOWN = frozenset(("name", "type", "stateDir", "ipam", "logLevel", "logFile"))
_TEXTS = frozenset(key for key, part in NETWORK["properties"].items() if part.get("type") == "string" or "enum" in part)
_MAX_HINTS = 20
# Keys of the specification that most configs have. They are skipped when spellings are compared.
_OF_CNI = frozenset(("name", "cniVersion", "capabilities", "args", "runtimeConfig"))
_SWITCHES = {"off": 0, "on": 1, "leave": None}
_LINK_STATES = {"auto": 0, "enable": 1, "disable": 2}
_VLAN_PROTOCOLS = {"802.1q": 0x8100, "802.1ad": 0x88A8}
# Other names of an option: those of bond-cni, and older ones of the kernel.
_ALIASES = {**BOND_CNI, "num_grat_arp": "num_peer_notif", "num_unsol_na": "num_peer_notif"}
# Keys of bond-cni and sriov-cni that this plugin does not read, and why.
_FOREIGN = {
    "links": "is not needed: the pool has the VFs",
    "linksInContainer": "is not needed: the pool has the VFs",
    "ifname": "is not needed: the interface has the name that the runtime gives",
    "master": "is not needed: the pool has the NICs",
    "vlan_trunk": "is not supported: a VF has one VLAN, or none",
    "dpdk": "is not supported: a VF of a bond has the kernel's driver",
}


class Network:
    """A validated network config.

    ``raw`` is the text of the config for the delegate, ``document`` its JSON object, ``bond`` the bonding options by kernel
    name, as numbers, ``vf`` the settings of each VF. ``prev_result`` and ``dns`` are JSON of other plugins.
    ``router_advertisements`` is whether the container takes them, and None where its namespace decides.
    """

    __slots__ = (
        "bond", "delegate", "device", "dns", "document", "link_monitor", "log_file", "log_level", "mac", "mtu", "name", "pool",
        "prev_result", "primary", "raw", "router_advertisements", "state_dir", "version", "vf",
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
        self.mtu: int | None = value.get("mtu")
        self.mac: str = value.get("mac", "").lower()
        self.device: str = value.get("deviceID", "")
        self.link_monitor: str = value.get("linkMonitor", "auto")
        self.log_level: str = value.get("logLevel", "warning")
        self.log_file: str = value.get("logFile", "")
        self.delegate: str = (value.get("ipam") or {}).get("type") or ""
        # Who gets addresses from an IPAM plugin gets no others. Without one, advertisements may be the way to get any.
        self.router_advertisements: bool | None = value.get("acceptRA", False if self.delegate else None)
        self.dns: dict[str, object] = value.get("dns") or {}
        self.prev_result: dict[str, object] | None = value.get("prevResult")
        self.primary: str = value.get("primary", "")
        self.bond = bond
        self.vf = _vf_settings(value)


def parse_network(data: bytes, document: "dict[str, Any]", version: str, args: str | None = None) -> Network:
    """Return the network of a config.

    :param data: the text of the config.
    :param document: its JSON object.
    :param args: CNI_ARGS of an ADD. With None, requests of the attachment are ignored.
    :raises CniError: INVALID_CONFIG with every mistake; INVALID_ENVIRONMENT for CNI_ARGS.
    """
    _refuse_list(document)
    value = normalise(document)
    problems = issues(value, NETWORK)
    invalid = {issue.key for issue in problems}
    # Rules about several keys must not see an invalid key, nor report it as missing.
    valid = {key: part for key, part in value.items() if key not in invalid}
    bond = _bond_options(valid)
    problems += _value_issues(valid, invalid) + _bond_issues(valid, bond, invalid)
    if args is not None:
        requested, wrong_requests = choose(valid, args)
        problems += wrong_requests
        value.update(requested)
    refuse(document["name"], problems, "; ".join(hints(document)) if problems else "")
    return Network(data, document, value, version, bond)


def _refuse_list(document: "dict[str, Any]") -> None:
    """Refuse a whole ``.conflist``, of which a runtime gives each plugin its own part (SPEC.md, section 1)."""
    if isinstance(document.get("plugins"), list) and "type" not in document:
        raise CniError(
            INVALID_CONFIG,
            f'network {document["name"]!r} is a list of plugins, a .conflist; give one plugin of its list "plugins", with the '
            "name and the cniVersion of the list",
        )


def parse_for_teardown(data: bytes, document: "dict[str, Any]", version: str) -> "tuple[Network, list[Issue]]":
    """Return the network for DEL or GC, and the issues of the keys that are ignored.

    A config that became invalid after the ADD must not prevent the release of a bond or address. So only the keys that these
    verbs use are checked, and invalid ones are ignored.

    :raises CniError: INVALID_CONFIG for an invalid stateDir, without which no lease can be read.
    """
    used = {key: part for key, part in normalise(document).items() if key in _FOR_TEARDOWN}
    problems = issues(used, NETWORK) + _path_issues(used)
    invalid = {issue.key for issue in problems}
    if "stateDir" in invalid:
        refuse(document["name"], problems)
    valid = {key: part for key, part in used.items() if key not in invalid}
    return Network(data, document, valid, version, _bond_options(valid)), problems


def normalise(document: "dict[str, Any]") -> "dict[str, Any]":
    """Return the config as this plugin writes it: other plugins and templates write the same in other ways.

    - A null, or an empty string, is removed: to Go it is absent, and templates render unset variables as empty strings.
    - Digits in a string become a number for a bonding option, as bond-cni accepts them.
    - A VLAN protocol becomes lower case, as sriov-cni accepts both.
    - An MTU of 0 is removed: it is the default of bond-cni and the reference plugins.
    """
    value = {key: part for key, part in document.items() if not (part is None or (part == "" and key in _TEXTS))}
    if value.get("mtu") == 0 and type(value["mtu"]) is int:
        del value["mtu"]
    ipam = value.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type", "") is None:
        value["ipam"] = {key: part for key, part in ipam.items() if key != "type"}
    for key, part in value.items():
        if not isinstance(part, str):
            continue
        if _ALIASES.get(key, key) in OPTIONS and part.isascii() and part.isdecimal():
            value[key] = int(part[:11])  # 11 digits are out of every range; int() refuses thousands
        elif key == "vlanProto":
            value[key] = part.lower()
    return value


def hints(document: "dict[str, Any]") -> list[str]:
    """Return a hint for each key of bond-cni and sriov-cni that is not needed, and for each unknown key that is misspelled.

    A key is misspelled if it differs from a known one only in case, "_" or "-". Unknown keys are not refused, because runtimes
    and templates add their own.
    """
    known = NETWORK["properties"]
    foreign = [f"the key {key!r} {_FOREIGN[key]}; it is ignored" for key in document if key in _FOREIGN]
    unknown = [key for key in document if is_unknown(key)]
    names = {_bare(key): key for key in known} if unknown else {}
    near = [key for key in unknown if _bare(key) in names][:_MAX_HINTS]
    return foreign + [f"the key {key[:64]!r} is unknown and ignored; did you mean {names[_bare(key)]}?" for key in near]


def is_unknown(key: str) -> bool:
    """Return whether a key is neither one of this plugin nor of bond-cni, sriov-cni or the CNI specification."""
    return key not in NETWORK["properties"] and key not in _OF_CNI and key not in _FOREIGN


def _bare(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def is_pool_name(name: str) -> bool:
    """Return whether a text is a valid pool name, which is used for a directory and in file names."""
    return len(name) <= 64 and is_name(name)


def _value_issues(value: "dict[str, Any]", invalid: "set[str]") -> list[Issue]:
    """Return the issues that the schema cannot express: formats, and keys that exclude each other.

    :param value: the config without the keys that the schema refuses.
    :param invalid: those keys.
    """
    problems = []
    pool = value.get("pool")
    if pool is not None and not is_pool_name(pool):
        problems.append(Issue(("pool",), f"pool {pool!r} is not a valid pool name; use letters, digits, '_', '.' and '-'"))
    problems += _path_issues(value)
    mac = value.get("mac")
    if mac is not None and not is_mac(mac):
        problems.append(Issue(("mac",), f"mac {mac!r} {NOT_UNICAST}"))
    problems += _vlan_issues(value, invalid) + _mtu_issues(value)
    minimum, maximum = value.get("min_tx_rate") or 0, value.get("max_tx_rate") or 0
    if maximum and minimum > maximum:
        problems.append(Issue(("min_tx_rate",), f"min_tx_rate {minimum} is above max_tx_rate {maximum}"))
    return problems


def _path_issues(value: "dict[str, Any]") -> list[Issue]:
    paths = {key: value[key] for key in ("stateDir", "logFile") if isinstance(value.get(key), str) and value[key]}
    return [Issue((key,), f"{key} {path!r} is not a valid path") for key, path in paths.items() if not is_path(path)]


def _vlan_issues(value: "dict[str, Any]", invalid: "set[str]") -> list[Issue]:
    problems = []
    may_be_requested = {"vlan", "vlanAllowed"} & invalid or "vlanAllowed" in value
    key = "vlanQoS" if value.get("vlanQoS") else "vlanProto" if value.get("vlanProto", "802.1q") != "802.1q" else ""
    if key and not (value.get("vlan") or may_be_requested):
        problems.append(Issue((key,), "vlanQoS and vlanProto 802.1ad need a vlan of 1 to 4094"))
    for index, entry in enumerate(value.get("vlanAllowed") or ()):
        if vlan_range(entry) is None:
            sentence = f'vlanAllowed[{index}] {entry!r} is neither a VLAN nor a range like "100-199"'
            problems.append(Issue(("vlanAllowed", index), sentence))
    return problems


def _mtu_issues(value: "dict[str, Any]") -> list[Issue]:
    """Return the issue of an MTU with which the container cannot have IPv6, if the config needs it."""
    mtu = value.get("mtu")
    if mtu is None or mtu >= IPV6_MIN_MTU:
        return []
    from cni_sriov_bond.network.ipam_ranges import ipv6_range  # late: few networks have so small an MTU

    needs = "acceptRA" if value.get("acceptRA") else ipv6_range(value)
    if not needs:
        return []
    return [Issue(("mtu",), f"mtu {mtu} is too small for {needs}: IPv6 needs {IPV6_MIN_MTU}; raise mtu, or remove {needs}")]


def _bond_issues(value: "dict[str, Any]", options: "BondOptions", invalid: "set[str]") -> list[Issue]:
    problems = []
    keys: dict[str, str] = {}  # the name that the config uses for an option
    for key, name in _ALIASES.items():
        if key in value:
            keys.setdefault(name, key)
        if key in value and name in value and _number(name, value[key]) != _number(name, value[name]):
            sentence = f"{key} {value[key]!r} and {name} {value[name]!r} are the same option; remove one"
            problems.append(Issue((key,), sentence))
    swaps = swaps_macs(options)
    if swaps and value.get("trust") != "on" and "trust" not in invalid:
        sentence = f"{swaps} moves MACs between ports, which NICs allow only to trusted VFs; set trust to on"
        problems.append(Issue(("trust",), sentence))
    names = {_ALIASES.get(key, key) for key in invalid}
    for issue in conflicts(options, "primary" in value, value.get("linkMonitor", "auto"), names):
        key = issue.key
        problems.append(Issue((key if key in value else keys.get(key, key), *issue.path[1:]), issue.sentence))
    return problems


def _bond_options(value: "dict[str, Any]") -> "BondOptions":
    """Return the bonding options of the config by kernel name, as numbers; ``mode`` is always present."""
    options: BondOptions = {"mode": _number("mode", value.get("mode", "balance-xor"))}
    for key, part in value.items():
        name = _ALIASES.get(key, key)
        if name in TARGETS:
            options[name] = part
        elif name in OPTIONS and name != "primary":
            options[name] = _number(name, part)
    if options["mode"] == 1:
        # The kernel's default, one MAC on all ports, separates containers of the host: see bond_rules.moves_its_mac.
        options.setdefault("fail_over_mac", _number("fail_over_mac", "active"))
    if options["mode"] == 2 and "xmit_hash_policy" not in options:
        # layer2, the kernel's default, sends all traffic to the gateway over one NIC.
        options["xmit_hash_policy"] = _number("xmit_hash_policy", "layer3+4")
    return options


def _number(name: str, value: "str | int") -> int:
    return OPTIONS[name][2].index(value) if isinstance(value, str) else value


def _vf_settings(value: "dict[str, Any]") -> VfSettings:
    """Return the settings of each VF; what the config does not have is left unchanged."""
    # Secure by default: unless the config allows it, a container has no trust and cannot send from another MAC.
    vf = VfSettings(spoofchk=_SWITCHES[value.get("spoofchk", "on")], trust=_SWITCHES[value.get("trust", "off")])
    vf.defaults = tuple(name for name in ("trust", "spoofchk") if name not in value)
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
