"""A pool's inventory as a typed value: what ``up`` made, and what ``down`` has to undo."""

from typing import NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.ports import Bond

_VERSION = 1


class NicRecord(NamedTuple):
    """A NIC in the inventory.

    ``number`` counts NICs over the whole host file. ``made_vfs`` and ``brought_up`` are what ``up`` did to it in this
    boot, so that ``down`` undoes no more than that.
    """

    address: str
    name: str
    number: int
    made_vfs: bool
    brought_up: bool


class Provisioned(NamedTuple):
    """The inventory of a pool; ``being_removed`` is set while ``down`` works, and stays set if it is killed."""

    pool: str
    boot_id: str
    nics: tuple[NicRecord, ...]
    bonds: tuple[Bond, ...]
    being_removed: bool = False

    @property
    def of_this_boot(self) -> bool:
        """Whether it was written in this boot; if not, its VFs are gone and its NICs may have other addresses."""
        return self.boot_id == files.boot_id()

    def nic(self, address: str) -> NicRecord | None:
        """Return the record of the NIC at a PCI address."""
        return next((nic for nic in self.nics if nic.address == address), None)

    def to_json(self) -> JsonObject:
        """Return the inventory as the file has it."""
        nics = [
            {
                "pci": nic.address,
                "name": nic.name,
                "number": nic.number,
                "made_vfs": nic.made_vfs,
                "brought_up": nic.brought_up,
            }
            for nic in self.nics
        ]
        value = {
            "version": _VERSION,
            "pool": self.pool,
            "boot_id": self.boot_id,
            "nics": nics,
            "bonds": [bond.to_json() for bond in self.bonds],
        }
        return {**value, inventory.LEAVING: True} if self.being_removed else value


def read(pool: Pool) -> Provisioned:
    """Read the inventory of a pool.

    :raises CniError: POOL_UNUSABLE when the pool was never made, or when the file cannot be understood.
    """
    value = pool.inventory()
    try:
        return Provisioned(
            pool.name,
            value["boot_id"],
            tuple(_nic(nic) for nic in value["nics"]),
            tuple(Bond.from_json(bond) for bond in value["bonds"]),
            bool(value.get(inventory.LEAVING)),
        )
    except (KeyError, TypeError):
        raise inventory.foreign(pool.path) from None


def read_or_none(pool: Pool) -> Provisioned | None:
    """Read the inventory of a pool, or return None for one that is missing or damaged: ``up`` writes it anew.

    :raises CniError: IO_FAILURE when it cannot be read.
    """
    try:
        return read(pool)
    except CniError as unusable:
        if unusable.code != POOL_UNUSABLE:
            raise
        return None


def write(pool: Pool, made: Provisioned) -> None:
    """Write the inventory, durable when this returns.

    :raises CniError: IO_FAILURE; the file is then the old one.
    """
    inventory.write(pool.path, made.to_json())


def _nic(value: JsonObject) -> NicRecord:
    return NicRecord(value["pci"], value["name"], value["number"], bool(value["made_vfs"]), bool(value["brought_up"]))
