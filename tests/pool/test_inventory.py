"""The inventory of a pool: a typed value, and the errors where it is missing, damaged or of an earlier boot."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError
from cni_sriov_bond.pool import inventory, pools
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.inventory import NicRecord
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Requested
from tests.support import ATTACHMENT, DAMAGED, NETNS, REPOSITORY, bond_entry, change_inventory, lease, make_pool, read_inventory

PARTS: dict[str, Any] = {"version": 1, "pool": "db", "boot_id": "x", "nics": [], "bonds": []}
NIC = {"pci": "ffff:01:00.0", "name": "enp1s0", "number": 1, "made_vfs": True, "brought_up": False}
# Each lacks one thing, or has it of another type.
INCOMPLETE: dict[str, dict[str, Any]] = {
    "no bonds": {"bonds": None},
    "bonds of another type": {"bonds": {}},
    "bond of another type": {"bonds": [5]},
    "bond without ports": {"bonds": [{"name": "cbond1", "mac": "02:00:00:00:00:01"}]},
    "ports of another type": {"bonds": [{"name": "cbond1", "mac": "", "ports": [None]}]},
    "no NICs": {"nics": None},
    "NIC of another type": {"nics": [5]},
    "NIC without a number": {"nics": [{key: value for key, value in NIC.items() if key != "number"}]},
    "no boot id": {"boot_id": None},
    "other version": {"version": 2},
}
FILES = DAMAGED | {
    kind: json.dumps({key: value for key, value in {**PARTS, **changes}.items() if value is not None}).encode()
    for kind, changes in INCOMPLETE.items()
}


def test_an_inventory_is_a_typed_value(tmp_path: Path) -> None:
    """The pool and the operator's command read the same NICs and bonds from the file."""
    pool = make_pool(tmp_path, size=2)
    made = pool.inventory()
    assert (made.pool, made.boot_id, made.of_this_boot, made.being_removed) == ("db", files.boot_id(), True, False)
    assert [bond.to_json() for bond in made.bonds] == [bond_entry(1), bond_entry(2)]
    assert [bond.name for bond in pool.bonds()] == ["cbond1", "cbond2"]
    made.nics.append(NicRecord("ffff:01:00.0", "enp1s0", 1, made_vfs=True, brought_up=False))
    inventory.write(pool.path, made)
    nic = pool.inventory().nic("ffff:01:00.0")
    assert nic
    assert (nic.name, nic.number, nic.made_vfs, nic.brought_up) == ("enp1s0", 1, True, False)
    assert pool.inventory().nic("ffff:02:00.0") is None
    assert read_inventory(pool)["nics"] == [NIC]


def test_a_file_of_version_0_1_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    """The file's form stays, also the key of an interrupted removal, so that an older version understands it."""
    pool = make_pool(tmp_path)
    document = {**PARTS, "nics": [NIC], "bonds": [bond_entry(1)], "leaving": True}
    Path(pool.path, inventory.FILE).write_text(json.dumps(document))
    made = pool.inventory()
    assert (made.of_this_boot, made.being_removed) == (False, True)
    inventory.write(pool.path, made)
    assert read_inventory(pool) == document
    made.being_removed = False
    inventory.write(pool.path, made)
    assert "leaving" not in read_inventory(pool)


def test_only_this_module_spells_the_keys_of_an_inventory() -> None:
    """A key that two modules spell is one that a typing error can split."""
    spelling = {
        path.name
        for path in (REPOSITORY / "cni_sriov_bond").rglob("*.py")
        for key in ('"leaving"', '"made_vfs"', '"brought_up"')
        if key in path.read_text()
    }
    assert spelling == {"inventory.py"}


def test_only_up_replaces_a_damaged_inventory(tmp_path: Path) -> None:
    """It gets no value instead of an error; a file that cannot be read is an error for it too."""
    pool = make_pool(tmp_path)
    assert pools.inventory_or_none(pool)
    path = Path(pool.path, inventory.FILE)
    path.write_text("{")
    assert pools.inventory_or_none(pool) is None
    path.unlink()
    assert pools.inventory_or_none(pool) is None
    path.mkdir()
    with pytest.raises(CniError, match="cannot read the inventory of pool db: Is a directory") as refused:
        pools.inventory_or_none(pool)
    assert refused.value.code == IO_FAILURE


def test_an_unknown_pool_is_reported_with_those_that_exist(tmp_path: Path) -> None:
    """The error names the existing pools and the command that creates one."""
    make_pool(tmp_path, "db")
    make_pool(tmp_path, "web")
    with pytest.raises(CniError) as refused:
        acquire(Pool(str(tmp_path), "d"), ATTACHMENT, NETNS, Requested())
    assert refused.value.code == POOL_UNUSABLE
    for words in ("pool 'd' is not provisioned", "there is db, web", "sriov-bondctl up"):
        assert words in refused.value.msg
    with pytest.raises(CniError, match="there is none yet"):
        Pool(str(tmp_path / "nowhere"), "d").inventory()


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_inventory_is_named_with_its_remedy(tmp_path: Path, kind: str) -> None:
    """No bond of an invalid inventory is leased; the error names the file and the command (contract 4, 46)."""
    pool = make_pool(tmp_path)
    Path(pool.path, "pool.json").write_bytes(FILES[kind])
    with pytest.raises(CniError, match="sriov-bondctl up") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert refused.value.code == POOL_UNUSABLE
    assert f"{pool.path}/pool.json" in refused.value.msg
    assert pool.entries() == []


@pytest.mark.parametrize("device", ["", "cbond2"])
def test_a_pool_of_an_earlier_boot_is_not_leased(tmp_path: Path, device: str) -> None:
    """Its VFs may have other addresses, or be missing: the error names the command that writes it again."""
    pool = make_pool(tmp_path)
    change_inventory(pool, boot_id="another")
    with pytest.raises(CniError, match="pool db was made before this boot; run `sriov-bondctl up`") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested(), device=device)
    assert (refused.value.code, pool.entries()) == (POOL_UNUSABLE, [])


def test_a_lost_inventory_is_reported_unlike_an_unknown_pool(tmp_path: Path) -> None:
    """The pool is known by its leases, which the error counts; without leases it counts as unknown."""
    pool = make_pool(tmp_path)
    lease(pool).close()
    Path(pool.path, "pool.json").unlink()
    with pytest.raises(
        CniError, match="the inventory of pool db is lost, though a bond of it is leased; run `sriov-bondctl up`"
    ):
        pool.inventory()
    assert (inventory.names(str(tmp_path)), pools.known(str(tmp_path))) == ([], ["db"])
    open_lease = pools.find(str(tmp_path), ATTACHMENT)
    assert open_lease is not None
    open_lease.erase()
    open_lease.close()
    assert pools.known(str(tmp_path)) == []
    with pytest.raises(CniError, match="pool 'db' is not provisioned"):
        pool.inventory()
