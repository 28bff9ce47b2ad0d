"""When the work of a hook must end early: at its deadline, by a signal, or when the runtime or the container has ended."""

import os
import signal

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.oci import processes

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_received: list[int] = []  # the signals that came


def catch_signals() -> None:
    """Only remember a signal: the work looks for it often, and then undoes what is done."""
    for number in _SIGNALS:
        signal.signal(number, lambda received, _frame: _received.append(received))


class Stop:
    """Why to stop.

    :param seconds: from now; the deadline.
    :param parent: the pid of the parent at the start, or 0 not to look. When it ends, the kernel gives the process another one.
    :param pid: the container's first process, or 0 not to look.
    """

    def __init__(self, seconds: float, parent: int = 0, pid: int = 0) -> None:
        self.seconds = seconds
        self.deadline = Deadline(seconds)
        self._parent = parent
        self._pid = pid
        self._started = processes.start_time(pid)

    def reason(self) -> str:
        """Return why the work must stop, apart from the deadline, or "" to go on."""
        if self._parent and os.getppid() != self._parent:
            return "the runtime that started the hook has ended"
        if _received and self._parent:
            return f"the hook received {signal.Signals(_received[-1]).name}"
        if self._pid and (not self._started or processes.start_time(self._pid) != self._started):
            return f"the container's first process {self._pid} has ended"
        return ""
