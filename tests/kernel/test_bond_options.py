"""Bonding options are encoded as pyroute2 encodes them, decoded, and named as in a config."""

from socket import AF_INET
from typing import TYPE_CHECKING, Any

import pytest

from cni_sriov_bond.kernel import bond_options, rtnetlink
from tests.kernel.messages import bond_attributes, newlink, require_same

if TYPE_CHECKING:
    from cni_sriov_bond.ports import BondOptions


@pytest.mark.parametrize("name", [*bond_options.OPTIONS, *bond_options.TARGETS])
def test_an_option_is_encoded_as_by_pyroute2(name: str) -> None:
    """Each has the number and size that it has in pyroute2 and in the kernel."""
    if name in bond_options.TARGETS:
        family = bond_options.TARGETS[name][1]
        value: Any = ["10.0.0.1", "10.0.0.254"] if family == AF_INET else ["fd00::1", "fe80::2"]
    else:
        value = {1: 0x81, 2: 0x8182, 4: 0x81828384}[bond_options.OPTIONS[name][1]]
    body = rtnetlink.bond_change_body(5, bond_options.encode({name: value}))
    require_same(body, (rtnetlink.RTM_NEWLINK, rtnetlink.NLM_ACK), {"index": 5}, [bond_attributes({name: value})])


def test_the_options_of_a_bond_are_decoded() -> None:
    """From a device as pyroute2 encodes it."""
    options: dict[str, Any] = dict.fromkeys(bond_options.OPTIONS, 1)
    options.update(miimon=100, ad_actor_sys_prio=65535, arp_ip_target=["10.0.0.1", "10.0.0.2"], ns_ip6_target=["fd00::1"])
    link = rtnetlink.parse_link(newlink([("IFLA_IFNAME", "eth0"), bond_attributes(options)], index=2))
    assert (link.kind, link.up, link.carrier) == ("bond", False, False)
    assert bond_options.decode(link.bond_data) == options


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("mode", 4, "802.3ad"),
        ("lacp_rate", 1, "fast"),
        ("lacp_rate", 7, "7"),  # of a newer kernel
        ("miimon", 100, "100"),
        ("arp_ip_target", ["10.0.0.1"], "['10.0.0.1']"),
        ("updelay", None, "None"),
    ],
)
def test_a_value_has_the_name_that_a_config_uses(name: str, value: "int | list[str] | None", text: str) -> None:
    assert bond_options.words(name, value) == text


def test_options_that_are_not_set() -> None:
    """They have the kernel's default: number 0, no addresses, the first mode."""
    options: BondOptions = {"mode": 1, "miimon": 100, "arp_ip_target": ["10.0.0.1"]}
    assert [bond_options.number_of(options, name) for name in ("miimon", "updelay", "arp_ip_target")] == [100, 0, 0]
    assert [bond_options.targets_of(options, name) for name in ("arp_ip_target", "ns_ip6_target")] == [["10.0.0.1"], []]
    assert [bond_options.mode_of(value) for value in (options, {})] == ["active-backup", "balance-rr"]
