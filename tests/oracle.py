"""pyroute2 as the tests' oracle: what it would send, and what it reads from the kernel."""

from typing import Any

import pyroute2  # type: ignore[import-untyped]

_rtnl = pyroute2.netlink.rtnl

Route: Any = pyroute2.IPRoute
Message = Any
LINK: Any = _rtnl.ifinfmsg.ifinfmsg
ADDRESS: Any = _rtnl.ifaddrmsg.ifaddrmsg
ROUTE: Any = _rtnl.rtmsg.rtmsg

_bond: Any = LINK.ifinfo.data_map["bond"]
_vfinfo: Any = LINK.vflist.vfinfo


class _Bond(_bond):  # type: ignore[misc]
    # The kernel's uapi/linux/if_link.h has four options more than pyroute2 0.9.7 knows.
    nla_map = (
        *_bond.nla_map,
        ("IFLA_BOND_PEER_NOTIF_DELAY", "uint32"),
        ("IFLA_BOND_AD_LACP_ACTIVE", "uint8"),
        ("IFLA_BOND_MISSED_MAX", "uint8"),
        ("IFLA_BOND_NS_IP6_TARGET", "*ipaddr"),
    )


class _Vfinfo(_vfinfo):  # type: ignore[misc]
    class vf_vlist(_vfinfo.vf_vlist):  # type: ignore[misc]  # noqa: N801
        class ivvi(_vfinfo.vf_vlist.ivvi):  # type: ignore[misc]  # noqa: N801
            # pyroute2 leaves out the padding at the end of struct ifla_vf_vlan_info. Kernels since 1aec77b2bb2e (2024) refuse
            # an attribute smaller than that struct, and iproute2 sends all of it.
            fields = (*_vfinfo.vf_vlist.ivvi.fields, ("padding", "H"))


class _Vflist(LINK.vflist):  # type: ignore[misc]
    vfinfo = _Vfinfo


class FullLink(LINK):  # type: ignore[misc]
    """pyroute2's link message with what it lacks."""

    vflist = _Vflist

    class ifinfo(LINK.ifinfo):  # type: ignore[misc]  # noqa: N801
        data_map = {**LINK.ifinfo.data_map, "bond": _Bond}  # noqa: RUF012


def encode(message: Message, kind: int, flags: int, fields: dict[str, int], attributes: list[Any], sequence: int) -> bytes:
    """Give a whole message as pyroute2 encodes it."""
    made = message()
    made.update(fields)
    made["attrs"] = attributes
    made["header"] = {"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0}
    made.encode()
    return bytes(made.data)
