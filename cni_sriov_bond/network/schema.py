"""The JSON schema (2020-12) of the plugin's keys in a network config.

The plugin's check, `sriov-bondctl check` and the option table in docs/reference.md use ``NETWORK``. The values of bonding
options come from kernel/bond_options.
"""

from cni_sriov_bond.kernel.bond_options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.schema import Schema


def _number(description: str, minimum: int, maximum: int) -> "Schema":
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "description": description}


def _choice(description: str, *values: str) -> "Schema":
    return {"type": "string", "enum": list(values), "description": description}


def _option(name: str, description: str) -> "Schema":
    """Return a bonding option whose value may be written as the kernel's name or number for it."""
    names = OPTIONS[name][2]
    return {"enum": [*names, *range(len(names))], "description": description}


def _milliseconds(description: str) -> "Schema":
    return _number(f"{description}, in ms", 0, 600000)


# Options of bond-cni: its names, and those of the kernel.
BOND_CNI = {
    "failOverMac": "fail_over_mac",
    "xmitHashPolicy": "xmit_hash_policy",
    "allSlavesActive": "all_slaves_active",
    "tlbDynamicLb": "tlb_dynamic_lb",
    "lacpRate": "lacp_rate",
}

NETWORK: "Schema" = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "sriov-bond network",
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "description": "sriov-bond"},
        "pool": {
            "type": "string",
            "minLength": 1,
            "description": "pool of /etc/cni/sriov-bond.toml to lease from; optional if the host has one pool",
        },
        "deviceID": {
            "type": "string",
            "minLength": 1,
            "description": "bond to lease instead of the first free one: its name, or the PCI address of one of its VFs",
        },
        "stateDir": {
            "type": "string",
            "minLength": 1,
            "description": "directory of pools and leases; default: /var/lib/cni/sriov-bond",
        },
        "vlan": _number("VLAN of every port, set through its PF; absent: unchanged, 0: untagged", 0, 4094),
        "vlanAllowed": {
            "type": "array",
            "items": {"format": "VLANs and ranges like 100-199"},
            "minItems": 1,
            "maxItems": 4096,
            "description": "VLANs that an attachment may request instead",
        },
        "vlanQoS": _number("VLAN priority", 0, 7),
        "vlanProto": _choice("VLAN protocol", "802.1q", "802.1ad", "802.1Q", "802.1AD"),
        "mac": {
            "type": "string",
            "format": "mac",
            "description": "MAC of the bond and its ports, instead of the pool's",
        },
        "spoofchk": _choice(
            "spoof check: the NIC drops frames with another source MAC; default: on; leave: unchanged", "on", "off", "leave"
        ),
        "trust": _choice(
            "the container may change its MAC and be promiscuous; default: off; leave: unchanged", "on", "off", "leave"
        ),
        "link_state": _choice("link state of the VF, set through its PF", "auto", "enable", "disable"),
        "min_tx_rate": _number("minimum transmit rate of each port, in Mbit/s; 0: none", 0, 1000000),
        "max_tx_rate": _number("maximum transmit rate of each port, in Mbit/s; 0: no limit", 0, 1000000),
        "mtu": _number("MTU of the bond and its ports, in bytes; at most the MTU of the PFs", 68, 65535),
        "acceptRA": {
            "type": "boolean",
            "description": "take addresses and routes from router advertisements; default: false, and unchanged without ipam",
        },
        "mode": _option("mode", "mode of the bond; default: balance-xor"),
        "linkMonitor": _choice(
            "link monitor: carrier (mii), ARP and neighbour discovery (arp), or what the driver needs (auto, the default)",
            "auto",
            "mii",
            "arp",
        ),
        "miimon": _milliseconds("carrier polling interval"),
        "use_carrier": _option("use_carrier", "read carrier from the device state instead of by ioctl"),
        "updelay": _milliseconds("delay before a port with carrier is used again, a multiple of miimon"),
        "downdelay": _milliseconds("delay before a port without carrier is disabled, a multiple of miimon"),
        "arp_interval": _milliseconds("interval of ARP monitoring"),
        "arp_ip_target": {
            "type": "array",
            "items": {"type": "string", "format": "ipv4"},
            "minItems": 1,
            "maxItems": 16,
            "description": "IPv4 targets of ARP monitoring",
        },
        "ns_ip6_target": {
            "type": "array",
            "items": {"type": "string", "format": "ipv6"},
            "minItems": 1,
            "maxItems": 16,
            "description": "IPv6 targets of ARP monitoring; Linux 5.19 or newer",
        },
        "arp_validate": _option("arp_validate", "ports whose ARP answers are validated"),
        "arp_all_targets": _option("arp_all_targets", "targets that must answer for a port to be up"),
        "arp_missed_max": _number("unanswered intervals after which a port is down", 1, 255),
        "primary": {
            "type": "string",
            "minLength": 1,
            "description": "port to use while it is up: A or B for the first or second NIC of the pool, or the name of a port",
        },
        "primary_reselect": _option("primary_reselect", "when the primary becomes active again after a failure"),
        **{alias: _option(name, f"alias of {name}, as in bond-cni") for alias, name in BOND_CNI.items()},
        "fail_over_mac": _option(
            "fail_over_mac",
            "MAC of the bond: the same on all ports (none), that of the active port (active, the default), or moved to it "
            "(follow); active-backup only",
        ),
        "xmit_hash_policy": _option(
            "xmit_hash_policy", "hash that selects the port of a frame; default for balance-xor: layer3+4"
        ),
        "min_links": _number("ports that must be up for the bond to be up; at most as many as the pool has NICs", 0, 16),
        "num_peer_notif": _number("gratuitous ARP and neighbour advertisements after a failover", 0, 255),
        "num_grat_arp": _number("alias of num_peer_notif", 0, 255),
        "num_unsol_na": _number("alias of num_peer_notif", 0, 255),
        "peer_notif_delay": _number("interval of these announcements, in ms, a multiple of miimon", 0, 300000),
        "resend_igmp": _number("IGMP reports after a failover", 0, 255),
        "all_slaves_active": _option("all_slaves_active", "accept frames on inactive ports"),
        "packets_per_slave": _number("packets to send on a port before the next port; 0: random; balance-rr only", 0, 65535),
        "lacp_active": _option("lacp_active", "LACP active mode; 802.3ad only"),
        "lacp_rate": _option(
            "lacp_rate", "rate at which the partner sends LACP frames: every 30 s (slow) or every second (fast); 802.3ad only"
        ),
        "ad_select": _option("ad_select", "selection of the active aggregator; 802.3ad only"),
        "ad_actor_sys_prio": _number("LACP system priority; 802.3ad only", 1, 65535),
        "ad_user_port_key": _number("upper bits of the LACP port key; 802.3ad only", 0, 1023),
        "tlb_dynamic_lb": _option("tlb_dynamic_lb", "move flows to a less loaded port; balance-tlb and balance-alb only"),
        "lp_interval": _number("interval of learning packets, in s; balance-tlb and balance-alb only", 1, 0x7FFFFFFF),
        "ipam": {
            "type": "object",
            "properties": {"type": {"type": "string"}},
            "description": "IPAM plugin and its keys; absent, or without type: no addresses",
        },
        "logLevel": _choice("log level; default: warning", "panic", "fatal", "error", "warning", "info", "debug"),
        "logFile": {"type": "string", "description": "file to log to, instead of standard error"},
        "dns": {"type": "object", "description": "DNS settings of the result, instead of those of the IPAM plugin"},
        "prevResult": {"type": "object", "description": "result of the previous plugin, set by the runtime"},
    },
}
