"""The tracer of the kill sweep sees every call that changes something, and stops or fails the one that it was told to."""

import os
import subprocess
from pathlib import Path

from tests.lab import downloads

SCRIPT = "echo 1 > one; mkdir two; : < one; rmdir two; ip address show lo > /dev/null; echo done"
# What dash and coreutils do for it: the redirections, the three programs, and nothing for what only reads.
MAIN = ["open one", "write one", "fork", "fork", "open null", "fork", "write stdout"]
DELEGATE = ["execve mkdir", "mkdir two", "execve rmdir", "rmdir two", "execve ip", "write null"]


def _trace(
    folder: Path, order: str, script: str = SCRIPT, prefix: tuple[str, ...] = ()
) -> tuple[list[tuple[str, str]], int, str, str]:
    """Return the points as (who, call and last word of the detail), the status, and both outputs.

    :param prefix: a command that is given the tracer's.
    """
    read, write = os.pipe()
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        command = [*prefix, str(downloads.tracer()), str(write), order, "/bin/sh", "-c", script]
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


def test_an_answer_fails_after_the_change(tmp_path: Path) -> None:
    """`ip link set` has its device up and does not know it; it looks at the size of an answer before, which is no point."""
    show = ("unshare", "--net", "sh", "-c", '"$@"; ip link show lo', "sh")
    points, _, stdout, _ = _trace(tmp_path, "answer:0:none", "exec ip link set lo up", show)
    answers = [what for who, what in points if who == "answer"]
    assert "LOOPBACK,UP" in stdout
    assert answers
    last = f"answer:{len(answers)}:fail=12"
    points, status, stdout, stderr = _trace(tmp_path, last, "exec ip link set lo up", show)
    assert [what for who, what in points if who == "answer"][: len(answers)] == answers
    assert (os.waitstatus_to_exitcode(status), "Cannot allocate memory" in stderr) == (2, True)
    assert "LOOPBACK,UP" in stdout


def test_a_question_fails(tmp_path: Path) -> None:
    """Only what is below the kernel's and the state's folders: a program's own start is not what is tried."""
    points, _, _, _ = _trace(tmp_path, "question:0:none", "exec ls /proc/self/task")
    assert ("question", "open task") in points
    assert ("question", "list task") in points
    assert {what.split()[0] for who, what in points if who == "question"} == {"open", "list"}
    number = [what for who, what in points if who == "question"].index("open task") + 1
    _, status, stdout, stderr = _trace(tmp_path, f"question:{number}:fail=24", "exec ls /proc/self/task")
    assert (os.waitstatus_to_exitcode(status), stdout) == (2, "")
    assert "Too many open files" in stderr


def test_questions_and_answers_are_no_points_of_a_kill(tmp_path: Path) -> None:
    points, _, _, _ = _trace(tmp_path, "main:0:none", "exec ip link show lo > one")
    assert {who for who, _ in points} == {"main"}
