"""A lease on disk: its file, its state, and what a crash or an operator can leave of it."""

import fcntl
import os
from pathlib import Path

import pytest

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError
from cni_sriov_bond.pool import pools
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.lease import ADDING, DRAINING, READY
from cni_sriov_bond.pool.record import Attachment, DelegateCall, Requested
from tests.support import ATTACHMENT, DAMAGED, NETNS, lease, make_pool, names_of_leases


def test_a_lease_has_its_owner_and_its_time(tmp_path: Path) -> None:
    """What DEL needs is on disk before acquire returns: bond, ports, attachment, namespace, delegate and boot."""
    pool = make_pool(tmp_path)
    delegate = DelegateCall("host-local", {"CNI_ARGS": "é"}, '{"name":"\udcff"}')
    lease(pool, delegate=delegate).close()
    [entry] = pool.entries()
    record = pool.read(entry)
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
    """A listing alone shows which bonds are leased and in which state; a change of state is one rename."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    for state in (ADDING, READY, DRAINING):
        taken.save(state)
        assert names_of_leases(pool) == [f"cbond1.{ATTACHMENT.key}.{state}"]
    taken.close()
    [entry] = pool.entries()
    assert (entry.bond, entry.key, entry.state) == ("cbond1", ATTACHMENT.key, DRAINING)


def test_draining_keeps_record_and_bond(tmp_path: Path) -> None:
    """A lease whose VFs are not in the host stays as it was written, and its bond is not leased again."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool, addresses=["10.0.0.1/24"])
    taken.mark(DRAINING)
    taken.close()
    open_lease = pools.find(str(tmp_path), ATTACHMENT)
    assert open_lease is not None
    assert (open_lease.entry.state, open_lease.record.addresses) == (DRAINING, ["10.0.0.1/24"])
    open_lease.close()
    with pytest.raises(CniError, match="pool db is empty"):
        acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested())


def test_files_and_directories_are_for_root_alone(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600, for a lease holds the network's config."""
    pool = make_pool(tmp_path / "state")
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (tmp_path / "state").rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_writing_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Saving again and again leaves one file; the temporary file of a killed writer does not count as a lease."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    for _ in range(3):
        taken.save(READY)
    Path(pool.leases, f".cbond2.{ATTACHMENT.key}.adding.12345").write_text("{")
    assert [entry.bond for entry in pool.entries()] == ["cbond1"]
    taken.erase()
    taken.close()
    assert pool.entries() == []


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """When the directory is gone from under a writer the error names the file, and there is no incomplete file."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    Path(pool.leases).rename(tmp_path / "away")
    Path(pool.leases).write_text("a file in place of the directory")
    with pytest.raises(CniError, match=r"cannot write .*/leases/cbond1\..*: Not a directory") as refused:
        taken.save(READY)
    taken.close()
    assert refused.value.code == IO_FAILURE
    assert [path.name for path in (tmp_path / "away").iterdir()] == [f"cbond1.{ATTACHMENT.key}.adding"]


def test_a_lease_is_locked_while_it_is_open(tmp_path: Path) -> None:
    """From acquire to close no other process can lock the bond; closing twice does no harm."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    with open(f"{pool.path}/bonds/cbond1") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    taken.close()
    taken.close()
    os.close(pool.lock_bond("cbond1", seconds=0))


@pytest.mark.parametrize("way", ["erase", "make pending", "find"])
def test_files_of_killed_writers_go_with_the_next_release_of_the_bond(tmp_path: Path, way: str) -> None:
    """An ADD that was killed while it wrote leaves a file; the next release of the bond or DEL without a lease deletes it."""
    pool = make_pool(tmp_path, size=1)
    temporary = Path(pool.leases, f".cbond1.{ATTACHMENT.key}.adding.12345")
    temporary.write_text("{")
    if way == "find":
        assert pools.find(str(tmp_path), ATTACHMENT) is None
    else:
        taken = lease(pool, "c2")
        taken.erase() if way == "erase" else taken.make_pending()
        taken.close()
    assert not temporary.exists()
    assert pool.entries() == []


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "no text", "list", "other version"])
def test_a_damaged_lease_is_named(tmp_path: Path, kind: str) -> None:
    """A lease that cannot be read is an error naming the file, its bond stays leased, and its lock is released."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    path = Path(pool.leases, f"cbond1.{ATTACHMENT.key}.ready")
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(CniError, match=str(path)) as refused:
        pool.take(taken.entry)
    assert refused.value.code == POOL_UNUSABLE
    os.close(pool.lock_bond("cbond1", seconds=0))
    with pytest.raises(CniError, match="pool db is empty"):
        acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested())


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "no text", "list", "no owner", "directory"])
def test_a_damaged_lease_is_found_with_what_the_inventory_says(tmp_path: Path, kind: str) -> None:
    """The file's name holds the attachment's key, so its DEL finds it, with the bond's ports and the reason."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    path = Path(pool.leases, taken.entry.file)
    if kind == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(DAMAGED[kind])
    open_lease = pools.find(str(tmp_path), ATTACHMENT)
    assert open_lease is not None
    open_lease.close()
    [bond] = pool.bonds()
    assert [port.address for port in open_lease.record.ports] == [port.address for port in bond.ports]
    assert str(path) in open_lease.record.damage


def test_a_lease_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """After a downgrade a newer record is not interpreted: its DEL reports that, and the lease stays."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool)
    taken.close()
    path = Path(pool.leases, taken.entry.file)
    path.write_bytes(DAMAGED["other version"])
    with pytest.raises(CniError, match="is of version 2, and this sriov-bond knows only version 1") as refused:
        pools.find(str(tmp_path), ATTACHMENT)
    assert (refused.value.code, path.exists()) == (POOL_UNUSABLE, True)


def test_two_names_of_one_lease_count_as_one(tmp_path: Path) -> None:
    """If a crash leaves two files of a lease, the later state counts, and erasing removes both."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    Path(pool.leases, f"cbond1.{ATTACHMENT.key}.draining").write_bytes(Path(pool.leases, taken.entry.file).read_bytes())
    Path(pool.leases, f"cbond1.{ATTACHMENT.key}.adding").write_text("")
    [entry] = pool.entries()
    assert entry.state == DRAINING
    open_lease = pools.find(str(tmp_path), ATTACHMENT)
    assert open_lease is not None
    open_lease.erase()
    open_lease.close()
    assert pool.entries() == []
