"""Every request is, byte for byte, what pyroute2 would send, and replies encoded by pyroute2 are decoded."""

import random
import struct
from errno import EBADMSG
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

import pytest

from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import bond_options, rtnetlink
from cni_sriov_bond.kernel.objects import NewRoute
from tests import oracle
from tests.kernel.messages import Attributes, bond_attributes, newlink, require_same

SET = (rtnetlink.RTM_SETLINK, rtnetlink.NLM_ACK)
CREATE_LINK = (rtnetlink.RTM_NEWLINK, rtnetlink.NLM_CREATE | rtnetlink.NLM_EXCL | rtnetlink.NLM_ACK)
CREATE_ADDRESS = (rtnetlink.RTM_NEWADDR, CREATE_LINK[1])
CREATE_ROUTE = (rtnetlink.RTM_NEWROUTE, CREATE_LINK[1])
MAC = "02:11:22:aa:bb:0f"


def vf(*attributes: tuple[str, Any]) -> Attributes:
    return [("IFLA_VFINFO_LIST", {"attrs": [("IFLA_VF_INFO", {"attrs": list(attributes)})]})]


LINK_REQUESTS: dict[str, tuple[bytes, tuple[int, int], dict[str, int], Attributes]] = {
    "up": (rtnetlink.link_body(3, up=True), SET, {"index": 3, "flags": 1, "change": 1}, []),
    "down": (rtnetlink.link_body(3, up=False), SET, {"index": 3, "change": 1}, []),
    "clear promiscuous mode": (rtnetlink.clear_promisc_body(3), SET, {"index": 3, "change": 0x300}, []),
    "delete": (rtnetlink.link_body(77), (rtnetlink.RTM_DELLINK, rtnetlink.NLM_ACK), {"index": 77}, []),
    "rename": (
        rtnetlink.link_body(3, rtnetlink.text(rtnetlink.IFLA_IFNAME, "VF163")),
        SET,
        {"index": 3},
        [("IFLA_IFNAME", "VF163")],
    ),
    "mtu": (rtnetlink.link_body(3, rtnetlink.u32(rtnetlink.IFLA_MTU, 9000)), SET, {"index": 3}, [("IFLA_MTU", 9000)]),
    "mac": (
        rtnetlink.link_body(3, rtnetlink.attribute(rtnetlink.IFLA_ADDRESS, rtnetlink.mac_bytes(MAC))),
        SET,
        {"index": 3},
        [("IFLA_ADDRESS", MAC)],
    ),
    "port of a bond": (
        rtnetlink.link_body(3, rtnetlink.u32(rtnetlink.IFLA_MASTER, 9)),
        SET,
        {"index": 3},
        [("IFLA_MASTER", 9)],
    ),
    "no port": (rtnetlink.link_body(3, rtnetlink.u32(rtnetlink.IFLA_MASTER, 0)), SET, {"index": 3}, [("IFLA_MASTER", 0)]),
    "move": (rtnetlink.link_body(3, rtnetlink.u32(rtnetlink.IFLA_NET_NS_FD, 12)), SET, {"index": 3}, [("IFLA_NET_NS_FD", 12)]),
    "move under a name": (
        rtnetlink.link_body(3, rtnetlink.text(rtnetlink.IFLA_IFNAME, "vf%d"), rtnetlink.u32(rtnetlink.IFLA_NET_NS_FD, 12)),
        SET,
        {"index": 3},
        [("IFLA_IFNAME", "vf%d"), ("IFLA_NET_NS_FD", 12)],
    ),
    "add an altname": (
        rtnetlink.altname_body(3, "enp1s0v0"),
        (rtnetlink.RTM_NEWLINKPROP, rtnetlink.NLM_ACK | rtnetlink.NLM_CREATE | rtnetlink.NLM_EXCL | rtnetlink.NLM_APPEND),
        {"index": 3},
        [("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", "enp1s0v0")]})],
    ),
    "remove an altname": (
        rtnetlink.altname_body(3, "enp1s0v0"),
        (rtnetlink.RTM_DELLINKPROP, rtnetlink.NLM_ACK),
        {"index": 3},
        [("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", "enp1s0v0")]})],
    ),
    "get by name": (
        rtnetlink.get_link_body(name="eth0"),
        (rtnetlink.RTM_GETLINK, 0),
        {},
        [("IFLA_IFNAME", "eth0"), ("IFLA_EXT_MASK", 0x8)],
    ),
    "get by index with VFs": (
        rtnetlink.get_link_body(8, vfs=True),
        (rtnetlink.RTM_GETLINK, 0),
        {"index": 8},
        [("IFLA_EXT_MASK", 0x9)],
    ),
    "list": (rtnetlink.get_link_body(), (rtnetlink.RTM_GETLINK, rtnetlink.NLM_DUMP), {}, [("IFLA_EXT_MASK", 0x8)]),
    "VF's MAC": (
        rtnetlink.vf_body(3, rtnetlink.vf_mac(62, MAC)),
        SET,
        {"index": 3},
        vf(("IFLA_VF_MAC", {"vf": 62, "mac": MAC})),
    ),
    "VF's spoof check": (
        rtnetlink.vf_body(3, rtnetlink.vf_number(rtnetlink.VF_SPOOFCHK, 6, 1)),
        SET,
        {"index": 3},
        vf(("IFLA_VF_SPOOFCHK", {"vf": 6, "spoofchk": 1})),
    ),
    "VF's trust": (
        rtnetlink.vf_body(3, rtnetlink.vf_number(rtnetlink.VF_TRUST, 6, 1)),
        SET,
        {"index": 3},
        vf(("IFLA_VF_TRUST", {"vf": 6, "trust": 1})),
    ),
    "VF's link state": (
        rtnetlink.vf_body(3, rtnetlink.vf_number(rtnetlink.VF_LINK_STATE, 6, 2)),
        SET,
        {"index": 3},
        vf(("IFLA_VF_LINK_STATE", {"vf": 6, "link_state": 2})),
    ),
    "VF's rates": (
        rtnetlink.vf_body(3, rtnetlink.vf_rate(6, 100, 1000)),
        SET,
        {"index": 3},
        vf(("IFLA_VF_RATE", {"vf": 6, "min_tx_rate": 100, "max_tx_rate": 1000})),
    ),
}


