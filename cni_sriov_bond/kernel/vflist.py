"""The VFs of a PF in an answer of more than 64 KiB. No I/O."""

import _struct as struct

_IFLA_VFINFO_LIST, _IFLA_VF_INFO, _IFLA_VF_MAC = 22, 1, 1
_IFINFOMSG = 16
# An entry has at least its own header and the VF's MAC, 36 bytes with a header.
_MAC_ATTRIBUTE, _LEAST_ENTRY = 40, 44


def split(body: bytes) -> tuple[bytes, bytes]:
    """Return the body of an RTM_NEWLINK without its list of VFs, and the entries of that list.

    The length of an attribute has 16 bits, and the kernel lets it wrap (include/net/netlink.h, nla_nest_end): from 222 VFs on
    with their counters, and from about 300 without. Then the length of the list says nothing, but its entries follow each
    other: each is an IFLA_VF_INFO and begins with the VF's MAC (net/core/rtnetlink.c, rtnl_fill_vfinfo). None is left out.
    """
    start, kind = _IFINFOMSG, 0
    while start + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, start)
        if kind & 0x3FFF == _IFLA_VFINFO_LIST or size < 4:
            break
        start += (size + 3) & ~3
    if kind & 0x3FFF != _IFLA_VFINFO_LIST:
        return body, b""
    end = start + 4
    while end + _LEAST_ENTRY <= len(body):
        size, kind, mac_size, mac_kind = struct.unpack_from("=HHHH", body, end)
        if (kind & 0x3FFF, mac_kind, mac_size) != (_IFLA_VF_INFO, _IFLA_VF_MAC, _MAC_ATTRIBUTE) or size < _LEAST_ENTRY:
            break
        end += (size + 3) & ~3
    return body[:start] + body[end:], body[start + 4 : end]
