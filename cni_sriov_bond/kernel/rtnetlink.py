"""Encoding of the rtnetlink requests that the plugin sends, and decoding of the replies. No I/O.

Attribute numbers are those of the kernel's uapi headers (if_link.h, if_addr.h, rtnetlink.h).
tests/kernel/test_rtnetlink.py compares every encoder byte for byte with pyroute2.
"""

import _struct as struct
from errno import EBADMSG

from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel.objects import IFF_ALLMULTI, IFF_PROMISC, IFF_UP, Address, Link, NewRoute, Route, Vf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = 20, 22, 24, 26
RTM_NEWLINKPROP, RTM_DELLINKPROP = 108, 109
NLM_REQUEST, NLM_ACK, NLM_DUMP, NLM_EXCL, NLM_CREATE, NLM_APPEND = 0x1, 0x4, 0x300, 0x200, 0x400, 0x800
NLM_DUMP_INTR = 0x10

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_LINK, IFLA_LINK_NETNSID = 5, 37
IFLA_NUM_VF, IFLA_VFINFO_LIST, IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_CARRIER = 21, 22, 28, 29, 33
IFLA_PROP_LIST, IFLA_ALT_IFNAME, IFLA_PERM_ADDRESS, IFLA_PARENT_DEV = 52, 53, 54, 56
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA = 1, 2, 5
EXT_VF, EXT_SKIP_STATS = 0x1, 0x8

VF_MAC, VF_SPOOFCHK, VF_LINK_STATE, VF_RATE, VF_TRUST, VF_VLAN_LIST = 1, 4, 5, 6, 9, 12

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS, IFA_PROTO = 1, 2, 4, 8, 11
IFA_F_NODAD = 0x2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_METRICS, RTA_MULTIPATH, RTA_TABLE = 1, 4, 5, 6, 8, 9, 15
RTAX_MTU, RTAX_ADVMSS = 2, 8
RTPROT_BOOT, RTN_UNICAST = 3, 1
NESTED = 0x8000
ETH_P_8021Q, _NO_VLAN = 0x8100, 4095
_MOST_ATTRIBUTE = 0xFFFF  # bytes

