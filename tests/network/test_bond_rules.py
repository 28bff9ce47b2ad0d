"""Bonding options that exclude each other are refused before a bond is leased."""

from typing import TYPE_CHECKING, Any

import pytest

from cni_sriov_bond.network import bond_rules
from tests.network.configs import network, refusal

if TYPE_CHECKING:
    from cni_sriov_bond.ports import BondOptions

# Options of mode 802.3ad alone.
LACP = {"lacp_active": "off", "lacp_rate": 1, "ad_select": "count", "ad_actor_sys_prio": 1, "ad_user_port_key": 1023}
ARP = {"arp_interval": 100, "arp_ip_target": ["10.0.0.1"]}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"mode": "active-backup", "packets_per_slave": 1},
            "has no packets_per_slave; remove it, or use mode balance-rr",
        ),
        (
            {"primary": "A"},
            "mode balance-xor has no primary; remove it, or use mode active-backup or balance-tlb or",
        ),
        ({"mode": "balance-rr", "failOverMac": "active"}, "mode balance-rr has no fail_over_mac"),
        *(
            ({"mode": "active-backup", key: value}, f"has no {key}; remove it, or use mode 802.3ad")
            for key, value in LACP.items()
        ),
        ({"mode": "balance-rr", "tlb_dynamic_lb": 0}, "has no tlb_dynamic_lb"),
        ({"mode": "active-backup", "lp_interval": 1}, "has no lp_interval"),
        ({"mode": "802.3ad", "arp_interval": 0}, "mode 802.3ad has no ARP monitor; remove arp_interval"),
        ({"mode": "balance-tlb"}, "mode balance-tlb moves MACs between ports, which NICs allow only to trusted VFs"),
        ({"mode": 6, "trust": "off"}, "mode balance-alb moves MACs between ports"),
        ({"mode": "active-backup", "failOverMac": "follow"}, "failOverMac follow moves MACs between ports"),
        ({"mode": "balance-tlb", "arp_validate": "none"}, "has no ARP monitor; remove arp_validate"),
        ({"mode": "balance-alb", "arp_missed_max": 3}, "has no ARP monitor; remove arp_missed_max"),
        ({"arp_validate": "all"}, "arp_validate all needs arp_interval and a target"),
        ({**ARP, "updelay": 100}, "updelay needs miimon"),
        ({"miimon": 0, "downdelay": 100}, "downdelay needs miimon"),
        ({"peer_notif_delay": 100, "linkMonitor": "arp"}, "peer_notif_delay and linkMonitor arp exclude each other"),
        ({"updelay": 150}, "updelay 150 is not a multiple of miimon 100, to which the kernel rounds down; use 100"),
        (
            {"miimon": 80, "downdelay": 200},
            "downdelay 200 is not a multiple of miimon 80, to which the kernel rounds down; use 160",
        ),
        (
            {"mode": "active-backup", "failOverMac": 1, "fail_over_mac": 2},
            "failOverMac 1 and fail_over_mac 2 are the same option",
        ),
        ({"num_grat_arp": 1, "num_peer_notif": 2}, "num_grat_arp 1 and num_peer_notif 2 are the same option"),
        ({"arp_ip_target": ["10.0.0.1", "10.0.0.1"]}, "arp_ip_target 10.0.0.1 is listed twice"),
        (
            {"arp_ip_target": ["0.0.0.0"]},
            "arp_ip_target 0.0.0.0 is not a possible target; use the unicast address of a neighbour",
        ),
        (
            {"arp_ip_target": ["224.0.0.1"]},
            "arp_ip_target 224.0.0.1 is not a possible target; use the unicast address of a neighbour",
        ),
        (
            {"arp_ip_target": ["255.255.255.255"]},
            "arp_ip_target 255.255.255.255 is not a possible target; use the unicast address of a neighbour",
        ),
        ({"ns_ip6_target": ["fd00::1", "fd00:0::1"]}, "ns_ip6_target fd00:0::1 is listed twice"),
        ({"ns_ip6_target": ["::"]}, "ns_ip6_target :: is not a possible target; use the unicast address of a neighbour"),
        ({"ns_ip6_target": ["::1"]}, "ns_ip6_target ::1 is not a possible target; use the unicast address of a neighbour"),
        (
            {"ns_ip6_target": ["ff02::1"]},
            "ns_ip6_target ff02::1 is not a possible target; use the unicast address of a neighbour",
        ),
        ({"arp_ip_target": ["10.0.0.256"]}, "arp_ip_target '10.0.0.256' is not an address"),
        ({"arp_ip_target": ["fd00::1"]}, "arp_ip_target 'fd00::1' is not an address"),
        ({"arp_ip_target": ["10.0.0.1\0"]}, "is not an address"),
        ({"ns_ip6_target": ["10.0.0.1"]}, "ns_ip6_target '10.0.0.1' is not an address"),
        ({"arp_interval": 100}, "arp_interval needs a target"),
        ({"arp_interval": 100, "miimon": 100, "arp_ip_target": ["10.0.0.1"]}, "arp_interval and miimon exclude"),
        ({"arp_interval": 100, "mode": "802.3ad", "arp_ip_target": ["10.0.0.1"]}, "mode 802.3ad has no ARP monitor"),
        ({"arp_interval": 100, "mode": "balance-alb", "arp_ip_target": ["10.0.0.1"]}, "balance-alb has no ARP monitor"),
        ({"miimon": "9" * 20}, "miimon must be from 0 to 600000"),
        ({"miimon": "-1"}, "miimon must be a whole number"),
        ({"miimon": "\u0661"}, "miimon must be a whole number"),
        ({"failOverMac": 3}, "failOverMac must be one of"),
        ({"failOverMac": "3"}, "failOverMac must be one of"),
        ({"mode": "7"}, "mode must be one of"),
    ],
)
def test_options_that_the_kernel_would_refuse_are_refused_before(keys: dict[str, Any], expected: str) -> None:
    """The rules are those of bond_options.c; values that it would silently round or ignore are refused too."""
    assert expected in refusal(**keys)


