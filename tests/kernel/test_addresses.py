"""Addresses and routes of an IPAM result are set on a device, and CHECK finds them there."""

import pytest

from cni_sriov_bond.cni import result
from cni_sriov_bond.kernel import addresses
from tests.support import TemporaryNetns, veth_pair

pytestmark = pytest.mark.root


def answer(address: str, gateway: str = "", *routes: str) -> result.Result:
    """Return the result of an IPAM plugin."""
    ip = {"address": address, "gateway": gateway} if gateway else {"address": address}
    return result.from_json({"cniVersion": "1.0.0", "ips": [ip], "routes": [{"dst": route} for route in routes]}, "1.0.0")


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
        assert message == "the route 0.0.0.0/0 via the gateway is not added to c: a already has it"
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
