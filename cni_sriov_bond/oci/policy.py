"""What containers of Docker may request: the table ``[docker]`` of the host file.

An image sets environment variables too, and config.json does not tell them from the user's. So the host file decides what the
environment may choose.
"""

import os
import re
import stat
from typing import NamedTuple

from cni_sriov_bond.cni import schema
from cni_sriov_bond.cni.call import is_name
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.schema import Schema

HOST_FILE = "/etc/cni/sriov-bond.toml"
NETWORK, ALL, NONE = "network", "all", "none"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(?![\s\S])"
# Without a backslash: sriov-bond-runtime reads the path without knowing TOML's escapes.
_RUNTIME = r"^(/[^\x00-\x1f\\]*[^/\x00-\x1f\\]|[A-Za-z0-9_.-]+)(?![\s\S])"
_A_RUNTIME = "must be the path or the name of an OCI runtime"
_A_NETWORK = "must be the name of a network, as in /etc/cni/net.d"

# A part of the host file's schema.
DOCKER: "Schema" = {
    "type": "object",
    "additionalProperties": False,
    "description": "what containers of Docker, podman and CRI-O may request",
    "errorMessage": {"type": "must be a table, [docker]"},
    "properties": {
        "environment": {
            "type": "string",
            "enum": [NETWORK, ALL, NONE],
            "default": NETWORK,
            "description": "what a container's environment may choose: its network and VLAN, everything, or nothing",
        },
        "network": {
            "type": "string",
            "pattern": _NAME,
            "description": "network of the containers of the runtime sriov-bond that request none",
            "errorMessage": _A_NETWORK,
        },
        "networks": {
            "type": "array",
            "items": {"type": "string", "pattern": _NAME, "errorMessage": _A_NETWORK},
            "description": "networks that a container may request (default: all in /etc/cni/net.d)",
            "errorMessage": {"type": "must be a list of networks"},
        },
        "runtime": {
            "type": "string",
            "pattern": _RUNTIME,
            "description": "OCI runtime that sriov-bond-runtime executes, a path or a name (default: runc, else crun)",
            "errorMessage": _A_RUNTIME,
        },
    },
}


class Policy(NamedTuple):
    """What containers may request.

    :param environment: NETWORK, ALL or NONE.
    :param network: the network of containers that request none, or "".
    :param networks: the networks that may be requested, or None for all.
    :param runtime: the configured OCI runtime, or "".
    """

    environment: str = NETWORK
    network: str = ""
    networks: tuple[str, ...] | None = None
    runtime: str = ""

    def allows(self, network: str) -> bool:
        """Return whether a container may request a network."""
        return self.networks is None or network == self.network or network in self.networks


def read(path: str = HOST_FILE) -> Policy:
    """Return the policy of the host file, or the default one if there is no such file or table.

    :raises CniError: IO_FAILURE when the file cannot be read, INVALID_CONFIG when others than root may write it, or when its
        table has a mistake.
    """
    import tomllib  # only containers that may ask need it

    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            text = file.read().decode()
    except FileNotFoundError:
        return Policy()
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read the host file {path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise CniError(INVALID_CONFIG, f"the host file {path} is not UTF-8; correct it") from None
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CniError(
            INVALID_CONFIG, f"the host file {path} can be written by others than root; run: chown root:root, chmod 644"
        )
    try:
        document = tomllib.loads(text)
    except ValueError as wrong:
        raise CniError(INVALID_CONFIG, f"the host file {path} is not valid TOML: {wrong}") from None
    return from_document(document, path)


def from_document(document: "dict[str, object]", path: str) -> Policy:
    """Return the policy of a host file's document.

    :raises CniError: INVALID_CONFIG naming each mistake in its table ``docker``.
    """
    table = document.get("docker", {})
    problems = [issue.sentence for issue in schema.issues(table, DOCKER, ("docker",))]
    if not problems and isinstance(table, dict):
        known = DOCKER["properties"]
        problems += [f"docker.{key} is not a known key; allowed: {', '.join(known)}" for key in table if key not in known]
        networks = [table[key] for key in ("network",) if key in table] + table.get("networks", [])
        problems += [f"docker: {name!r:.60} is not the name of a network" for name in networks if not is_name(name)]
        if not re.match(_RUNTIME, table.get("runtime", "runc")):
            problems.append(f"docker.runtime {_A_RUNTIME}, not {table['runtime']!r:.60}")
    if problems or not isinstance(table, dict):
        raise CniError(INVALID_CONFIG, f"the host file {path}: {'; '.join(problems)}")
    listed = tuple(table["networks"]) if "networks" in table else None
    return Policy(table.get("environment", NETWORK), table.get("network", ""), listed, table.get("runtime", ""))
