"""The pool on disk: one bond for one attachment, whatever other processes do and whatever a crash left."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from cni_sriov_bond import files
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import inventory, pool, pools, quarantine
from cni_sriov_bond.pool.lease import ADDING, DRAINING, READY
from cni_sriov_bond.pool.record import Attachment, DelegateCall, Requested
from tests.lab.waiting import wait_until
from tests.support import NETNS, REPOSITORY, change_inventory, lease, make_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

WHO = Attachment("net1", "c1", "eth0")

# A process of its own that leases a bond, says which, and keeps it until its input ends.
ACQUIRE = """
import sys
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.pool import lease, pool, record
where = pool.Pool(sys.argv[1], "db")
sys.stdin.readline()
try:
    taken = where.acquire(
        record.Attachment("net1", sys.argv[2], "eth0"), record.NetnsIdentity("/none", 4, 1), record.Requested()
    )
except CniError as refused:
    print(refused.code, refused.msg)
else:
    taken.save(lease.READY)
    print(0, taken.entry.bond)
"""

# A process that holds a lock until its input ends.
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def names_of_leases(where: pool.Pool) -> list[str]:
    return sorted(os.listdir(where.leases))


# -- acquiring


def test_bonds_are_leased_in_their_order_until_none_is_left(tmp_path: Path) -> None:
    """Each attachment gets the next free bond; one more is told that the pool is empty and who has the bonds (A6)."""
    where = make_pool(tmp_path, size=3)
    with contextlib.ExitStack() as kept:
        for number in (1, 2, 3):
            taken = where.acquire(Attachment("net1", f"c{number}", "eth0"), NETNS, Requested())
            kept.callback(taken.close)
            assert taken.entry.bond == f"cbond{number}"
        with pytest.raises(CniError) as refused:
            where.acquire(Attachment("net1", "c4", "eth0"), NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
    for words in ("pool db is empty", "all 3 bonds", "cbond1 by c1 eth0", "cbond2 by c2 eth0", "cbond3 by c3 eth0"):
        assert words in refused.value.msg


def test_a_long_list_of_holders_is_cut(tmp_path: Path) -> None:
    """With many holders the sentence names some and counts the rest, and cuts long container ids."""
    where = make_pool(tmp_path, size=63)
    for number in range(63):
        lease(where, f"{number:064}").close()
    with pytest.raises(CniError, match="and 60 more") as refused:
        where.acquire(WHO, NETNS, Requested())
    assert len(refused.value.msg) < 300


def test_an_attachment_is_not_given_a_second_bond(tmp_path: Path) -> None:
    """The same network, container and interface again is an error that names the bond it has (A3)."""
    where = make_pool(tmp_path)
    taken = lease(where)
    taken.save(READY)
    taken.close()
    with pytest.raises(CniError, match="container c1 interface eth0 of network 'net1' has the bond cbond1") as refused:
        where.acquire(WHO, NETNS, Requested())
    assert refused.value.code == POOL_UNUSABLE
    assert len(names_of_leases(where)) == 1


def test_an_attachment_that_is_owed_a_del_is_given_no_bond(tmp_path: Path) -> None:
    """Also if its lease has become a debt since the debts were looked at: the late DEL would free its new address (A3)."""
    where = make_pool(tmp_path)
    taken = lease(where)
    taken.make_pending()
    taken.close()
    with pytest.raises(CniError, match=r"an earlier IPAM DEL of .* is still pending") as refused:
        where.acquire(WHO, NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
    lease(where, "c2").close()


@pytest.mark.parametrize(
    ("state", "words"), [(DRAINING, "until its VFs are in the host"), (ADDING, "by an ADD that has not ended")]
)
def test_an_attachment_whose_bond_is_on_its_way_is_told_to_wait(tmp_path: Path, state: str, words: str) -> None:
    """A runtime that has deleted it, and attaches it anew, is to try again later (A6)."""
    where = make_pool(tmp_path)
    taken = lease(where)
    taken.save(state)
    taken.close()
    with pytest.raises(CniError, match=words) as refused:
        where.acquire(WHO, NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER


@pytest.mark.parametrize("other", [("net2", "c1", "eth0"), ("net1", "c2", "eth0"), ("net1", "c1", "eth1")])
def test_attachments_differ_in_each_of_their_parts(tmp_path: Path, other: tuple[str, str, str]) -> None:
    """Another network, container or interface is another attachment."""
    where = make_pool(tmp_path)
    lease(where).close()
    taken = where.acquire(Attachment(*other), NETNS, Requested())
    taken.close()
    assert taken.entry.bond == "cbond2"


def test_parts_of_an_attachment_do_not_run_together() -> None:
    """Where one part ends and the next begins is a part of the key."""
    keys = {Attachment(*parts).key for parts in (("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd"), ("a", "bcd", ""))}
    assert len(keys) == 4


def test_foreign_names_do_not_become_paths(tmp_path: Path) -> None:
    """Names that would lead elsewhere, or are too long for a file, are hashed (contract 4, 9 and 14)."""
    where = make_pool(tmp_path)
    for who in (Attachment("../../x", "/" * 5000, "\udcff"), Attachment("n" * 300, "c", "e")):
        where.acquire(who, NETNS, Requested()).close()
    assert all(len(name) < 100 and "/" not in name for name in names_of_leases(where))
    assert os.listdir(tmp_path) == ["db"]


def test_parallel_processes_never_get_one_bond(tmp_path: Path) -> None:
    """Of 24 processes at once on 16 bonds, 16 get one each and 8 are told that there is none (A10, contract 4, 45)."""
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
    """After its lease is erased the bond is the next one's."""
    where = make_pool(tmp_path, size=1)
    first = lease(where)
    first.save(READY)
    first.erase()
    first.close()
    second = lease(where, "c2")
    assert (second.entry.bond, second.record.owner) == ("cbond1", "c2 eth0")
    second.close()


