"""Netlink requests to a real kernel: pyroute2 reads what they changed, and they read what pyroute2 changed."""

import contextlib
import struct
from errno import EBADMSG, EEXIST, EINVAL, EMSGSIZE, ENODEV, EPERM
from socket import AF_INET, AF_INET6, AF_UNIX, SHUT_WR, SOCK_SEQPACKET, inet_ntop, inet_pton, socketpair
from time import monotonic

import pytest

from cni_sriov_bond.errors import KERNEL_REFUSED, KernelError
from cni_sriov_bond.kernel import netlink, rtnetlink
from cni_sriov_bond.kernel.objects import IFF_ALLMULTI, IFF_PROMISC, IFF_UP, Link, NewRoute
from tests.support import TemporaryNetns, temporary_netns, veth_pair

pytestmark = pytest.mark.root

MAC = "02:00:00:00:00:aa"


def device(namespace: TemporaryNetns, name: str, kind: str = "ifb") -> Link:
    namespace.theirs.link("add", ifname=name, kind=kind)
    return shown(namespace, name)


def shown(namespace: TemporaryNetns, name: str) -> Link:
    link = namespace.ours.link(name)
    assert link is not None
    return link


# -- devices


def test_a_device_is_shown_as_it_is() -> None:
    """Name, index, MAC, MTU, state, kind and altnames are what pyroute2 reads."""
    with temporary_netns() as namespace:
        index = device(namespace, "d0", "bridge").index
        namespace.theirs.link("set", index=index, address=MAC, mtu=1234, state="up")
        namespace.theirs.link("property_add", index=index, altname="another-name-longer-than-15")
        link = shown(namespace, "d0")
        assert (link.index, link.name, link.mac, link.mtu, link.up, link.kind) == (index, "d0", MAC, 1234, True, "bridge")
        assert (link.altnames, link.master, link.parent) == (["another-name-longer-than-15"], 0, "")
        by_index = namespace.ours.link(index=index)
        assert by_index is not None
        assert by_index.name == "d0"


@pytest.mark.parametrize("flag", [IFF_PROMISC, IFF_ALLMULTI])
def test_promiscuous_mode_is_cleared(flag: int) -> None:
    """Both flags are reported and cleared, and the device remains up."""
    with temporary_netns() as namespace:
        index = device(namespace, "d0", "bridge").index
        assert not shown(namespace, "d0").promisc_or_allmulti
        namespace.theirs.link("set", index=index, flags=flag | IFF_UP, change=flag | IFF_UP)
        assert shown(namespace, "d0").promisc_or_allmulti
        namespace.ours.clear_promisc(shown(namespace, "d0"))
        assert (shown(namespace, "d0").promisc_or_allmulti, shown(namespace, "d0").up) == (False, True)


def test_a_device_that_does_not_exist_is_none() -> None:
    """No such name or index is None, not an error."""
    with temporary_netns() as namespace:
        assert namespace.ours.link("nothing") is None
        assert namespace.ours.link(index=99999) is None


def test_all_devices_are_listed_however_many() -> None:
    """A list of many datagrams is complete."""
    with temporary_netns() as namespace:
        for number in range(150):
            namespace.theirs.link("add", ifname=f"d{number}", kind="ifb")
        expected = sorted((link["index"], link.get("ifname")) for link in namespace.theirs.get_links())
        assert len(expected) == 151
        assert sorted((link.index, link.name) for link in namespace.ours.links()) == expected


def test_a_device_is_changed_as_requested() -> None:
    """Up, down, MTU, MAC and name are what pyroute2 then reads."""
    with temporary_netns() as namespace:
        link = device(namespace, "d0", "bridge")
        namespace.ours.set_mac(link, MAC)
        namespace.ours.set_mtu(link, 2000)
        namespace.ours.set_name(link, "renamed")
        namespace.ours.set_up(link, True)
        renamed = namespace.show("renamed")
        assert (renamed.get("address"), renamed.get("mtu"), renamed["flags"] & 1) == (MAC, 2000, 1)
        namespace.ours.set_up(link, False)
        assert namespace.show("renamed")["flags"] & 1 == 0


def test_altnames_are_removed_and_a_missing_one_is_no_error() -> None:
    """Every altname in the value is removed, also if another process has removed one before."""
    with temporary_netns() as namespace:
        index = device(namespace, "d0").index
        namespace.theirs.link("property_add", index=index, altname=["one", "two"])
        link = shown(namespace, "d0")
        assert sorted(link.altnames) == ["one", "two"]
        namespace.theirs.link("property_del", index=index, altname="one")
        namespace.ours.drop_altnames(link)
        assert shown(namespace, "d0").altnames == []


