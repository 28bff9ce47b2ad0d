"""Our netlink door against a real kernel: what it does, pyroute2 sees, and what pyroute2 did, it sees."""

import contextlib
from errno import EEXIST, EINVAL, ENODEV, EPERM
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from time import monotonic

import pytest

from cni_sriov_bond.errors import KERNEL_REFUSED, KernelError
from cni_sriov_bond.kernel import netlink, rtnetlink
from cni_sriov_bond.kernel.objects import IFF_ALLMULTI, IFF_PROMISC, IFF_UP, Link, NewRoute
from tests.support import TemporaryNetns, temporary_netns, veth_pair

pytestmark = pytest.mark.root

MAC = "02:00:00:00:00:aa"


def device(where: TemporaryNetns, name: str, kind: str = "ifb") -> Link:
    where.theirs.link("add", ifname=name, kind=kind)
    return shown(where, name)


def shown(where: TemporaryNetns, name: str) -> Link:
    link = where.ours.link(name)
    assert link is not None
    return link


# -- devices


def test_a_device_is_shown_as_it_is() -> None:
    """Name, index, MAC, MTU, state, kind and altnames are what pyroute2 reads."""
    with temporary_netns() as where:
        index = device(where, "d0", "bridge").index
        where.theirs.link("set", index=index, address=MAC, mtu=1234, state="up")
        where.theirs.link("property_add", index=index, altname="another-name-longer-than-15")
        link = shown(where, "d0")
        assert (link.index, link.name, link.mac, link.mtu, link.up, link.kind) == (index, "d0", MAC, 1234, True, "bridge")
        assert (link.altnames, link.master, link.parent) == (["another-name-longer-than-15"], 0, "")
        by_index = where.ours.link(index=index)
        assert by_index is not None
        assert by_index.name == "d0"


@pytest.mark.parametrize("flag", [IFF_PROMISC, IFF_ALLMULTI])
def test_a_device_is_made_to_hear_only_what_is_for_it(flag: int) -> None:
    """Promiscuity and all multicast are seen and ended, and its being up is left alone."""
    with temporary_netns() as where:
        index = device(where, "d0", "bridge").index
        assert not shown(where, "d0").promisc_or_allmulti
        where.theirs.link("set", index=index, flags=flag | IFF_UP, change=flag | IFF_UP)
        assert shown(where, "d0").promisc_or_allmulti
        where.ours.clear_promisc(shown(where, "d0"))
        assert (shown(where, "d0").promisc_or_allmulti, shown(where, "d0").up) == (False, True)


def test_a_device_that_is_not_there_is_none() -> None:
    """No such name or index is None, not an error."""
    with temporary_netns() as where:
        assert where.ours.link("nothing") is None
        assert where.ours.link(index=99999) is None


def test_all_devices_are_listed_however_many() -> None:
    """A list longer than many datagrams is whole."""
    with temporary_netns() as where:
        for number in range(150):
            where.theirs.link("add", ifname=f"d{number}", kind="ifb")
        expected = sorted((link["index"], link.get("ifname")) for link in where.theirs.get_links())
        assert len(expected) == 151
        assert sorted((link.index, link.name) for link in where.ours.links()) == expected


def test_a_device_is_changed_as_asked() -> None:
    """Up, down, MTU, MAC and name are what pyroute2 then reads."""
    with temporary_netns() as where:
        link = device(where, "d0", "bridge")
        where.ours.set_mac(link, MAC)
        where.ours.set_mtu(link, 2000)
        where.ours.set_name(link, "renamed")
        where.ours.set_up(link, True)
        found = where.show("renamed")
        assert (found.get("address"), found.get("mtu"), found["flags"] & 1) == (MAC, 2000, 1)
        where.ours.set_up(link, False)
        assert where.show("renamed")["flags"] & 1 == 0


def test_altnames_are_dropped_and_one_that_is_gone_is_no_error() -> None:
    """Every altname that the value lists is gone after, also if somebody was faster."""
    with temporary_netns() as where:
        index = device(where, "d0").index
        where.theirs.link("property_add", index=index, altname=["one", "two"])
        link = shown(where, "d0")
        assert sorted(link.altnames) == ["one", "two"]
        where.theirs.link("property_del", index=index, altname="one")
        where.ours.drop_altnames(link)
        assert shown(where, "d0").altnames == []


def test_a_port_is_added_and_taken_out() -> None:
    """IFLA_MASTER is set and cleared; any device that can have ports shows it."""
    with temporary_netns() as where:
        bridge, port = device(where, "br0", "bridge"), device(where, "d0")
        where.ours.set_port(port, bridge)
        assert shown(where, "d0").master == bridge.index
        where.ours.set_port(port, None)
        assert shown(where, "d0").master == 0