# -- the record


def test_a_lease_says_whose_it_is_and_when_it_was_made(tmp_path: Path) -> None:
    """What DEL needs is on disk before acquire returns: bond, ports, attachment, namespace, delegate and boot."""
    where = make_pool(tmp_path)
    delegate = DelegateCall("host-local", {"CNI_ARGS": "é"}, '{"name":"\udcff"}')
    lease(where, delegate=delegate).close()
    [entry] = where.entries()
    record = where.read(entry)
    assert record is not None and record.attachment and record.netns and record.delegate
    assert (record.pool, record.bond.name, [port.name for port in record.ports]) == ("db", "cbond1", ["VF11", "VF21"])
    assert (record.attachment.network, record.owner) == ("net1", "c1 eth0")
    assert (record.netns.path, record.netns.dev, record.netns.ino) == (NETNS.path, NETNS.dev, NETNS.ino)
    assert (record.delegate.kind, record.delegate.environ, record.delegate.config) == (
        delegate.kind,
        delegate.environ,
        delegate.config,
    )
    assert (record.boot_id, record.pid, record.before, record.addresses) == (files.boot_id(), os.getpid(), {}, None)


def test_the_state_is_in_the_files_name(tmp_path: Path) -> None:
    """A listing alone tells which bonds are leased and how far; a change of state is one rename."""
    where = make_pool(tmp_path)
    taken = lease(where)
    for state in (ADDING, READY, DRAINING):
        taken.save(state)
        assert names_of_leases(where) == [f"cbond1.{WHO.key}.{state}"]
    taken.close()
    [entry] = where.entries()
    assert (entry.bond, entry.key, entry.state) == ("cbond1", WHO.key, DRAINING)


