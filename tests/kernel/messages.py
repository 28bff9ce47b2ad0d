"""Netlink messages that the tests of rtnetlink and of the bonding options share, encoded by pyroute2."""

from typing import Any

from cni_sriov_bond.kernel import rtnetlink
from tests import oracle

Attributes = list[tuple[str, Any]]
BOND_NAMES = {
    "lacp_rate": "IFLA_BOND_AD_LACP_RATE",
    "lacp_active": "IFLA_BOND_AD_LACP_ACTIVE",
    "arp_missed_max": "IFLA_BOND_MISSED_MAX",
}


def require_same(
    body: bytes, request: tuple[int, int], fields: dict[str, int], attributes: Attributes, kind: Any = oracle.FULL_LINK
) -> None:
    """Fail unless a request is, byte for byte, what pyroute2 would send.

    :param request: its type and flags.
    """
    sequence = 4711
    number, flags = request
    expected = oracle.encode(kind, number, flags | rtnetlink.NLM_REQUEST, fields, attributes, sequence).hex(" ", 4)
    encoded = rtnetlink.message(number, flags, body, sequence).hex(" ", 4)
    assert encoded == expected, f"\n{encoded}\n{expected}"


def bond_attributes(options: dict[str, Any]) -> tuple[str, Any]:
    """Return the attribute of a device that has the bonding options."""
    data = [(BOND_NAMES.get(name, f"IFLA_BOND_{name.upper()}"), value) for name, value in options.items()]
    info = [("IFLA_INFO_KIND", "bond"), ("IFLA_INFO_DATA", {"attrs": data})]
    return ("IFLA_LINKINFO", {"attrs": info})


def newlink(attributes: Attributes, **fields: int) -> bytes:
    """Return the body of an RTM_NEWLINK."""
    message = oracle.encode(oracle.FULL_LINK, rtnetlink.RTM_NEWLINK, 0, fields, attributes, 1)
    [(kind, _, _, body)] = rtnetlink.messages(message)
    assert kind == rtnetlink.RTM_NEWLINK
    return body
