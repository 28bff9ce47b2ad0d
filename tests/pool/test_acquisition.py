"""Acquiring a bond while other processes change leases: torn listings, two pools, and an inventory that is rewritten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import READY, Lease
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment, Requested
from cni_sriov_bond.ports import Bond
from tests.lab.waiting import wait_until
from tests.shim import TornListing
from tests.support import ATTACHMENT, NETNS, REPOSITORY, bond_entry, inodes_of, lease, make_pool, names_of_leases

# A process that leases a bond of a pool for a container and prints it.
ACQUIRE = """
import sys
from cni_sriov_bond import files
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.pool import acquisition, lease, pool, record
attachment = record.Attachment("net1", sys.argv[3], "eth0")
requested = record.Requested(mac=sys.argv[4])
try:
    taken = acquisition.acquire(
        pool.Pool(sys.argv[1], sys.argv[2]), attachment, record.NetnsIdentity("/none", 4, 1), requested
    )
except CniError as refused:
    print(refused.code, refused.msg)
else:
    taken.save(lease.READY)
    print(0, taken.entry.bond)
"""


def start(pool: Pool, container_id: str, environ: dict[str, str] | None = None, mac: str = "") -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", ACQUIRE, pool.state_dir, pool.name, container_id, mac]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, **(environ or {})}, cwd=REPOSITORY, text=True)


def finish_add(taken: Lease, version: str) -> None:
    """Make a lease ready, as this version does it, or as versions did that did not lock the directory for it."""
    if version == "this version":
        taken.mark(READY)
    else:
        file = f"{taken.pool_path}/leases/{taken.entry.file}"
        os.rename(file, file.replace(".adding", ".ready"))
    taken.close()


@pytest.mark.parametrize("version", ["this version", "an earlier version"])
@pytest.mark.parametrize(
    ("container_id", "answer"),
    [("c2", "0 cbond2"), ("c1", "container c1 interface eth0 of network 'net1' has the bond cbond1 of pool db")],
    ids=["another container", "the same container"],
)
def test_a_listing_that_misses_a_lease_gives_no_second_bond(
    tmp_path: Path, shim: Path, version: str, container_id: str, answer: str
) -> None:
    """The ADD of c1 becomes ready during the listing of another ADD, which then returns neither of the two names.

    Neither is its bond leased to another container, nor gets its container a second bond (A3, A10).
    """
    pool = make_pool(tmp_path / "state", size=2)
    taken = lease(pool, "c1")
    with TornListing(shim, tmp_path / "torn", lambda: finish_add(taken, version)) as torn:
        process = start(pool, container_id, torn.environ)
        assert process.communicate(timeout=30)[0].count(answer) == 1
    assert [name for name in names_of_leases(pool) if name.startswith("cbond1.")] == [f"cbond1.{ATTACHMENT.key}.ready"]


@pytest.mark.parametrize(("container_id", "mac"), [("c1", ""), ("c2", "02:00:00:aa:bb:cc")], ids=["one attachment", "one MAC"])
def test_two_pools_at_once_do_not_give_what_only_one_may_give(tmp_path: Path, shim: Path, container_id: str, mac: str) -> None:
    """Two bonds for one attachment, or one MAC for two containers: one ADD runs while another has looked and not leased yet."""
    first, second = make_pool(tmp_path / "state", "aa"), make_pool(tmp_path / "state", "zz")
    refused: list[CniError] = []

    def other_add() -> None:
        try:
            acquire(second, Attachment("net1", container_id, "eth0"), NETNS, Requested(mac=mac)).close()
        except CniError as error:
            refused.append(error)

    with TornListing(shim, tmp_path / "torn", other_add) as torn:
        answer = start(first, "c1", torn.environ, mac).communicate(timeout=30)[0]
    assert (answer, names_of_leases(second)) == ("0 cbond1\n", [])
    assert ["c1 eth0" in error.msg or "container c1 interface eth0" in error.msg for error in refused] == [True]


def test_a_state_directory_on_nfs_works(tmp_path: Path, shim: Path) -> None:
    """Diskless hosts have it there. Without locks of directories only what they add is missing."""
    pool = make_pool(tmp_path)
    lease(pool, "c1").close()
    answer = start(pool, "c2", {"LD_PRELOAD": str(shim), "SHIM_NFS": "1"}).communicate(timeout=30)[0]
    assert (answer, len(names_of_leases(pool))) == ("0 cbond2\n", 2)


def test_the_inventory_is_read_under_the_lock(tmp_path: Path) -> None:
    """`up` and `down` rewrite it under the pool's lock, and an ADD that waits for this lock must not lease by the old one."""
    pool = make_pool(tmp_path, size=1)
    lock = pool.lock()
    inode = os.fstat(lock).st_ino
    with start(pool, "c1") as process:
        wait_until(lambda: inode in inodes_of(process.pid), "the process to wait for the lock")
        entry = {**bond_entry(1), "name": "other1"}
        inventory.write(pool.path, Inventory("db", inventory.read(pool.path, "db").boot_id, [], [Bond.from_json(entry)]))
        os.close(lock)
        assert process.communicate(timeout=30)[0] == "0 other1\n"


def test_a_mac_in_use_is_refused_and_the_bond_stays_free(tmp_path: Path) -> None:
    """The error names the container that has it (requested_mac)."""
    pool = make_pool(tmp_path)
    acquire(pool, ATTACHMENT, NETNS, Requested(mac="02:00:00:aa:bb:cc")).close()
    with pytest.raises(CniError, match="in use on the untagged network by container c1 eth0") as refused:
        acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested(mac="02:00:00:aa:bb:cc"))
    assert (refused.value.code, len(names_of_leases(pool))) == (TRY_AGAIN_LATER, 1)
