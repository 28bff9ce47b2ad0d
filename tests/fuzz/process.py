"""Run one call with any environment entries, any kind of streams, and resource limits."""

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
    """The outcome of a call. ``status`` is negative for a signal; ``left`` has the names of processes that outlived it."""

    status: int
    out: bytes
    err: bytes
    seconds: float
    memory: int
    timed_out: bool
    left: list[str]


def adopt() -> None:
    """Become the parent of orphaned descendants, so that processes that a call leaves are seen and killed."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(path: str, case: Case, seconds: float) -> Outcome:
    """Run a call, and kill it after ``seconds``."""
    out, err = os.memfd_create("out"), os.memfd_create("err")
    closed_at_end = [out, err]
    streams = [_input(case), _output(case.streams.get("out"), out), _output(case.streams.get("err"), err)]
    closed_at_end += [fd for fd in streams if fd not in (None, out, err)]
    others = set(_children())  # of this process, which are none of the call's
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
    left = _kill_remaining(others)
    written = [os.pread(fd, 64 << 20, 0) for fd in (out, err)]
    for fd in closed_at_end:
        os.close(fd)
    return Outcome(os.waitstatus_to_exitcode(status), written[0], written[1], taken, usage.ru_maxrss << 10, timed_out, left)


def _input(case: Case) -> int | None:
    if case.stdin_directory:
        return os.open("/", os.O_RDONLY)
    if case.stdin is None:
        return None
    fd = os.memfd_create("in")
    rest = memoryview(case.stdin)
    while rest:
        rest = rest[os.write(fd, rest) :]
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
    """Execute the program. By libc: os.execve takes only entries of the form NAME=VALUE."""
    copies = [None if fd is None else os.dup2(fd, 100 + number) for number, fd in enumerate(streams)]
    for number, fd in enumerate(copies):
        os.close(number) if fd is None else os.dup2(fd, number)
    os.closerange(3, 200)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    entries = (ctypes.c_char_p * (len(environ) + 1))(*environ, None)
    _libc.execve(path.encode(), (ctypes.c_char_p * 2)(path.encode(), None), entries)


def _wait(pid: int, seconds: float) -> bool:
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)


def _kill_remaining(others: set[int]) -> list[str]:
    """Kill the remaining processes of the call; return the names of those that did not end by themselves.

    A child of a killed delegate ends a moment later, when it finds its pipe broken.
    """
    survivors = []
    while children := set(_children()) - others:
        for child in children:
            if not _wait(child, _GRACE):
                survivors.append(Path(f"/proc/{child}/comm").read_text().strip())
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return survivors


def _children() -> list[int]:
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]
