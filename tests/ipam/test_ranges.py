"""Which addresses of a range are allocated, and in which order."""

import random
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import ADDRESS_REFUSED, TRY_AGAIN_LATER
from tests.ipam import calls


def allocate(data: Path, attachments: int, **config: Any) -> list[str]:
    """Return the addresses of so many attachments, without prefix length."""
    answers = [calls.call("ADD", calls.network(data, **config), f"c{number}") for number in range(attachments)]
    assert {answer.code for answer in answers} <= {0, TRY_AGAIN_LATER}
    return [ip.partition("/")[0] for answer in answers for ip in answer.ips]


@pytest.mark.parametrize("subnet", ["10.1.0.0/27", "10.1.0.32/28", "192.168.1.4/30", "fd00::/123", "fd00::/126"])
def test_network_broadcast_and_gateway_are_never_allocated(tmp_path: Path, subnet: str) -> None:
    """All addresses of a subnet are allocated once, except its own, its gateway and, of IPv4, the broadcast address."""
    net = ip_network(subnet)
    addresses = allocate(
        tmp_path, net.num_addresses + 2, subnet=subnet, gateway=str(net[2]), rangeStart=str(net[0]), rangeEnd=str(net[-1])
    )
    excluded = {net[0], net[2], *([net[-1]] if net.version == 4 else [])}
    assert [ip_address(text) for text in addresses] == sorted(set(net) - excluded)


@pytest.mark.parametrize(
    ("subnet", "config", "expected"),
    [
        ("10.1.0.4/31", {}, ["10.1.0.4", "10.1.0.5"]),
        ("10.1.0.4/31", {"gateway": "10.1.0.4"}, ["10.1.0.5"]),
        ("10.1.0.9/32", {}, ["10.1.0.9"]),
        ("10.1.0.9/32", {"gateway": "169.254.1.1"}, ["10.1.0.9"]),
        ("fd00::6/127", {}, ["fd00::6", "fd00::7"]),
        ("fd00::6/128", {}, ["fd00::6"]),
    ],
)
def test_subnets_of_two_and_of_one(tmp_path: Path, subnet: str, config: dict[str, str], expected: list[str]) -> None:
    """/31 (RFC 3021), /127 (RFC 6164), /32 and /128 have no address of their own, and a gateway only if one is named."""
    assert allocate(tmp_path, 3, subnet=subnet, **config) == expected
    answer = calls.call("ADD", calls.network(tmp_path, "other", subnet=subnet, **config))
    assert answer.document["ips"][0].get("gateway") == config.get("gateway")


def test_excluded_addresses_are_not_allocated(tmp_path: Path) -> None:
    """Neither as the next one nor on request; single addresses, networks, and what is outside of the range."""
    config: dict[str, Any] = {"subnet": "10.1.0.0/28", "exclude": ["10.1.0.4/30", "10.1.0.9", "10.1.0.14", "fd00::/8"]}
    assert allocate(tmp_path, 20, **config) == [f"10.1.0.{number}" for number in (2, 3, 8, 10, 11, 12, 13)]
    assert calls.call("ADD", calls.network(tmp_path, "other", **config), args="IP=10.1.0.5").code == ADDRESS_REFUSED


def test_overlapping_exclusions_and_gateways_leave_the_rest(tmp_path: Path) -> None:
    """An address remains if no exclusion and no gateway covers it, in whatever order they are written."""
    dice = random.Random(7)
    for number in range(150):
        net = ip_network("10.1.0.0/27")
        excluded = [f"{net[dice.randrange(32)]}{dice.choice(('', '/30', '/31', '/29'))}" for _ in range(dice.randrange(6))]
        first, last = sorted((dice.randrange(32), dice.randrange(32)))
        gateway = str(net[dice.randrange(32)])
        config = {"subnet": str(net), "rangeStart": str(net[first]), "rangeEnd": str(net[last]), "gateway": gateway}
        addresses = allocate(tmp_path / str(number), 33, **config, exclude=excluded)
        removed = {address for text in excluded for address in ip_network(text, strict=False)}
        left = set(list(net)[max(first, 1) : min(last, 30) + 1]) - removed - {ip_address(gateway)}
        assert [ip_address(text) for text in addresses] == sorted(left), config


def test_a_freed_address_is_allocated_last(tmp_path: Path) -> None:
    """Next is the address that was free for the longest time, so that neighbour caches of its last owner expire."""
    value = calls.network(tmp_path, subnet="10.1.0.0/29")
    assert calls.call("ADD", value, "a").ips == ["10.1.0.2/29"]
    for expected in (3, 4, 5, 6, 3):
        assert calls.call("ADD", value, "b").ips == [f"10.1.0.{expected}/29"]
        calls.call("DEL", value, "b")
    calls.call("DEL", value, "a")
    assert [calls.call("ADD", value, cid).ips for cid in "cdef"] == [[f"10.1.0.{number}/29"] for number in (4, 5, 6, 2)]


def test_a_large_ipv6_range_and_a_requested_address_in_it(tmp_path: Path) -> None:
    """2^120 addresses are no more work than two. A distant one may be requested, and the next one follows it."""
    value = calls.network(tmp_path, subnet="fd00::/8")
    assert calls.call("ADD", value, "a").ips == ["fd00::2/8"]
    assert calls.call("ADD", value, "b", args="IP=fdff:ffff::ffff").ips == ["fdff:ffff::ffff/8"]
    assert calls.call("ADD", value, "c").ips == ["fdff:ffff::1:0/8"]
