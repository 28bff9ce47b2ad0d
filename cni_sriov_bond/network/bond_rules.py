"""Bonding options that exclude each other, so that a config is refused before a bond is leased.

The rules are those of Linux 6.10, drivers/net/bonding: ``unsuppmodes`` and the setters of bond_options.c, and bond_changelink
of bond_netlink.c. Options that the kernel accepts and ignores are refused too, because they would have no effect.
"""

from _socket import AF_INET, AF_INET6, inet_pton

from cni_sriov_bond.errors import Issue
from cni_sriov_bond.kernel.bond_options import (
    DELAYS,
    MODES,
    MODES_WITHOUT_ARP_MONITOR,
    TARGETS,
    mode_of,
    number_of,
    targets_of,
    words,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.ports import BondOptions

MIIMON = 100  # ms, the default
_WITH_ARP = tuple(mode for mode in MODES if mode not in MODES_WITHOUT_ARP_MONITOR)
_WITH_PRIMARY = ("active-backup", "balance-tlb", "balance-alb")
_LACP = ("802.3ad",)
# Options of some modes only. The kernel accepts fail_over_mac, ad_select and lp_interval in every mode, without effect.
_ONLY_IN = {
    "packets_per_slave": ("balance-rr",),
    "primary": _WITH_PRIMARY,
    "fail_over_mac": ("active-backup",),
    "lacp_rate": _LACP,
    "lacp_active": _LACP,
    "ad_select": _LACP,
    "ad_actor_sys_prio": _LACP,
    "ad_user_port_key": _LACP,
    "tlb_dynamic_lb": ("balance-tlb", "balance-alb"),
    "lp_interval": ("balance-tlb", "balance-alb"),
    "arp_interval": _WITH_ARP,
    "arp_validate": _WITH_ARP,
    "arp_missed_max": _WITH_ARP,
}


def swaps_macs(options: "BondOptions") -> str:
    """Return the option with which the kernel moves MACs between ports while the bond is up, or "".

    Each port of such a bond must have its own MAC when it is added (bond_alb.c, alb_handle_addr_collision_on_attach; with
    fail_over_mac follow, bond_main.c else generates one). Later only a trusted VF may change its MAC.
    """
    mode = mode_of(options)
    if mode in ("balance-tlb", "balance-alb"):
        return f"mode {mode}"
    return "failOverMac follow" if words("fail_over_mac", number_of(options, "fail_over_mac")) == "follow" else ""


def moves_its_mac(options: "BondOptions") -> bool:
    """Return whether the bond has the MAC of its active port, and each port keeps its own (fail_over_mac active).

    With one MAC on both ports, a NIC delivers a frame for another bond of the host to the inactive VF of that bond, which
    drops it, and never sends it to the wire. So two bonds that are active on different NICs could not reach each other.
    """
    return mode_of(options) == "active-backup" and words("fail_over_mac", number_of(options, "fail_over_mac")) == "active"


def conflicts(options: "BondOptions", primary: bool, link_monitor: str, invalid: "set[str]") -> list[Issue]:
    """Return the issues of options that exclude each other; a path has the kernel name of an option.

    :param primary: whether the config has a primary, which is not among the options yet.
    :param invalid: names of options that the schema refused. They are not in ``options``, and not missing either.
    """
    problems = [] if "mode" in invalid else _mode_conflicts(options, primary)
    problems += _monitor_conflicts(options, invalid)
    problems += _delay_conflicts(options, link_monitor, invalid)
    for name, (_, family) in TARGETS.items():
        problems += _target_issues(name, targets_of(options, name), family)
    return problems


def _mode_conflicts(options: "BondOptions", primary: bool) -> list[Issue]:
    mode = mode_of(options)
    problems = []
    for name, modes in _ONLY_IN.items():
        present = primary if name == "primary" else name in options
        if not present or mode in modes or (name == "fail_over_mac" and options[name] == 0):
            continue
        if modes is _WITH_ARP:
            problems.append(Issue((name,), f"mode {mode} has no ARP monitor; remove {name}"))
        else:
            problems.append(Issue((name,), f"mode {mode} has no {name}; remove it, or use mode {' or '.join(modes)}"))
    return problems


def _monitor_conflicts(options: "BondOptions", invalid: "set[str]") -> list[Issue]:
    problems = []
    if number_of(options, "arp_interval"):
        if not any(targets_of(options, name) or name in invalid for name in TARGETS):
            problems.append(Issue(("arp_interval",), "arp_interval needs a target: add arp_ip_target or ns_ip6_target"))
        if number_of(options, "miimon"):
            sentence = "arp_interval and miimon exclude each other: the kernel has one link monitor at a time"
            problems.append(Issue(("arp_interval",), sentence))
    elif number_of(options, "arp_validate") and "arp_interval" not in invalid:
        value = words("arp_validate", number_of(options, "arp_validate"))
        sentence = f"arp_validate {value} needs arp_interval and a target: it validates packets of the ARP monitor"
        problems.append(Issue(("arp_validate",), sentence))
    return problems


def _delay_conflicts(options: "BondOptions", link_monitor: str, invalid: "set[str]") -> list[Issue]:
    delays = [name for name in DELAYS if name in options]
    if not delays or "miimon" in invalid:
        return []
    miimon = number_of({"miimon": MIIMON, **options}, "miimon")
    if number_of(options, "arp_interval") or miimon == 0:
        return [Issue((name,), f"{name} needs miimon: it delays changes of carrier") for name in delays]
    if link_monitor == "arp":
        sentence = "and linkMonitor arp exclude each other: it delays changes of carrier"
        return [Issue((name,), f"{name} {sentence}") for name in delays]
    problems = []
    for name in delays:
        delay = number_of(options, name)
        rounded = delay // miimon * miimon
        if rounded != delay:
            sentence = f"{name} {delay} is not a multiple of miimon {miimon}, to which the kernel rounds down; use {rounded}"
            problems.append(Issue((name,), sentence))
    return problems


def _target_issues(name: str, targets: list[str], family: int) -> list[Issue]:
    problems = []
    seen = set()
    for index, ip in enumerate(targets):
        path = (name, index)
        try:
            octets = inet_pton(family, ip)
        except (OSError, ValueError):
            problems.append(Issue(path, f"{name} {ip!r} is not an address"))
            continue
        if _UNUSABLE[family](octets):
            problems.append(Issue(path, f"{name} {ip} is not a possible target; use the unicast address of a neighbour"))
        if octets in seen:
            problems.append(Issue(path, f"{name} {ip} is listed twice"))
        seen.add(octets)
    return problems


# bonding.h, IS_IP_TARGET_UNUSABLE_ADDRESS and bond_is_ip6_target_ok; and IPv4 multicast, for which no host answers ARP.
_UNUSABLE: "dict[int, Callable[[bytes], bool]]" = {
    AF_INET: lambda ip: not any(ip) or ip[0] >= 224,
    AF_INET6: lambda ip: (not any(ip[:15]) and ip[15] < 2) or ip[0] == 255,
}
