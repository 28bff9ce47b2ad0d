"""What a delegate says of addresses and routes, on a device, and how CHECK finds it there."""

import pytest

from cni_sriov_bond.cni import result
from cni_sriov_bond.kernel import addresses
from tests.support import TemporaryNetns, veth_pair

pytestmark = pytest.mark.root


def said(address: str, gateway: str = "", *routes: str) -> result.Result:
    """Give a delegate's answer in our form."""
    ip = {"address": address, "gateway": gateway} if gateway else {"address": address}
    return result.from_json({"cniVersion": "1.0.0", "ips": [ip], "routes": [{"dst": route} for route in routes]}, "1.0.0")


def put(where: TemporaryNetns, name: str, answer: result.Result) -> list[str]:
    link = where.ours.link(name)
    assert link is not None
    taken = addresses.put(where.ours, where.netns, link, answer)
    assert addresses.differences(where.ours, link, answer.ips, answer.routes) == [], "CHECK after ADD"
    return taken


def test_a_second_networks_default_route_is_told() -> None:
    """The first network's stays; who has two networks must learn which of them is the way out."""
    with veth_pair() as (where, _):
        where.theirs.link("add", ifname="c", kind="veth", peer={"ifname": "d"})
        for name in ("c", "d"):
            where.theirs.link("set", index=where.index(name), state="up")
        assert put(where, "a", said("10.1.0.5/24", "10.1.0.1", "0.0.0.0/0")) == []
        [told] = put(where, "c", said("10.2.0.5/24", "10.2.0.1", "0.0.0.0/0"))
        assert told == "the route 0.0.0.0/0 via the gateway is not added to c: a has it already"
        [default] = [route for route in where.theirs.get_routes(family=2) if route["dst_len"] == 0]
        assert default.get("gateway") == "10.1.0.1"


def test_a_route_without_a_device_is_no_failure() -> None:
    """A container may have a blackhole in the place of a route; the ADD is done, and it is told."""
    with veth_pair() as (where, _):
        where.theirs.route("add", dst="10.9.0.0/16", type="blackhole")
        [told] = put(where, "a", said("10.1.0.5/24", "", "10.9.0.0/16"))
        assert told.endswith("is not added to a: another route has it already")


def test_a_route_that_the_device_has_is_nothing_to_tell() -> None:
    """A delegate may list the subnet's own route, which the address brought."""
    with veth_pair() as (where, _):
        assert put(where, "a", said("10.1.0.5/24", "", "10.1.0.0/24")) == []


@pytest.mark.parametrize(("address", "route"), [("10.1.0.5/24", "10.9.1.1/16"), ("fd00::5/64", "fd00:9::1/64")])
def test_host_bits_of_a_route_do_not_count(address: str, route: str) -> None:
    """The kernel refuses them in IPv4 and drops them in IPv6, where CHECK would miss the route ever after (K5)."""
    with veth_pair() as (where, _):
        assert put(where, "a", said(address, "", route)) == []
