"""One call of a plugin: parse and check the environment and the network config.

Here are the checks that both plugins share. Their order is that of the reference plugins (skel.go), because clients compare
errors: environment, JSON and network name, identifiers, command, version.
"""

from cni_sriov_bond import CNI_VERSIONS, jsontext
from cni_sriov_bond.errors import DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIG, INVALID_ENVIRONMENT, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
# The text of specification 1.1.0 had the second name; runtimes send either.
_LISTS = ("cni.dev/valid-attachments", "cni.dev/attachments")
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
# Which verb needs which variable, in the order in which an error lists them.
_REQUIRED = (
    ("CNI_COMMAND", ("ADD", "CHECK", "DEL", "GC", "STATUS")),
    ("CNI_CONTAINERID", ("ADD", "CHECK", "DEL")),
    ("CNI_NETNS", ("ADD", "CHECK")),
    ("CNI_IFNAME", ("ADD", "CHECK", "DEL")),
    ("CNI_PATH", ("ADD", "CHECK", "DEL", "GC", "STATUS")),
)
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | frozenset("_.-")
# Names that the kernel has in the directories of devices' settings: conf/all and conf/default in /proc/sys/net/ipv4 and ipv6
# (include/net/ip.h, sysctl_dev_name_is_allowed), and a file in /sys/class/net (drivers/net/bonding/bond_sysfs.c).
_RESERVED = ("all", "default", "bonding_masters")
_TRUE, _FALSE = ("1", "true"), ("0", "false")  # values of IgnoreUnknown in the CNI library


class Call:
    """A call that has passed the checks of this module.

    ``raw`` is standard input, ``document`` the JSON object in it, ``version`` the CNI version of the answer.
    """

    __slots__ = (
        "args", "command", "container_id", "document", "environ", "ifname", "netns", "path", "raw", "version",
    )  # fmt: skip

    def __init__(self, environ: "Mapping[str, str]", raw: bytes, document: "dict[str, Any]", version: str) -> None:
        self.environ = environ
        self.command = environ.get("CNI_COMMAND", "")
        self.container_id = environ.get("CNI_CONTAINERID", "")
        self.netns = environ.get("CNI_NETNS", "")
        self.ifname = environ.get("CNI_IFNAME", "")
        self.args = environ.get("CNI_ARGS", "")
        self.path = environ.get("CNI_PATH", "")
        self.raw = raw
        self.document = document
        self.version = version


def parse_call(environ: "Mapping[str, str]", read: "Callable[[], bytes]") -> Call:
    """Return the call of an environment and standard input.

    :param read: returns standard input; called only if the environment is complete, so that an incomplete call does not block.
    :raises CniError: when a check fails; the first one counts.
    """
    check_environment(environ)
    raw = read()
    document = parse_json(raw)
    command = environ.get("CNI_COMMAND", "")
    if command in ("ADD", "CHECK", "DEL"):
        check_identifiers(command, environ.get("CNI_CONTAINERID", ""), environ.get("CNI_IFNAME", ""))
    if command not in COMMANDS:
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    return Call(environ, raw, document, check_version(document, command))


def check_environment(environ: "Mapping[str, str]") -> None:
    """Check that the variables that the verb needs are set.

    :raises CniError: INVALID_ENVIRONMENT naming every variable that is missing or empty.
    """
    command = environ.get("CNI_COMMAND", "")
    missing = [name for name, verbs in _REQUIRED if command in verbs and not environ.get(name)]
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")


def parse_json(data: bytes) -> "dict[str, Any]":
    """Return the network config as a JSON object with a valid name.

    Invalid UTF-8 becomes U+FFFD, as in Go.

    :raises CniError: DECODING_FAILURE when it is not a JSON object, INVALID_CONFIG when the name is missing or invalid.
    """
    try:
        value = jsontext.loads(data.decode("utf-8", "replace"))
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"error unmarshall network config: {wrong}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise CniError(DECODING_FAILURE, "error unmarshall network config: it is not a JSON object")
    for key in ("name", "cniVersion"):
        if not isinstance(value.get(key), str | None):
            raise CniError(DECODING_FAILURE, f"error unmarshall network config: {key} must be a string")
    if not value.get("name"):
        raise CniError(INVALID_CONFIG, "missing network name")
    if not is_name(value["name"]):
        raise CniError(INVALID_CONFIG, "invalid characters found in network name", value["name"])
    return value


def is_name(text: str) -> bool:
    """Return whether a text is a valid name: letters, digits, "_", "." and "-", beginning with a letter or digit (SPEC.md)."""
    return bool(text) and text[0] in _ALNUM and all(character in _NAME for character in text)