def test_deleting_twice_is_no_error() -> None:
    """A software device that is gone already is as good as deleted."""
    with temporary_netns() as where:
        link = device(where, "d0")
        where.ours.delete_link(link)
        where.ours.delete_link(link)
        assert where.ours.link("d0") is None


def test_a_device_moves_under_its_own_or_another_name() -> None:
    """Into another namespace as it is called, under a name, or under the first free number of a pattern."""
    with temporary_netns() as left, temporary_netns() as right:
        device(right, "vf0")
        left.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        left.ours.move(shown(left, "a"), right.netns.fd, "the other")
        left.ours.move(shown(left, "b"), right.netns.fd, "the other", "vf%d")
        assert sorted(link.name for link in right.ours.links()) == ["a", "lo", "vf0", "vf1"]
        right.ours.move(shown(right, "vf1"), left.netns.fd, "home", "b")
        assert sorted(link.name for link in left.ours.links()) == ["b", "lo"]


def test_a_name_that_is_taken_in_the_target_is_told() -> None:
    """The error has EEXIST, the device, and where it could not go; the device stays."""
    with temporary_netns("the host") as left, temporary_netns() as right:
        device(right, "a")
        left.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        with pytest.raises(KernelError, match="cannot move a to the other in the host: File exists") as refused:
            left.ours.move(shown(left, "a"), right.netns.fd, "the other")
        assert refused.value.errno == EEXIST
        assert left.ours.link("a") is not None


def test_a_refusal_says_what_where_and_why() -> None:
    """The sentence has the action, the namespace, the errno's words and the kernel's own sentence if it gave one."""
    with temporary_netns("the test's namespace") as where:
        link = device(where, "d0")
        device(where, "d1")
        with pytest.raises(KernelError) as refused:
            where.ours.set_name(link, "d1")
        assert refused.value.msg == "cannot rename d0 to d1 in the test's namespace: File exists"
        assert (refused.value.code, refused.value.errno) == (KERNEL_REFUSED, EEXIST)
        with pytest.raises(KernelError, match=r"set the MTU 1 on b in .*: Invalid argument \(mtu less than device minimum\)"):
            where.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
            where.ours.set_mtu(shown(where, "b"), 1)
        where.ours.delete_link(link)
        with pytest.raises(KernelError, match="cannot bring d0 up in the test's namespace: No such device") as refused:
            where.ours.set_up(link, True)
        assert refused.value.errno == ENODEV


def test_a_device_without_vfs_refuses_a_vfs_setting() -> None:
    """The error names the setting, the VF and the PF."""
    with temporary_netns() as where:
        link = device(where, "d0")
        with pytest.raises(KernelError, match="cannot set the VLAN 100 on VF 3 through d0"):
            where.ours.set_vf(link, 3, rtnetlink.vf_vlan(3, 100, 0, 0x8100), "the VLAN 100")
        asked = where.ours.link("d0", vfs=True)
        assert asked is not None
        assert asked.vfs == {}


def test_after_a_refusal_the_socket_goes_on() -> None:
    """An error leaves nothing unread that the next request would take for its answer."""
    with temporary_netns() as where:
        link = device(where, "d0")
        for _ in range(3):
            with pytest.raises(KernelError):
                where.ours.set_name(link, "lo")
            assert shown(where, "d0").index == link.index
            assert len(where.ours.links()) == 2


def test_a_socket_stays_in_the_namespace_where_it_was_made() -> None:
    """Two doors of two namespaces are used in turn from one thread that is in neither."""
    with temporary_netns() as left, temporary_netns() as right:
        device(left, "l0")
        device(right, "r0")
        assert [sorted(link.name for link in where.ours.links()) for where in (left, right)] == [["l0", "lo"], ["lo", "r0"]]


# -- carrier


def test_carrier_is_waited_for() -> None:
    """Without carrier the wait ends with False after its time; with it, at once with True; a device that goes is False."""
    with temporary_netns() as where:
        where.theirs.link("add", ifname="a", kind="veth", peer={"ifname": "b"})
        where.ours.set_up(shown(where, "a"), True)
        start = monotonic()
        assert where.ours.wait_for_carrier("a", 0.1) is False
        assert 0.1 <= monotonic() - start < 2
        where.ours.set_up(shown(where, "b"), True)
        start = monotonic()
        assert where.ours.wait_for_carrier("a", 10) is True
        assert monotonic() - start < 2
        assert where.ours.wait_for_carrier("nothing", 10) is False


# -- addresses and routes


def add_address(where: TemporaryNetns, name: str, text: str) -> None:
    ip, prefix = text.split("/")
    family = AF_INET6 if ":" in ip else AF_INET
    where.ours.add_address(shown(where, name), family, inet_pton(family, ip), int(prefix), text)