def test_valid_targets_next_to_invalid_ones_are_accepted() -> None:
    """Only the first or last byte tells whether an address can be a target."""
    targets = {"arp_ip_target": ["223.255.255.255", "0.0.0.1"], "ns_ip6_target": ["fe80::1", "::2", "100::", "fe00::"]}
    assert {name: network(**targets).bond[name] for name in targets} == targets


def test_an_issue_has_the_path_of_the_option() -> None:
    """A conflict between options is reported at one of them, by its kernel name."""
    options: BondOptions = {
        "mode": 2, "arp_interval": 100, "miimon": 100, "arp_ip_target": ["10.0.0.1", "x"], "arp_validate": 3, "updelay": 50,
    }  # fmt: skip
    issues = bond_rules.conflicts(options, True, "auto", set())
    assert [issue.path for issue in issues] == [("primary",), ("arp_interval",), ("updelay",), ("arp_ip_target", 1)]
    assert issues[-1].sentence == "arp_ip_target 'x' is not an address"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mode": "active-backup"}, "active"),
        ({"mode": "active-backup", "failOverMac": "none"}, "none"),
        ({"mode": "active-backup", "fail_over_mac": "follow", "trust": "on"}, "follow"),
        ({"mode": "balance-xor"}, None),
        ({}, None),
    ],
)
def test_the_ports_of_active_backup_have_their_own_macs_by_default(config: dict[str, Any], expected: str | None) -> None:
    """With one MAC on both ports, containers of a host that are active on different NICs cannot reach each other."""
    options = network(**config).bond
    assert options.get("fail_over_mac") == (None if expected is None else ["none", "active", "follow"].index(expected))
    assert bond_rules.moves_its_mac(options) == (expected == "active")
