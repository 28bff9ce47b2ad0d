"""Whether a network's addresses are IPv6, as far as its ipam shows it before the IPAM plugin is run."""

from cni_sriov_bond.cni.address import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def ipv6_range(value: "dict[str, Any]") -> str:
    """Return an IPv6 range or address that every attachment of a network gets, or "" if its config shows none.

    The keys are those of host-local and sriov-bond-ipam (``subnet``, ``ranges``, ``subnets``), static (``addresses``) and
    whereabouts (``range``, ``ipRanges``). What another IPAM plugin gives is known only from its result.

    :param value: the valid keys of the config.
    """
    ipam = value.get("ipam")
    if not isinstance(ipam, dict) or not ipam.get("type"):
        return ""
    return next((text for text in _texts(ipam, value) if _is_ipv6(text)), "")


def _is_ipv6(text: str) -> bool:
    """Return whether a text begins with an IPv6 address, before a prefix length or the end of a range."""
    try:
        return len(packed(text.partition("/")[0].partition("-")[0])) == 16
    except ValueError:
        return False


def _texts(ipam: "dict[str, Any]", value: "dict[str, Any]") -> "Iterator[str]":
    entries = [ipam, *_objects(ipam.get("addresses")), *_objects(ipam.get("ipRanges"))]
    for ranges in ipam["ranges"] if isinstance(ipam.get("ranges"), list) else ():
        entries += _objects(ranges)
    if "vlanAllowed" not in value:  # else an attachment may get the ranges of another VLAN
        entries += [entry for entry in _objects(ipam.get("subnets")) if (entry.get("vlan") or 0) == (value.get("vlan") or 0)]
    for entry in entries:
        for key in ("subnet", "address", "range"):
            if isinstance(entry.get(key), str):
                yield entry[key]


def _objects(entries: object) -> "list[dict[str, Any]]":
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
