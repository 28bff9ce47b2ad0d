"""pyroute2 as the oracle of the tests: the messages that it would send, and what it reads from the kernel."""

from typing import Any

import pyroute2  # type: ignore[import-untyped]

_rtnl = pyroute2.netlink.rtnl

Route: Any = pyroute2.IPRoute
Message = Any
LINK: Any = _rtnl.ifinfmsg.ifinfmsg
ADDRESS: Any = _rtnl.ifaddrmsg.ifaddrmsg
ROUTE: Any = _rtnl.rtmsg.rtmsg


def _like(base: Any, **changes: Any) -> Any:
    """Return a changed message class of pyroute2, without the attribute tables that were compiled for its base."""
    fresh = {"_nlmsg_base__compiled_nla": False, "_nlmsg_base__compiled_ft": False}
    return type(base.__name__, (base,), {**fresh, **changes})


_bond: Any = LINK.ifinfo.data_map["bond"]
_vfinfo: Any = LINK.vflist.vfinfo
_vlist: Any = _vfinfo.vf_vlist
# Options of uapi/linux/if_link.h that pyroute2 0.9.7 does not know.
_new_options = (
    ("IFLA_BOND_PEER_NOTIF_DELAY", "uint32"),
    ("IFLA_BOND_AD_LACP_ACTIVE", "uint8"),
    ("IFLA_BOND_MISSED_MAX", "uint8"),
    ("IFLA_BOND_NS_IP6_TARGET", "*ipaddr"),
)
_ifinfo = _like(LINK.ifinfo, data_map={**LINK.ifinfo.data_map, "bond": _like(_bond, nla_map=(*_bond.nla_map, *_new_options))})
# pyroute2 leaves out the padding at the end of struct ifla_vf_vlan_info. Kernels since 1aec77b2bb2e (2024) refuse an
# attribute smaller than that struct, and iproute2 sends all of it.
_ivvi = _like(_vlist.ivvi, fields=(*_vlist.ivvi.fields, ("padding", "H")))
_vflist = _like(LINK.vflist, vfinfo=_like(_vfinfo, vf_vlist=_like(_vlist, ivvi=_ivvi)))
# pyroute2's link message with these additions.
FULL_LINK = _like(LINK, ifinfo=_ifinfo, vflist=_vflist)


def encode(message: Message, kind: int, flags: int, fields: dict[str, int], attributes: list[Any], sequence: int) -> bytes:
    """Return a message as pyroute2 encodes it."""
    encoded = message()
    encoded.update(fields)
    encoded["attrs"] = attributes
    encoded["header"] = {"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0}
    encoded.encode()
    return bytes(encoded.data)