def check_identifiers(command: str, container_id: str, ifname: str) -> None:
    """Check the container id and the interface name.

    :raises CniError: INVALID_ENVIRONMENT when the specification or the kernel forbids one of them.
    """
    if not is_name(container_id):
        raise CniError(INVALID_ENVIRONMENT, "invalid characters in containerID", container_id)
    if len(ifname.encode("utf-8", "surrogateescape")) > 15:
        raise CniError(INVALID_ENVIRONMENT, f"the interface name {ifname!r} is longer than 15 bytes; shorten CNI_IFNAME")
    # The rules of the kernel (net/core/dev.c, dev_valid_name); spaces of Unicode are refused too, as by the CNI library.
    forbidden = ifname in (".", "..") or any(character in "/:" or character.isspace() for character in ifname)
    if forbidden or not ifname.isprintable():
        raise CniError(
            INVALID_ENVIRONMENT, f"the interface name {ifname!r} is not valid for a network device; change CNI_IFNAME"
        )
    if "%" in ifname and command == "ADD":  # such an ADD fails, and its runtime then sends a DEL, which must succeed
        raise CniError(
            INVALID_ENVIRONMENT,
            f"the interface name {ifname!r} contains %, which the kernel expands as a name template; change CNI_IFNAME",
        )
    if ifname in _RESERVED and command == "ADD":
        raise CniError(
            INVALID_ENVIRONMENT,
            f"the interface name {ifname} is reserved: the kernel uses it beside the names of devices; change CNI_IFNAME",
        )
    if ifname == "lo":
        raise CniError(INVALID_ENVIRONMENT, "the interface name lo is the container's loopback; change CNI_IFNAME")


def check_version(document: "Mapping[str, Any]", command: str) -> str:
    """Return the CNI version of the answer, which is the config's.

    :raises CniError: INCOMPATIBLE_VERSION when it is not supported, or older than the verb.
    """
    version: str = document.get("cniVersion") or "0.1.0"
    if command in _SINCE:
        _check_since(version, command)
    if version not in CNI_VERSIONS:
        supported = " ".join(f'"{known}"' for known in CNI_VERSIONS)
        raise CniError(
            INCOMPATIBLE_VERSION, "incompatible CNI versions", f'config is "{version}", plugin supports [{supported}]'
        )
    return version


def _check_since(version: str, command: str) -> None:
    """Refuse a verb that the config's version does not have. As in skel.go, a version must be numbers first."""
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


def parse_args(text: str, known: "Collection[str]" = (), strict: bool = True) -> dict[str, str]:
    """Return the pairs of CNI_ARGS.

    :param known: the keys that are accepted, as in host-local: others are refused unless IgnoreUnknown is true, and a value may
        not contain "=". If it is empty, any key is accepted, and the value is all after the first "=".
    :param strict: whether to refuse invalid parts; else they are skipped.
    :raises CniError: INVALID_ENVIRONMENT for a part that is not a pair, and for a key that is refused.
    """
    pairs: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if equals and ("=" not in value if known else key):
            pairs[key] = value
        elif strict:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: invalid pair {pair!r}; write KEY=VALUE;KEY=VALUE")
    ignore = pairs.pop("IgnoreUnknown", "0")
    if strict and ignore.lower() not in _TRUE + _FALSE:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: IgnoreUnknown {ignore!r} is neither true nor false")
    unknown = [key for key in pairs if known and key not in known]
    if strict and unknown and ignore.lower() in _FALSE:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: unknown keys: {', '.join(unknown)}; add IgnoreUnknown=1 to ignore them")
    return pairs


def valid_attachments(document: "Mapping[str, Any]", code: int) -> "set[tuple[str, str]] | None":
    """Return (container id, interface name) of every attachment that GC must keep, or None if the config has no list.

    If it has both lists, the attachments of both are kept.

    :param code: the error code for a malformed list.
    :raises CniError: for a malformed list: reading it as empty would free the addresses of running containers.
    """
    lists = [_attachments(key, document[key], code) for key in _LISTS if key in document]
    return set().union(*lists) if lists else None


def _attachments(key: str, entries: object, code: int) -> "set[tuple[str, str]]":
    if entries is None:  # Go writes an empty list as null
        return set()
    if not isinstance(entries, list):
        raise CniError(code, f"{key} must be a list")
    attachments = set()
    for index, entry in enumerate(entries):
        names = [entry.get(part) for part in ("containerID", "ifname")] if isinstance(entry, dict) else [None]
        if not all(isinstance(name, str) and name for name in names):
            raise CniError(code, f"{key}[{index}] must have containerID and ifname as strings")
        attachments.add((str(names[0]), str(names[-1])))
    return attachments


def with_attachments(document: "Mapping[str, Any]", more: "set[tuple[str, str]]") -> bytes:
    """Return the text of a config with more attachments in each list of valid attachments that it has."""
    added = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in sorted(more)]
    lists = {key: [*(document[key] or []), *added] for key in _LISTS if key in document}
    return jsontext.dumps({**document, **lists}).encode()
