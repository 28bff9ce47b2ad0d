"""What ``up`` changed of a host in this boot, so that ``down`` gives back that and no more.

It is on disk before each change: an ``up`` that is killed, and the next one, leave a record that is complete.
"""

import contextlib
import json
import os
from typing import Any

from cni_sriov_bond import files

FILE = "changes.json"
_VERSION = 1


def missing_directories(path: str) -> list[str]:
    """Return the directories that have to be created for this one to exist, the outer ones first."""
    missing: list[str] = []
    while not os.path.exists(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    return missing


class Changes:
    """The record of one pool.

    ``brought_up`` and ``made_vfs`` are PCI addresses of NICs, ``numbers`` how many VFs those had whose VFs were replaced.
    ``directories`` were created, the outer ones first. ``vfs`` has what each VF was like before ``up`` changed it, by PCI
    address; of VFs that ``up`` created for the pool alone there is none.
    """

    def __init__(self, directory: str) -> None:
        """Read the record in a pool's directory. One of an earlier boot, or that cannot be read, is empty."""
        self._directory = directory
        value = _read(f"{directory}/{FILE}")
        self.brought_up = set(value.get("set_up", ()))
        self.made_vfs = set(value.get("created_vfs", ()))
        self.numbers: dict[str, int] = dict(value.get("numbers", {}))
        self.directories: list[str] = list(value.get("directories", ()))
        self.vfs: dict[str, dict[str, Any]] = dict(value.get("vfs", {}))

    def save(self) -> None:
        """Write the record, durable when this returns.

        :raises CniError: IO_FAILURE.
        """
        value = {
            "version": _VERSION,
            "boot_id": files.boot_id(),
            "set_up": sorted(self.brought_up),
            "created_vfs": sorted(self.made_vfs),
            "numbers": self.numbers,
            "directories": self.directories,
            "vfs": self.vfs,
        }
        files.write(self._directory, FILE, json.dumps(value, indent=1))
        files.sync(self._directory)

    def remove_directories(self) -> None:
        """Remove the directories that were created, unless somebody put something into them."""
        for path in reversed(self.directories):
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _read(path: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        value: object = json.load(file)
        if isinstance(value, dict) and value.get("version") == _VERSION and value.get("boot_id") == files.boot_id():
            return value
    return {}
