"""The log of a call: lines on standard error or in a file, never on standard output, which is for the result."""

import posix as os  # os itself costs an ADD 4 million instructions
from time import monotonic, strftime

# Levels of sriov-cni that a config may name. Nothing is written at these three.
_SILENT = ("panic", "fatal", "error")


class Log:
    """A log at one level.

    :param level: a level of sriov-cni. Warnings are written at warning, info and debug, steps at debug.
    :param path: the file to append to; empty for standard error.
    :param prefix: what each line begins with: the program and the call.

    ``steps`` are what was done and warned of so far, each with its monotonic time, at every level: events.py writes them.
    ``bond`` is the pool and the bond that the call works on, as soon as it is known.
    """

    def __init__(self, level: str = "warning", path: str = "", prefix: str = "sriov-bond") -> None:
        self._warnings = level not in _SILENT
        self._steps = level == "debug"
        self._path = path
        self._prefix = prefix
        self._last = monotonic()
        self.steps: list[tuple[float, str]] = []
        self.bond = ("", "")

    @property
    def program(self) -> str:
        """The name of the program."""
        return self._prefix.partition(" ")[0]

    def warn(self, text: str) -> None:
        """Write a warning: the call continues, but the operator should know."""
        self.steps.append((monotonic(), f"warning: {text}"))
        if self._warnings:
            self._write("warning", text)

    def step(self, text: str) -> None:
        """Write, at level debug, that a step is finished and how long it took."""
        now = monotonic()
        self.steps.append((now, text))
        if self._steps:
            self._write("debug", f"{text} ({(now - self._last) * 1000:.1f} ms)")
        self._last = monotonic()

    def _write(self, level: str, text: str) -> None:
        line = f"{self._prefix}: {level}: {text}\n"
        try:
            if not self._path or not self._to_file(line):
                os.write(2, line.encode("utf-8", "replace"))
        except OSError:
            pass  # a log that cannot be written must not fail the call

    def _to_file(self, line: str) -> bool:
        """Append a line to the file and return whether it was written; if not, write the reason to standard error."""
        # O_NONBLOCK: opening a FIFO without a reader must fail, not block the call.
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
