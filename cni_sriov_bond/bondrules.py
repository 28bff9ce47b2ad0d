"""What of the bonding options does not go together, told before anything moves.

From Linux 6.10, drivers/net/bonding: ``unsuppmodes`` and the setters of bond_options.c, and bond_changelink of
bond_netlink.c. Some that the kernel takes and then ignores are refused too: who writes them expects something of them.
"""

from _socket import AF_INET, AF_INET6, inet_pton

from cni_sriov_bond.bonding import MODES, MODES_WITHOUT_ARP_MONITOR, OPTIONS, TARGETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

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
# Delays that are counts of miimon inside the kernel: without it they are refused, and other values are rounded down.
DELAYS = ("updelay", "downdelay", "peer_notif_delay")


def swaps_macs(options: "dict[str, Any]") -> str:
    """Say what of the options has the kernel move MACs from port to port while the bond is up, or "" where nothing does.

    Each port of such a bond must have a MAC of its own when it is added (bond_alb.c, alb_handle_addr_collision_on_attach;
    bond_main.c has fail_over_mac follow invent one otherwise), and a NIC lets only a trusted VF change it afterwards.
    """
    mode = MODES[options["mode"]]
    if mode in ("balance-tlb", "balance-alb"):
        return f"the mode {mode}"
    return "failOverMac follow" if options.get("fail_over_mac") == OPTIONS["fail_over_mac"][2].index("follow") else ""


def mistakes(asked: "dict[str, Any]", link_monitor: str, spoiled: "set[str]") -> list[str]:
    """Say everything that does not go together.

    :param asked: the options by kernel name, as numbers, lists of addresses, and ``primary`` as it is written.
    :param spoiled: options that are wrong in themselves, which are told elsewhere and left out of ``asked``.
    """
    found = [] if "mode" in spoiled else _mode_mistakes(asked)
    found += _monitor_mistakes(asked, spoiled)
    found += _delay_mistakes(asked, link_monitor, spoiled)
    for name, (_, family) in TARGETS.items():
        found += _target_mistakes(name, asked.get(name, []), family)
    return found


def _mode_mistakes(asked: "dict[str, Any]") -> list[str]:
    mode = MODES[asked["mode"]]
    found = []
    for name, modes in _ONLY_IN.items():
        if name not in asked or mode in modes or (name == "fail_over_mac" and asked[name] == 0):
            continue
        if modes is _WITH_ARP:
            found.append(f"the mode {mode} has no ARP monitor; leave out {name}")
        else:
            found.append(f"the mode {mode} has no {name}, which is one of {' and '.join(modes)}")
    return found


def _monitor_mistakes(asked: "dict[str, Any]", spoiled: "set[str]") -> list[str]:
    found = []
    if asked.get("arp_interval"):
        if not any(asked.get(name) or name in spoiled for name in TARGETS):
            found.append("arp_interval needs arp_ip_target or ns_ip6_target: whom to ask")
        if asked.get("miimon"):
            found.append("arp_interval and miimon exclude each other: the kernel watches by one")
    elif asked.get("arp_validate") and "arp_interval" not in spoiled:
        word = OPTIONS["arp_validate"][2][asked["arp_validate"]]
        found.append(f"arp_validate {word} needs arp_interval and a target: the kernel validates its own questions' answers")
    return found


def _delay_mistakes(asked: "dict[str, Any]", link_monitor: str, spoiled: "set[str]") -> list[str]:
    named = [name for name in DELAYS if name in asked]
    if not named or "miimon" in spoiled:
        return []
    if asked.get("arp_interval") or asked.get("miimon") == 0:
        return [f"{name} needs miimon: it delays what carrier says" for name in named]
    if link_monitor == "arp":
        return [f"{name} and linkMonitor arp exclude each other: it delays what carrier says" for name in named]
    every = asked.get("miimon", MIIMON)
    return [
        f"{name} {asked[name]} is no multiple of miimon {every}, in which the kernel counts; make it {near}"
        for name in named
        if (near := asked[name] // every * every) != asked[name]
    ]


def _target_mistakes(name: str, targets: list[str], family: int) -> list[str]:
    found = []
    seen = set()
    for ip in targets:
        try:
            packed = inet_pton(family, ip)
        except (OSError, ValueError):
            found.append(f"{name} {ip!r} is no address")
            continue
        if _UNUSABLE[family](packed):
            found.append(f"{name} {ip} is not the address of one neighbour")
        if packed in seen:
            found.append(f"{name} {ip} is there twice")
        seen.add(packed)
    return found


# bonding.h, IS_IP_TARGET_UNUSABLE_ADDRESS and bond_is_ip6_target_ok; and IPv4 multicast, which nobody answers for.
_UNUSABLE: "dict[int, Callable[[bytes], bool]]" = {
    AF_INET: lambda ip: not any(ip) or ip[0] >= 224,
    AF_INET6: lambda ip: (not any(ip[:15]) and ip[15] < 2) or ip[0] == 255,
}
