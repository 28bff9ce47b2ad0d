"""The JSON schema (2020-12) of what the IPAM plugin reads of a network's config; ``IPAM`` is the only list of its keys.

``cni_sriov_bond.cni.schema.issues`` checks a config by it. host-local's keys are in its allocator/config.go and range.go.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.schema import Schema


def _text(description: str, text_format: str = "") -> "Schema":
    return {"type": "string", **({"format": text_format} if text_format else {}), "description": description}


def _list(items: "Schema", description: str) -> "Schema":
    return {"type": "array", "items": items, "description": description}


def _number(description: str, minimum: int, maximum: int) -> "Schema":
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "description": description}


_MAX = 0xFFFFFFFF

RANGE: "Schema" = {
    "subnet": _text("the network, like 10.1.0.0/16 or fd00:1::/64", "cidr"),
    "rangeStart": _text("first address to allocate (default: the subnet's first)", "ip"),
    "rangeEnd": _text("last address to allocate (default: the subnet's last)", "ip"),
    "gateway": _text("the gateway, never allocated (default: the subnet's first address)", "ip"),
    "exclude": _list({"type": "string"}, "addresses and networks that are never allocated"),
}

ROUTE: "Schema" = {
    "dst": _text("destination network", "cidr"),
    "gw": _text("gateway of the route (default: that of the address)", "ip"),
    "mtu": _number("MTU of the route", 0, _MAX),
    "advmss": _number("largest TCP segment to advertise", 0, _MAX),
    "priority": _number("metric of the route", 0, _MAX),
    "table": _number("routing table", 0, _MAX),
    "scope": _number("scope", 0, 255),
}

_A_RANGE = {"type": "object", "required": ["subnet"], "properties": RANGE}
_SETS = {"type": "array", "items": {"type": "array", "items": _A_RANGE}}
_ROUTES = _list({"type": "object", "required": ["dst"], "properties": ROUTE}, "routes of every attachment")
_SUBNET = {
    **RANGE,
    "vlan": _number("VLAN of the attachments that it serves; absent or 0 for those on no VLAN", 0, 4094),
    "routes": {**_ROUTES, "description": "routes of the attachments that it serves"},
}

IPAM: "Schema" = {
    "type": _text("sriov-bond-ipam"),
    **RANGE,
    "ranges": {
        **_SETS,
        "description": "range sets, each a list of ranges of one family; an attachment gets an address of each",
    },
    "subnets": _list(
        {"type": "object", "required": ["subnet"], "properties": _SUBNET},
        "ranges by VLAN: an attachment gets one address per family, from those of its VLAN",
    ),
    "routes": _ROUTES,
    "dataDir": {**_text("directory of the reservations (default: /var/lib/cni/networks)"), "minLength": 1},
    "resolvConf": _text("file like /etc/resolv.conf; its contents become the result's dns"),
}

_IPS = {**_list({"type": "string"}, "requested addresses"), "minItems": 0, "maxItems": 1024}

# What is read of the whole config. Its other keys belong to the plugin that uses this one.
NETWORK: "Schema" = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "network with sriov-bond-ipam",
    "type": "object",
    "required": ["ipam"],
    "properties": {
        "ipam": {"type": "object", "properties": IPAM, "description": "the config of the IPAM plugin"},
        "vlan": _number("the VLAN of the attachment", 0, 4094),
        "args": {
            "type": "object",
            "properties": {"cni": {"type": "object", "properties": {"ips": _IPS}}},
            "description": "the runtime's arguments",
        },
        "runtimeConfig": {
            "type": "object",
            "properties": {
                "ips": _IPS,
                "ipRanges": {**_SETS, "description": "range sets that come before those of the config"},
            },
            "description": "the runtime's values for the capabilities ips and ipRanges",
        },
    },
}
