"""Bytes and CNI_* values in, validated values out, every mistake told at once.

The order of the checks is the reference plugins' (skel.go): environment, then JSON and the network's name, then the
identifiers, then the version, then what is ours.
"""

from cni_sriov_bond import jsontext, store
from cni_sriov_bond.bonding import OPTIONS, TARGETS
from cni_sriov_bond.bondrules import mistakes, swaps_macs
from cni_sriov_bond.errors import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    CniError,
)
from cni_sriov_bond.overrides import choose, is_mac, vlan_range
from cni_sriov_bond.ports import VfSettings
from cni_sriov_bond.schema import NETWORK, issues
from cni_sriov_bond.store import is_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
# The specification's text of 1.1.0 had the second name; runtimes send both.
_LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
# Which verb needs which variable, in the order in which a complaint lists them.
_REQUIRED = (
    ("CNI_COMMAND", ("ADD", "CHECK", "DEL", "GC", "STATUS")),
    ("CNI_CONTAINERID", ("ADD", "CHECK", "DEL")),
    ("CNI_NETNS", ("ADD", "CHECK")),
    ("CNI_IFNAME", ("ADD", "CHECK", "DEL")),
    ("CNI_PATH", ("ADD", "CHECK", "DEL", "GC", "STATUS")),
)
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | frozenset("_.-")
_KEYS_OF_OTHERS = frozenset((
    "name", "cniVersion", "cniVersions", "capabilities", "args", "runtimeConfig", "disableCheck", "disableGC",
    "loadOnlyInlinedPlugins", "plugins", "pciBusID", "resourceName",
))  # fmt: skip
_OF_DEPARTURES = frozenset(("name", "type", "stateDir", "ipam", "logLevel", "logFile"))
_WORDS = frozenset(key for key, part in NETWORK["properties"].items() if part.get("type") == "string" or "enum" in part)
_CLOSE = 0.75
_MOST_HINTS = 20
# The VF settings by their config key: (key, name in the VF's state, values by word).
_SWITCHES = {"off": 0, "on": 1}
_LINK_STATES = {"auto": 0, "enable": 1, "disable": 2}
_VLAN_PROTOCOLS = {"802.1q": 0x8100, "802.1ad": 0x88A8}
# bond-cni's spelling, the kernel's older names and its newer one are one option.
_SPELLINGS = {"failOverMac": "fail_over_mac", "num_grat_arp": "num_peer_notif", "num_unsol_na": "num_peer_notif"}


class Call:
    """What the runtime's environment asks for."""

    __slots__ = ("args", "command", "container_id", "environ", "ifname", "netns", "path")

    def __init__(self, environ: "Mapping[str, str]") -> None:
        self.environ = environ
        self.command = environ.get("CNI_COMMAND", "")
        self.container_id = environ.get("CNI_CONTAINERID", "")
        self.netns = environ.get("CNI_NETNS", "")
        self.ifname = environ.get("CNI_IFNAME", "")
        self.args = environ.get("CNI_ARGS", "")
        self.path = environ.get("CNI_PATH", "")


class Network:
    """A validated network config.

    ``raw`` is the config's own bytes for the delegate, ``document`` what they say, ``bond`` the bonding options by kernel
    name, as numbers, ``vf`` the VF settings as ``sriov.Host.apply`` takes them.
    """

    __slots__ = (
        "bond", "delegate", "device", "dns", "document", "link_monitor", "log_file", "log_level", "mac", "mtu", "name", "pool",
        "prev_result", "primary", "raw", "state_dir", "version", "vf", "vlan",
    )  # fmt: skip

    def __init__(self, raw: bytes, document: "dict[str, Any]", value: "dict[str, Any]", version: str) -> None:
        self.raw = raw
        self.document = document
        self.name: str = value["name"]
        self.version = version
        self.pool: str = value.get("pool", "")
        self.state_dir: str = value.get("stateDir", store.STATE_DIR)
        self.vlan: int | None = value.get("vlan")
        self.mtu: int | None = value.get("mtu")
        self.mac: str = value.get("mac", "").lower()
        self.device: str = value.get("deviceID", "")
        self.link_monitor: str = value.get("linkMonitor", "auto")
        self.log_level: str = value.get("logLevel", "warning")
        self.log_file: str = value.get("logFile", "")
        self.delegate: str = (value.get("ipam") or {}).get("type") or ""
        self.dns: dict[str, Any] = value.get("dns") or {}
        self.prev_result: dict[str, Any] | None = value.get("prevResult")
        self.primary: str = value.get("primary", "")
        self.bond = _bond_options(value)
        self.vf = VfSettings(**_vf_settings(value))


