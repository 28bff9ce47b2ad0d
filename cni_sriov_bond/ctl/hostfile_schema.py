"""The JSON schema (2020-12) of the host file. ``sriov-bondctl schema host`` prints it for editors.

``errorMessage`` is not a keyword of JSON Schema, but editors show it instead of their own message, and so do we.
"""

from cni_sriov_bond.ctl.text import JsonObject

DEFAULT_PATH = "/etc/cni/sriov-bond.toml"
MAX = "max"
VF_NAME, BOND_NAME = "VF{nic}{vf}", "cbond{n}"
_MAX_VFS = 65535  # PCI SR-IOV: TotalVFs has 16 bits

# (?![\s\S]) means "at the end" in every dialect; in Python's, $ also matches before a final line break.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?![\s\S])"
_NIC = r"^[^/]+(?![\s\S])"

_POOL: JsonObject = {
    "type": "object",
    "required": ["pfs"],
    "additionalProperties": False,
    "errorMessage": {
        "type": "must be a table, [pools.NAME]",
        "required": 'is missing; it must be a list of NICs, e.g. ["enp1s0", "enp2s0"]',
    },
    "properties": {
        "pfs": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "string",
                "pattern": _NIC,
                "errorMessage": "must be the name or PCI address of a NIC",
            },
            "description": "the NICs of the pool, one on each switch, by name or PCI address",
            "errorMessage": {
                "type": 'must be a list of NICs, e.g. ["enp1s0", "enp2s0"]',
                "minItems": "must name two NICs, one on each switch",
            },
        },
        "vfs": {
            "anyOf": [{"const": MAX}, {"type": "integer", "minimum": 1, "maximum": _MAX_VFS}],
            "default": MAX,
            "description": 'VFs of each NIC, or "max" for as many as all of them offer',
            "errorMessage": f'must be a number from 1 to {_MAX_VFS} or "max"',
        },
        "vf_name": {
            "type": "string",
            "default": VF_NAME,
            "description": "name of a VF: {nic} is the number of its NIC in the file, {vf} its number on the NIC, from 1",
            "errorMessage": "must be a pattern with {nic} and {vf}",
        },
        "bond_name": {
            "type": "string",
            "default": BOND_NAME,
            "description": "name of a bond: {n} is its number in the pool, from 1",
            "errorMessage": "must be a pattern with {n}",
        },
    },
}

HOST: JsonObject = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": f"sriov-bond host file ({DEFAULT_PATH})",
    "type": "object",
    "required": ["pools"],
    "additionalProperties": False,
    "errorMessage": {"required": "is missing; write a table [pools.NAME]"},
    "properties": {
        "pools": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {
                "pattern": _NAME,
                "errorMessage": "must have a name of at most 64 letters, digits, '_', '.' and '-'",
            },
            "additionalProperties": _POOL,
            "description": "the pools by name",
            "errorMessage": {
                "type": "must be tables [pools.NAME]",
                "minProperties": "must have a table [pools.NAME]",
            },
        }
    },
}