def test_draining_keeps_record_and_bond(tmp_path: Path) -> None:
    """A lease whose VFs are not home stays as it was written, and nobody gets its bond."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where, addresses=["10.0.0.1/24"])
    taken.mark(DRAINING)
    taken.close()
    found = pools.find(str(tmp_path), WHO)
    assert found is not None
    assert (found.entry.state, found.record.addresses) == (DRAINING, ["10.0.0.1/24"])
    found.close()
    with pytest.raises(CniError, match="pool db is empty"):
        where.acquire(Attachment("net1", "c2", "eth0"), NETNS, Requested())


def test_what_is_saved_is_for_root_alone(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600, for a lease holds the network's config."""
    where = make_pool(tmp_path / "state")
    taken = lease(where)
    taken.save(READY)
    taken.close()
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (tmp_path / "state").rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Saving again and again leaves one file; a dead writer's leftover is not taken for a lease."""
    where = make_pool(tmp_path)
    taken = lease(where)
    for _ in range(3):
        taken.save(READY)
    Path(where.leases, f".cbond2.{WHO.key}.adding.12345").write_text("{")
    assert [entry.bond for entry in where.entries()] == ["cbond1"]
    taken.erase()
    taken.close()
    assert where.entries() == []


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """When the directory is gone from under a writer the error names the file, and nothing half-written is there."""
    where = make_pool(tmp_path)
    taken = lease(where)
    Path(where.leases).rename(tmp_path / "away")
    Path(where.leases).write_text("a file in place of the directory")
    with pytest.raises(CniError, match=r"cannot write .*/leases/cbond1\..*: Not a directory") as refused:
        taken.save(READY)
    taken.close()
    assert refused.value.code == IO_FAILURE
    assert [path.name for path in (tmp_path / "away").iterdir()] == [f"cbond1.{WHO.key}.adding"]


# -- finding


def test_a_lease_is_found_by_its_attachment_in_any_pool(tmp_path: Path) -> None:
    """The config may name another pool by now: the attachment alone finds its lease (D10)."""
    make_pool(tmp_path, "aa")
    lease(make_pool(tmp_path, "zz")).close()
    found = pools.find(str(tmp_path), WHO)
    assert found is not None
    assert (found.pool, str(found)) == ("zz", "bond cbond1 of pool zz")
    found.close()
    assert pools.find(str(tmp_path), Attachment("net1", "c2", "eth0")) is None


@pytest.mark.parametrize("state_dir", ["absent", "file", "empty"])
def test_nothing_is_found_where_nothing_is(tmp_path: Path, state_dir: str) -> None:
    """No state directory, or a file in its place, has no leases and no pools, and is no error (D3, D11)."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert pools.find(str(tmp_path / state_dir), WHO) is None
    assert inventory.names(str(tmp_path / state_dir)) == []


def test_an_erased_lease_is_taken_by_nobody(tmp_path: Path) -> None:
    """Whoever waited for a bond whose lease is gone meanwhile gets None, and the bond stays unlocked."""
    where = make_pool(tmp_path)
    taken = lease(where)
    entry = taken.entry
    taken.erase()
    taken.close()
    assert where.take(entry) is None
    os.close(where.lock_bond("cbond1", seconds=0))


def test_a_bond_with_a_new_owner_is_not_given_to_the_old_one(tmp_path: Path) -> None:
    """A late DEL of the old attachment does not get the new owner's lease."""
    where = make_pool(tmp_path, size=1)
    old = lease(where)
    entry = old.entry
    old.erase()
    old.close()
    lease(where, "c2").close()
    assert where.take(entry) is None
    assert pools.find(str(tmp_path), WHO) is None


# -- locks


@contextlib.contextmanager
def holder(path: str) -> "Iterator[int]":
    """Run a process that holds a lock until the block ends, and give its pid."""
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.stdin.close()


def test_a_lock_that_is_held_names_its_holder(tmp_path: Path) -> None:
    """After the deadline the error says which process has the pool, and that it may be tried again (A6)."""
    where = make_pool(tmp_path)
    start = monotonic()
    with holder(f"{where.path}/lock") as pid, pytest.raises(CniError) as refused:
        name = name_of(pid)
        where.lock(seconds=0.2)
    assert 0.2 <= monotonic() - start < 5
    assert refused.value.code == TRY_AGAIN_LATER
    assert refused.value.msg == f"pool db is in use by process {pid} ({name}); try again later"


