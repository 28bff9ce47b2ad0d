"""The time that one call may take: one deadline, created with the call and passed to everything that waits."""

from time import monotonic

# The time limit of each verb in seconds. It is below that of the runtimes, so that the error is ours and names what was slow:
# - ADD: kubelet gives a sandbox 4 min, twice its --runtime-request-timeout (pkg/kubelet/cri/remote/remote_runtime.go,
#   RunPodSandbox). CRI-O and containerd pass it on; nerdctl, podman and ctr set no limit.
# - DEL: CRI-O gives a pod 60 s for all its networks (server/sandbox_network.go, networkStop).
# - CHECK, GC and STATUS have no limit in any runtime, but other work of the runtime waits for them.
SECONDS = {"ADD": 110.0, "DEL": 50.0, "CHECK": 50.0, "GC": 50.0, "STATUS": 50.0}
# The part of an ADD's time that is reserved for the undo, including the delegate's DEL.
UNDO_SECONDS = 40.0
# Only waits of at least this many seconds are reported.
_LONG = 1.0


class Deadline:
    """A point in time, and the long waits before it.

    :param seconds: from now; with 0 the deadline has already passed.
    """

    __slots__ = ("_end", "_waits")

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds
        self._waits: list[str] = []

    def left(self, limit: float = float("inf")) -> float:
        """Return the remaining seconds, at most ``limit`` and at least 0."""
        return max(0.0, min(limit, self._end - monotonic()))

    def part(self, seconds: float) -> "Deadline":
        """Return a deadline in ``seconds``, but not later than this one; both record the same waits."""
        return self._ending(min(self._end, monotonic() + seconds))

    def keeping(self, seconds: float) -> "Deadline":
        """Return a deadline ``seconds`` before this one; both record the same waits."""
        return self._ending(self._end - seconds)

    def _ending(self, end: float) -> "Deadline":
        other = Deadline(0)
        other._end, other._waits = end, self._waits
        return other

    def wait(self, subject: str) -> "_Wait":
        """Return a context manager that records how long its block waits for ``subject``."""
        return _Wait(self._waits, subject)

    def waits(self) -> str:
        """Return the long waits as a text for an error's details, or ""."""
        return f"waited for {', '.join(self._waits)}" if self._waits else ""


class _Wait:
    """A wait that is being measured."""

    __slots__ = ("_began", "_subject", "_waits")

    def __init__(self, waits: list[str], subject: str) -> None:
        self._waits = waits
        self._subject = subject

    def __enter__(self) -> None:
        self._began = monotonic()

    def __exit__(self, *_: object) -> None:
        took = monotonic() - self._began
        if took >= _LONG:
            self._waits.append(f"{self._subject} ({took:.0f} s)")
