"""Which gateways a bond asks, and what it costs when none answers. What a bond then monitors is tested in the lab."""

from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from time import monotonic

import pytest

from cni_sriov_bond.plugin import monitor
from cni_sriov_bond.pool.lease import ADDING, READY
from cni_sriov_bond.pool.record import NetnsIdentity
from tests.support import lease, make_pool, veth_pair


def test_a_gateway_is_asked_from_the_address_in_its_network() -> None:
    """A container may have several addresses; a router may ignore a request from an address of another network."""
    cidrs = ["10.1.0.5/24", "10.2.0.5/24", "fd00:2::5/64"]
    gateways = ["10.2.0.1", "10.9.0.1", "fd00:2::1", "fd00:3::1"]
    requests = [(request.family, request.source, request.target) for request in monitor._requests(cidrs, gateways)]

    def sent(family: int, own: str, gateway: str) -> tuple[int, bytes, bytes]:
        return family, inet_pton(family, own), inet_pton(family, gateway)

    assert requests == [
        sent(AF_INET, "10.2.0.5", "10.2.0.1"),
        sent(AF_INET, "10.1.0.5", "10.9.0.1"),
        sent(AF_INET6, "fd00:2::5", "fd00:2::1"),
        sent(AF_INET6, "fd00:2::5", "fd00:3::1"),
    ]
    assert monitor._requests(["10.1.0.5/24"], ["fd00::1"]) == []


@pytest.mark.root
def test_silent_gateways_cost_a_third_of_a_second_once(tmp_path: Path) -> None:
    """Not once for each gateway and device, and the record is unchanged: the bond monitors carrier."""
    with veth_pair() as (left, _):
        taken = lease(make_pool(tmp_path), ifname="a", addresses=["10.0.0.5/24", "fd00::5/64"])
        start = monotonic()
        assert monitor.monitor_path(left.ours, left.netns, taken.record, ["10.0.0.1", "10.0.0.2", "fd00::1"]) == []
        assert 0.3 <= monotonic() - start < 0.6
        assert taken.record.requested.options == {}
        taken.close()


@pytest.mark.root
@pytest.mark.parametrize("cause", ["not ready", "no silent gateway", "namespace gone", "another namespace at its path"])
def test_gateways_are_asked_again_only_for_a_ready_lease_in_its_own_namespace(tmp_path: Path, cause: str) -> None:
    """Else nothing is sent, and no namespace is entered that belongs to another container."""
    with veth_pair() as (left, _):
        path = "/nowhere" if cause == "namespace gone" else left.path
        inode = left.netns.ino + 1 if cause.startswith("another") else left.netns.ino
        taken = lease(make_pool(tmp_path), ifname="a", netns=NetnsIdentity(path, left.netns.dev, inode))
        taken.record.addresses = ["10.0.0.5/24"]
        taken.record.silent_gateways = [] if cause.startswith("no ") else ["10.0.0.1"]
        taken.save(ADDING if cause == "not ready" else READY)
        start = monotonic()
        assert monitor.ask_again(taken) == []
        assert monotonic() - start < 0.3
        taken.close()
