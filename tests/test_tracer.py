"""The tracer of the kill sweep sees every system call that changes something, and kills or fails the given one."""

import os
import subprocess
from pathlib import Path

from tests.lab import downloads

SCRIPT = "echo 1 > one; mkdir two; : < one; rmdir two; ip address show lo > /dev/null; echo done"
# The calls of dash and coreutils for it: the redirections and the three programs; reads are no points.
MAIN = ["open one", "write one", "fork", "fork", "open null", "fork", "write stdout"]
DELEGATE = ["execve mkdir", "mkdir two", "execve rmdir", "rmdir two", "execve ip", "write null"]


def _trace(
    folder: Path, order: str, script: str = SCRIPT, prefix: tuple[str, ...] = ()
) -> tuple[list[tuple[str, str]], int, str, str]:
    """Return the points as (task, call and last word of its detail), the status, and both outputs.

    :param prefix: a command that runs the tracer.
    """
    read, write = os.pipe()
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        command = [*prefix, str(downloads.tracer()), str(write), order, "/bin/sh", "-c", script]
        with subprocess.Popen(command, cwd=folder, pass_fds=[write], stdout=stdout, stderr=stderr):
            os.close(write)
            with os.fdopen(read) as lines_file:
                lines = [line.split() for line in lines_file]
    points = [(words[1], " ".join([words[3], *(word.rpartition("/")[2] for word in words[4:5])])) for words in lines[:-1]]
    assert lines[-1][0] == "main"
    return points, int(lines[-1][1]), (folder / "stdout").read_text(), (folder / "stderr").read_text()


def test_every_change_is_a_point_and_no_read_is(tmp_path: Path) -> None:
    """A netlink request of `ip address show`, or opening a file for reading, changes nothing."""
    points, status, stdout, _ = _trace(tmp_path, "main:0:none")
    assert [call for task, call in points if task == "main"] == MAIN
    # `ip` may write its output in any number of pieces.
    assert list(dict.fromkeys(call for task, call in points if task == "delegate")) == DELEGATE
    assert (status, stdout) == (0, "done\n")


def test_a_kill_comes_before_the_call(tmp_path: Path) -> None:
    points, status, _, _ = _trace(tmp_path, "main:2:kill")
    assert [call for _, call in points] == MAIN[:2]
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


def test_an_orphan_continues(tmp_path: Path) -> None:
    points, status, stdout, _ = _trace(tmp_path, "delegate:2:orphan")
    assert (status, stdout) == (9, "")
    assert points[-1] == ("delegate", "mkdir two")
    assert (tmp_path / "two").is_dir()


def test_an_answer_fails_after_the_change(tmp_path: Path) -> None:
    """`ip link set` has changed its device when the answer fails. Reading the size of an answer first is no point."""
    show = ("unshare", "--net", "sh", "-c", '"$@"; ip link show lo', "sh")
    points, _, stdout, _ = _trace(tmp_path, "answer:0:none", "exec ip link set lo up", show)
    answers = [call for task, call in points if task == "answer"]
    assert "LOOPBACK,UP" in stdout
    assert answers
    last = f"answer:{len(answers)}:fail=12"
    points, status, stdout, stderr = _trace(tmp_path, last, "exec ip link set lo up", show)
    assert [call for task, call in points if task == "answer"][: len(answers)] == answers
    assert (os.waitstatus_to_exitcode(status), "Cannot allocate memory" in stderr) == (2, True)
    assert "LOOPBACK,UP" in stdout


def test_a_read_fails(tmp_path: Path) -> None:
    """Reads are points only below the directories of kernel and state; a program's start is not tested."""
    points, _, _, _ = _trace(tmp_path, "question:0:none", "exec ls /proc/self/task")
    assert ("question", "open task") in points
    assert ("question", "list task") in points
    assert {call.split()[0] for task, call in points if task == "question"} == {"open", "list"}
    number = [call for task, call in points if task == "question"].index("open task") + 1
    _, status, stdout, stderr = _trace(tmp_path, f"question:{number}:fail=24", "exec ls /proc/self/task")
    assert (os.waitstatus_to_exitcode(status), stdout) == (2, "")
    assert "Too many open files" in stderr


def test_reads_and_answers_are_no_points_of_a_kill(tmp_path: Path) -> None:
    points, _, _, _ = _trace(tmp_path, "main:0:none", "exec ip link show lo > one")
    assert {task for task, _ in points} == {"main"}
