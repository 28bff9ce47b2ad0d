"""A soak of the pool: the load, the referee's watch over it, the look at what is left, and the closing table."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak import referee
from tests.soak.tally import COUNTS, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parent.parent.parent
# The load ends itself; this is for one that hangs.
PATIENCE = 60.0
# After the first fault: others often tell more.
_MORE_FAULTS = 0.3
_BETWEEN_LOOKS = 0.002


@dataclass(frozen=True)
class Load:
    """What is asked for: how many cycles, by how many processes, on how many bonds, killed how often a second.

    :param seconds: after which it ends, whatever was done.
    """

    cycles: int
    seed: int
    drivers: int = 12
    bonds: int = 7
    kills: float = 20.0
    seconds: float = 86400.0

    def __str__(self) -> str:
        return f"{self.cycles} cycles, {self.drivers} processes, {self.bonds} bonds, {self.kills:g} kills/s, seed {self.seed}"


@dataclass
class Outcome:
    """What came of it. ``faults`` is empty when every rule held."""

    faults: list[str]
    seconds: float
    counts: dict[str, int]
    looks: int
    milliseconds: list[float] = field(repr=False)

    def table(self) -> str:
        """Give the closing table."""
        rows = [(name, str(number)) for name, number in self.counts.items()]
        rows += [("looks of the watch", str(self.looks))]
        ordered = sorted(self.milliseconds)
        for percent in (50, 99) if ordered else ():
            rows.append((f"cycle p{percent} (ms)", f"{ordered[len(ordered) * percent // 100]:.2f}"))
        rows += [("seconds", f"{self.seconds:.1f}"), ("cycles a second", f"{self.counts['cycles'] / self.seconds:.0f}")]
        for words in ("two owners", "is lost"):
            rows.append((words, str(sum(words in fault for fault in self.faults))))
        rows.append(("faults in all", str(len(self.faults))))
        return "\n".join(f"  {name:20} {value:>10}" for name, value in rows)


def run(
    load: Load, directory: Path, package: Path = REPOSITORY, progress: "Callable[[int], None]" = lambda cycles: None
) -> Outcome:
    """Load a pool below a directory, which is empty, and judge it; stops at the first fault.

    :param package: the folder with the ``cni_sriov_bond`` to load.
    :param progress: called now and then with the number of cycles done.
    """
    state, marks = directory / "state", directory / "referee"
    pool = state / "db"
    referee.prepare(marks)
    _herd("make", load, directory, package).communicate()
    inventory = (pool / "pool.json").read_bytes()
    tally = Tally(marks / "tally", load.drivers)
    watch = referee.Watch(marks, pool)
    began = time.monotonic()
    herd = _herd("load", load, directory, package)
    _watch(watch, tally, herd, progress)
    out, _ = herd.communicate(timeout=PATIENCE)
    seconds = time.monotonic() - began
    counts = {name: tally.total(name) for name in COUNTS} | (json.loads(out) if herd.returncode == 0 else {})
    faults = _judge(watch, load, directory, package, inventory)
    if herd.returncode:
        faults.append(f"the load ended with status {herd.returncode}")
    times = array("d", (marks / "times").read_bytes())
    return Outcome(faults, seconds, counts, watch.looks, [took * 1000 for took in times])


@contextlib.contextmanager
def fast_directory() -> "Iterator[Path]":
    """Have a directory in memory, where there is one: the load is about who is first, and a disk makes all wait alike."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sriov-bond-soak.", dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


def _watch(watch: referee.Watch, tally: Tally, herd: "subprocess.Popen[str]", progress: "Callable[[int], None]") -> None:
    """Look at the pool until the load has ended; a load that does no cycle for a minute has hung."""
    done, moved = 0, time.monotonic()
    until = float("inf")
    while time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            herd.wait(_BETWEEN_LOOKS)
            return
        watch.look()
        now = tally.total("cycles")
        if now != done:
            done, moved = now, time.monotonic()
        elif time.monotonic() - moved > PATIENCE:
            watch.faults.append(f"no cycle was done in {PATIENCE:g} s")
            tally.stop()
            os.killpg(herd.pid, signal.SIGKILL)
        if watch.faults:
            until = min(until, time.monotonic() + _MORE_FAULTS)
        progress(now)
    tally.stop()


def _judge(watch: referee.Watch, load: Load, directory: Path, package: Path, inventory: bytes) -> list[str]:
    marks, pool = directory / "referee", directory / "state" / "db"
    faults = watch.faults or referee.at_rest(marks, pool)
    if faults:
        return list(dict.fromkeys(faults))
    finish = _herd("finish", load, directory, package)
    out, _ = finish.communicate(timeout=PATIENCE)
    if finish.returncode:
        return [f"giving everything back ended with status {finish.returncode}"]
    left = json.loads(out)
    return [f"it could not be given back: {one}" for one in left["failed"]] + referee.emptied(pool, left["given"], inventory)


def _herd(command: str, load: Load, directory: Path, package: Path) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "tests.soak.herd", command, str(directory / "state"), str(directory / "referee")]
    for name in ("cycles", "seed", "drivers", "bonds", "kills", "seconds"):
        argv += [f"--{name}", str(getattr(load, name))]
    # In the directory of the run, so that the package comes from where it is said to.
    environ = {**os.environ, "PYTHONPATH": f"{package}:{REPOSITORY}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environ, cwd=directory, start_new_session=True)
