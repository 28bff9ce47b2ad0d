"""Run one call as a runtime would that gives anything: environment entries of any form, streams of any kind, and limits."""

import ctypes
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.case import Case

MEMORY = 256 << 20  # bytes of address space
_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 0.5  # seconds


@dataclass
class Outcome:
    """What a call left. ``status`` is negative for a signal; ``left`` are the names of processes that outlived it."""

    status: int
    out: bytes
    err: bytes
    seconds: float
    memory: int
    timed_out: bool
    left: list[str]


def adopt() -> None:
    """Have what a call leaves behind become this process's child, so that it is seen and ended."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(path: str, case: Case, seconds: float) -> Outcome:
    """Run a call, for so long at most."""
    out, err = os.memfd_create("out"), os.memfd_create("err")
    closed_at_end = [out, err]
    streams = [_input(case), _output(case.streams.get("out"), out), _output(case.streams.get("err"), err)]
    closed_at_end += [fd for fd in streams if fd not in (None, out, err)]
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        try:
            _become(path, case.environ, streams)
        finally:
            os._exit(126)
    timed_out = not _wait(pid, seconds)
    if timed_out:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    taken = time.monotonic() - began
    left = _end_the_rest()
    said = [os.pread(fd, 64 << 20, 0) for fd in (out, err)]
    for fd in closed_at_end:
        os.close(fd)
    return Outcome(os.waitstatus_to_exitcode(status), said[0], said[1], taken, usage.ru_maxrss << 10, timed_out, left)


def _input(case: Case) -> int | None:
    if case.stdin_directory:
        return os.open("/", os.O_RDONLY)
    if case.stdin is None:
        return None
    fd = os.memfd_create("in")
    left = memoryview(case.stdin)
    while left:
        left = left[os.write(fd, left) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _output(kind: str | None, usual: int) -> int | None:
    if kind == "full":
        return os.open("/dev/full", os.O_WRONLY)
    if kind == "unread":
        read, write = os.pipe()
        os.close(read)
        return write
    return None if kind == "closed" else usual


def _become(path: str, environ: list[bytes], streams: list[int | None]) -> None:
    """Be the program: os.execve takes only entries of the form NAME=VALUE."""
    kept = [None if fd is None else os.dup2(fd, 100 + number) for number, fd in enumerate(streams)]
    for number, fd in enumerate(kept):
        os.close(number) if fd is None else os.dup2(fd, number)
    os.closerange(3, 200)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    entries = (ctypes.c_char_p * (len(environ) + 1))(*environ, None)
    _libc.execve(path.encode(), (ctypes.c_char_p * 2)(path.encode(), None), entries)


def _wait(pid: int, seconds: float) -> bool:
    watched = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    try:
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(watched)


def _end_the_rest() -> list[str]:
    """End what the call left behind, and give the names of what did not end by itself.

    A delegate's own child lives for a moment longer than a delegate that was killed, until it finds its pipe broken.
    """
    left = []
    while children := _children():
        for child in children:
            if not _wait(child, _GRACE):
                left.append(Path(f"/proc/{child}/comm").read_text().strip())
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return left


def _children() -> list[int]:
    return [int(one) for one in Path("/proc/thread-self/children").read_text().split()]
