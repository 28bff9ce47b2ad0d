"""What the plugin says beside its answer: on standard error or in a file, never on standard output."""

import posix as os  # os itself costs an ADD 4 million instructions
from time import monotonic, strftime

# The levels at which warnings are not written. A config may name them as sriov-cni's may; nothing is written at any of them.
_SILENT = ("panic", "fatal", "error")


class Log:
    """A log at one level; every line names the call.

    :param level: a level of sriov-cni's: warnings are written but at panic, fatal and error, steps at debug alone.
    :param path: a file to append to; standard error when empty.
    """

    def __init__(self, level: str = "warning", path: str = "", prefix: str = "sriov-bond") -> None:
        self._warnings = level not in _SILENT
        self._steps = level == "debug"
        self._path = path
        self._prefix = prefix
        self._last = monotonic()

    def warn(self, text: str) -> None:
        """Write something that an operator should know, though the call goes on."""
        if self._warnings:
            self._write("warning", text)

    def step(self, text: str) -> None:
        """Write, at level debug, that a step is done and how long it took."""
        now = monotonic()
        if self._steps:
            self._write("debug", f"{text} ({(now - self._last) * 1000:.1f} ms)")
        self._last = monotonic()

    def _write(self, level: str, text: str) -> None:
        line = f"{self._prefix}: {level}: {text}\n"
        try:
            if not self._path or not self._to_file(line):
                os.write(2, line.encode("utf-8", "replace"))
        except OSError:
            pass  # a log that cannot be written is no reason to lose a container's network

    def _to_file(self, line: str) -> bool:
        """Write a line to the log's file, and tell whether that could be done; else standard error is told why."""
        # O_NONBLOCK: a FIFO that nobody reads must not stop us.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                os.write(fd, f"{strftime('%Y-%m-%dT%H:%M:%S%z')} {line}".encode("utf-8", "replace"))
            finally:
                os.close(fd)
        except OSError as failed:
            reason = f"{self._prefix}: cannot write logFile {self._path}: {failed.strerror}\n"
            os.write(2, reason.encode("utf-8", "replace"))
            return False
        return True
