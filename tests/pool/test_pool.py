"""A pool of bonds: one bond for one attachment, whatever other processes do."""

import contextlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import pools, quarantine
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.lease import ADDING, DRAINING, READY, RELEASING
from cni_sriov_bond.pool.record import Attachment, Requested
from tests.lab.waiting import wait_until
from tests.support import ATTACHMENT, NETNS, REPOSITORY, holder, lease, make_pool, name_of, names_of_leases

# A process that leases a bond and prints its name.
ACQUIRE = """
import sys
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.pool import acquisition, lease, pool, record
where = pool.Pool(sys.argv[1], "db")
sys.stdin.readline()
try:
    taken = acquisition.acquire(
        where, record.Attachment("net1", sys.argv[2], "eth0"), record.NetnsIdentity("/none", 4, 1), record.Requested()
    )
except CniError as refused:
    print(refused.code, refused.msg)
else:
    taken.save(lease.READY)
    print(0, taken.entry.bond)
"""


def test_bonds_are_leased_in_their_order_until_none_is_left(tmp_path: Path) -> None:
    """Each attachment gets the next free bond; one more gets an error that names the owners of the bonds (A6)."""
    pool = make_pool(tmp_path, size=3)
    with contextlib.ExitStack() as leases:
        for number in (1, 2, 3):
            taken = acquire(pool, Attachment("net1", f"c{number}", "eth0"), NETNS, Requested())
            leases.callback(taken.close)
            assert taken.entry.bond == f"cbond{number}"
        with pytest.raises(CniError) as refused:
            acquire(pool, Attachment("net1", "c4", "eth0"), NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
    for words in ("pool db is empty", "all 3 bonds", "cbond1 by c1 eth0", "cbond2 by c2 eth0", "cbond3 by c3 eth0"):
        assert words in refused.value.msg


def test_an_attachment_gets_no_second_bond(tmp_path: Path) -> None:
    """The same network, container and interface again is an error that names the bond it has (A3)."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    with pytest.raises(CniError, match="container c1 interface eth0 of network 'net1' has the bond cbond1") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert refused.value.code == POOL_UNUSABLE
    assert len(names_of_leases(pool)) == 1


def test_an_attachment_with_a_pending_del_gets_no_bond(tmp_path: Path) -> None:
    """Also if its lease became a pending DEL after the ADD looked for one: the late DEL would free the new address (A3)."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    taken.make_pending()
    taken.close()
    with pytest.raises(CniError, match=r"an earlier IPAM DEL of .* is still pending") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
    lease(pool, "c2").close()


@pytest.mark.parametrize(
    ("state", "words"), [(DRAINING, "until its VFs are in the host"), (ADDING, "by an ADD that has not ended")]
)
def test_an_attachment_whose_bond_is_not_free_yet_is_told_to_try_again(tmp_path: Path, state: str, words: str) -> None:
    """A runtime that deletes an attachment and adds it again gets the code for "try again later" (A6)."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    taken.save(state)
    taken.close()
    with pytest.raises(CniError, match=words) as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER


@pytest.mark.parametrize("other", [("net2", "c1", "eth0"), ("net1", "c2", "eth0"), ("net1", "c1", "eth1")])
def test_attachments_differ_in_each_of_their_parts(tmp_path: Path, other: tuple[str, str, str]) -> None:
    """Another network, container or interface is another attachment."""
    pool = make_pool(tmp_path)
    lease(pool).close()
    taken = acquire(pool, Attachment(*other), NETNS, Requested())
    taken.close()
    assert taken.entry.bond == "cbond2"


def test_foreign_names_do_not_become_paths(tmp_path: Path) -> None:
    """Names that would lead elsewhere, or are too long for a file, are hashed (contract 4, 9 and 14)."""
    pool = make_pool(tmp_path)
    for attachment in (Attachment("../../x", "/" * 5000, "\udcff"), Attachment("n" * 300, "c", "e")):
        acquire(pool, attachment, NETNS, Requested()).close()
    assert all(len(name) < 100 and "/" not in name for name in names_of_leases(pool))
    assert os.listdir(tmp_path) == ["db"]


def test_parallel_processes_never_get_one_bond(tmp_path: Path) -> None:
    """Of 24 processes at once on 16 bonds, 16 get one each and 8 get an error (A10, contract 4, 45)."""
    make_pool(tmp_path, size=16)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ACQUIRE, str(tmp_path), f"c{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            text=True,
        )
        for number in range(24)
    ]
    for process in started:  # all wait for this line, so that they run at once
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split(maxsplit=1) for process in started]
    given = [words[1].strip() for words in answers if words[0] == "0"]
    assert sorted(given) == sorted(f"cbond{number}" for number in range(1, 17))
    assert [words[0] for words in answers].count(str(TRY_AGAIN_LATER)) == 8


def test_a_freed_bond_is_leased_again(tmp_path: Path) -> None:
    """After its lease is erased a bond can be leased again."""
    pool = make_pool(tmp_path, size=1)
    first = lease(pool)
    first.save(READY)
    first.erase()
    first.close()
    second = lease(pool, "c2")
    assert (second.entry.bond, second.record.owner) == ("cbond1", "c2 eth0")
    second.close()


@pytest.mark.parametrize("device", ["cbond2", "ffff:02:10.2", "FFFF:01:10.2"])
def test_a_device_is_leased_by_name_or_address(tmp_path: Path, device: str) -> None:
    """The requested bond is leased though another is free before it."""
    pool = make_pool(tmp_path, size=3)
    taken = acquire(pool, Attachment("net1", "c1", "eth0"), NETNS, Requested(), device=device)
    taken.close()
    assert taken.record.bond.name == taken.entry.bond == "cbond2"
    with pytest.raises(CniError, match="is leased to c1 eth0") as refused:
        acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested(), device=device)
    assert refused.value.code == TRY_AGAIN_LATER
    assert [entry.bond for entry in pool.entries()] == ["cbond2"]


@pytest.mark.parametrize("device", ["cbond9", "ffff:01:00.0", "CBOND1", "x"])
def test_an_unknown_device_is_refused(tmp_path: Path, device: str) -> None:
    """The address of a PF does not name a bond."""
    pool = make_pool(tmp_path, size=3)
    with pytest.raises(CniError, match=f"deviceID '{device}' is neither a bond of pool db nor") as refused:
        acquire(pool, Attachment("net1", "c1", "eth0"), NETNS, Requested(), device=device)
    assert (refused.value.code, pool.entries()) == (INVALID_CONFIG, [])


def test_an_erased_lease_cannot_be_taken(tmp_path: Path) -> None:
    """A process that waited for the bond while its lease was erased gets None, and the bond stays unlocked."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    entry = taken.entry
    taken.erase()
    taken.close()
    assert pool.take(entry) is None
    os.close(pool.lock_bond("cbond1", seconds=0))


def test_a_lease_is_read_in_whatever_state_it_is_by_now(tmp_path: Path) -> None:
    """Between listing and reading it may be renamed. GC would else free the addresses of a lease that it counts as gone."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    listed = taken.entry
    for state in (READY, DRAINING, RELEASING):
        taken.mark(state)
        record = pool.read(listed)
        assert record is not None and record.owner == "c1 eth0"
    taken.erase()
    assert pool.read(listed) is None
    taken.close()


def test_a_bond_with_a_new_owner_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    """A late DEL of the old attachment must not get the new owner's lease."""
    pool = make_pool(tmp_path, size=1)
    old = lease(pool)
    entry = old.entry
    old.erase()
    old.close()
    lease(pool, "c2").close()
    assert pool.take(entry) is None
    assert pools.find(str(tmp_path), ATTACHMENT) is None


def test_a_lock_that_is_held_names_its_holder(tmp_path: Path) -> None:
    """After the deadline the error says which process has the pool, and that it may be tried again (A6)."""
    pool = make_pool(tmp_path)
    start = monotonic()
    with holder(f"{pool.path}/lock") as pid, pytest.raises(CniError) as refused:
        name = name_of(pid)
        pool.lock(seconds=0.2)
    assert 0.2 <= monotonic() - start < 5
    assert refused.value.code == TRY_AGAIN_LATER
    assert refused.value.msg == f"pool db is in use by process {pid} ({name}); try again later"


def test_a_bond_in_use_names_its_holder(tmp_path: Path) -> None:
    """Taking a lease that another process works on ends after the deadline, naming bond, pool and process."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    taken.close()
    with (
        holder(f"{pool.path}/bonds/cbond1") as pid,
        pytest.raises(CniError, match=f"bond cbond1 of pool db is in use by process {pid} "),
    ):
        pool.take(taken.entry, seconds=0)


def test_a_lock_is_free_once_its_holder_was_killed(tmp_path: Path) -> None:
    """The kernel releases the locks of a process that ends: nothing has to be cleaned up."""
    pool = make_pool(tmp_path)
    with holder(f"{pool.path}/lock") as pid:
        os.kill(pid, 9)
        os.close(pool.lock(seconds=5))


@pytest.mark.parametrize("remade", [True, False], ids=["created again", "gone"])
def test_a_lock_whose_file_was_removed_is_taken_again(tmp_path: Path, remade: bool) -> None:
    """A process that waited while `down` removed the pool locks the new pool's file, or gets an error if there is none."""
    pool = make_pool(tmp_path)
    with ThreadPoolExecutor(1) as other:
        lock = pool.lock()
        waiting = other.submit(pool.lock)
        opened = Path(pool.path, "lock").stat().st_ino
        wait_until(lambda: [fd for fd in _open_files() if fd == opened][1:], "the other to open the lock")
        shutil.rmtree(pool.path)
        if remade:
            make_pool(tmp_path)
        os.close(lock)
        if not remade:
            with pytest.raises(CniError, match="cannot open the lock"):
                waiting.result(10)
            return
        got = waiting.result(10)
    with pytest.raises(CniError, match="pool db is in use"):
        pool.lock(seconds=0)
    os.close(got)


def _open_files() -> list[int]:
    """Return the inode of every file that this process has open."""
    inodes = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            inodes.append(os.fstat(int(fd)).st_ino)
    return inodes


def test_a_locked_bond_is_passed_over(tmp_path: Path) -> None:
    """A free bond whose lock is held, by `up` or by a delegate that outlived its ADD, does not delay the next ADD."""
    pool = make_pool(tmp_path, size=2)
    with holder(f"{pool.path}/bonds/cbond1"):
        taken = acquire(pool, ATTACHMENT, NETNS, Requested())
        taken.close()
    assert taken.entry.bond == "cbond2"


def test_the_last_free_bond_is_waited_for(tmp_path: Path) -> None:
    """If every free bond is locked, an ADD gets one as soon as it is unlocked."""
    pool = make_pool(tmp_path, size=1)
    with holder(f"{pool.path}/bonds/cbond1"), contextlib.ExitStack() as waiting:
        process = subprocess.Popen(
            [sys.executable, "-c", ACQUIRE, str(tmp_path), "c1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            text=True,
        )
        waiting.callback(process.kill)
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        waiting.pop_all()
    assert process.communicate(timeout=20)[0] == "0 cbond1\n"


def test_only_a_free_bond_is_locked_as_free(tmp_path: Path) -> None:
    """Neither a leased bond nor a locked one; while it is locked as free, no ADD can lease it."""
    pool = make_pool(tmp_path, size=1)
    lock = pool.lock_free_bond("cbond1")
    assert lock is not None
    assert pool.lock_free_bond("cbond1") is None
    os.close(lock)
    taken = lease(pool)
    taken.close()
    assert pool.lock_free_bond("cbond1") is None
    os.close(pool.lock_bond("cbond1", seconds=0))


def test_files_of_killed_writers_are_deleted_and_those_of_others_stay(tmp_path: Path) -> None:
    """A writer holds the bond's lock, so the temporary files of an unlocked bond were left by killed processes."""
    pool = make_pool(tmp_path, size=3)
    quarantine.add(pool.path, "cbond3", "x")
    left = [Path(pool.leases, f".cbond2.{ATTACHMENT.key}.adding.12345"), Path(pool.path, "quarantine", ".cbond3.12345")]
    in_use = Path(pool.leases, f".cbond1.{ATTACHMENT.key}.ready.12345")
    for path in (*left, in_use):
        path.write_text("{")
    with holder(f"{pool.path}/bonds/cbond1"):
        assert pool.drop_leftovers() == 2
    assert [path.exists() for path in (*left, in_use)] == [False, False, True]


@pytest.mark.parametrize("name", ["lock", "bonds", "leases"])
def test_a_directory_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    """A file where a directory should be, or the other way round, is reported with its path, and nothing is leased."""
    pool = make_pool(tmp_path)
    path = Path(pool.path, name)
    if path.is_dir():
        path.rmdir()
        path.write_text("")
    else:
        path.mkdir()
    with pytest.raises(CniError, match=f"{pool.path}/{name}|leases of pool db") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert refused.value.code == IO_FAILURE
