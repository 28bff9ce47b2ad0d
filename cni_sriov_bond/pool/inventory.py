"""The inventory of a pool, ``pool.json``: its NICs, every bond and its ports. ``sriov-bondctl`` writes it, others read it.

This module is the only reader and the only writer of its JSON.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import ENOENT

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError
from cni_sriov_bond.ports import Bond

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE = "pool.json"
VERSION = 1


class NicRecord:
    """A NIC in the inventory.

    :param number: its number over the whole host file, from 1.
    :param made_vfs: whether ``up`` created its VFs in this boot, so that ``down`` removes no others.
    :param brought_up: the same of the NIC's link.
    """

    __slots__ = ("address", "brought_up", "made_vfs", "name", "number")

    def __init__(self, address: str, name: str, number: int, made_vfs: bool, brought_up: bool) -> None:
        self.address = address
        self.name = name
        self.number = number
        self.made_vfs = made_vfs
        self.brought_up = brought_up


class Inventory:
    """What ``up`` made of a pool.

    :param bonds: in the order in which they are leased.
    :param being_removed: true while ``down`` works, and after a ``down`` that was killed.
    """

    __slots__ = ("being_removed", "bonds", "boot_id", "nics", "pool")

    def __init__(self, pool: str, boot_id: str, nics: list[NicRecord], bonds: list[Bond], being_removed: bool = False) -> None:
        self.pool = pool
        self.boot_id = boot_id
        self.nics = nics
        self.bonds = bonds
        self.being_removed = being_removed

    @property
    def of_this_boot(self) -> bool:
        """Whether it was written in this boot. If not, its VFs are gone, and its NICs may have other addresses."""
        return self.boot_id == files.boot_id()

    def nic(self, address: str) -> NicRecord | None:
        """Return the record of the NIC at a PCI address."""
        return next((nic for nic in self.nics if nic.address == address), None)

    def to_json(self) -> "dict[str, object]":
        """Return the form on disk."""
        value: dict[str, object] = {
            "version": VERSION,
            "pool": self.pool,
            "boot_id": self.boot_id,
            "nics": [
                {
                    "pci": nic.address,
                    "name": nic.name,
                    "number": nic.number,
                    "made_vfs": nic.made_vfs,
                    "brought_up": nic.brought_up,
                }
                for nic in self.nics
            ],
            "bonds": [bond.to_json() for bond in self.bonds],
        }
        if self.being_removed:
            value["leaving"] = True  # the key that versions before 0.2 know
        return value

    @classmethod
    def from_json(cls, value: "Mapping[str, Any]", pool: str) -> "Inventory":
        """Return the inventory of a pool.

        :raises KeyError, TypeError: when the value is not one.
        """
        nics = [
            NicRecord(nic["pci"], nic["name"], nic["number"], bool(nic["made_vfs"]), bool(nic["brought_up"]))
            for nic in value["nics"]
        ]
        bonds = [Bond.from_json(bond) for bond in value["bonds"]]
        return cls(pool, value["boot_id"], nics, bonds, bool(value.get("leaving")))


def read(path: str, pool: str) -> Inventory:
    """Read the inventory of a pool.

    :param path: the pool's directory.
    :raises CniError: POOL_UNUSABLE when it is damaged or of another version; IO_FAILURE when it cannot be read.
    :raises FileNotFoundError: when there is none.
    """
    try:
        with open(f"{path}/{FILE}", encoding="utf-8") as file:
            value = jsontext.loads(file.read())
    except OSError as failed:
        if failed.errno == ENOENT:
            raise
        raise CniError(IO_FAILURE, f"cannot read the inventory of pool {pool}: {failed.strerror}") from None
    except ValueError as damage:
        raise CniError(
            POOL_UNUSABLE, f"the inventory {path}/{FILE} is damaged ({damage}); run `sriov-bondctl up` to write it again"
        ) from None
    if not isinstance(value, dict) or value.get("version") != VERSION or not isinstance(value.get("bonds"), list):
        raise _unsupported_version(path)
    try:
        return Inventory.from_json(value, pool)
    except (KeyError, TypeError):
        raise _unsupported_version(path) from None


def _unsupported_version(path: str) -> CniError:
    return CniError(POOL_UNUSABLE, f"the inventory {path}/{FILE} is not one of this version; run `sriov-bondctl up`")


def write(path: str, made: Inventory) -> None:
    """Write the inventory into a pool's directory, durable when this returns.

    :raises CniError: IO_FAILURE; the file is then the old one.
    """
    files.write(path, FILE, jsontext.dumps(made.to_json()))
    files.sync(path)


def names(state_dir: str) -> list[str]:
    """Return the names of all pools that have an inventory, sorted."""
    return [name for name in directories(state_dir) if exists(f"{state_dir}/{name}")]


def exists(path: str) -> bool:
    """Return whether a pool's directory has an inventory."""
    return files.exists(f"{path}/{FILE}")


def directories(state_dir: str) -> list[str]:
    """Return the names of all pools that have a directory of leases, sorted: also of those whose inventory is lost.

    :raises CniError: IO_FAILURE when they cannot be listed, which does not mean that there are none.
    """
    try:
        entries = os.listdir(state_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot list the pools in {state_dir}: {failed.strerror}") from None
    return sorted(name for name in entries if files.exists(f"{state_dir}/{name}/leases"))


def stable_mac(text: str) -> str:
    """Return the MAC that is always the same for a text: locally administered, unicast (IEEE 802: bits 1, 0 of octet 1)."""
    octets = bytearray(files.digest(text)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def port_mac(mac: str, number: int) -> str:
    """Return the MAC of a port of a bond whose ports have different MACs, unless the port has the bond's.

    :param mac: of the bond.
    :param number: of the port in the bond, from 1.
    """
    return stable_mac(f"sriov-bond {mac} port {number}")


def macs_of(mac: str, ports: int) -> set[str]:
    """Return every MAC that a bond with this MAC and this many ports may have on one of them."""
    return {mac, *(port_mac(mac, number) for number in range(1, ports + 1))}