def test_a_port_is_added_and_removed() -> None:
    """IFLA_MASTER is set and cleared; a bridge is a master as well as a bond."""
    with temporary_netns() as namespace:
        bridge, port = device(namespace, "br0", "bridge"), device(namespace, "d0")
        namespace.ours.set_port(port, bridge)
        assert shown(namespace, "d0").master == bridge.index
        namespace.ours.set_port(port, None)
        assert shown(namespace, "d0").master == 0


def test_deleting_twice_is_no_error() -> None:
    """Deleting a software device that does not exist succeeds."""
    with temporary_netns() as namespace:
        link = device(namespace, "d0")
        namespace.ours.delete_link(link)
        namespace.ours.delete_link(link)
        assert namespace.ours.link("d0") is None


def test_a_device_moves_under_its_own_or_another_name() -> None:
    """Into another namespace under its own name, under another, or under a free number of a pattern."""
    with temporary_netns() as left, temporary_netns() as right:
        device(right, "vf0")
        left.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        left.ours.move(shown(left, "a"), right.netns.fd, "the other")
        left.ours.move(shown(left, "b"), right.netns.fd, "the other", "vf%d")
        assert sorted(link.name for link in right.ours.links()) == ["a", "lo", "vf0", "vf1"]
        right.ours.move(shown(right, "vf1"), left.netns.fd, "the first", "b")
        assert sorted(link.name for link in left.ours.links()) == ["b", "lo"]


def test_a_name_that_is_taken_in_the_target_is_reported() -> None:
    """The error has EEXIST, the device and the target; the device remains where it is."""
    with temporary_netns("the host") as left, temporary_netns() as right:
        device(right, "a")
        left.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        with pytest.raises(KernelError, match="cannot move a to the other in the host: File exists") as refused:
            left.ours.move(shown(left, "a"), right.netns.fd, "the other")
        assert refused.value.errno == EEXIST
        assert left.ours.link("a") is not None


def test_a_refusal_has_action_namespace_and_reason() -> None:
    """The message has the action, the namespace, the text of errno, and the kernel's own message if there is one."""
    with temporary_netns("the test's namespace") as namespace:
        link = device(namespace, "d0")
        device(namespace, "d1")
        with pytest.raises(KernelError) as refused:
            namespace.ours.set_name(link, "d1")
        assert refused.value.msg == "cannot rename d0 to d1 in the test's namespace: File exists"
        assert (refused.value.code, refused.value.errno) == (KERNEL_REFUSED, EEXIST)
        with pytest.raises(KernelError, match=r"set the MTU 1 on b in .*: Invalid argument \(mtu less than device minimum\)"):
            namespace.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
            namespace.ours.set_mtu(shown(namespace, "b"), 1)
        namespace.ours.delete_link(link)
        with pytest.raises(KernelError, match="cannot bring d0 up in the test's namespace: No such device") as refused:
            namespace.ours.set_up(link, True)
        assert refused.value.errno == ENODEV


def test_a_device_without_vfs_refuses_a_vfs_setting() -> None:
    """The error names the setting, the VF and the PF."""
    with temporary_netns() as namespace:
        link = device(namespace, "d0")
        with pytest.raises(KernelError, match="cannot set the VLAN 100 on VF 3 through d0"):
            namespace.ours.set_vf(link, 3, rtnetlink.vf_vlan(3, 100, 0, 0x8100), "the VLAN 100")
        device_with_vfs = namespace.ours.link("d0", vfs=True)
        assert device_with_vfs is not None
        assert device_with_vfs.vfs == {}


def test_after_a_refusal_the_socket_can_be_used() -> None:
    """An error leaves nothing unread that the next request could mistake for its answer."""
    with temporary_netns() as namespace:
        link = device(namespace, "d0")
        for _ in range(3):
            with pytest.raises(KernelError):
                namespace.ours.set_name(link, "lo")
            assert shown(namespace, "d0").index == link.index
            assert len(namespace.ours.links()) == 2