def parse_call(environ: "Mapping[str, str]") -> Call:
    """Read the environment.

    :raises CniError: INVALID_ENVIRONMENT naming every variable that the verb needs and has not got.
    """
    call = Call(environ)
    missing = [name for name, verbs in _REQUIRED if call.command in verbs and not environ.get(name)]
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    return call


def parse_json(data: bytes) -> "dict[str, Any]":
    """Decode the network config and check its name.

    Bad UTF-8 becomes U+FFFD, as Go has it.

    :raises CniError: DECODING_FAILURE for what is no JSON object, INVALID_CONFIG for a missing or bad name.
    """
    try:
        value = jsontext.loads(data.decode("utf-8", "replace"))
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"error unmarshall network config: {wrong}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise CniError(DECODING_FAILURE, f"error unmarshall network config: it is a {type(value).__name__}, not an object")
    for key in ("name", "cniVersion"):
        if not isinstance(value.get(key), str | None):
            raise CniError(DECODING_FAILURE, f"error unmarshall network config: {key} must be a string")
    if not value.get("name"):
        raise CniError(INVALID_CONFIG, "missing network name")
    if not _is_name(value["name"]):
        raise CniError(INVALID_CONFIG, "invalid characters found in network name", value["name"])
    return value


def check_identifiers(call: Call) -> None:
    """Check what names the attachment.

    :raises CniError: INVALID_ENVIRONMENT for a container id or interface name that the contract forbids.
    """
    if not _is_name(call.container_id):
        raise CniError(INVALID_ENVIRONMENT, "invalid characters in containerID", call.container_id)
    name = call.ifname
    if len(name.encode("utf-8", "surrogateescape")) > 15:
        raise CniError(INVALID_ENVIRONMENT, f"the interface name {name!r} is longer than 15 bytes; shorten CNI_IFNAME")
    bad = name in (".", "..") or any(letter in "/:" or letter.isspace() for letter in name)
    if bad or not name.isprintable():
        raise CniError(INVALID_ENVIRONMENT, f"the interface name {name!r} is not one for a device; change CNI_IFNAME")
    if "%" in name and call.command == "ADD":  # in a DEL it names what was never added
        raise CniError(
            INVALID_ENVIRONMENT, f"the interface name {name!r} is a pattern to the kernel, which counts; change CNI_IFNAME"
        )
    if name == "lo":
        raise CniError(INVALID_ENVIRONMENT, "the interface name lo is the container's loopback; change CNI_IFNAME")


def check_version(value: "dict[str, Any]", command: str) -> str:
    """Give the version that the answer must have.

    :raises CniError: INCOMPATIBLE_VERSION for one that we, or this verb, do not know.
    """
    version: str = value.get("cniVersion") or "0.1.0"
    if command in _SINCE:
        _check_since(version, command)
    if version not in VERSIONS:
        have = " ".join(f'"{one}"' for one in VERSIONS)
        raise CniError(INCOMPATIBLE_VERSION, "incompatible CNI versions", f'config is "{version}", plugin supports [{have}]')
    return version


def _check_since(version: str, command: str) -> None:
    """Refuse a verb that the config's version has not; as in the reference, a version of no numbers is told before that."""
    parts = version.split(".")
    if len(parts) > 3 or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise CniError(DECODING_FAILURE, f"invalid version {version!r}: it is not three numbers; correct cniVersion")
    numbers = [int(part) for part in parts]
    if numbers < [int(part) for part in _SINCE[command].split(".")]:
        raise CniError(
            INCOMPATIBLE_VERSION,
            f"config version does not allow {command}",
            f"it is {version}; {command} needs {_SINCE[command]}",
        )


def valid_attachments(network: Network) -> "set[tuple[str, str]] | None":
    """Give the (container id, interface name) of every attachment that GC must keep, or None where there is no list.

    What either list has is kept, should there be two.

    :raises CniError: INVALID_CONFIG for a list of another shape: nothing may be freed by what we do not understand.
    """
    lists = [_attachments(key, network.document[key]) for key in _LISTS if key in network.document]
    return set().union(*lists) if lists else None


def _attachments(key: str, listed: "Any") -> "set[tuple[str, str]]":
    if listed is None:  # Go writes a list without entries so
        return set()
    if not isinstance(listed, list):
        raise CniError(INVALID_CONFIG, f"{key} must be a list, not {type(listed).__name__}")
    found = set()
    for place, one in enumerate(listed):
        names = [one.get(part) for part in ("containerID", "ifname")] if isinstance(one, dict) else [None]
        if not all(isinstance(name, str) and name for name in names):
            raise CniError(INVALID_CONFIG, f"{key}[{place}] must have a containerID and an ifname that are strings")
        found.add((str(names[0]), str(names[-1])))
    return found