def new_route(where: TemporaryNetns, name: str, dst: str, gateway: str = "", **more: int) -> NewRoute:
    ip, prefix = dst.split("/")
    family = AF_INET6 if ":" in ip else AF_INET
    via = inet_pton(family, gateway) if gateway else b""
    route = NewRoute(shown(where, name).index, family, inet_pton(family, ip), int(prefix), via)
    for key, value in more.items():
        setattr(route, key, value)
    return route


def test_addresses_are_added_and_listed() -> None:
    """Both families, with broadcast where it belongs and no duplicate detection for IPv6: usable at once."""
    with veth_pair() as (where, _):
        for text in ("10.0.0.5/24", "192.0.2.1/32", "fd00::5/64"):
            add_address(where, "a", text)
        found = {address.get("address"): address for address in where.theirs.get_addr(index=where.index("a"))}
        assert found["10.0.0.5"].get("broadcast") == "10.0.0.255"
        assert found["192.0.2.1"].get("broadcast") is None
        tentative = 0x40
        assert found["fd00::5"].get("flags") & tentative == 0
        listed = {
            (inet_ntop(one.family, one.ip), one.prefix) for one in where.ours.addresses() if one.index == where.index("a")
        }
        assert {("10.0.0.5", 24), ("192.0.2.1", 32), ("fd00::5", 64)} <= listed


def test_an_address_that_is_there_is_refused_with_its_words() -> None:
    """The error names the address and the device."""
    with veth_pair() as (where, _):
        add_address(where, "a", "10.0.0.5/24")
        with pytest.raises(KernelError, match=r"cannot add the address 10.0.0.5/24 to a in the left namespace") as refused:
            add_address(where, "a", "10.0.0.5/24")
        assert refused.value.errno == EEXIST


def test_routes_are_added_and_listed() -> None:
    """By gateway, on the link, to anywhere, with table, priority, MTU and MSS, as pyroute2 reads them."""
    with veth_pair() as (where, _):
        for text in ("10.0.0.5/24", "fd00::5/64"):
            add_address(where, "a", text)
        where.ours.add_route(new_route(where, "a", "0.0.0.0/0", "10.0.0.1"), "0.0.0.0/0")
        where.ours.add_route(new_route(where, "a", "::/0", "fd00::1"), "::/0")
        where.ours.add_route(new_route(where, "a", "10.9.0.0/16"), "10.9.0.0/16")
        extra = new_route(where, "a", "10.8.0.0/16", "10.0.0.1", table=1000, priority=7, mtu=1400, advmss=1360)
        where.ours.add_route(extra, "10.8.0.0/16")
        found = {route.get("dst") or f"default {route['family']}": route for route in where.theirs.get_routes()}
        assert (found["default 2"].get("gateway"), found["default 2"].get("oif")) == ("10.0.0.1", where.index("a"))
        assert found["default 10"].get("gateway") == "fd00::1"
        assert (found["10.9.0.0"]["scope"], found["10.9.0.0"].get("gateway")) == (253, None)
        metrics = found["10.8.0.0"].get("metrics")
        assert (found["10.8.0.0"].get("table"), found["10.8.0.0"].get("priority")) == (1000, 7)
        assert (metrics.get_attr("RTAX_MTU"), metrics.get_attr("RTAX_ADVMSS")) == (1400, 1360)
        listed = {(route.family, route.dst, route.prefix, route.table) for route in where.ours.routes()}
        assert {(2, b"", 0, 254), (10, b"", 0, 254), (2, b"\x0a\x09\0\0", 16, 254), (2, b"\x0a\x08\0\0", 16, 1000)} <= listed


def test_the_same_route_twice_is_no_error() -> None:
    """A delegate may list the subnet's own route, which is there already."""
    with veth_pair() as (where, _):
        add_address(where, "a", "10.0.0.5/24")
        for _ in range(2):
            where.ours.add_route(new_route(where, "a", "10.9.0.0/16", "10.0.0.1"), "10.9.0.0/16")


def test_a_route_that_cannot_be_is_refused_with_its_words() -> None:
    """A gateway that is on no link is told with the route."""
    with (
        veth_pair() as (where, _),
        pytest.raises(KernelError, match=r"cannot add the route 10.9.0.0/16 via 10.7.0.1 in the left"),
    ):
        where.ours.add_route(new_route(where, "a", "10.9.0.0/16", "10.7.0.1"), "10.9.0.0/16 via 10.7.0.1")


def test_an_error_is_a_value_with_its_errno() -> None:
    """Callers compare errno, so it is the kernel's number and positive."""
    with temporary_netns() as where, contextlib.closing(netlink.Netlink("x")):
        with pytest.raises(KernelError) as refused:
            where.ours.set_mac(shown(where, "lo"), "02:00:00:00:00")
        assert refused.value.errno in (EINVAL, EPERM)
