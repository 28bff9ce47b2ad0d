"""The time that one call may take: made once, handed down to everything that waits, never renewed on the way."""

from time import monotonic

# What each verb may take in all, in seconds, below what runtimes give it, so that we report the timeout and not they:
# - ADD: kubelet gives a sandbox 4 min, twice its --runtime-request-timeout (pkg/kubelet/cri/remote/remote_runtime.go,
#   RunPodSandbox). CRI-O and containerd pass that on; nerdctl, podman and ctr set no limit.
# - DEL: CRI-O gives a pod 60 s for all its networks (server/sandbox_network.go, networkStop).
# - CHECK, GC and STATUS have no limit of their own in any of them; a runtime's other work waits for them.
SECONDS = {"ADD": 110.0, "DEL": 50.0, "CHECK": 50.0, "GC": 50.0, "STATUS": 50.0}
# The part of an ADD's time that is kept for undoing it, the delegate's DEL included.
UNDO_SECONDS = 40.0
# What is reported as waited for.
_LONG = 1.0


class Deadline:
    """A point in time, and what has been waited for on the way to it.

    :param seconds: from now on; 0 is over at once.
    """

    __slots__ = ("_end", "_waits")

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds
        self._waits: list[str] = []

    def left(self, most: float = float("inf")) -> float:
        """Return the seconds that are left, not above ``most`` and not below 0."""
        return max(0.0, min(most, self._end - monotonic()))

    def part(self, seconds: float) -> "Deadline":
        """Return a deadline that is over after ``seconds``, but never after this one; it shares what was waited for."""
        return self._ending(min(self._end, monotonic() + seconds))

    def keeping(self, seconds: float) -> "Deadline":
        """Return the deadline that leaves ``seconds`` of this one for later; it shares what was waited for."""
        return self._ending(self._end - seconds)

    def _ending(self, end: float) -> "Deadline":
        other = Deadline(0)
        other._end, other._waits = end, self._waits
        return other

    def wait(self, what: str) -> "_Wait":
        """Return a context manager: how long its block takes is remembered as the time that ``what`` was waited for."""
        return _Wait(self._waits, what)

    def waits(self) -> str:
        """Return what was waited for longer than a second, as words for an error's details, or ""."""
        return f"waited for {', '.join(self._waits)}" if self._waits else ""


class _Wait:
    """One wait that is being measured."""

    __slots__ = ("_began", "_waits", "_what")

    def __init__(self, waits: list[str], what: str) -> None:
        self._waits = waits
        self._what = what

    def __enter__(self) -> None:
        self._began = monotonic()

    def __exit__(self, *_: object) -> None:
        took = monotonic() - self._began
        if took >= _LONG:
            self._waits.append(f"{self._what} ({took:.0f} s)")