def with_attachments(network: Network, more: "set[tuple[str, str]]") -> bytes:
    """Give the config's text with more attachments in its list of those that live, under whichever name it has it."""
    added = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in sorted(more)]
    lists = {key: [*(network.document[key] or []), *added] for key in _LISTS if key in network.document}
    return jsontext.dumps({**network.document, **lists}).encode()


def parse_network(data: bytes, value: "dict[str, Any]", version: str, args: str | None = None) -> Network:
    """Check our own keys and give the network.

    :param args: CNI_ARGS of an ADD; with None the attachment's own choices are not looked at.
    :raises CniError: INVALID_CONFIG listing every mistake with its path; INVALID_ENVIRONMENT for CNI_ARGS.
    """
    document, value = value, _plain(value)
    found = issues(value, NETWORK)
    spoiled = _spoiled(found)
    good = {key: part for key, part in value.items() if key not in spoiled}
    found += _mistakes(good, spoiled)
    if args is not None:
        chosen, problems = choose(good, args)
        found += problems
        value = {**value, **chosen}
    if found:
        raise CniError(INVALID_CONFIG, f"network {value['name']!r}: {'; '.join(found)}", "; ".join(hints(document)))
    return Network(data, document, value, version)


def parse_departure(data: bytes, value: "dict[str, Any]", version: str) -> "tuple[Network, list[str]]":
    """Give the network for a verb that gives things back, and what was left out of it.

    A config that was spoiled since the ADD must not keep anybody's bond or address: only what these verbs use is looked at.

    :raises CniError: INVALID_CONFIG for a state directory that is none, since nothing can be found then.
    """
    used = {key: part for key, part in _plain(value).items() if key in _OF_DEPARTURES}
    found = issues(used, NETWORK) + _path_mistakes(used)
    spoiled = _spoiled(found)
    if "stateDir" in spoiled:
        raise CniError(INVALID_CONFIG, f"network {value['name']!r}: {'; '.join(found)}")
    return Network(data, value, {key: part for key, part in used.items() if key not in spoiled}, version), found


def _spoiled(found: list[str]) -> set[str]:
    """Give the top-level keys that issues are about."""
    return {issue.split(" ", 1)[0].split(".", 1)[0].split("[", 1)[0] for issue in found}


def _plain(value: "dict[str, Any]") -> "dict[str, Any]":
    """Give the config without what is null or an empty word, which to Go is absent, and with numbers of the bond as numbers.

    Templates render words that nobody gave as empty strings. bond-cni has ``miimon`` as a string of digits, and the kernel
    takes a number for each of its words.
    """
    found = {key: part for key, part in value.items() if not (part is None or (part == "" and key in _WORDS))}
    if isinstance(found.get("ipam"), dict) and found["ipam"].get("type", "") is None:
        found["ipam"] = {key: part for key, part in found["ipam"].items() if key != "type"}
    for key, part in found.items():
        if _SPELLINGS.get(key, key) in OPTIONS and isinstance(part, str) and part.isascii() and part.isdecimal():
            found[key] = int(part[:11])  # longer ones are out of every range
    return found


def hints(document: "dict[str, Any]") -> list[str]:
    """Say which keys that nobody knows are close to one of ours. They are no mistake: runtimes and templates add keys."""
    known = NETWORK["properties"]
    unknown = [key for key in document if key not in known and key not in _KEYS_OF_OTHERS and not set("/.") & set(key)]
    if not unknown:
        return []
    from difflib import get_close_matches  # dear, and almost never needed

    names = {_bare(key): key for key in known}
    near = [(key, get_close_matches(_bare(key[:64]), names, 1, _CLOSE)) for key in unknown[:_MOST_HINTS]]
    return [f"the key {key[:64]!r} is not known and ignored; did you mean {names[found[0]]}?" for key, found in near if found]


