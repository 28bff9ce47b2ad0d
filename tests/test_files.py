"""Locked files, and files that are replaced atomically."""

import hashlib
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, TRY_AGAIN_LATER, CniError
from tests.support import holder


@pytest.mark.parametrize("text", ["", "db/net1/c1", "ä\n", "\udcff", "x" * 100_000])
def test_the_digest_is_sha_256(text: str) -> None:
    """Also of text that was no UTF-8, such as a variable of the environment."""
    assert files.digest(text) == hashlib.sha256(os.fsencode(text)).digest()


@pytest.mark.parametrize(
    ("text", "expected"), [("/run/x", True), ("ä", True), ("", False), ("/a\0b", False), ("/\ud800", False)]
)
def test_a_text_that_no_path_can_be_is_known(text: str, expected: bool) -> None:
    assert files.is_path(text) is expected


def test_a_path_exists_or_not_or_that_is_unknown(tmp_path: Path) -> None:
    """A loop of symbolic links is neither: what is behind it cannot be known."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert files.exists(str(tmp_path / "file"))
    assert not files.exists(str(tmp_path / "missing"))
    assert not files.exists(str(tmp_path / "file/below"))
    with pytest.raises(CniError, match=f"{tmp_path}/loop: Too many levels") as failed:
        files.exists(str(tmp_path / "loop"))
    assert failed.value.code == IO_FAILURE


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, durable: bool) -> None:
    """A reader that has the old file open still reads all of it, and no temporary file remains."""
    files.write(str(tmp_path), "record", "old" * 100_000, durable)
    with (tmp_path / "record").open() as reader:
        assert reader.read(3) == "old"
        files.write(str(tmp_path), "record", "new", durable)
        assert len(reader.read()) == 299_997
    assert (tmp_path / "record").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "record").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["record"]


def test_a_file_that_cannot_be_replaced_is_unchanged(tmp_path: Path) -> None:
    """Here the rename fails, because the name is a directory's."""
    (tmp_path / "record").mkdir()
    with pytest.raises(CniError, match=f"{tmp_path}/record: Is a directory") as failed:
        files.write(str(tmp_path), "record", "new")
    assert failed.value.code == IO_FAILURE
    assert os.listdir(tmp_path) == ["record"]


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    """The error names this process, and the lock is free when its descriptor was closed."""
    path = str(tmp_path / "lock")
    first = files.locked(path, "bond b", seconds=0)
    with pytest.raises(CniError, match=rf"^bond b is in use by process {os.getpid()} \(") as failed:
        files.locked(path, "bond b", seconds=0.01)
    assert failed.value.code == TRY_AGAIN_LATER
    os.close(first)
    os.close(files.locked(path, "bond b", seconds=0))


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = files.locked(path, "bond b")
    timer = threading.Timer(0.1, os.close, [first])
    timer.start()
    second = files.locked(path, "bond b", seconds=20)
    timer.join()
    os.close(second)


def test_a_lock_whose_file_was_replaced_is_taken_anew(tmp_path: Path) -> None:
    """A waiting process must not get the lock of a deleted file, which nobody else would see."""
    path = tmp_path / "lock"
    first = files.locked(str(path), "bond b")
    path.unlink()
    threading.Timer(0.1, os.close, [first]).start()
    second = files.locked(str(path), "bond b", seconds=20)
    assert os.fstat(second).st_ino == path.stat().st_ino
    os.close(second)


def test_unlocking_frees_a_lock_that_a_child_has_inherited(tmp_path: Path) -> None:
    """Closing alone does not: the lock belongs to the open file, which the child has open too."""
    path = str(tmp_path / "lock")
    lock = files.locked(path, "bond b")
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[lock]
    )
    files.unlock(lock)
    assert child.poll() is None
    os.close(files.locked(path, "bond b", seconds=0))
    child.communicate(b"\n")


def test_a_lock_without_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CniError, match=f"cannot open the lock {tmp_path}/missing/lock: No such file") as failed:
        files.locked(str(tmp_path / "missing/lock"), "bond b")
    assert failed.value.code == IO_FAILURE


def test_a_missing_directory_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert files.listed(str(tmp_path)) == ["file"]
    assert files.listed(str(tmp_path / "missing")) == []
    with pytest.raises(CniError, match=f"{tmp_path}/file: Not a directory") as failed:
        files.listed(str(tmp_path / "file"))
    assert failed.value.code == IO_FAILURE


def test_a_file_may_be_deleted_twice_and_a_directory_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files.unlink(str(tmp_path / "file"))
    files.unlink(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == []
    with pytest.raises(CniError, match=f"{tmp_path}: Is a directory") as failed:
        files.unlink(str(tmp_path))
    assert failed.value.code == IO_FAILURE


def test_a_directory_is_for_root_alone(tmp_path: Path) -> None:
    """Creating it again does not change it, and its names can be flushed to disk."""
    path = tmp_path / "db"
    files.make_directory(str(path))
    files.make_directory(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    files.sync(str(path))
    with pytest.raises(CniError, match=f"{tmp_path}/none/db: No such file") as failed:
        files.make_directory(str(tmp_path / "none/db"))
    assert failed.value.code == IO_FAILURE


def test_the_boot_id_is_the_kernels() -> None:
    assert files.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_rename_waits_for_a_listing_and_a_listing_for_a_rename(tmp_path: Path) -> None:
    """Else a listing could return neither name (POSIX, readdir); after a time the error names the process."""
    (tmp_path / "old").touch()
    lock = files.locked_directory(str(tmp_path), "the directory")
    with ThreadPoolExecutor(2) as others:
        renamed = others.submit(files.rename, str(tmp_path), f"{tmp_path}/old", f"{tmp_path}/new")
        listed = others.submit(files.listed, str(tmp_path))
        with pytest.raises(TimeoutError):
            renamed.result(0.3)
        assert not listed.done()
        assert (tmp_path / "old").exists()
        os.close(lock)
        renamed.result(5)
        assert len(listed.result(5)) == 1
    lock = files.locked_directory(str(tmp_path), "the directory")
    with pytest.raises(CniError, match=f"the directory is in use by process {os.getpid()} ") as refused:
        files.locked_directory(str(tmp_path), "the directory", 0.1)
    os.close(lock)
    assert refused.value.code == TRY_AGAIN_LATER


def test_a_file_that_must_exist_is_locked_but_not_created(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        files.locked_existing(str(path), "the file")
    path.write_text("kept")
    fd = files.locked_existing(str(path), "the file")
    assert os.pread(fd, 10, 0) == b"kept"
    files.unlock(fd)
    with holder(str(path)) as pid, pytest.raises(CniError, match=f"the file is in use by process {pid}"):
        files.locked_existing(str(path), "the file", 0.05)
