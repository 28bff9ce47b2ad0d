"""What of the bonding options does not go together, told before anything moves.

From Linux 6.10, drivers/net/bonding: ``unsuppmodes`` and the setters of bond_options.c, and bond_changelink of
bond_netlink.c. Some that the kernel takes and then ignores are refused too: who writes them expects something of them.
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

    from cni_sriov_bond.kernel.bond_options import BondOptions

MIIMON = 100  # ms, where the config says nothing
_WITH_ARP = tuple(mode for mode in MODES if mode not in MODES_WITHOUT_ARP_MONITOR)
_WITH_PRIMARY = ("active-backup", "balance-tlb", "balance-alb")
_LACP = ("802.3ad",)
# Options that only some modes have. fail_over_mac, ad_select and lp_interval are taken by the kernel in any, to no effect.
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
    """Return what of the options has the kernel move MACs from port to port while the bond is up, or "" where nothing does.

    Each port of such a bond must have a MAC of its own when it is added (bond_alb.c, alb_handle_addr_collision_on_attach;
    bond_main.c has fail_over_mac follow invent one otherwise), and a NIC lets only a trusted VF change it afterwards.
    """
    mode = mode_of(options)
    if mode in ("balance-tlb", "balance-alb"):
        return f"the mode {mode}"
    return "failOverMac follow" if words("fail_over_mac", number_of(options, "fail_over_mac")) == "follow" else ""


def mistakes(options: "BondOptions", primary: bool, link_monitor: str, invalid: "set[str]") -> list[Issue]:
    """Return everything that does not go together, with the options' kernel names as paths.

    :param primary: whether the config names a primary.
    :param invalid: options that are wrong in themselves, which are told elsewhere and left out of ``options``.
    """
    found = [] if "mode" in invalid else _mode_mistakes(options, primary)
    found += _monitor_mistakes(options, invalid)
    found += _delay_mistakes(options, link_monitor, invalid)
    for name, (_, family) in TARGETS.items():
        found += _target_mistakes(name, targets_of(options, name), family)
    return found


def _mode_mistakes(options: "BondOptions", primary: bool) -> list[Issue]:
    mode = mode_of(options)
    found = []
    for name, modes in _ONLY_IN.items():
        given = primary if name == "primary" else name in options
        if not given or mode in modes or (name == "fail_over_mac" and options[name] == 0):
            continue
        if modes is _WITH_ARP:
            found.append(Issue((name,), f"the mode {mode} has no ARP monitor; leave out {name}"))
        else:
            found.append(Issue((name,), f"the mode {mode} has no {name}, which is one of {' and '.join(modes)}"))
    return found


def _monitor_mistakes(options: "BondOptions", invalid: "set[str]") -> list[Issue]:
    found = []
    if number_of(options, "arp_interval"):
        if not any(targets_of(options, name) or name in invalid for name in TARGETS):
            found.append(Issue(("arp_interval",), "arp_interval needs arp_ip_target or ns_ip6_target: whom to ask"))
        if number_of(options, "miimon"):
            sentence = "arp_interval and miimon exclude each other: the kernel watches by one"
            found.append(Issue(("arp_interval",), sentence))
    elif number_of(options, "arp_validate") and "arp_interval" not in invalid:
        word = words("arp_validate", number_of(options, "arp_validate"))
        sentence = f"arp_validate {word} needs arp_interval and a target: the kernel validates its own questions' answers"
        found.append(Issue(("arp_validate",), sentence))
    return found


def _delay_mistakes(options: "BondOptions", link_monitor: str, invalid: "set[str]") -> list[Issue]:
    named = [name for name in DELAYS if name in options]
    if not named or "miimon" in invalid:
        return []
    every = number_of({"miimon": MIIMON, **options}, "miimon")
    if number_of(options, "arp_interval") or every == 0:
        return [Issue((name,), f"{name} needs miimon: it delays what carrier says") for name in named]
    if link_monitor == "arp":
        sentence = "and linkMonitor arp exclude each other: it delays what carrier says"
        return [Issue((name,), f"{name} {sentence}") for name in named]
    found = []
    for name in named:
        delay = number_of(options, name)
        near = delay // every * every
        if near != delay:
            sentence = f"{name} {delay} is no multiple of miimon {every}, in which the kernel counts; make it {near}"
            found.append(Issue((name,), sentence))
    return found


def _target_mistakes(name: str, targets: list[str], family: int) -> list[Issue]:
    found = []
    seen = set()
    for place, ip in enumerate(targets):
        path = (name, place)
        try:
            octets = inet_pton(family, ip)
        except (OSError, ValueError):
            found.append(Issue(path, f"{name} {ip!r} is no address"))
            continue
        if _UNUSABLE[family](octets):
            found.append(Issue(path, f"{name} {ip} is not the address of one neighbour"))
        if octets in seen:
            found.append(Issue(path, f"{name} {ip} is there twice"))
        seen.add(octets)
    return found


# bonding.h, IS_IP_TARGET_UNUSABLE_ADDRESS and bond_is_ip6_target_ok; and IPv4 multicast, which nobody answers for.
_UNUSABLE: "dict[int, Callable[[bytes], bool]]" = {
    AF_INET: lambda ip: not any(ip) or ip[0] >= 224,
    AF_INET6: lambda ip: (not any(ip[:15]) and ip[15] < 2) or ip[0] == 255,
}