def test_a_bond_in_use_names_its_holder(tmp_path: Path) -> None:
    """Taking a lease that another process works on ends after the deadline, naming bond, pool and process."""
    where = make_pool(tmp_path)
    taken = lease(where)
    taken.close()
    with (
        holder(f"{where.path}/bonds/cbond1") as pid,
        pytest.raises(CniError, match=f"bond cbond1 of pool db is in use by process {pid} "),
    ):
        where.take(taken.entry, seconds=0)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_lock_that_was_inherited_names_the_process_that_took_it(tmp_path: Path) -> None:
    """An ADD that is killed leaves the bond's lock to its delegate, which was its child."""
    where = make_pool(tmp_path)
    script = f"exec 7>{where.path}/bonds/cbond1; flock 7; sleep 60 & echo $!; kill -9 $$"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout
        heir = int(taker.stdout.readline())
        taker.wait(10)
        try:
            wait_until(lambda: name_of(heir) == "sleep", "the heir to run")
            with pytest.raises(
                CniError,
                match=r"bond cbond1 of pool db is in use by a process that inherited it from process \d+, which has ended; try",
            ):
                where.lock_bond("cbond1", seconds=0)
        finally:
            os.kill(heir, 9)


def test_a_lock_is_free_once_its_holder_died(tmp_path: Path) -> None:
    """The kernel gives a dead process's lock back: nothing has to be cleaned up."""
    where = make_pool(tmp_path)
    with holder(f"{where.path}/lock") as pid:
        os.kill(pid, 9)
        os.close(where.lock(seconds=5))


@pytest.mark.parametrize("remade", [True, False], ids=["made anew", "gone"])
def test_a_lock_whose_file_was_taken_away_is_none(tmp_path: Path, remade: bool) -> None:
    """Who waited while `down` took the pool away locks the new pool's file, or is told that there is none."""
    where = make_pool(tmp_path)
    with ThreadPoolExecutor(1) as other:
        held = where.lock()
        waiting = other.submit(where.lock)
        opened = Path(where.path, "lock").stat().st_ino
        wait_until(lambda: [fd for fd in _open_files() if fd == opened][1:], "the other to open the lock")
        shutil.rmtree(where.path)
        if remade:
            make_pool(tmp_path)
        os.close(held)
        if not remade:
            with pytest.raises(CniError, match="cannot open the lock"):
                waiting.result(10)
            return
        got = waiting.result(10)
    with pytest.raises(CniError, match="pool db is in use"):
        where.lock(seconds=0)
    os.close(got)


