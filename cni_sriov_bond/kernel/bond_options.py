"""The options of the kernel's bonding driver: their numbers, the names of their values, encoding and decoding."""

import _struct as struct
from _socket import inet_ntop, inet_pton

from cni_sriov_bond.kernel import rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.ports import BondOptions

MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
MODES_WITHOUT_ARP_MONITOR = ("802.3ad", "balance-tlb", "balance-alb")  # bond_options.c, BOND_OPT_ARP_INTERVAL

# Delays that the kernel counts in intervals of miimon. It refuses them without miimon, and rounds them down to a multiple.
DELAYS = ("updelay", "downdelay", "peer_notif_delay")

_NO_YES = ("off", "on")
# Options that make sense in a container: kernel name -> (IFLA_BOND_* number, size in bytes, names of the values 0, 1, 2...).
# Numbers from uapi/linux/if_link.h, names of values from drivers/net/bonding/bond_options.c.
OPTIONS: "dict[str, tuple[int, int, tuple[str, ...]]]" = {
    "mode": (1, 1, MODES),
    "miimon": (3, 4, ()),
    "updelay": (4, 4, ()),
    "downdelay": (5, 4, ()),
    "use_carrier": (6, 1, _NO_YES),
    "arp_interval": (7, 4, ()),
    "arp_validate": (9, 4, ("none", "active", "backup", "all", "filter", "filter_active", "filter_backup")),
    "arp_all_targets": (10, 4, ("any", "all")),
    "primary": (11, 4, ()),  # index of a port, so it is set after the ports are added
    "primary_reselect": (12, 1, ("always", "better", "failure")),
    "fail_over_mac": (13, 1, ("none", "active", "follow")),
    "xmit_hash_policy": (14, 1, ("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac")),
    "resend_igmp": (15, 4, ()),
    "num_peer_notif": (16, 1, ()),
    "all_slaves_active": (17, 1, _NO_YES),
    "min_links": (18, 4, ()),
    "lp_interval": (19, 4, ()),
    "packets_per_slave": (20, 4, ()),
    "lacp_rate": (21, 1, ("slow", "fast")),
    "ad_select": (22, 1, ("stable", "bandwidth", "count")),
    "ad_actor_sys_prio": (24, 2, ()),
    "ad_user_port_key": (25, 2, ()),
    "tlb_dynamic_lb": (27, 1, _NO_YES),
    "peer_notif_delay": (28, 4, ()),
    "lacp_active": (29, 1, _NO_YES),
    "arp_missed_max": (30, 1, ()),
}
# Options that are lists of addresses, encoded as nests: kernel name -> (number, address family).
TARGETS = {"arp_ip_target": (8, rtnetlink.AF_INET), "ns_ip6_target": (31, rtnetlink.AF_INET6)}
_SIZES = {1: "=B", 2: "=H", 4: "=I"}


def encode(options: "BondOptions") -> bytes:
    """Return the IFLA_BOND_* attributes of options."""
    parts = []
    for name, value in options.items():
        if isinstance(value, list):
            number, family = TARGETS[name]
            entries = [rtnetlink.attribute(index, inet_pton(family, ip)) for index, ip in enumerate(value, 1)]
            parts.append(rtnetlink.nest(number, *entries))
        else:
            number, size, _ = OPTIONS[name]
            parts.append(rtnetlink.attribute(number, struct.pack(_SIZES[size], value)))
    return b"".join(parts)


def decode(data: "dict[int, bytes]") -> "BondOptions":
    """Return a bond's options in the form that ``encode`` takes, from its IFLA_BOND_* attributes."""
    options: BondOptions = {}
    for name, (number, _, _) in OPTIONS.items():
        if number in data:
            options[name] = int.from_bytes(data[number], "little")
    for name, (number, family) in TARGETS.items():
        options[name] = [inet_ntop(family, value) for _, value in rtnetlink.attributes(data.get(number, b""))]
    return options


def number_of(options: "BondOptions", name: str) -> int:
    """Return the number of an option, 0 if it is not set."""
    value = options.get(name)
    return value if isinstance(value, int) else 0


def targets_of(options: "BondOptions", name: str) -> list[str]:
    """Return the addresses of an option, an empty list if it is not set."""
    value = options.get(name)
    return value if isinstance(value, list) else []


def mode_of(options: "BondOptions") -> str:
    """Return the name of the mode."""
    return MODES[number_of(options, "mode")]


def words(name: str, value: "int | list[str] | None") -> str:
    """Return an option's value as it is written in a config: by its name if it has one."""
    names = OPTIONS[name][2] if name in OPTIONS else ()
    return names[value] if isinstance(value, int) and value < len(names) else str(value)
