"""The JSON schema (2020-12) of the plugin's part of a network config.

``NETWORK`` is the one place where keys are listed: the plugin's check, the option table in docs/ and the check of the samples
all come from it. The words of a bonding option come from ``bonding``.
"""

from cni_sriov_bond.kernel.bond_options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.schema import Schema


def _number(description: str, least: int, most: int) -> "Schema":
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def _word(description: str, *values: str) -> "Schema":
    return {"type": "string", "enum": list(values), "description": description}


def _option(name: str, description: str) -> "Schema":
    """Return a bonding option that may be written as its word or as the kernel's number for it."""
    words = OPTIONS[name][2]
    return {"enum": [*words, *range(len(words))], "description": description}


def _milliseconds(description: str) -> "Schema":
    return _number(f"{description}, in ms", 0, 600000)


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
            "description": "the pool of /etc/cni/sriov-bond.toml to lease from; may be left out where there is one pool",
        },
        "deviceID": {
            "type": "string",
            "minLength": 1,
            "description": "the bond to lease instead of the first free one: its name, or the PCI address of one of its VFs",
        },
        "stateDir": {
            "type": "string",
            "minLength": 1,
            "description": "where pools and leases are kept (/var/lib/cni/sriov-bond)",
        },
        "vlan": _number("VLAN of every port, set through its PF: absent leaves the VF alone, 0 is untagged", 0, 4094),
        "vlanAllowed": {
            "type": "array",
            "items": {"format": "VLANs and ranges like 100-199"},
            "minItems": 1,
            "maxItems": 4096,
            "description": "which VLANs an attachment may choose instead",
        },
        "vlanQoS": _number("VLAN priority", 0, 7),
        "vlanProto": _word("VLAN protocol", "802.1q", "802.1ad", "802.1Q", "802.1AD"),
        "mac": {
            "type": "string",
            "format": "mac",
            "description": "MAC of the bond and its ports instead of the pool's",
        },
        "spoofchk": _word("whether the NIC drops frames with a foreign source MAC", "on", "off"),
        "trust": _word("whether the container may change its MAC and be promiscuous", "on", "off"),
        "link_state": _word("the VF's link as the PF shows it", "auto", "enable", "disable"),
        "min_tx_rate": _number("least transmit rate of each port, in Mbit/s, 0 for none", 0, 1000000),
        "max_tx_rate": _number("most transmit rate of each port, in Mbit/s, 0 for none", 0, 1000000),
        "mtu": _number("MTU of the bond and its ports, in bytes; at most that of the PFs", 68, 65535),
        "mode": _option("mode", "how the bond uses its two ports"),
        "linkMonitor": _word("how a dead path is noticed: by carrier, by ARP, or what fits (auto)", "auto", "mii", "arp"),
        "miimon": _milliseconds("how often carrier is looked at"),
        "use_carrier": _option("use_carrier", "whether carrier is asked of the driver's state, not by ioctl"),
        "updelay": _milliseconds("how long a port waits before it is used again; a multiple of miimon"),
        "downdelay": _milliseconds("how long a port is used after its carrier went; a multiple of miimon"),
        "arp_interval": _milliseconds("how often targets are asked"),
        "arp_ip_target": {
            "type": "array",
            "items": {"type": "string", "format": "ipv4"},
            "minItems": 1,
            "maxItems": 16,
            "description": "IPv4 addresses that the ARP monitor asks for",
        },
        "ns_ip6_target": {
            "type": "array",
            "items": {"type": "string", "format": "ipv6"},
            "minItems": 1,
            "maxItems": 16,
            "description": "IPv6 addresses that the ARP monitor asks for (Linux 5.19)",
        },
        "arp_validate": _option("arp_validate", "whose answers count as a sign of life"),
        "arp_all_targets": _option("arp_all_targets", "how many targets must answer a port"),
        "arp_missed_max": _number("how many unanswered rounds take a port down", 1, 255),
        "primary": {
            "type": "string",
            "minLength": 1,
            "description": "the port to use while it is up: A or B for the pool's first or second NIC, or a port's host name",
        },
        "primary_reselect": _option("primary_reselect", "when the primary is used again after a failure"),
        "failOverMac": _option("fail_over_mac", "whose MAC the bond shows (fail_over_mac)"),
        "fail_over_mac": _option("fail_over_mac", "whose MAC the bond shows; active-backup only"),
        "xmit_hash_policy": _option("xmit_hash_policy", "what chooses a port"),
        "min_links": _number("ports that must be up for the bond to be", 0, 2),
        "num_peer_notif": _number("announcements after a failover", 0, 255),
        "num_grat_arp": _number("an older name of num_peer_notif", 0, 255),
        "num_unsol_na": _number("an older name of num_peer_notif", 0, 255),
        "peer_notif_delay": _number("time between announcements, in ms; a multiple of miimon", 0, 300000),
        "resend_igmp": _number("IGMP reports after a failover", 0, 255),
        "all_slaves_active": _option("all_slaves_active", "whether frames that come in by an inactive port are taken"),
        "packets_per_slave": _number("packets for one port before the next, 0 for by chance; balance-rr only", 0, 65535),
        "lacp_active": _option("lacp_active", "whether LACP speaks first; 802.3ad only"),
        "lacp_rate": _option("lacp_rate", "how often the LACP partner is asked to speak; 802.3ad only"),
        "ad_select": _option("ad_select", "what chooses an aggregator; 802.3ad only"),
        "ad_actor_sys_prio": _number("LACP system priority; 802.3ad only", 1, 65535),
        "ad_user_port_key": _number("upper bits of the LACP port key; 802.3ad only", 0, 1023),
        "tlb_dynamic_lb": _option(
            "tlb_dynamic_lb", "whether flows move to a less loaded port; balance-tlb and balance-alb only"
        ),
        "lp_interval": _number("time between learning packets, in s; balance-tlb and balance-alb only", 1, 0x7FFFFFFF),
        "ipam": {
            "type": "object",
            "properties": {"type": {"type": "string"}},
            "description": "the IPAM delegate and its own keys; absent, or without a type, for no addresses",
        },
        "logLevel": _word("what is logged (warning)", "panic", "fatal", "error", "warning", "info", "debug"),
        "logFile": {"type": "string", "description": "a file to log to instead of standard error"},
        "dns": {"type": "object", "description": "overrides what the delegate says"},
        "prevResult": {"type": "object", "description": "given by the runtime"},
    },
}