def _open_files() -> list[int]:
    """Give the inode of every file that this process has open."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.fstat(int(fd)).st_ino)
    return found


def test_a_lease_is_locked_while_it_is_open(tmp_path: Path) -> None:
    """From acquire to close nobody else can work on the bond; closing twice does no harm."""
    where = make_pool(tmp_path)
    taken = lease(where)
    with open(f"{where.path}/bonds/cbond1") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    taken.close()
    taken.close()
    os.close(where.lock_bond("cbond1", seconds=0))


def test_a_bond_that_somebody_works_on_is_passed_over(tmp_path: Path) -> None:
    """A free bond whose lock is held, by `up` or by a delegate that outlived its ADD, does not hold up the next ADD."""
    where = make_pool(tmp_path, size=2)
    with holder(f"{where.path}/bonds/cbond1"):
        taken = where.acquire(WHO, NETNS, Requested())
        taken.close()
    assert taken.entry.bond == "cbond2"


def test_the_last_free_bond_is_waited_for(tmp_path: Path) -> None:
    """Where every free bond is being worked on, one is had as soon as it is let go."""
    where = make_pool(tmp_path, size=1)
    with holder(f"{where.path}/bonds/cbond1"), contextlib.ExitStack() as waiting:
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


def test_only_a_bond_that_is_free_is_locked_as_free(tmp_path: Path) -> None:
    """Neither a leased bond nor one that somebody works on; whoever has it as free keeps it from being leased."""
    where = make_pool(tmp_path, size=1)
    held = where.lock_free_bond("cbond1")
    assert held is not None
    assert where.lock_free_bond("cbond1") is None
    os.close(held)
    taken = lease(where)
    taken.close()
    assert where.lock_free_bond("cbond1") is None
    os.close(where.lock_bond("cbond1", seconds=0))


# -- set aside


def test_a_bond_in_quarantine_is_not_handed_out(tmp_path: Path) -> None:
    """It is passed over and named to whoever finds the pool empty; out of quarantine it is leased again."""
    where = make_pool(tmp_path, size=2)
    quarantine.add(where.path, "cbond1", "VF11 is not in the host")
    assert quarantine.reasons(where.path) == {"cbond1": "VF11 is not in the host"}
    lease(where).close()
    with pytest.raises(CniError, match=r"1 of 2 bonds are leased .*, and cbond1 cannot be used") as refused:
        where.acquire(Attachment("net1", "c2", "eth0"), NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
    with pytest.raises(CniError, match="cannot be used: VF11 is not in the host"):
        where.acquire(Attachment("net1", "c2", "eth0"), NETNS, Requested(), device="cbond1")
    quarantine.remove(where.path, "cbond1")
    quarantine.remove(where.path, "cbond1")
    taken = where.acquire(Attachment("net1", "c2", "eth0"), NETNS, Requested())
    taken.close()
    assert taken.entry.bond == "cbond1"


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"reason":'])
def test_a_quarantine_whose_reason_is_lost_holds(tmp_path: Path, damage: str) -> None:
    """Better a bond too few than one that was set aside for a reason."""
    where = make_pool(tmp_path, size=1)
    quarantine.add(where.path, "cbond1", "x")
    Path(where.path, "quarantine", "cbond1").write_text(damage)
    assert "cannot be read" in quarantine.reasons(where.path)["cbond1"]
    with pytest.raises(CniError):
        where.acquire(WHO, NETNS, Requested())


def test_a_dead_writers_leftovers_go_and_a_living_ones_stay(tmp_path: Path) -> None:
    """Who writes holds the bond's lock, so a temporary file of a bond that nobody has locked is of the dead."""
    where = make_pool(tmp_path, size=3)
    quarantine.add(where.path, "cbond3", "x")
    dead = [Path(where.leases, f".cbond2.{WHO.key}.adding.12345"), Path(where.path, "quarantine", ".cbond3.12345")]
    alive = Path(where.leases, f".cbond1.{WHO.key}.ready.12345")
    for path in (*dead, alive):
        path.write_text("{")
    with holder(f"{where.path}/bonds/cbond1"):
        assert where.drop_leftovers() == 2
    assert [path.exists() for path in (*dead, alive)] == [False, False, True]


@pytest.mark.parametrize("way", ["erase", "owe", "find"])
def test_leftovers_go_with_the_next_that_happens_to_the_bond(tmp_path: Path, way: str) -> None:
    """An ADD killed while it wrote leaves a file; the next DEL that meets its bond, or finds no lease, drops it."""
    where = make_pool(tmp_path, size=1)
    leftover = Path(where.leases, f".cbond1.{WHO.key}.adding.12345")
    leftover.write_text("{")
    if way == "find":
        assert pools.find(str(tmp_path), WHO) is None
    else:
        taken = lease(where, "c2")
        taken.erase() if way == "erase" else taken.make_pending()
        taken.close()
    assert not leftover.exists()
    assert where.entries() == []


# -- damage


def test_a_pool_that_was_never_made_is_told_with_those_that_were(tmp_path: Path) -> None:
    """A wrong name of a pool shows the right ones and the command that makes one."""
    make_pool(tmp_path, "db")
    make_pool(tmp_path, "web")
    with pytest.raises(CniError) as refused:
        pool.Pool(str(tmp_path), "d").acquire(WHO, NETNS, Requested())
    assert refused.value.code == POOL_UNUSABLE
    for words in ("pool 'd' is not provisioned", "there is db, web", "sriov-bondctl up"):
        assert words in refused.value.msg
    with pytest.raises(CniError, match="there is none yet"):
        pool.Pool(str(tmp_path / "nowhere"), "d").inventory()