def test_a_socket_stays_in_the_namespace_where_it_was_created() -> None:
    """Sockets of two namespaces are used in turn by a thread that is in neither."""
    with temporary_netns() as left, temporary_netns() as right:
        device(left, "l0")
        device(right, "r0")
        assert [sorted(link.name for link in namespace.ours.links()) for namespace in (left, right)] == [
            ["l0", "lo"],
            ["lo", "r0"],
        ]


# -- carrier


def test_carrier_is_waited_for() -> None:
    """Without carrier the result is False after the timeout; with carrier True at once; without a device False."""
    with temporary_netns() as namespace:
        namespace.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        namespace.ours.set_up(shown(namespace, "a"), True)
        start = monotonic()
        assert namespace.ours.wait_for_carrier("a", 0.1) is False
        assert 0.1 <= monotonic() - start < 2
        namespace.ours.set_up(shown(namespace, "b"), True)
        start = monotonic()
        assert namespace.ours.wait_for_carrier("a", 10) is True
        assert monotonic() - start < 2
        assert namespace.ours.wait_for_carrier("nothing", 10) is False


# -- addresses and routes


def add_address(namespace: TemporaryNetns, name: str, text: str) -> None:
    ip, prefix = text.split("/")
    family = AF_INET6 if ":" in ip else AF_INET
    namespace.ours.add_address(shown(namespace, name), family, inet_pton(family, ip), int(prefix), text)


def new_route(namespace: TemporaryNetns, name: str, dst: str, gateway: str = "", **more: int) -> NewRoute:
    ip, prefix = dst.split("/")
    family = AF_INET6 if ":" in ip else AF_INET
    via = inet_pton(family, gateway) if gateway else b""
    route = NewRoute(shown(namespace, name).index, family, inet_pton(family, ip), int(prefix), via)
    for key, value in more.items():
        setattr(route, key, value)
    return route


def test_addresses_are_added_and_listed() -> None:
    """Of both families, IPv4 with its broadcast address, IPv6 without duplicate address detection."""
    with veth_pair() as (namespace, _):
        for text in ("10.0.0.5/24", "192.0.2.1/32", "fd00::5/64"):
            add_address(namespace, "a", text)
        by_ip = {address.get("address"): address for address in namespace.theirs.get_addr(index=namespace.index("a"))}
        assert by_ip["10.0.0.5"].get("broadcast") == "10.0.0.255"
        assert by_ip["192.0.2.1"].get("broadcast") is None
        tentative = 0x40
        assert by_ip["fd00::5"].get("flags") & tentative == 0
        listed = {
            (inet_ntop(address.family, address.ip), address.prefix)
            for address in namespace.ours.addresses()
            if address.index == namespace.index("a")
        }
        assert {("10.0.0.5", 24), ("192.0.2.1", 32), ("fd00::5", 64)} <= listed


def test_an_address_that_exists_is_refused_by_name() -> None:
    """The error names the address and the device."""
    with veth_pair() as (namespace, _):
        add_address(namespace, "a", "10.0.0.5/24")
        with pytest.raises(KernelError, match=r"cannot add the address 10.0.0.5/24 to a in the left namespace") as refused:
            add_address(namespace, "a", "10.0.0.5/24")
        assert refused.value.errno == EEXIST


def test_routes_are_added_and_listed() -> None:
    """By gateway, on the link, to anywhere, with table, priority, MTU and MSS, as pyroute2 reads them."""
    with veth_pair() as (namespace, _):
        for text in ("10.0.0.5/24", "fd00::5/64"):
            add_address(namespace, "a", text)
        namespace.ours.add_route(new_route(namespace, "a", "0.0.0.0/0", "10.0.0.1"), "0.0.0.0/0")
        namespace.ours.add_route(new_route(namespace, "a", "::/0", "fd00::1"), "::/0")
        namespace.ours.add_route(new_route(namespace, "a", "10.9.0.0/16"), "10.9.0.0/16")
        extra = new_route(namespace, "a", "10.8.0.0/16", "10.0.0.1", table=1000, priority=7, mtu=1400, advmss=1360)
        namespace.ours.add_route(extra, "10.8.0.0/16")
        by_dst = {route.get("dst") or f"default {route['family']}": route for route in namespace.theirs.get_routes()}
        assert (by_dst["default 2"].get("gateway"), by_dst["default 2"].get("oif")) == ("10.0.0.1", namespace.index("a"))
        assert by_dst["default 10"].get("gateway") == "fd00::1"
        assert (by_dst["10.9.0.0"]["scope"], by_dst["10.9.0.0"].get("gateway")) == (253, None)
        metrics = by_dst["10.8.0.0"].get("metrics")
        assert (by_dst["10.8.0.0"].get("table"), by_dst["10.8.0.0"].get("priority")) == (1000, 7)
        assert (metrics.get_attr("RTAX_MTU"), metrics.get_attr("RTAX_ADVMSS")) == (1400, 1360)
        listed = {(route.family, route.dst, route.prefix, route.table) for route in namespace.ours.routes()}
        assert {(2, b"", 0, 254), (10, b"", 0, 254), (2, b"\x0a\x09\0\0", 16, 254), (2, b"\x0a\x08\0\0", 16, 1000)} <= listed


