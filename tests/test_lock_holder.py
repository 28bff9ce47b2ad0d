"""Which process holds a file lock."""

import os
import subprocess
from pathlib import Path

from cni_sriov_bond import lock_holder
from tests.lab.waiting import wait_until
from tests.support import holder, name_of


def test_the_process_that_took_the_lock(tmp_path: Path) -> None:
    """It is named with its pid and its program."""
    with holder(str(tmp_path / "lock")) as pid:
        assert lock_holder.describe((tmp_path / "lock").stat().st_ino) == f"process {pid} ({name_of(pid)})"


def test_a_process_that_inherited_the_lock(tmp_path: Path) -> None:
    """An ADD that is killed leaves the bond's lock to its IPAM plugin: the error names the process that can be ended."""
    script = f"exec 7>{tmp_path}/lock; flock 7; sleep 60 & echo $!; kill -9 $$"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout
        inheritor = int(taker.stdout.readline())
        taker.wait(10)
        try:
            wait_until(lambda: name_of(inheritor) == "sleep", "the inheritor to run")
            assert lock_holder.describe((tmp_path / "lock").stat().st_ino) == f"process {inheritor} (sleep)"
        finally:
            os.kill(inheritor, 9)


def test_whether_a_lock_is_held_is_seen_without_trying_it(tmp_path: Path) -> None:
    """A process that tried the lock meanwhile would find it taken."""
    path = str(tmp_path / "lock")
    assert not lock_holder.is_held(path)
    with holder(path):
        assert lock_holder.is_held(path)
    assert not lock_holder.is_held(path)


def test_a_lock_that_nobody_holds(tmp_path: Path) -> None:
    """It was released in the meantime, or its holder is in another pid namespace."""
    (tmp_path / "lock").touch()
    assert lock_holder.describe((tmp_path / "lock").stat().st_ino) == "another process"
