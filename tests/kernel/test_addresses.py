"""Addresses and routes of an IPAM result are set on a device, and CHECK finds them there."""

import socket
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.cni import result
from cni_sriov_bond.errors import INVALID_CONFIG, KERNEL_REFUSED, CniError
from cni_sriov_bond.kernel import addresses
from cni_sriov_bond.kernel.netns import Entered
from tests.support import TemporaryNetns, veth_pair

pytestmark = pytest.mark.root


def answer(address: str, gateway: str = "", *routes: str) -> result.Result:
    """Return the result of an IPAM plugin."""
    ip = {"address": address, "gateway": gateway} if gateway else {"address": address}
    return result.from_json({"cniVersion": "1.0.0", "ips": [ip], "routes": [{"dst": route} for route in routes]}, "1.0.0")


FOUR = {"address": "10.1.0.5/24", "gateway": "10.1.0.1"}
SIX = {"address": "fd00::5/64", "gateway": "fd00::1"}


def newest(ips: list[dict[str, Any]], *routes: dict[str, Any]) -> result.Result:
    """Return a result of version 1.1.0, whose routes have a scope."""
    return result.from_json({"cniVersion": "1.1.0", "ips": ips, "routes": list(routes)}, "1.1.0")


def routes_of(namespace: TemporaryNetns, family: int) -> dict[int, tuple[str | None, int]]:
    """Return gateway and scope of the routes of the main table, by the length of their prefix."""
    routes = namespace.theirs.get_routes(family=family, table=254)
    return {route["dst_len"]: (route.get("gateway"), route["scope"]) for route in routes}


def refusal(namespace: TemporaryNetns, code: int, ipam_result: result.Result) -> str:
    """Return the message with which a result is refused."""
    link = namespace.ours.link("a")
    assert link is not None
    with pytest.raises(CniError) as refused:
        addresses.configure(namespace.ours, namespace.netns, link, ipam_result)
    assert refused.value.code == code
    return refused.value.msg


def configure(namespace: TemporaryNetns, name: str, ipam_result: result.Result) -> list[str]:
    link = namespace.ours.link(name)
    assert link is not None
    messages = addresses.configure(namespace.ours, namespace.netns, link, ipam_result)
    assert addresses.differences(namespace.ours, link, ipam_result.ips, ipam_result.routes) == [], "CHECK after ADD"
    return messages


def test_a_second_default_route_is_reported() -> None:
    """The first network's remains, and the warning names the device that has it."""
    with veth_pair() as (namespace, _):
        namespace.theirs.link("add", ifname="c", kind="veth", peer={"ifname": "d"})
        for name in ("c", "d"):
            namespace.theirs.link("set", index=namespace.index(name), state="up")
        assert configure(namespace, "a", answer("10.1.0.5/24", "10.1.0.1", "0.0.0.0/0")) == []
        [message] = configure(namespace, "c", answer("10.2.0.5/24", "10.2.0.1", "0.0.0.0/0"))
        assert message == "the route 0.0.0.0/0 via 10.2.0.1 is not added to c: a already has it"
        [default] = [route for route in namespace.theirs.get_routes(family=2) if route["dst_len"] == 0]
        assert default.get("gateway") == "10.1.0.1"


def test_a_route_without_a_device_is_no_failure() -> None:
    """A container may have a blackhole route for the same network; the ADD succeeds with a warning."""
    with veth_pair() as (namespace, _):
        namespace.theirs.route("add", dst="10.9.0.0/16", type="blackhole")
        [message] = configure(namespace, "a", answer("10.1.0.5/24", "", "10.9.0.0/16"))
        assert message.endswith("is not added to a: another route already has it")


def test_a_route_that_the_device_has_is_not_reported() -> None:
    """An IPAM plugin may list the route of the subnet, which the kernel has added with the address."""
    with veth_pair() as (namespace, _):
        assert configure(namespace, "a", answer("10.1.0.5/24", "", "10.1.0.0/24")) == []


@pytest.mark.parametrize(("address", "route"), [("10.1.0.5/24", "10.9.1.1/16"), ("fd00::5/64", "fd00:9::1/64")])
def test_host_bits_of_a_route_do_not_count(address: str, route: str) -> None:
    """The kernel refuses host bits in IPv4 and clears them in IPv6, where CHECK would not find the route (K5)."""
    with veth_pair() as (namespace, _):
        assert configure(namespace, "a", answer(address, "", route)) == []


def test_with_an_ipv6_address_the_loopback_has_one_too() -> None:
    """Containers without a network have IPv6 off on all devices; IPv4 alone leaves it so."""
    with veth_pair() as (namespace, _):
        namespace.theirs.link("set", index=namespace.index("lo"), state="up")
        namespace.write("net/ipv6/conf/all/disable_ipv6", "1")
        for ips, value in ([FOUR], "1"), ([SIX], "0"):
            assert configure(namespace, "a", newest(ips)) == []
            with Entered(namespace.netns):
                assert Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").read_text().strip() == value