@pytest.mark.parametrize("name", LINK_REQUESTS)
def test_link_request_is_pyroute2s(name: str) -> None:
    """Each request about a device is encoded as by pyroute2."""
    require_same(*LINK_REQUESTS[name])


@pytest.mark.parametrize("proto", [0x8100, 0x88A8])
def test_vf_vlan_is_pyroute2s(proto: int) -> None:
    """A VF's VLAN has priority and protocol, the latter in network byte order."""
    entry = {"vf": 6, "vlan": 4094, "qos": 7, "proto": proto, "padding": 0}
    attributes = vf(("IFLA_VF_VLAN_LIST", {"attrs": [("IFLA_VF_VLAN_INFO", entry)]}))
    require_same(rtnetlink.vf_body(3, rtnetlink.vf_vlan(6, 4094, 7, proto)), SET, {"index": 3}, attributes)


def test_new_bond_is_pyroute2s() -> None:
    """A new bond has its name, MAC, kind and all its options in one request."""
    options: dict[str, int | list[str]] = {
        "mode": 1,
        "miimon": 100,
        "fail_over_mac": 2,
        "arp_ip_target": ["10.0.0.1"],
        "ad_actor_sys_prio": 65535,
    }
    expected = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", MAC), bond_attributes(options)]
    require_same(rtnetlink.bond_body("eth0", MAC, bond_options.encode(options)), CREATE_LINK, {}, expected)


