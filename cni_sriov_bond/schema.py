"""The JSON schema (2020-12) of the plugin's part of a network config, and the check that the plugin makes from it.

``NETWORK`` is the one place where keys are listed: the plugin's check, the option table in docs/ and the check of the
samples all come from it. The plugin cannot afford the ``jsonschema`` library (97 ms), so ``issues`` reads the few words of
JSON Schema that ``NETWORK`` uses; tests/test_schema.py holds its verdicts equal to the library's.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MODES = ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"]
_OFF_ON = ("off", "on")
_FAIL_OVER = ("none", "active", "follow")


def _number(description: str, least: int, most: int) -> "dict[str, Any]":
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


def _word(description: str, *values: str) -> "dict[str, Any]":
    return {"type": "string", "enum": list(values), "description": description}


def _numbered(description: str, *values: str) -> "dict[str, Any]":
    """Give a choice that may be said by its word or by the kernel's number for it."""
    return {"enum": [*values, *range(len(values))], "description": description}


def _milliseconds(description: str) -> "dict[str, Any]":
    return _number(f"{description}, in ms", 0, 600000)


NETWORK: "dict[str, Any]" = {
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
        "mode": _numbered("how the bond uses its two ports", *_MODES),
        "linkMonitor": _word("how a dead path is noticed: by carrier, by ARP, or what fits (auto)", "auto", "mii", "arp"),
        "miimon": _milliseconds("how often carrier is looked at"),
        "use_carrier": _numbered("whether carrier is asked of the driver's state, not by ioctl", *_OFF_ON),
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
        "arp_validate": _numbered(
            "whose answers count as a sign of life",
            "none",
            "active",
            "backup",
            "all",
            "filter",
            "filter_active",
            "filter_backup",
        ),
        "arp_all_targets": _numbered("how many targets must answer a port", "any", "all"),
        "arp_missed_max": _number("how many unanswered rounds take a port down", 1, 255),
        "primary": {
            "type": "string",
            "minLength": 1,
            "description": "the port to use while it is up: A or B for the pool's first or second NIC, or a port's host name",
        },
        "primary_reselect": _numbered("when the primary is used again after a failure", "always", "better", "failure"),
        "failOverMac": _numbered("whose MAC the bond shows (fail_over_mac)", *_FAIL_OVER),
        "fail_over_mac": _numbered("whose MAC the bond shows; active-backup only", *_FAIL_OVER),
        "xmit_hash_policy": _numbered(
            "what chooses a port", "layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"
        ),
        "min_links": _number("ports that must be up for the bond to be", 0, 2),
        "num_peer_notif": _number("announcements after a failover", 0, 255),
        "num_grat_arp": _number("an older name of num_peer_notif", 0, 255),
        "num_unsol_na": _number("an older name of num_peer_notif", 0, 255),
        "peer_notif_delay": _number("time between announcements, in ms; a multiple of miimon", 0, 300000),
        "resend_igmp": _number("IGMP reports after a failover", 0, 255),
        "all_slaves_active": _numbered("whether frames that come in by an inactive port are taken", *_OFF_ON),
        "packets_per_slave": _number("packets for one port before the next, 0 for by chance; balance-rr only", 0, 65535),
        "lacp_active": _numbered("whether LACP speaks first; 802.3ad only", *_OFF_ON),
        "lacp_rate": _numbered("how often the LACP partner is asked to speak; 802.3ad only", "slow", "fast"),
        "ad_select": _numbered("what chooses an aggregator; 802.3ad only", "stable", "bandwidth", "count"),
        "ad_actor_sys_prio": _number("LACP system priority; 802.3ad only", 1, 65535),
        "ad_user_port_key": _number("upper bits of the LACP port key; 802.3ad only", 0, 1023),
        "tlb_dynamic_lb": _numbered("whether flows move to a less loaded port; balance-tlb and balance-alb only", *_OFF_ON),
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

_TYPES: "dict[str, Any]" = {"string": str, "integer": int, "object": dict, "array": list}
_A_TYPE = {"string": "a string", "integer": "a whole number", "object": "an object", "array": "a list"}


def issues(value: object, schema: "dict[str, Any]", path: str = "") -> "list[str]":
    """Say everything in which a value is not as the schema has it, each with its path; empty when all is well."""
    kind = schema.get("type") if "enum" not in schema else None
    if kind and (not isinstance(value, _TYPES[kind]) or isinstance(value, bool)):
        return [f"{path or 'the config'} must be {_A_TYPE[kind]}, not {_shown(value)}"]
    found = []
    if "enum" in schema and not _listed(value, schema["enum"]):
        words = [one for one in schema["enum"] if isinstance(one, str)]
        found.append(f"{path} must be one of {', '.join(words)}, not {_shown(value)}")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{path} must be from {schema['minimum']} to {schema['maximum']}, not {value}")
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        found.append(f"{path} must not be empty")
    if isinstance(value, list):
        found += _list_issues(value, schema, path)
    if isinstance(value, dict):
        found += _object_issues(value, schema, path)
    return found


def _object_issues(value: "dict[str, Any]", schema: "dict[str, Any]", path: str) -> "list[str]":
    found = [f"{path}.{name} is missing".lstrip(".") for name in schema.get("required", ()) if name not in value]
    for name, part in schema.get("properties", {}).items():
        if name in value:
            found += issues(value[name], part, f"{path}.{name}" if path else name)
    return found


def _list_issues(value: "list[Any]", schema: "dict[str, Any]", path: str) -> "list[str]":
    found = []
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        found.append(f"{path} must have {schema['minItems']} to {schema['maxItems']} entries, not {len(value)}")
    for place, one in enumerate(value):
        found += issues(one, schema.get("items", {}), f"{path}[{place}]")
    return found


def _listed(value: object, choices: "list[Any]") -> bool:
    # True == 1 == 1.0 in Python; the kernel takes neither for a number.
    return type(value) in (str, int) and value in choices


def _shown(value: object) -> str:
    text = "true" if value is True else "false" if value is False else "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
