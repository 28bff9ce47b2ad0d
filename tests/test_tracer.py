"""The tracer of the kill sweep sees every call that changes something, and stops or fails the one that it was told to."""

import os
import subprocess
from pathlib import Path

from tests.lab import supplies

SCRIPT = "echo 1 > one; mkdir two; : < one; rmdir two; ip address show lo > /dev/null; echo done"
# What dash and coreutils do for it: the redirections, the three programs, and nothing for what only reads.
MAIN = ["open one", "write one", "fork", "fork", "open null", "fork", "write stdout"]
DELEGATE = ["execve mkdir", "mkdir two", "execve rmdir", "rmdir two", "execve ip", "write null"]


def _trace(folder: Path, order: str, script: str = SCRIPT) -> tuple[list[tuple[str, str]], int, str, str]:
    """Return the points as (who, call and last word of the detail), the status, and both outputs."""
    read, write = os.pipe()
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        command = [str(supplies.tracer()), str(write), order, "/bin/sh", "-c", script]
        with subprocess.Popen(command, cwd=folder, pass_fds=[write], stdout=stdout, stderr=stderr):
            os.close(write)
            with os.fdopen(read) as told:
                lines = [line.split() for line in told]
    points = [(words[1], " ".join([words[3], *(word.rpartition("/")[2] for word in words[4:5])])) for words in lines[:-1]]
    assert lines[-1][0] == "main"
    return points, int(lines[-1][1]), (folder / "stdout").read_text(), (folder / "stderr").read_text()


def test_every_change_is_a_point_and_no_question_is(tmp_path: Path) -> None:
    """`ip address show` asks the kernel by netlink, and a file that is only read is opened: neither changes anything."""
    points, status, stdout, _ = _trace(tmp_path, "main:0:none")
    assert [what for who, what in points if who == "main"] == MAIN
    # However many pieces `ip` writes its lines in.
    assert list(dict.fromkeys(what for who, what in points if who == "delegate")) == DELEGATE
    assert (status, stdout) == (0, "done\n")


def test_a_kill_comes_before_the_call(tmp_path: Path) -> None:
    points, status, _, _ = _trace(tmp_path, "main:2:kill")
    assert [what for _, what in points] == MAIN[:2]
    assert status == 9
    assert (tmp_path / "one").read_text() == ""


def test_a_failing_call_is_not_made(tmp_path: Path) -> None:
    _, _, stdout, stderr = _trace(tmp_path, "delegate:2:fail=28")
    assert "No space left on device" in stderr
    assert stdout == "done\n"


def test_the_delegate_alone_is_killed(tmp_path: Path) -> None:
    _, status, stdout, stderr = _trace(tmp_path, "delegate:2:kill")
    assert (status, stdout) == (0, "done\n")
    assert "Killed" in stderr
    assert not (tmp_path / "two").exists()


def test_an_orphan_goes_on(tmp_path: Path) -> None:
    points, status, stdout, _ = _trace(tmp_path, "delegate:2:orphan")
    assert (status, stdout) == (9, "")
    assert points[-1] == ("delegate", "mkdir two")
    assert (tmp_path / "two").is_dir()
