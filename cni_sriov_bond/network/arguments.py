"""What an attachment requests in runtimeConfig, args.cni and CNI_ARGS, in this order of precedence, instead of the config.

Only ADD uses it: DEL and CHECK use the lease, because runtimes pass them other arguments or none. sriov-bond-ipam calls
``choose_vlan`` too, so that it allocates addresses of the VLAN that the bond gets.
"""

from cni_sriov_bond.cni.call import parse_args
from cni_sriov_bond.errors import INVALID_ENVIRONMENT, CniError, Issue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni_sriov_bond.errors import Path

_MAX_VLAN = 4094
_ARGS = "CNI_ARGS"
_ARGUMENTS = {"mac": "MAC", "vlan": "VLAN", "deviceID": "DEVICE"}
NOT_UNICAST = "is not a unicast MAC; write it like 02:11:22:33:44:55"


def choose(config: "Mapping[str, object]", args: str) -> "tuple[dict[str, int | str], list[Issue]]":
    """Return the keys that the attachment requests, with their values, and the issues of the requests.

    :param config: the valid keys of the config.
    :param args: CNI_ARGS.
    :raises CniError: INVALID_ENVIRONMENT when CNI_ARGS are malformed or request what is not allowed.
    """
    pairs = parse_args(args)
    chosen: dict[str, int | str] = {}
    mac, issues = _choose_text(config, pairs, "mac")
    vlan, vlan_issues = choose_vlan(config, pairs)
    device, device_issues = _choose_text(config, pairs, "deviceID")
    issues += vlan_issues + device_issues
    for issue in issues:
        if issue.key == _ARGS:
            raise CniError(INVALID_ENVIRONMENT, f"network {config['name']!r}: {issue.sentence}")
    for key, value in (("mac", mac), ("vlan", vlan), ("deviceID", device)):
        if value is not None:
            chosen[key] = value
    return chosen, issues


def choose_vlan(config: "Mapping[str, object]", pairs: "Mapping[str, str]") -> "tuple[int | None, list[Issue]]":
    """Return the VLAN that the attachment requests, or None, and the issues of the requests.

    An invalid request is not returned. The plugin refuses such an ADD before it runs the IPAM plugin.

    :param pairs: the pairs of CNI_ARGS.
    """
    chosen: int | None = None
    issues = []
    for path, source, value in _requests(config, pairs, "vlan"):
        number = vlan_number(value)
        problem = f"{value!r} is not a VLAN; use 0 to {_MAX_VLAN}" if number is None else _forbidden(config, number)
        if problem:
            issues.append(Issue(path, f"{source} {problem}"))
        elif chosen is None:
            chosen = number
    return chosen, issues


def _choose_text(config: "Mapping[str, object]", pairs: "Mapping[str, str]", key: str) -> "tuple[str | None, list[Issue]]":
    chosen: str | None = None
    issues = []
    for path, source, value in _requests(config, pairs, key):
        if not isinstance(value, str):
            issues.append(Issue(path, f"{source} must be a string, not {value!r}"))
        elif key == "mac" and not is_mac(value):
            issues.append(Issue(path, f"{source} {value!r} {NOT_UNICAST}"))
        elif chosen is None:
            chosen = value
    return chosen, issues


def _requests(config: "Mapping[str, object]", pairs: "Mapping[str, str]", key: str) -> "list[tuple[Path, str, object]]":
    """Return the requests for a key, by precedence: path, path as text, and value.

    A VLAN is not read from runtimeConfig.
    """
    args = config.get("args")
    requests: list[tuple[Path, str, object]] = []
    if key != "vlan":
        requests.append((("runtimeConfig", key), f"runtimeConfig.{key}", _member(config.get("runtimeConfig"), key)))
    if isinstance(args, dict):
        requests.append((("args", "cni", key), f"args.cni.{key}", _member(args.get("cni"), key)))
    name = _ARGUMENTS[key]
    requests.append(((_ARGS, name), f"CNI_ARGS {name}", pairs.get(name)))
    return [request for request in requests if request[2] not in (None, "")]


def _member(value: object, key: str) -> object:
    """Return a member of an object, ignoring the case of its key: go-cni sends the names of its own fields."""
    if not isinstance(value, dict):
        return None
    return {str(name).lower(): part for name, part in value.items()}.get(key.lower())


def _forbidden(config: "Mapping[str, object]", number: int) -> str:
    """Return why an attachment may not have a VLAN, or "" if it may."""
    if number == config.get("vlan"):
        return ""
    allowed = config.get("vlanAllowed")
    if not isinstance(allowed, list):
        return f"requests VLAN {number}, but the network has no vlanAllowed; add it with this VLAN"
    if any(span and span[0] <= number <= span[1] for span in map(vlan_range, allowed)):
        return ""
    return f"requests VLAN {number}, which is not in the network's vlanAllowed"


def vlan_number(value: object) -> int | None:
    """Return a VLAN that is written as a number or as digits in a string, or None for another value."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 4:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_VLAN else None


def vlan_range(value: object) -> tuple[int, int] | None:
    """Return the first and last VLAN of an entry of vlanAllowed, a number or "a-b", or None for another value."""
    first, _, last = value.partition("-") if isinstance(value, str) else (value, "", value)
    lower, upper = vlan_number(first), vlan_number(last or first)
    return (lower, upper) if lower is not None and upper is not None and lower <= upper else None


def is_mac(mac: str) -> bool:
    """Return whether a text is a unicast MAC: not zero, not multicast."""
    parts = mac.split(":")
    try:
        octets = bytes.fromhex("".join(parts))
    except ValueError:
        return False
    # fromhex skips blanks, so an "octet" of two blanks would pass.
    return len(octets) == len(parts) == 6 and all(len(part) == 2 for part in parts) and not octets[0] & 1 and any(octets)