@pytest.mark.parametrize(
    ("ip", "prefix", "broadcast"),
    [
        ("10.56.217.5", 24, "10.56.217.255"),
        ("10.0.0.1", 8, "10.255.255.255"),
        ("192.0.2.1", 30, "192.0.2.3"),
        ("192.0.2.1", 31, None),
        ("192.0.2.1", 32, None),
        ("fd00::5", 64, None),
        ("2001:db8::1", 128, None),
    ],
)
def test_address_is_pyroute2s(ip: str, prefix: int, broadcast: str | None) -> None:
    """An IPv4 address has its subnet's broadcast address if there is one; IPv6 skips duplicate address detection."""
    family = AF_INET6 if ":" in ip else AF_INET
    attributes: Attributes = [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip)]
    fields = {"index": 7, "family": int(family), "prefixlen": prefix}
    if broadcast:
        attributes.append(("IFA_BROADCAST", broadcast))
    if family == AF_INET6:
        fields["flags"] = rtnetlink.IFA_F_NODAD
        attributes.append(("IFA_FLAGS", rtnetlink.IFA_F_NODAD))
    require_same(
        rtnetlink.address_body(7, family, inet_pton(family, ip), prefix), CREATE_ADDRESS, fields, attributes, oracle.ADDRESS
    )


def route(dst: str, prefix: int, gateway: str = "", **more: int) -> NewRoute:
    family = AF_INET6 if ":" in dst else AF_INET
    made = NewRoute(9, family, inet_pton(family, dst), prefix, inet_pton(family, gateway) if gateway else b"")
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.parametrize("prefix", [0, 8, 24, 32])
def test_route_is_pyroute2s(family: int, gateway: bool, prefix: int) -> None:
    """A route by a gateway or on the link, also the default route."""
    dst, via = ("0.0.0.0", "10.0.0.1") if family == AF_INET else ("::", "fd00::1")
    attributes: Attributes = [("RTA_DST", dst)] if prefix else []
    attributes += [("RTA_GATEWAY", via)] if gateway else []
    attributes.append(("RTA_OIF", 9))
    fields = {"family": int(family), "dst_len": prefix, "table": 254, "proto": 3, "scope": 0 if gateway else 253, "type": 1}
    require_same(
        rtnetlink.route_body(route(dst, prefix, via if gateway else "")), CREATE_ROUTE, fields, attributes, oracle.ROUTE
    )


def test_route_with_every_extra_is_pyroute2s() -> None:
    """A table above 255, priority, MTU and MSS are attributes of their own."""
    made = route("10.1.0.0", 16, "10.0.0.1", table=1000, priority=50, mtu=1400, advmss=1360, scope=200)
    metrics = {"attrs": [("RTAX_MTU", 1400), ("RTAX_ADVMSS", 1360)]}
    attributes: Attributes = [("RTA_DST", "10.1.0.0"), ("RTA_GATEWAY", "10.0.0.1"), ("RTA_OIF", 9), ("RTA_TABLE", 1000)]
    attributes += [("RTA_PRIORITY", 50), ("RTA_METRICS", metrics)]
    fields = {"family": 2, "dst_len": 16, "table": 0, "proto": 3, "scope": 200, "type": 1}
    require_same(rtnetlink.route_body(made), CREATE_ROUTE, fields, attributes, oracle.ROUTE)


@pytest.mark.parametrize(
    ("kind", "message"),
    [(rtnetlink.RTM_GETLINK, oracle.LINK), (rtnetlink.RTM_GETADDR, oracle.ADDRESS), (rtnetlink.RTM_GETROUTE, oracle.ROUTE)],
)
@pytest.mark.parametrize("family", [0, AF_INET, AF_INET6])
def test_dump_request_is_pyroute2s(kind: int, message: Any, family: int) -> None:
    """A list is requested with the full header that the kernel's strict check requires."""
    require_same(rtnetlink.dump_body(kind, family), (kind, rtnetlink.NLM_DUMP), {"family": int(family)}, [], message)