DAMAGED = {
    "empty": b"",
    "cut": b'{"version": 1, "bonds": [{"na',
    "zeros": bytes(100),
    "no text": b"\xff\xfe\x00",
    "list": b"[]",
    "other version": b'{"version": 2, "bonds": []}',
    "no bonds": b'{"version": 1}',
    "no owner": b'{"version": 1, "bond": "cbond1", "boot_id": "x", "network": "net1", "container_id": 1}',
    "bonds of another type": b'{"version": 1, "bonds": {}}',
    "bond without ports": b'{"version": 1, "bonds": [{"name": "cbond1", "mac": "02:00:00:00:00:01"}]}',
    "bond of another type": b'{"version": 1, "bonds": [5]}',
    "ports of another type": b'{"version": 1, "bonds": [{"name": "cbond1", "mac": "", "ports": [null]}]}',
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_inventory_is_named_with_its_remedy(tmp_path: Path, kind: str) -> None:
    """No bond is given from an inventory that cannot be trusted; the error names the file and the command (contract 4, 46)."""
    where = make_pool(tmp_path)
    Path(where.path, "pool.json").write_bytes(DAMAGED[kind])
    with pytest.raises(CniError, match="sriov-bondctl up") as refused:
        where.acquire(WHO, NETNS, Requested())
    assert refused.value.code == POOL_UNUSABLE
    assert f"{where.path}/pool.json" in refused.value.msg
    assert where.entries() == []


@pytest.mark.parametrize("device", ["", "cbond2"])
def test_a_pool_of_an_earlier_boot_is_not_handed_out(tmp_path: Path, device: str) -> None:
    """Its VFs may be elsewhere on the bus, or not there: the error names the command that makes it anew."""
    where = make_pool(tmp_path)
    change_inventory(where, boot_id="another")
    with pytest.raises(CniError, match="pool db was made before this boot; run `sriov-bondctl up`") as refused:
        where.acquire(WHO, NETNS, Requested(), device=device)
    assert (refused.value.code, where.entries()) == (POOL_UNUSABLE, [])


def test_an_inventory_lost_under_leases_is_told_from_a_pool_that_never_was(tmp_path: Path) -> None:
    """The pool is known by its leases, which are found and counted; without any it was never made."""
    where = make_pool(tmp_path)
    lease(where).close()
    Path(where.path, "pool.json").unlink()
    with pytest.raises(
        CniError, match="the inventory of pool db is lost, though a bond of it is leased; run `sriov-bondctl up`"
    ):
        where.inventory()
    assert (inventory.names(str(tmp_path)), pools.known(str(tmp_path))) == ([], ["db"])
    found = pools.find(str(tmp_path), WHO)
    assert found is not None
    found.erase()
    found.close()
    assert pools.known(str(tmp_path)) == []
    with pytest.raises(CniError, match="pool 'db' is not provisioned"):
        where.inventory()


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "no text", "list", "other version"])
def test_a_damaged_lease_is_named(tmp_path: Path, kind: str) -> None:
    """A lease that cannot be read is an error naming the file, its bond stays leased, and its lock is given back."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where)
    taken.save(READY)
    taken.close()
    path = Path(where.leases, f"cbond1.{WHO.key}.ready")
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(CniError, match=str(path)) as refused:
        where.take(taken.entry)
    assert refused.value.code == POOL_UNUSABLE
    os.close(where.lock_bond("cbond1", seconds=0))
    with pytest.raises(CniError, match="pool db is empty"):
        where.acquire(Attachment("net1", "c2", "eth0"), NETNS, Requested())


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "no text", "list", "no owner", "directory"])
def test_a_damaged_lease_is_found_with_what_the_inventory_says(tmp_path: Path, kind: str) -> None:
    """The file's name says whose the bond is, so its DEL finds it: with the bond's ports, and the damage as the reason."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where)
    taken.save(READY)
    taken.close()
    path = Path(where.leases, taken.entry.file)
    if kind == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(DAMAGED[kind])
    found = pools.find(str(tmp_path), WHO)
    assert found is not None
    found.close()
    [bond] = where.bonds()
    assert [port.address for port in found.record.ports] == [port.address for port in bond.ports]
    assert str(path) in found.record.damage