@pytest.mark.parametrize(
    ("ips", "route", "message"),
    [
        ([FOUR], {"dst": "0.0.0.0/0", "gw": "10.9.0.1"},
         "cannot add the route 0.0.0.0/0 via 10.9.0.1: the gateway 10.9.0.1 is in no network of a, which has 10.1.0.5/24"),
        ([{**FOUR, "gateway": "10.9.0.1"}], {"dst": "10.8.0.0/16"},
         "cannot add the route 10.8.0.0/16 via 10.9.0.1: the gateway 10.9.0.1 is in no network of a, which has 10.1.0.5/24"),
        ([SIX], {"dst": "::/0", "gw": "fd09::1"}, "the gateway fd09::1 is in no network of a, which has fd00::5/64"),
        ([SIX], {"dst": "::/0", "gw": "fd00::5"}, "the gateway fd00::5 is the address of a itself"),
        ([FOUR], {"dst": "::/0", "gw": "fd00::1"}, "the gateway fd00::1 is in no network of a, which has no IPv6 address"),
    ],
)  # fmt: skip
def test_a_gateway_that_cannot_be_reached_is_named(ips: list[dict[str, Any]], route: dict[str, Any], message: str) -> None:
    """By its address, with the addresses that the device has."""
    with veth_pair() as (namespace, _):
        said = refusal(namespace, INVALID_CONFIG, newest(ips, route))
        assert message in said
        assert said.endswith("; correct it in ipam")


def test_another_refusal_of_a_route_is_the_kernels() -> None:
    """The gateway is not blamed for it."""
    with veth_pair() as (namespace, _):
        message = refusal(namespace, KERNEL_REFUSED, newest([FOUR], {"dst": "10.9.0.0/16", "scope": 255}))
        assert "cannot add the route 10.9.0.0/16 in" in message
        assert "Invalid scope" in message


@pytest.mark.parametrize(("ip", "dst"), [(FOUR, "10.9.0.0/16"), (SIX, "fd09::/16")])
def test_a_route_with_scope_link_has_no_gateway(ip: dict[str, Any], dst: str) -> None:
    """The gateway of the address is for other routes; CHECK finds both."""
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    with veth_pair() as (namespace, _):
        everything = "::/0" if ":" in dst else "0.0.0.0/0"
        assert configure(namespace, "a", newest([ip], {"dst": dst, "scope": 253}, {"dst": everything})) == []
        routes = routes_of(namespace, family)
        assert (routes[16][0], routes[0][0]) == (None, ip["gateway"])
        assert family == socket.AF_INET6 or routes[16][1] == 253


def test_a_gateway_behind_a_route_on_the_link_works_in_any_order() -> None:
    """A gateway outside the subnet, as some clouds have it."""
    on_link: dict[str, Any] = {"dst": "169.254.1.1/32", "scope": 253}
    default: dict[str, Any] = {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}
    for routes in ([on_link, default], [default, on_link]):
        with veth_pair() as (namespace, _):
            assert configure(namespace, "a", newest([{"address": "10.1.0.5/32"}], *routes)) == []
            assert routes_of(namespace, socket.AF_INET)[0][0] == "169.254.1.1"


def test_scope_link_and_a_gateway_of_its_own_exclude_each_other() -> None:
    """Nothing is set on the device then."""
    with veth_pair() as (namespace, _):
        route = {"dst": "10.9.0.0/16", "gw": "10.1.0.1", "scope": 253}
        message = refusal(namespace, INVALID_CONFIG, newest([FOUR], route))
        assert "the route 10.9.0.0/16 of the IPAM plugin has the gateway 10.1.0.1 and scope 253" in message
        assert "remove one of them" in message
        assert not any(address.family == socket.AF_INET for address in namespace.ours.addresses())


def test_an_mtu_that_is_too_small_for_ipv6_is_refused() -> None:
    """The kernel would answer with "Permission denied" or have no such setting; IPv4 works with it."""
    with veth_pair(mtu=1279) as (namespace, _):
        message = refusal(namespace, INVALID_CONFIG, newest([FOUR, SIX]))
        assert message.startswith(
            "a has the MTU 1279, with which it cannot have fd00::5/64 of the IPAM plugin: IPv6 needs 1280"
        )
        assert namespace.ours.addresses() == []
        assert configure(namespace, "a", newest([FOUR])) == []
    with veth_pair(mtu=1280) as (namespace, _):
        assert configure(namespace, "a", newest([FOUR, SIX])) == []


def test_an_address_that_is_returned_twice_is_named() -> None:
    """In whatever spelling."""
    with veth_pair() as (namespace, _):
        message = refusal(namespace, INVALID_CONFIG, newest([SIX, {"address": "fd00:0::5/64"}]))
        assert message == "the IPAM plugin returned the address fd00:0::5/64 twice; correct its config"
