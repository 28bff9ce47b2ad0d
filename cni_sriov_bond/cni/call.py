"""One call of a plugin: the runtime's environment and the network config on standard input, read and checked.

What every plugin of ours must check is here; what its own config may say is checked elsewhere. The order of the checks is the
reference plugins' (skel.go): environment, then JSON and the network's name, then the identifiers, then the version.
"""

from cni_sriov_bond import CNI_VERSIONS, jsontext
from cni_sriov_bond.errors import DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIG, INVALID_ENVIRONMENT, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
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
_YES, _NO = ("1", "true"), ("0", "false")  # as the CNI library reads IgnoreUnknown


class Call:
    """A call that has passed the checks of this module.

    ``raw`` is the config's own bytes, ``document`` the JSON object in them, ``version`` the CNI version of the answer.
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
    """Return the call that the runtime makes.

    :param read: returns standard input; it is called once the environment is known to be complete.
    :raises CniError: for the first check that fails.
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
    """Check that the verb has the variables that it needs.

    :raises CniError: INVALID_ENVIRONMENT naming every variable that is missing or empty.
    """
    command = environ.get("CNI_COMMAND", "")
    missing = [name for name, verbs in _REQUIRED if command in verbs and not environ.get(name)]
    if missing:
        raise CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")


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
    if not is_name(value["name"]):
        raise CniError(INVALID_CONFIG, "invalid characters found in network name", value["name"])
    return value


def is_name(text: str) -> bool:
    """Tell whether a text is a name as the specification has it: letters, digits, "_", "." and "-", a letter or digit first."""
    return bool(text) and text[0] in _ALNUM and all(letter in _NAME for letter in text)


def check_identifiers(command: str, container_id: str, ifname: str) -> None:
    """Check what names the attachment.

    :raises CniError: INVALID_ENVIRONMENT for a container id or interface name that the contract forbids.
    """
    if not is_name(container_id):
        raise CniError(INVALID_ENVIRONMENT, "invalid characters in containerID", container_id)
    if len(ifname.encode("utf-8", "surrogateescape")) > 15:
        raise CniError(INVALID_ENVIRONMENT, f"the interface name {ifname!r} is longer than 15 bytes; shorten CNI_IFNAME")
    bad = ifname in (".", "..") or any(letter in "/:" or letter.isspace() for letter in ifname)
    if bad or not ifname.isprintable():
        raise CniError(INVALID_ENVIRONMENT, f"the interface name {ifname!r} is not one for a device; change CNI_IFNAME")
    if "%" in ifname and command == "ADD":  # in a DEL it names what was never added
        raise CniError(
            INVALID_ENVIRONMENT, f"the interface name {ifname!r} is a pattern to the kernel, which counts; change CNI_IFNAME"
        )
    if ifname == "lo":
        raise CniError(INVALID_ENVIRONMENT, "the interface name lo is the container's loopback; change CNI_IFNAME")


def check_version(document: "Mapping[str, Any]", command: str) -> str:
    """Return the version that the answer must have.

    :raises CniError: INCOMPATIBLE_VERSION for one that we, or this verb, do not know.
    """
    version: str = document.get("cniVersion") or "0.1.0"
    if command in _SINCE:
        _check_since(version, command)
    if version not in CNI_VERSIONS:
        have = " ".join(f'"{known}"' for known in CNI_VERSIONS)
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


def parse_args(text: str, known: "Collection[str]" = (), strict: bool = True) -> dict[str, str]:
    """Return the pairs of CNI_ARGS.

    :param known: host-local's rule, where it is not empty: other keys are refused unless IgnoreUnknown is true, and a value has
        no equals sign. Without it any key passes, and a value is all that follows the first equals sign.
    :param strict: whether to refuse what is wrong; else it is left out.
    :raises CniError: INVALID_ENVIRONMENT for what is no pair, and for keys that are refused.
    """
    pairs: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if equals and ("=" not in value if known else key):
            pairs[key] = value
        elif strict:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: invalid pair {pair!r}; write KEY=VALUE;KEY=VALUE")
    ignore = pairs.pop("IgnoreUnknown", "0")
    if strict and ignore.lower() not in _YES + _NO:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: IgnoreUnknown {ignore!r} is neither true nor false")
    unknown = [key for key in pairs if known and key not in known]
    if strict and unknown and ignore.lower() in _NO:
        words = ", ".join(unknown)
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: unknown keys: {words}; add IgnoreUnknown=1 to have them ignored")
    return pairs


def valid_attachments(document: "Mapping[str, Any]", code: int) -> "set[tuple[str, str]] | None":
    """Return (container id, interface name) of every attachment that GC must keep, or None where there is no list.

    What either list has is kept, should there be two.

    :param code: the error code of a malformed list.
    :raises CniError: for a list of another shape: nothing may be freed because of what we do not understand.
    """
    lists = [_attachments(key, document[key], code) for key in _LISTS if key in document]
    return set().union(*lists) if lists else None


def _attachments(key: str, listed: object, code: int) -> "set[tuple[str, str]]":
    if listed is None:  # Go writes a list without entries so
        return set()
    if not isinstance(listed, list):
        raise CniError(code, f"{key} must be a list, not {type(listed).__name__}")
    attachments = set()
    for place, entry in enumerate(listed):
        names = [entry.get(part) for part in ("containerID", "ifname")] if isinstance(entry, dict) else [None]
        if not all(isinstance(name, str) and name for name in names):
            raise CniError(code, f"{key}[{place}] must have a containerID and an ifname that are strings")
        attachments.add((str(names[0]), str(names[-1])))
    return attachments


def with_attachments(document: "Mapping[str, Any]", more: "set[tuple[str, str]]") -> bytes:
    """Return a config's text with more attachments in its list of valid ones, under whichever name it has the list."""
    added = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in sorted(more)]
    lists = {key: [*(document[key] or []), *added] for key in _LISTS if key in document}
    return jsontext.dumps({**document, **lists}).encode()
