"""The JSON schema (2020-12) of the host file. ``sriov-bondctl schema host`` prints it for editors.

``errorMessage`` is not a keyword of JSON Schema, but editors show it instead of their own message, and so do we.
"""

from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.oci.policy import DOCKER, HOST_FILE

DEFAULT_PATH = HOST_FILE
MAX = "max"
VF_NAME, BOND_NAME = "VF{nic}{vf}", "cbond{n}"
MAX_VFS = 65535  # PCI SR-IOV: TotalVFs has 16 bits

# (?![\s\S]) means "at the end" in every dialect; in Python's, $ also matches before a final line break.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?![\s\S])"
_NIC = r"^[^/\s]+(?![\s\S])"  # the kernel allows neither in a name (net/core/dev.c, dev_valid_name)
_RANGES = r"^[0-9]{1,5}-[0-9]{1,5}(,[0-9]{1,5}(-[0-9]{1,5})?)*(?![\s\S])"
_ENTRY = r"^[0-9]{1,5}(-[0-9]{1,5})?(?![\s\S])"

POOL: JsonObject = {
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
                "errorMessage": "must be the name, an altname or the PCI address of a NIC",
            },
            "description": "the NICs of the pool, one on each switch, by name, altname or PCI address",
            "errorMessage": {
                "type": 'must be a list of NICs, e.g. ["enp1s0", "enp2s0"]',
                "minItems": "must name two NICs, one on each switch",
            },
        },
        "vfs": {
            "anyOf": [
                {"const": MAX},
                {"type": "integer", "minimum": 1, "maximum": MAX_VFS},
                {"type": "string", "pattern": _RANGES},
            ],
            "default": MAX,
            "description": 'VFs of each NIC, or "max" for as many as all of them offer; or which VFs, such as "0-15": then the '
            "others of the NIC are left alone",
            "errorMessage": f'must be a number from 1 to {MAX_VFS}, "max", or VFs such as "0-15" or "0-7,12-15"',
        },
        "exclude": {
            "type": "array",
            "items": {
                "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_VFS}, {"type": "string", "pattern": _ENTRY}],
                "errorMessage": 'must be a VF such as 3, or VFs such as "8-11"',
            },
            "description": "VFs of each NIC, from 0, that are not the pool's and are left alone",
            "errorMessage": 'must be a list of VFs, e.g. [3, "8-11"]',
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
            "additionalProperties": POOL,
            "description": "the pools by name",
            "errorMessage": {
                "type": "must be tables [pools.NAME]",
                "minProperties": "must have a table [pools.NAME]",
            },
        },
        "docker": DOCKER,
    },
}
