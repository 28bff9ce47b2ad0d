"""IPv6 ranges are found in the ipam part of a network, where IPAM plugins have them."""

from typing import Any

import pytest

from cni_sriov_bond.network.ipam_ranges import ipv6_range

SIX, FOUR = "fd00:1::/64", "10.1.0.0/16"


@pytest.mark.parametrize(
    "ipam",
    [
        {"subnet": SIX},
        {"ranges": [[{"subnet": FOUR}], [{"subnet": FOUR}, {"subnet": SIX}]]},
        {"subnets": [{"subnet": SIX}]},
        {"subnets": [{"subnet": FOUR}, {"subnet": SIX, "vlan": 0}]},
        {"addresses": [{"address": "10.1.0.1/16"}, {"address": SIX}]},
        {"range": SIX},
        {"range": "10.1.0.1-10.1.0.9/16", "ipRanges": [{"range": SIX}]},
        {"ipRanges": [{"range": FOUR}, {"range": SIX}]},
    ],
)
def test_the_range_is_returned(ipam: dict[str, Any]) -> None:
    """In the keys of host-local, sriov-bond-ipam, static and whereabouts."""
    assert ipv6_range({"ipam": {"type": "x", **ipam}}) == SIX


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"ipam": {"subnet": SIX}},
        {"ipam": {"type": "", "subnet": SIX}},
        {"ipam": {"type": "x", "subnet": FOUR, "gateway": SIX}},
        {"ipam": {"type": "x", "ranges": [[{"subnet": FOUR}]]}},
        {"vlan": 5, "ipam": {"type": "x", "subnets": [{"subnet": SIX}, {"subnet": FOUR, "vlan": 5}]}},
        {"vlanAllowed": [5], "ipam": {"type": "x", "subnets": [{"subnet": SIX}]}},
        *({"ipam": {"type": "x", **dict.fromkeys(("ranges", "addresses", "subnets", "ipRanges", "subnet"), wrong)}}
          for wrong in (None, 5, "x:", [None], [[None]], [[5]], [{"subnet": 5}], {"subnet": SIX})),
    ],
)  # fmt: skip
def test_what_not_every_attachment_gets_is_no_range(value: dict[str, Any]) -> None:
    """No ipam, no address; ranges of other VLANs do not count, and mistakes are for the IPAM plugin to report."""
    assert ipv6_range(value) == ""


def test_the_ranges_of_the_vlan_count() -> None:
    """An attachment gets no address of another VLAN."""
    subnets = [{"subnet": FOUR}, {"subnet": SIX, "vlan": 5}]
    assert ipv6_range({"vlan": 5, "ipam": {"type": "x", "subnets": subnets}}) == SIX