def full_vf(number: int) -> tuple[str, Any]:
    return (
        "IFLA_VF_INFO",
        {
            "attrs": [
                ("IFLA_VF_MAC", {"vf": number, "mac": f"02:00:00:00:00:{number:02x}"}),
                ("IFLA_VF_VLAN", {"vf": number, "vlan": 1000 + number, "qos": 3}),
                ("IFLA_VF_TX_RATE", {"vf": number, "tx_rate": 500}),
                ("IFLA_VF_SPOOFCHK", {"vf": number, "spoofchk": 1}),
                ("IFLA_VF_LINK_STATE", {"vf": number, "link_state": 2}),
                ("IFLA_VF_RATE", {"vf": number, "min_tx_rate": 10, "max_tx_rate": 500}),
                ("IFLA_VF_RSS_QUERY_EN", {"vf": number, "rss_query_en": 0xFFFFFFFF}),
                ("IFLA_VF_TRUST", {"vf": number, "trust": 0xFFFFFFFF}),
                (
                    "IFLA_VF_VLAN_LIST",
                    {
                        "attrs": [
                            (
                                "IFLA_VF_VLAN_INFO",
                                {"vf": number, "vlan": 1000 + number, "qos": 3, "proto": 0x88A8, "padding": 0},
                            )
                        ]
                    },
                ),
            ]
        },
    )


FULL_LINK: Attributes = [
    ("IFLA_IFNAME", "enp1s0"),
    ("IFLA_MTU", 9000),
    ("IFLA_MAX_MTU", 9216),
    ("IFLA_MASTER", 42),
    ("IFLA_CARRIER", 1),
    ("IFLA_ADDRESS", "02:00:00:00:00:aa"),
    ("IFLA_PERM_ADDRESS", bytes.fromhex("001b21000001")),
    ("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", "eno1"), ("IFLA_ALT_IFNAME", "a-name-longer-than-fifteen-bytes")]}),
    ("IFLA_NUM_VF", 63),
    ("IFLA_VFINFO_LIST", {"attrs": [full_vf(number) for number in range(63)]}),
]


def test_a_pf_is_decoded_with_all_its_vfs() -> None:
    """Name, MTU, MACs, altnames and the settings of 63 VFs are decoded; -1 is a setting that the driver does not have."""
    link = rtnetlink.parse_link(newlink(FULL_LINK, index=5, flags=0x1043))
    assert (link.index, link.up, link.name, link.mtu, link.master) == (5, True, "enp1s0", 9000, 42)
    assert (link.mac, link.perm_mac, link.carrier) == ("02:00:00:00:00:aa", "00:1b:21:00:00:01", True)
    assert link.altnames == ["eno1", "a-name-longer-than-fifteen-bytes"]
    assert sorted(link.vfs) == list(range(63))
    for number, reported in link.vfs.items():
        assert (reported.index, reported.mac) == (number, f"02:00:00:00:00:{number:02x}")
        settings = reported.settings
        assert (settings.vlan, settings.vlan_qos, settings.vlan_proto) == (1000 + number, 3, 0x88A8)
        assert (settings.spoofchk, settings.link_state, settings.min_tx_rate, settings.max_tx_rate) == (1, 2, 10, 500)
        assert settings.trust is None


def test_the_pci_address_of_a_port_is_decoded() -> None:
    """The name of the parent device is decoded; pyroute2 does not have this attribute."""
    body = newlink([("IFLA_IFNAME", "VF11")], index=2) + rtnetlink.text(rtnetlink.IFLA_PARENT_DEV, "0000:01:10.0")
    assert rtnetlink.parse_link(body).parent == "0000:01:10.0"


