"""The JSON schema (2020-12) of what the delegate reads of a network's config; ``IPAM`` is the one list of its keys.

It is read by ``cni_sriov_bond.schema.issues``. The names of host-local's keys: its allocator/config.go and range.go.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.schema import Schema


def _text(description: str, kind: str = "") -> "Schema":
    return {"type": "string", **({"format": kind} if kind else {}), "description": description}


def _list(items: "Schema", description: str) -> "Schema":
    return {"type": "array", "items": items, "description": description}


def _number(description: str, least: int, most: int) -> "Schema":
    return {"type": "integer", "minimum": least, "maximum": most, "description": description}


_MOST = 0xFFFFFFFF

RANGE: "Schema" = {
    "subnet": _text("the network, like 10.1.0.0/16 or fd00:1::/64", "cidr"),
    "rangeStart": _text("the first address to give; the subnet's first when absent", "ip"),
    "rangeEnd": _text("the last address to give; the subnet's last when absent", "ip"),
    "gateway": _text("the gateway, never given; the subnet's first address when absent", "ip"),
    "exclude": _list({"type": "string"}, "addresses and networks that are never given"),
}

ROUTE: "Schema" = {
    "dst": _text("the network that is routed", "cidr"),
    "gw": _text("its gateway; the address's when absent", "ip"),
    "mtu": _number("MTU of the route", 0, _MOST),
    "advmss": _number("largest TCP segment that is announced", 0, _MOST),
    "priority": _number("metric", 0, _MOST),
    "table": _number("routing table", 0, _MOST),
    "scope": _number("scope", 0, 255),
}

_A_RANGE = {"type": "object", "required": ["subnet"], "properties": RANGE}
_SETS = {"type": "array", "items": {"type": "array", "items": _A_RANGE}}
_ROUTES = _list({"type": "object", "required": ["dst"], "properties": ROUTE}, "routes of every attachment")
_SUBNET = {
    **RANGE,
    "vlan": _number("the VLAN whose attachments it serves; absent and 0 are those on none", 0, 4094),
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
        "ranges of which an attachment gets one address per family, of those of its VLAN",
    ),
    "routes": _ROUTES,
    "dataDir": {**_text("where reservations are kept (/var/lib/cni/networks)"), "minLength": 1},
    "resolvConf": _text("a file like /etc/resolv.conf, whose contents become the result's dns"),
}

_IPS = {**_list({"type": "string"}, "addresses that are asked for"), "minItems": 0, "maxItems": 1024}

# What the whole config holds for us; its other keys are the plugin's that we serve.
NETWORK: "Schema" = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "network with sriov-bond-ipam",
    "type": "object",
    "required": ["ipam"],
    "properties": {
        "ipam": {"type": "object", "properties": IPAM, "description": "what is ours"},
        "vlan": _number("the VLAN of the attachment", 0, 4094),
        "args": {
            "type": "object",
            "properties": {"cni": {"type": "object", "properties": {"ips": _IPS}}},
            "description": "the runtime's arguments",
        },
        "runtimeConfig": {
            "type": "object",
            "properties": {"ips": _IPS, "ipRanges": {**_SETS, "description": "range sets that come before the config's"}},
            "description": "the runtime's values for the capabilities ips and ipRanges",
        },
    },
}