AF_INET, AF_INET6 = 2, 10


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to a multiple of four bytes."""
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that contains others."""
    return attribute(kind, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """Return a string attribute, which ends with a zero byte."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """Return a 32-bit attribute."""
    return attribute(kind, struct.pack("=I", value))


def mac_bytes(mac: str) -> bytes:
    """Return the bytes of a colon-separated address, six for Ethernet."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    """Return bytes as a colon-separated address."""
    return raw.hex(":")


def message(kind: int, flags: int, body: bytes, sequence: int) -> bytes:
    """Return a netlink message with its header."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_REQUEST, sequence, 0) + body


def link_body(index: int, *parts: bytes, up: bool | None = None) -> bytes:
    """Return an ifinfomsg with attributes; ``up`` None leaves the administrative state unchanged."""
    flags = IFF_UP if up else 0
    change = 0 if up is None else IFF_UP
    return struct.pack("=BxHiII", 0, 0, index, flags, change) + b"".join(parts)


def clear_promisc_body(index: int) -> bytes:
    """Return the request to clear IFF_PROMISC and IFF_ALLMULTI, and no other flag."""
    return struct.pack("=BxHiII", 0, 0, index, 0, IFF_PROMISC | IFF_ALLMULTI)


def get_link_body(index: int = 0, name: str = "", vfs: bool = False) -> bytes:
    """Return the request for one device by index or name; with ``vfs``, also for its VFs, without their counters.

    One PF a request: in a dump the VFs exceed a message at about 220, and the kernel truncates the list without an error.
    """
    parts = [text(IFLA_IFNAME, name)] if name else []
    parts.append(u32(IFLA_EXT_MASK, EXT_SKIP_STATS | (EXT_VF if vfs else 0)))
    return link_body(index, *parts)


def bond_body(name: str, mac: str, options: bytes) -> bytes:
    """Return the request to create a bond; ``options`` are IFLA_BOND_* attributes."""
    info = nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bond"), nest(IFLA_INFO_DATA, options))
    return link_body(0, text(IFLA_IFNAME, name), attribute(IFLA_ADDRESS, mac_bytes(mac)), info)


def bond_change_body(index: int, options: bytes) -> bytes:
    """Return the request to change options of an existing bond."""
    return link_body(index, nest(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bond"), nest(IFLA_INFO_DATA, options)))


def altname_body(index: int, name: str) -> bytes:
    """Return the request to add or remove an altname of a device."""
    return link_body(index, nest(IFLA_PROP_LIST | NESTED, text(IFLA_ALT_IFNAME, name)))


def vf_body(pf_index: int, setting: bytes) -> bytes:
    """Return the request to change one setting of one VF through its PF."""
    return link_body(pf_index, nest(IFLA_VFINFO_LIST, nest(1, setting)))


def vf_mac(vf: int, mac: str) -> bytes:
    """Return the setting of the admin MAC."""
    return attribute(VF_MAC, struct.pack("=I32s", vf, mac_bytes(mac)))


def vf_vlan(vf: int, vlan: int, qos: int, proto: int) -> bytes:
    """Return the setting of the VLAN, its priority and its protocol (0x8100 or 0x88a8).

    Only the list form carries the protocol; the kernel accepts one entry (rtnetlink.c, do_setvfinfo). The entry is padded to
    the size of struct ifla_vf_vlan_info: kernels since 1aec77b2bb2e (2024) refuse a shorter one.
    """
    entry = attribute(1, struct.pack("=III", vf, vlan, qos) + struct.pack(">H2x", proto))
    return nest(VF_VLAN_LIST, entry)


def vf_number(kind: int, vf: int, value: int) -> bytes:
    """Return the setting of spoof check, trust or link state."""
    return attribute(kind, struct.pack("=II", vf, value))


def vf_rate(vf: int, minimum: int, maximum: int) -> bytes:
    """Return the setting of the minimum and maximum transmit rate, in Mbit/s, 0 for no limit."""
    return attribute(VF_RATE, struct.pack("=III", vf, minimum, maximum))


def address_body(index: int, family: int, ip: bytes, prefix: int) -> bytes:
    """Return the request to add an address.

    IPv6 skips duplicate address detection, during which the address cannot be used for one to two seconds. The broadcast
    address is set as by iproute2's ``brd +``, except for a /31 or /32, which has none.
    """
    flags = IFA_F_NODAD if family == AF_INET6 else 0
    parts = [attribute(IFA_LOCAL, ip), attribute(IFA_ADDRESS, ip)]
    if family == AF_INET and prefix < 31:
        broadcast = int.from_bytes(ip, "big") | ((1 << (32 - prefix)) - 1)
        parts.append(attribute(IFA_BROADCAST, broadcast.to_bytes(4, "big")))
    if flags:
        parts.append(u32(IFA_FLAGS, flags))
    return struct.pack("=BBBBI", family, prefix, flags, 0, index) + b"".join(parts)


def route_body(route: NewRoute) -> bytes:
    """Return the request to add a route over a device."""
    parts = []
    if route.prefix:
        parts.append(attribute(RTA_DST, route.dst))
    if route.gateway:
        parts.append(attribute(RTA_GATEWAY, route.gateway))
    parts.append(u32(RTA_OIF, route.index))
    if route.table > 255:
        parts.append(u32(RTA_TABLE, route.table))
    if route.priority:
        parts.append(u32(RTA_PRIORITY, route.priority))
    metrics = [u32(kind, value) for kind, value in ((RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss)) if value]
    if metrics:
        parts.append(nest(RTA_METRICS, *metrics))
    table = route.table if route.table < 256 else 0
    head = struct.pack("=BBBBBBBBI", route.family, route.prefix, 0, 0, table, RTPROT_BOOT, route.scope, RTN_UNICAST, 0)
    return head + b"".join(parts)


def dump_body(kind: int, family: int = 0) -> bytes:
    """Return the request to list devices, addresses or routes of a family (0 is all)."""
    layout = {RTM_GETLINK: "=BxHiII", RTM_GETADDR: "=BBBBI"}.get(kind, "=BBBBBBBBI")
    return struct.pack(layout, family, *[0] * (len(layout.replace("x", "")) - 2))


_NO_HEADER = (0, 0, 0, 0, 0)


def messages(data: bytes) -> "Iterator[tuple[int, int, int, bytes]]":
    """Split a datagram into (type, flags, sequence, body).

    :raises KernelError: EBADMSG when its end is missing: a part of an answer must not pass for all of it.
    """
    offset = 0
    while offset < len(data):
        size, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset) if offset + 16 <= len(data) else _NO_HEADER
        if size < 16 or offset + size > len(data):
            raise KernelError(EBADMSG, f"the kernel's answer is cut off after {len(data)} bytes")
        yield kind, flags, sequence, data[offset + 16 : offset + size]
        offset += (size + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> "Iterator[tuple[int, bytes]]":
    """Split attributes into (type without flags, value)."""
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        if size < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + size]
        offset += (size + 3) & ~3


def parse_link(body: bytes) -> Link:
    """Return the device that the body of an RTM_NEWLINK describes."""
    index, flags = struct.unpack_from("=4xiI", body)
    link = Link(index, flags)
    if len(body) > _MOST_ATTRIBUTE:
        from cni_sriov_bond.kernel import vflist  # late: only a PF with hundreds of VFs needs it

        body, entries = vflist.split(body)
        _read_vfs(link, entries)
    for kind, value in attributes(body, 16):
        if kind in _FIELDS:
            name, decode = _FIELDS[kind]
            setattr(link, name, decode(value))
        elif kind in _READERS:
            _READERS[kind](link, value)
    return link


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _read_lower(link: Link, value: bytes) -> None:
    link.lower_index = _number(value)
    link.lower = link.lower or link.lower_index


def _read_lower_netns(link: Link, value: bytes) -> None:
    link.lower = -1  # IFLA_LINK is an index in another netns then, before or after this attribute


def _read_properties(link: Link, value: bytes) -> None:
    link.altnames = [_string(name) for kind, name in attributes(value) if kind == IFLA_ALT_IFNAME]


def _read_info(link: Link, value: bytes) -> None:
    for kind, part in attributes(value):
        if kind == IFLA_INFO_KIND:
            link.kind = _string(part)
        elif kind == IFLA_INFO_DATA and link.kind == "bond":
            link.bond_data = dict(attributes(part))
        elif kind == IFLA_INFO_SLAVE_DATA:
            link.port_data = dict(attributes(part))


def _read_vfs(link: Link, value: bytes) -> None:
    for _, part in attributes(value):
        vf = parse_vf(part)
        link.vfs[vf.index] = vf


# Attributes with one value: the field of Link, and the function that decodes it.
_FIELDS: "dict[int, tuple[str, Callable[[bytes], object]]]" = {
    IFLA_IFNAME: ("name", _string),
    IFLA_ADDRESS: ("mac", mac_text),
    IFLA_PERM_ADDRESS: ("perm_mac", mac_text),
    IFLA_MTU: ("mtu", _number),
    IFLA_MASTER: ("master", _number),
    IFLA_NUM_VF: ("num_vfs", _number),
    IFLA_CARRIER: ("carrier", lambda value: value != b"\0"),
    IFLA_PARENT_DEV: ("parent", _string),
}
_READERS: "dict[int, Callable[[Link, bytes], None]]" = {
    IFLA_LINK: _read_lower,
    IFLA_LINK_NETNSID: _read_lower_netns,
    IFLA_PROP_LIST: _read_properties,
    IFLA_LINKINFO: _read_info,
    IFLA_VFINFO_LIST: _read_vfs,
}


def parse_vf(data: bytes) -> Vf:
    """Return the VF that an IFLA_VF_INFO describes. -1 is a setting that its driver does not have (rtnl_fill_vfinfo)."""
    vf = Vf(0)
    settings = vf.settings
    for kind, value in attributes(data):
        if kind == VF_MAC:
            vf.index = struct.unpack_from("=I", value)[0]
            vf.mac = mac_text(value[4:10])
        elif kind == VF_VLAN_LIST:
            for _, entry in attributes(value):
                _, settings.vlan, settings.vlan_qos = struct.unpack_from("=III", entry)
                # mlx4 reports 4095 for "none", and mlx5 and nfp report no protocol (mlx4/cmd.c, mlx4_get_vf_config; eswitch.c,
                # mlx5_eswitch_get_vport_config).
                settings.vlan = 0 if settings.vlan == _NO_VLAN else settings.vlan
                settings.vlan_proto = int.from_bytes(entry[12:14], "big") or ETH_P_8021Q
        elif kind == VF_RATE:
            _, settings.min_tx_rate, settings.max_tx_rate = struct.unpack_from("=III", value)
        elif kind in _VF_NUMBERS:
            number = struct.unpack_from("=4xI", value)[0]
            setattr(settings, _VF_NUMBERS[kind], None if number == 0xFFFFFFFF else number)
    return vf


_VF_NUMBERS = {VF_SPOOFCHK: "spoofchk", VF_LINK_STATE: "link_state", VF_TRUST: "trust"}


def parse_address(body: bytes) -> Address:
    """Return the address that the body of an RTM_NEWADDR describes."""
    family, prefix, flags, _, index = struct.unpack_from("=BBBBI", body)
    values = dict(attributes(body, 8))
    if IFA_FLAGS in values:
        flags = _number(values[IFA_FLAGS])
    # On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL the device's own. IPv6 has IFA_ADDRESS alone.
    address = Address(family, prefix, flags, index, values.get(IFA_LOCAL, values.get(IFA_ADDRESS, b"")))
    address.proto = _number(values.get(IFA_PROTO, b""))
    return address


def parse_route(body: bytes) -> Route:
    """Return the route that the body of an RTM_NEWROUTE describes."""
    family, prefix, _, _, table, proto = struct.unpack_from("=BBBBBB", body)
    route = Route(family, prefix, table)
    route.proto = proto
    for kind, value in attributes(body, 12):
        if kind == RTA_DST:
            route.dst = value
        elif kind == RTA_GATEWAY:
            route.gateway = value
        elif kind == RTA_OIF:
            route.index = _number(value)
        elif kind == RTA_TABLE:
            route.table = _number(value)
        elif kind == RTA_MULTIPATH:
            route.multipath = value
    return route