@pytest.mark.parametrize(
    ("made", "lower"),
    [
        ([("IFLA_IFNAME", "v5"), ("IFLA_LINK", 4)], 4),
        ([("IFLA_IFNAME", "v5"), ("IFLA_LINK", 4), ("IFLA_LINK_NETNSID", 0)], -1),
        ([("IFLA_IFNAME", "v5"), ("IFLA_LINK_NETNSID", 0), ("IFLA_LINK", 4)], -1),
        ([("IFLA_IFNAME", "v5")], 0),
    ],
)
def test_the_lower_device_is_decoded(made: list[tuple[str, Any]], lower: int) -> None:
    """An index in another namespace is not mistaken for one in this."""
    assert rtnetlink.parse_link(newlink(made, index=2)).lower == lower


def test_an_address_and_a_route_are_decoded() -> None:
    """IFA_LOCAL is the device's own if IFA_ADDRESS is the peer; a table above 255 is an attribute."""
    made = [("IFA_ADDRESS", "10.0.0.9"), ("IFA_LOCAL", "10.0.0.1"), ("IFA_FLAGS", 0x80)]
    fields = {"index": 4, "family": 2, "prefixlen": 24}
    [(_, _, _, body)] = rtnetlink.messages(oracle.encode(oracle.ADDRESS, rtnetlink.RTM_NEWADDR, 0, fields, made, 1))
    address = rtnetlink.parse_address(body)
    assert (address.index, address.prefix, inet_ntop(AF_INET, address.ip), address.flags) == (4, 24, "10.0.0.1", 0x80)
    attributes = [("RTA_DST", "fd01::"), ("RTA_GATEWAY", "fd00::1"), ("RTA_OIF", 4), ("RTA_TABLE", 1000)]
    fields = {"family": 10, "dst_len": 48}
    [(_, _, _, body)] = rtnetlink.messages(oracle.encode(oracle.ROUTE, rtnetlink.RTM_NEWROUTE, 0, fields, attributes, 1))
    parsed = rtnetlink.parse_route(body)
    assert (parsed.family, parsed.prefix, parsed.index, parsed.table) == (10, 48, 4, 1000)
    assert (inet_ntop(AF_INET6, parsed.dst), inet_ntop(AF_INET6, parsed.gateway)) == ("fd01::", "fd00::1")


def test_a_datagram_is_split_into_its_messages() -> None:
    """Several messages of odd lengths in one datagram are separated, with type, flags and sequence."""
    bodies = [bytes(length) for length in (0, 1, 3, 4, 17)]
    parts = [rtnetlink.message(16 + index, 2, body, index) for index, body in enumerate(bodies)]
    data = b"".join(part + b"\0" * (-len(part) % 4) for part in parts)
    expected = [(16 + index, 3, index, body) for index, body in enumerate(bodies)]
    assert list(rtnetlink.messages(data)) == expected


def test_damaged_bytes_end_in_a_value_or_in_one_kind_of_error() -> None:
    """Random, truncated and altered replies never loop, and raise nothing but struct.error, ValueError or EBADMSG."""
    random_source = random.Random(20230)
    complete = newlink([*FULL_LINK[:-1], ("IFLA_VFINFO_LIST", {"attrs": [full_vf(1)]}), bond_attributes({"mode": 1})], index=5)
    cases = [complete[:length] for length in range(len(complete))]
    cases += [random_source.randbytes(random_source.randrange(200)) for _ in range(1000)]
    for _ in range(1000):
        altered = bytearray(complete)
        for _ in range(random_source.randrange(1, 6)):
            altered[random_source.randrange(len(altered))] = random_source.randrange(256)
        cases.append(bytes(altered))
    for data in cases:
        for reader in (rtnetlink.parse_link, rtnetlink.parse_address, rtnetlink.parse_route, rtnetlink.parse_vf):
            try:
                reader(data)
            except (struct.error, ValueError):
                continue
        try:
            list(rtnetlink.messages(data))
        except KernelError as cut_off:
            assert cut_off.errno == EBADMSG
