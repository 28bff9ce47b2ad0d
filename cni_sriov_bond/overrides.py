"""What one attachment may choose for itself, by runtimeConfig, args.cni and CNI_ARGS: in this order, and before the config.

An ADD alone looks at these: DEL and CHECK go by the lease, and runtimes give them other arguments or none.
"""

from cni_sriov_bond.errors import INVALID_ENVIRONMENT, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEYS = {"mac": "mac", "vlan": "vlan", "deviceid": "deviceID"}
_BOOLEANS = ("1", "true", "0", "false")  # as the CNI library reads IgnoreUnknown
MOST_VLAN = 4094


def choose(config: "dict[str, Any]", args: str) -> "tuple[dict[str, Any], list[str]]":
    """Give the config's keys as the attachment has chosen them, and what is wrong with the choice.

    :param args: CNI_ARGS.
    :raises CniError: INVALID_ENVIRONMENT for CNI_ARGS that are malformed, or ask for what is not to be had.
    """
    given = parse_args(args)
    asked = config.get("args")
    sources = (
        ("runtimeConfig", _lowered(config.get("runtimeConfig")), ("mac", "deviceid")),
        ("args.cni", _lowered(asked.get("cni")) if isinstance(asked, dict) else {}, ("mac", "vlan", "deviceid")),
        ("CNI_ARGS", {"mac": given.get("MAC"), "vlan": given.get("VLAN")}, ("mac", "vlan")),
    )
    chosen: dict[str, Any] = {}
    problems = []
    for source, values, keys in sources:
        for key in keys:
            value = values.get(key)
            if value is None or value == "":
                continue
            path = f"CNI_ARGS {key.upper()}" if source == "CNI_ARGS" else f"{source}.{_KEYS[key]}"
            value, problem = _checked(config, path, key, value)
            if problem and source == "CNI_ARGS":
                raise CniError(INVALID_ENVIRONMENT, f"network {config['name']!r}: {problem}")
            if problem:
                problems.append(problem)
            chosen.setdefault(_KEYS[key], value)
    return chosen, problems


def parse_args(args: str) -> dict[str, str]:
    """Give the pairs of CNI_ARGS; the value is all that follows the first equals sign.

    :raises CniError: INVALID_ENVIRONMENT for what is no pair.
    """
    found = {}
    for pair in args.split(";") if args else ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: invalid pair {pair!r}; write KEY=VALUE;KEY=VALUE")
        found[key] = value
    if found.get("IgnoreUnknown", "1").lower() not in _BOOLEANS:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS: IgnoreUnknown {found['IgnoreUnknown']!r} is neither true nor false")
    return found


def _lowered(value: object) -> "dict[str, Any]":
    """Give an object with its keys in small letters: go-cni sends its own spelling."""
    return {str(key).lower(): part for key, part in value.items()} if isinstance(value, dict) else {}


def _checked(config: "dict[str, Any]", path: str, key: str, value: "Any") -> "tuple[Any, str]":
    if key == "vlan":
        return _checked_vlan(config, path, value)
    if not isinstance(value, str):
        return value, f"{path} must be a string, not {value!r}"
    if key == "mac" and not is_mac(value):
        return value, f"{path} {value!r} is not the MAC of one host; write it like 02:11:22:33:44:55"
    return value, ""


def _checked_vlan(config: "dict[str, Any]", path: str, value: "Any") -> "tuple[Any, str]":
    number = vlan_number(value)
    if number is None:
        return value, f"{path} {value!r} is no VLAN; it may be 0 to {MOST_VLAN}"
    if number == config.get("vlan"):
        return number, ""
    if config.get("vlanAllowed") is None:
        return number, f"{path} asks for VLAN {number}, but the network lets nobody choose; list it in vlanAllowed"
    if any(found and found[0] <= number <= found[1] for found in map(vlan_range, config["vlanAllowed"])):
        return number, ""
    return number, f"{path} asks for VLAN {number}, which is not in the network's vlanAllowed"


def vlan_number(value: object) -> int | None:
    """Give a VLAN that is said as a number or in digits, or None."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 4:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_VLAN else None


def vlan_range(value: object) -> tuple[int, int] | None:
    """Give the first and last VLAN of an entry of vlanAllowed, a number or "a-b", or None for one that is neither."""
    first, _, last = value.partition("-") if isinstance(value, str) else (value, "", value)
    least, most = vlan_number(first), vlan_number(last or first)
    return (least, most) if least is not None and most is not None and least <= most else None


def is_mac(mac: str) -> bool:
    """Tell whether a text is the MAC of one host: not zero, nor of a group."""
    parts = mac.split(":")
    try:
        octets = bytes.fromhex("".join(parts))
    except ValueError:
        return False
    # fromhex skips blanks, so two of them would pass for an octet.
    return len(octets) == len(parts) == 6 and all(len(part) == 2 for part in parts) and not octets[0] & 1 and any(octets)
