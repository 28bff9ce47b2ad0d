"""What ``up`` changed of a host in this boot, so that ``down`` gives back that and no more.

It is on disk before each change: an ``up`` that is killed, and the next one, leave a record that is complete.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.ports import Port, VfState

FILE = "changes.json"
_VERSION = 1


def missing_directories(path: str) -> list[str]:
    """Return the directories that have to be created for this one to exist, the outer ones first."""
    missing: list[str] = []
    while not os.path.exists(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    return missing


class SavedVf(NamedTuple):
    """What a VF was like before ``up`` changed it: its name (in ``port``), its altnames, whether it was up, and its state."""

    port: Port
    altnames: tuple[str, ...]
    up: bool
    state: VfState

    @classmethod
    def from_json(cls, address: str, value: Mapping[str, Any]) -> "SavedVf":
        """Return the VF in a record.

        :param address: its PCI address.
        :raises KeyError, TypeError, AttributeError: when the value is not one.
        """
        port = Port(address, value["name"], value["pf"], value["vf"])
        return cls(port, tuple(value["altnames"]), bool(value["up"]), VfState.from_json(value["state"]))

    def to_json(self) -> dict[str, object]:
        """Return the form that a record has on disk."""
        port = self.port
        place = {"name": port.name, "pf": port.pf_address, "vf": port.vf_index}
        return {**place, "altnames": list(self.altnames), "up": self.up, "state": self.state.to_json()}


class Changes:
    """The record of one pool.

    ``brought_up`` and ``made_vfs`` are PCI addresses of NICs, ``numbers`` how many VFs those had whose VFs were replaced.
    ``directories`` were created, the outer ones first. ``vfs`` has what each VF was like before ``up`` changed it, by PCI
    address; of VFs that ``up`` created for the pool alone there is none.
    """

    def __init__(self, directory: str) -> None:
        """Read the record in a pool's directory. One of an earlier boot, or that cannot be read, is empty."""
        self._directory = directory
        self.brought_up: set[str] = set()
        self.made_vfs: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.directories: list[str] = []
        self.vfs: dict[str, SavedVf] = {}
        # Suppressed: an entry of an object that is not the value that this module writes.
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            self._take(_read(f"{directory}/{FILE}"))

    def _take(self, value: Mapping[str, Any]) -> None:
        """Take over the values of a record: all of them or, if one is not what ``save`` writes, none."""
        brought_up, made_vfs = set(value.get("set_up", ())), set(value.get("created_vfs", ()))
        numbers = {address: int(number) for address, number in value.get("numbers", {}).items()}
        vfs = {address: SavedVf.from_json(address, vf) for address, vf in value.get("vfs", {}).items()}
        self.directories = list(value.get("directories", ()))
        self.brought_up, self.made_vfs, self.numbers, self.vfs = brought_up, made_vfs, numbers, vfs

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
            "vfs": {address: vf.to_json() for address, vf in self.vfs.items()},
        }
        files.write(self._directory, FILE, json.dumps(value, indent=1))
        files.sync(self._directory)

    def remove_directories(self) -> None:
        """Remove the directories that were created, unless somebody put something into them."""
        for path in reversed(self.directories):
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _read(path: str) -> Mapping[str, Any]:
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        value: object = json.load(file)
        if isinstance(value, dict) and value.get("version") == _VERSION and value.get("boot_id") == files.boot_id():
            return value
    return {}