def test_the_same_route_twice_is_no_error() -> None:
    """An IPAM plugin may list the route of the subnet, which exists."""
    with veth_pair() as (namespace, _):
        add_address(namespace, "a", "10.0.0.5/24")
        for _ in range(2):
            namespace.ours.add_route(new_route(namespace, "a", "10.9.0.0/16", "10.0.0.1"), "10.9.0.0/16")


def test_a_route_that_is_not_possible_is_refused_by_name() -> None:
    """The error for a gateway that is on no link names the route."""
    with (
        veth_pair() as (namespace, _),
        pytest.raises(KernelError, match=r"cannot add the route 10.9.0.0/16 via 10.7.0.1 in the left"),
    ):
        namespace.ours.add_route(new_route(namespace, "a", "10.9.0.0/16", "10.7.0.1"), "10.9.0.0/16 via 10.7.0.1")


def test_an_error_is_a_value_with_its_errno() -> None:
    """Callers compare errno, so it is positive."""
    with temporary_netns() as namespace, contextlib.closing(netlink.Netlink("x")):
        with pytest.raises(KernelError) as refused:
            namespace.ours.set_mac(shown(namespace, "lo"), "02:00:00:00:00")
        assert refused.value.errno in (EINVAL, EPERM)


# -- answers that are not complete, from the other end of a socket pair


def answer_of(*messages: tuple[int, bytes], cut: int = 0) -> KernelError:
    """Return the error with which a list of devices ends when the other end answers with these messages of type and body."""
    theirs, ours = socketpair(AF_UNIX, SOCK_SEQPACKET)
    with contextlib.closing(theirs), contextlib.closing(netlink.Netlink("the host", ours)) as asking:
        data = b"".join(rtnetlink.message(kind, 2, body, 1) for kind, body in messages)
        theirs.send(data[: len(data) - cut] or b"")
        theirs.shutdown(SHUT_WR)
        with pytest.raises(KernelError) as failed:
            asking.links()
    return failed.value


LINK = (rtnetlink.RTM_NEWLINK, rtnetlink.link_body(1, rtnetlink.text(rtnetlink.IFLA_IFNAME, "lo")))
DONE, OVERRUN = 3, 4


def test_a_list_that_fails_half_way_is_an_error() -> None:
    """The kernel has sent some devices by then. A short list would make a VF pass for one that is gone."""
    failed = answer_of(LINK, (DONE, struct.pack("=i", -EMSGSIZE)))
    assert (failed.errno, failed.msg) == (EMSGSIZE, "cannot list in the host: Message too long")


def test_an_answer_that_was_lost_is_an_error() -> None:
    failed = answer_of(LINK, (OVERRUN, b""))
    assert failed.msg == "cannot list in the host: the kernel lost a part of its answer"


def test_an_answer_that_is_cut_off_is_an_error() -> None:
    assert answer_of(LINK, LINK, cut=8).errno == EBADMSG


def test_a_closed_socket_is_an_error() -> None:
    """Not an endless wait for the end of the list."""
    assert answer_of(LINK).msg == "the netlink socket of the host was closed by its other end"


@pytest.mark.root
def test_altnames_come_and_go() -> None:
    """One that is there already is no error: udev may have given it meanwhile."""
    with veth_pair() as (left, _):
        link = left.ours.link("a")
        assert link is not None
        for name in ("a-name-of-more-than-fifteen-bytes", "short", "short"):
            left.ours.add_altname(link, name)
        link = left.ours.link("a")
        assert link is not None
        assert sorted(link.altnames) == ["a-name-of-more-than-fifteen-bytes", "short"]
        left.ours.drop_altnames(link)
        assert left.show("a").get_attr("IFLA_PROP_LIST") is None