def test_a_lease_of_another_version_is_left_to_the_one_that_wrote_it(tmp_path: Path) -> None:
    """After a downgrade nobody guesses what a newer record means: its DEL says so, and the lease stays."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where)
    taken.close()
    path = Path(where.leases, taken.entry.file)
    path.write_bytes(DAMAGED["other version"])
    with pytest.raises(CniError, match="is of version 2, and this sriov-bond knows only version 1") as refused:
        pools.find(str(tmp_path), WHO)
    assert (refused.value.code, path.exists()) == (POOL_UNUSABLE, True)


def test_two_names_of_one_lease_count_as_one(tmp_path: Path) -> None:
    """Should a crash leave two files of a lease, the further state counts, and erasing frees the bond for good."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where)
    taken.save(READY)
    taken.close()
    Path(where.leases, f"cbond1.{WHO.key}.draining").write_bytes(Path(where.leases, taken.entry.file).read_bytes())
    Path(where.leases, f"cbond1.{WHO.key}.adding").write_text("")
    [entry] = where.entries()
    assert entry.state == DRAINING
    found = pools.find(str(tmp_path), WHO)
    assert found is not None
    found.erase()
    found.close()
    assert where.entries() == []


@pytest.mark.parametrize("name", ["lock", "bonds", "leases"])
def test_a_directory_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    """A file where a directory should be, or the other way round, is told with its path, and nothing is leased."""
    where = make_pool(tmp_path)
    path = Path(where.path, name)
    if path.is_dir():
        path.rmdir()
        path.write_text("")
    else:
        path.mkdir()
    with pytest.raises(CniError, match=f"{where.path}/{name}|leases of pool db") as refused:
        where.acquire(WHO, NETNS, Requested())
    assert refused.value.code == IO_FAILURE


def test_directories_that_cannot_be_made_are_an_error_that_names_them(tmp_path: Path) -> None:
    """Provisioning below a file says which directory could not be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CniError, match=f"cannot create the directory {tmp_path}/file/state") as refused:
        make_pool(tmp_path / "file" / "state")
    assert refused.value.code == IO_FAILURE


# -- a wish


@pytest.mark.parametrize("device", ["cbond2", "ffff:02:10.2", "FFFF:01:10.2"])
def test_a_wish_is_granted_by_name_or_address(tmp_path: Path, device: str) -> None:
    """The bond that is asked for is leased though another is free before it."""
    where = make_pool(tmp_path, size=3)
    taken = where.acquire(Attachment("net1", "c1", "eth0"), NETNS, Requested(), device=device)
    taken.close()
    assert taken.record.bond.name == taken.entry.bond == "cbond2"
    with pytest.raises(CniError, match="is leased to c1 eth0") as refused:
        where.acquire(Attachment("net1", "c2", "eth0"), NETNS, Requested(), device=device)
    assert refused.value.code == TRY_AGAIN_LATER
    assert [entry.bond for entry in where.entries()] == ["cbond2"]


@pytest.mark.parametrize("device", ["cbond9", "ffff:01:00.0", "CBOND1", "x"])
def test_a_wish_for_what_is_not_there_is_told(tmp_path: Path, device: str) -> None:
    """A PF's address is no bond's."""
    where = make_pool(tmp_path, size=3)
    with pytest.raises(CniError, match=f"deviceID '{device}' is neither a bond of pool db nor") as refused:
        where.acquire(Attachment("net1", "c1", "eth0"), NETNS, Requested(), device=device)
    assert (refused.value.code, where.entries()) == (INVALID_CONFIG, [])
