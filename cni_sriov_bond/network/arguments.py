"""What one attachment may choose for itself, by runtimeConfig, args.cni and CNI_ARGS: in this order, and before the config.

An ADD alone looks at these: DEL and CHECK go by the lease, and runtimes give them other arguments or none. Our IPAM plugin asks
``choose_vlan`` too, so that an attachment has addresses of the VLAN that it is on.
"""

from cni_sriov_bond.cni.call import parse_args
from cni_sriov_bond.errors import INVALID_ENVIRONMENT, CniError, Issue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni_sriov_bond.errors import Path

MOST_VLAN = 4094
_OF_ARGS = "CNI_ARGS"
NO_MAC = "is not the MAC of one host; write it like 02:11:22:33:44:55"


def choose(config: "Mapping[str, object]", args: str) -> "tuple[dict[str, int | str], list[Issue]]":
    """Return the config's keys as the attachment has chosen them, and what is wrong with the choice.

    :param args: CNI_ARGS.
    :raises CniError: INVALID_ENVIRONMENT for CNI_ARGS that are malformed, or ask for what is not to be had.
    """
    given = parse_args(args)
    chosen: dict[str, int | str] = {}
    mac, issues = _choose_text(config, given, "mac")
    vlan, of_vlan = choose_vlan(config, given)
    device, of_device = _choose_text(config, given, "deviceID")
    issues += of_vlan + of_device
    for issue in issues:
        if issue.key == _OF_ARGS:
            raise CniError(INVALID_ENVIRONMENT, f"network {config['name']!r}: {issue.sentence}")
    for key, value in (("mac", mac), ("vlan", vlan), ("deviceID", device)):
        if value is not None:
            chosen[key] = value
    return chosen, issues


def choose_vlan(config: "Mapping[str, object]", given: "Mapping[str, str]") -> "tuple[int | None, list[Issue]]":
    """Return the VLAN that the attachment has chosen, None where it has chosen none, and what is wrong with a choice.

    A choice that is wrong is not chosen: the plugin refuses such an ADD before it asks the IPAM plugin.

    :param given: the pairs of CNI_ARGS.
    """
    chosen: int | None = None
    issues = []
    for path, words, value in _wishes(config, given, "vlan"):
        number = vlan_number(value)
        problem = f"{value!r} is no VLAN; it may be 0 to {MOST_VLAN}" if number is None else _forbidden(config, number)
        if problem:
            issues.append(Issue(path, f"{words} {problem}"))
        elif chosen is None:
            chosen = number
    return chosen, issues


def _choose_text(config: "Mapping[str, object]", given: "Mapping[str, str]", key: str) -> "tuple[str | None, list[Issue]]":
    chosen: str | None = None
    issues = []
    for path, words, value in _wishes(config, given, key):
        if not isinstance(value, str):
            issues.append(Issue(path, f"{words} must be a string, not {value!r}"))
        elif key == "mac" and not is_mac(value):
            issues.append(Issue(path, f"{words} {value!r} {NO_MAC}"))
        elif chosen is None:
            chosen = value
    return chosen, issues


def _wishes(config: "Mapping[str, object]", given: "Mapping[str, str]", key: str) -> "list[tuple[Path, str, object]]":
    """Return what each source has for a key, the one that counts first: path, path as text, and value.

    runtimeConfig has no VLAN, CNI_ARGS no device.
    """
    args = config.get("args")
    wishes: list[tuple[Path, str, object]] = []
    if key != "vlan":
        wishes.append((("runtimeConfig", key), f"runtimeConfig.{key}", _member(config.get("runtimeConfig"), key)))
    if isinstance(args, dict):
        wishes.append((("args", "cni", key), f"args.cni.{key}", _member(args.get("cni"), key)))
    if key != "deviceID":
        name = key.upper()
        wishes.append(((_OF_ARGS, name), f"CNI_ARGS {name}", given.get(name)))
    return [wish for wish in wishes if wish[2] is not None and wish[2] != ""]


def _member(value: object, key: str) -> object:
    """Return a member of an object, whatever the case of its key: go-cni sends its own spelling."""
    if not isinstance(value, dict):
        return None
    return {str(name).lower(): part for name, part in value.items()}.get(key.lower())


def _forbidden(config: "Mapping[str, object]", number: int) -> str:
    """Return why an attachment may not choose a VLAN, or "" when it may."""
    if number == config.get("vlan"):
        return ""
    allowed = config.get("vlanAllowed")
    if not isinstance(allowed, list):
        return f"asks for VLAN {number}, but the network lets nobody choose; list it in vlanAllowed"
    if any(span and span[0] <= number <= span[1] for span in map(vlan_range, allowed)):
        return ""
    return f"asks for VLAN {number}, which is not in the network's vlanAllowed"


def vlan_number(value: object) -> int | None:
    """Return a VLAN that is written as a number or in digits, or None."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 4:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_VLAN else None


def vlan_range(value: object) -> tuple[int, int] | None:
    """Return the first and last VLAN of an entry of vlanAllowed, a number or "a-b", or None for one that is neither."""
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