def _bare(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def is_pool_name(name: str) -> bool:
    """Tell whether a pool may be called so: its name is a directory's and a part of file names."""
    return 0 < len(name) <= 64 and name[0] in _ALNUM and all(letter in _NAME for letter in name)


def _mistakes(value: "dict[str, Any]", spoiled: "set[str]") -> list[str]:
    """Say what the schema's few words cannot: formats, and keys that do not go together.

    :param value: the config without the keys that are wrong in themselves, which are ``spoiled``.
    """
    found = []
    pool = value.get("pool")
    if pool is not None and not is_pool_name(pool):
        found.append(f"pool {pool!r} is no name of a pool; use letters, digits, '_', '.' and '-'")
    found += _path_mistakes(value)
    mac = value.get("mac")
    if mac is not None and not is_mac(mac):
        found.append(f"mac {mac!r} is not the MAC of one host; write it like 02:11:22:33:44:55")
    chosen_elsewhere = {"vlan", "vlanAllowed"} & spoiled or "vlanAllowed" in value
    tagged = value.get("vlanQoS") or _VLAN_PROTOCOLS[value.get("vlanProto", "802.1q").lower()] != _VLAN_PROTOCOLS["802.1q"]
    if tagged and not (value.get("vlan") or chosen_elsewhere):
        found.append("vlanQoS and vlanProto 802.1ad need a vlan of 1 to 4094")
    found += [
        f'vlanAllowed[{place}] {one!r} is neither a VLAN nor a range of them like "100-199"'
        for place, one in enumerate(value.get("vlanAllowed") or ())
        if vlan_range(one) is None
    ]
    least, most = value.get("min_tx_rate") or 0, value.get("max_tx_rate") or 0
    if most and least > most:
        found.append(f"min_tx_rate {least} is above max_tx_rate {most}")
    return found + _bond_mistakes(value, spoiled)


def _path_mistakes(value: "dict[str, Any]") -> list[str]:
    paths = {key: value[key] for key in ("stateDir", "logFile") if isinstance(value.get(key), str) and value[key]}
    return [f"{key} {path!r} is no path" for key, path in paths.items() if not is_path(path)]


def _bond_mistakes(value: "dict[str, Any]", spoiled: "set[str]") -> list[str]:
    options = _bond_options(value)
    found = [
        f"{key} {value[key]!r} and {name} {value[name]!r} are one option; leave one out"
        for key, name in _SPELLINGS.items()
        if key in value and name in value and _number(name, value[key]) != _number(name, value[name])
    ]
    if "primary" in value:
        options["primary"] = value["primary"]
    swaps = swaps_macs(options)
    if swaps and value.get("trust") != "on" and "trust" not in spoiled:
        found.append(f"{swaps} moves MACs from port to port, which a NIC lets only trusted VFs do; set trust to on")
    return found + mistakes(options, value.get("linkMonitor", "auto"), {_SPELLINGS.get(key, key) for key in spoiled})


def _is_name(text: str) -> bool:
    return bool(text) and text[0] in _ALNUM and all(letter in _NAME for letter in text)


def _bond_options(value: "dict[str, Any]") -> "dict[str, Any]":
    """Give what the config says of the bond, by kernel name and number; ``mode`` is always there."""
    found: dict[str, Any] = {"mode": _number("mode", value.get("mode", "balance-xor"))}
    for key, asked in value.items():
        name = _SPELLINGS.get(key, key)
        if name in TARGETS:
            found[name] = asked
        elif name in OPTIONS and name != "primary":
            found[name] = _number(name, asked)
    if found["mode"] == 2 and "xmit_hash_policy" not in found:
        # layer2, the kernel's default, sends everything that goes to the gateway over one NIC.
        found["xmit_hash_policy"] = OPTIONS["xmit_hash_policy"][2].index("layer3+4")
    return found


def _number(name: str, asked: "str | int") -> int:
    return OPTIONS[name][2].index(asked) if isinstance(asked, str) else asked


def _vf_settings(value: "dict[str, Any]") -> "dict[str, Any]":
    """Give what each port's VF is set to through its PF, by the names of ``wire.Vf``; what is not there stays alone."""
    found: dict[str, Any] = {}
    if "vlan" in value:
        found["vlan"] = value["vlan"]
        # Untagged frames have neither.
        found["vlan_qos"] = value.get("vlanQoS", 0) if value["vlan"] else 0
        found["vlan_proto"] = _VLAN_PROTOCOLS[value.get("vlanProto", "802.1q").lower() if value["vlan"] else "802.1q"]
    # Secure by default: without a word in the config a container has neither trust nor a foreign source MAC.
    found["spoofchk"] = _SWITCHES[value.get("spoofchk", "on")]
    found["trust"] = _SWITCHES[value.get("trust", "off")]
    if "link_state" in value:
        found["link_state"] = _LINK_STATES[value["link_state"]]
    for key in ("min_tx_rate", "max_tx_rate"):
        if key in value:
            found[key] = value[key]
    return found
