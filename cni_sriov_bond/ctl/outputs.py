"""JSON schemas (2020-12) of what the commands print with ``--json``. tests/ctl/test_outputs.py holds the outputs to them.

The outputs are stable: in later versions objects may have more keys, but none of these goes or means something else. So
programs must pass over keys that they do not know, and the schemas allow them.
"""

from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.rates import Rates
from cni_sriov_bond.ctl.status import LeaseStatus
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.ports import VfSettings

_TEXT: JsonObject = {"type": "string"}
_TEXT_OR_NULL: JsonObject = {"type": ["string", "null"]}
_NUMBER: JsonObject = {"type": "number"}
_COUNT: JsonObject = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL: JsonObject = {"type": ["integer", "null"], "minimum": 0}
_YES_NO: JsonObject = {"type": "boolean"}
_YES_NO_OR_NULL: JsonObject = {"type": ["boolean", "null"]}
_TEXTS: JsonObject = {"type": "array", "items": _TEXT}
_STATES = ("free", "quarantined", "broken", "adding", "ready", "releasing", "draining")


def _described(schema: JsonObject, description: str) -> JsonObject:
    return {**schema, "description": description}


def _list(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def _object(properties: JsonObject, optional: JsonObject | None = None, *, nullable: bool = False) -> JsonObject:
    """Return the schema of an object; the keys of ``optional`` may be absent."""
    return {
        "type": ["object", "null"] if nullable else "object",
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
    }


_STATE: JsonObject = {"enum": list(_STATES)}
_COUNTERS = _object(dict.fromkeys(Counters._fields, _COUNT), nullable=True)
_RATES = _object(dict.fromkeys(Rates._fields, _NUMBER), nullable=True)
# By the fields of the value that is printed.
_LEASE_KEYS: JsonObject = dict(
    zip(
        LeaseStatus._fields,
        (
            _TEXT,
            _TEXT,
            _TEXT,
            _described(_TEXT, "path of the container's network namespace at the ADD"),
            _described(_TEXTS, "with prefix length"),
            _COUNT_OR_NULL,
            _described(_TEXTS, "of each port at the ADD, in the order of ports"),
            _described(_COUNT, "seconds since 1970"),
            _YES_NO,
        ),
        strict=True,
    )
)
_LINK = _described({"enum": ["up", "going down", "down", "going up", None]}, "what the bond's monitor says of the port")
_NIC = _object(
    {
        "pci": _TEXT,
        **dict.fromkeys(("name", "state", "duplex", "mac", "driver", "driver_version", "firmware"), _TEXT_OR_NULL),
        **dict.fromkeys(("number", "speed", "mtu", "vfs", "total_vfs", "numa_node"), _COUNT_OR_NULL),
        **dict.fromkeys(("present", "up", "carrier"), _YES_NO),
        "counters": _COUNTERS,
    }
)
_SHORT_NIC_KEYS: JsonObject = {
    "pci": _TEXT,
    "name": _TEXT,
    "number": _COUNT,
    "present": _YES_NO,
    "up": _YES_NO,
    "carrier": _YES_NO,
    "counters": _COUNTERS,
}

STATUS = _object(
    {
        "pools": _list(
            _object(
                {
                    "name": _TEXT,
                    "this_boot": _described(_YES_NO, "whether it was provisioned since the host booted"),
                    "nics": _list(_NIC),
                    "bonds": _list(
                        _object(
                            {
                                "name": _TEXT,
                                "mac": _TEXT,
                                "state": _STATE,
                                "ports": _list(
                                    _object(
                                        {
                                            "pci": _TEXT,
                                            "name": _TEXT,
                                            "pf": _TEXT,
                                            "vf": _COUNT,
                                            "device": _described(_TEXT, "its name in the host, empty while it is not there"),
                                            "active": _described(_YES_NO_OR_NULL, "whether the bond sends through it"),
                                            "link": _LINK,
                                        }
                                    )
                                ),
                            },
                            {"problem": _TEXT, "waiting": _TEXT, "lease": _object(_LEASE_KEYS)},
                        )
                    ),
                    "pending": _described(_COUNT, "IPAM DELs that are still to be sent"),
                }
            )
        )
    }
)

SHOW = _object(
    {
        "bonds": _list(
            _object(
                {
                    "pool": _TEXT,
                    "bond": _TEXT,
                    "state": _STATE,
                    "mac": _described(_TEXT, "of the pool, for the bond"),
                    "problem": _TEXT_OR_NULL,
                    "waiting": _TEXT_OR_NULL,
                    "lease": _object(
                        {
                            **_LEASE_KEYS,
                            "age": _described({"type": ["number", "null"]}, "seconds since it was made"),
                            "caller": _described(_TEXT_OR_NULL, "the process that asked for it, as NAME[PID]"),
                        },
                        nullable=True,
                    ),
                    "absence": _described(_TEXT_OR_NULL, "why the container's kernel could not be asked"),
                    "failovers": _described(_COUNT_OR_NULL, "how often a port failed since the bond was created"),
                    "link": _object(
                        {
                            "up": _YES_NO,
                            "carrier": _YES_NO,
                            "carrier_changes": _COUNT,
                            "mac": _TEXT,
                            "mtu": _described(_COUNT, "bytes"),
                            "mode": _TEXT,
                            "addresses": _described(_TEXTS, "with prefix length"),
                            "options": _described(
                                {"type": "object", "additionalProperties": {"type": ["string", "array"]}},
                                "of the bonding driver, by its names",
                            ),
                            "counters": _COUNTERS,
                        },
                        nullable=True,
                    ),
                    "monitor": _object(
                        {
                            "kind": {"enum": ["mii", "arp"]},
                            "interval": _described(_COUNT, "milliseconds"),
                            "targets": _TEXTS,
                            "silent": _described(_TEXTS, "gateways that did not answer at the ADD"),
                        },
                        nullable=True,
                    ),
                    "ports": _list(
                        _object(
                            {
                                "pci": _TEXT,
                                "name": _TEXT,
                                "vf": _COUNT,
                                "device": _described(_TEXT_OR_NULL, "its name in the host"),
                                "in_container": _YES_NO,
                                "carrier": _YES_NO,
                                "active": _YES_NO,
                                "link": _LINK,
                                "failures": _COUNT,
                                "mac": _TEXT_OR_NULL,
                                "admin_mac": _described(_TEXT_OR_NULL, "set through the PF"),
                                "settings": _described(
                                    _object(dict.fromkeys(VfSettings.NAMES, _COUNT_OR_NULL)), "as the PF reports them"
                                ),
                                "counters": _COUNTERS,
                                "nic": _object(_SHORT_NIC_KEYS, nullable=True),
                            }
                        )
                    ),
                }
            )
        )
    }
)

TOP = _object(
    {
        "interval": _described(_NUMBER, "seconds between the two readings that the rates are of"),
        "nics": _list(
            _object(
                {
                    "pool": _TEXT,
                    **_SHORT_NIC_KEYS,
                    "rates": _described(_RATES, "of the bonds' ports on the NIC, a second"),
                    "own_rates": _described(_RATES, "of the PF's device, a second"),
                }
            )
        ),
        "bonds": _list(
            _object(
                {
                    "pool": _TEXT,
                    "bond": _TEXT,
                    "state": _STATE,
                    "network": _TEXT,
                    "container_id": _TEXT,
                    "ifname": _TEXT,
                    "mode": _TEXT_OR_NULL,
                    "carrier": _YES_NO_OR_NULL,
                    "active": _described(_list(_COUNT), "the numbers of the NICs that the bond sends through"),
                    "failovers": _COUNT_OR_NULL,
                    "counters": _COUNTERS,
                    "rates": _RATES,
                    "absence": _TEXT_OR_NULL,
                }
            )
        ),
        "problems": _described(_TEXTS, "pools and leases that could not be read"),
    }
)

_OF_ACTION = _object(
    {
        "kind": {"const": "action"},
        "time": _described(_NUMBER, "its beginning, in seconds since 1970"),
        "seconds": _NUMBER,
        "program": _TEXT,
        "pid": _COUNT,
        "caller": _described(_TEXT, "the parent process, as NAME[PID]"),
        "action": _described(_TEXT, "ADD, DEL, CHECK, release, IPAM DEL and others"),
        **dict.fromkeys(("pool", "bond", "network", "container_id", "ifname"), _described(_TEXT, "empty if not known")),
        "steps": _list(_object({"seconds": _described(_NUMBER, "since the beginning"), "text": _TEXT})),
        "error": _TEXT_OR_NULL,
        "code": _described(_COUNT_OR_NULL, "of the CNI error"),
    }
)
_OF_PORT = _object(
    {
        "kind": {"const": "port"},
        "time": _NUMBER,
        "pool": _TEXT,
        "bond": _TEXT,
        "port": _TEXT,
        "nic": _TEXT_OR_NULL,
        "meaning": {"enum": ["failed", "up", "active"]},
        "text": _described(_TEXT, "of the bonding driver"),
    }
)
LOG = _object({"events": _list({"oneOf": [_OF_ACTION, _OF_PORT]})})

_FINISHED: JsonObject = {"enum": ["done", "waits", "failed"]}
_RELEASED = _object({"bond": _TEXT, "owner": _TEXT, "state": _FINISHED, "message": _TEXT})
_DETACHED = _object(
    {**dict.fromkeys(("container_id", "ifname", "network"), _TEXT), "state": _FINISHED, "message": _TEXT},
)
GC = _object(
    {
        "pools": _list(_object({"name": _TEXT, "found": _list(_RELEASED)})),
        "containers": _described(_list(_DETACHED), "that the OCI hook or `attach` attached, and that have ended"),
    }
)
ATTACH: JsonObject = {
    "type": "object",
    "description": "the CNI result of the network's last plugin (CNI specification, section 5)",
}
DETACH = _object({"container": _TEXT, "detached": _described(_TEXTS, "the names of the interfaces that are gone")})

# Without --write it prints the lines for the file, which are Docker's.
DOCKER_CONFIG = _object({}, {"file": _TEXT, "changed": _YES_NO})

_RESULTS: JsonObject = {"enum": ["pass", "warning", "failure", "skipped"]}
_FIX = _object({"text": _TEXT, "safe": _described(_YES_NO, "it is run without a question")}, nullable=True)
_FINDING = _object(
    {
        "check": _described(_TEXT, "name of the check"),
        "object": _described(_TEXT, "what was checked, empty for the host itself"),
        "result": _RESULTS,
        "sentence": _described(_TEXT, "what was found; of skipped the reason"),
        "remedy": _described(_TEXT, "what to do, empty for pass and skipped"),
        "fix": _described(_FIX, "the repair that --fix offers"),
    }
)
DOCTOR = _object(
    {
        "version": {"const": 1},
        "counts": _described(_object(dict.fromkeys(_RESULTS["enum"], _COUNT)), "how many findings have each result"),
        "findings": _list(_FINDING),
        "repairs": _described(_list(_object({"text": _TEXT, "done": _YES_NO, "message": _TEXT})), "what --fix did"),
    }
)

CHECK = _object(
    {
        "files": _list(
            _object(
                {
                    "file": _TEXT,
                    "ok": _YES_NO,
                    "mistakes": _list(_object({"line": _COUNT_OR_NULL, "path": _TEXT, "problem": _TEXT})),
                }
            )
        )
    }
)

UP = _object({"pools": _list(_object({"name": _TEXT, "bonds": _COUNT, "changed": _YES_NO}))})
DOWN = _object({"pools": _list(_object({"name": _TEXT}))})
RELEASE = _object({"bonds": _list(_object({"pool": _TEXT, "bond": _TEXT, "message": _TEXT}))})

# By the name of the command.
OUTPUTS = {
    "up": UP,
    "down": DOWN,
    "status": STATUS,
    "show": SHOW,
    "top": TOP,
    "log": LOG,
    "attach": ATTACH,
    "detach": DETACH,
    "gc": GC,
    "release": RELEASE,
    "doctor": DOCTOR,
    "docker config": DOCKER_CONFIG,
    "check": CHECK,
}


def schema(command: str) -> JsonObject:
    """Return the schema of what a command prints with ``--json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"sriov-bondctl {command} --json",
        **OUTPUTS[command],
    }
