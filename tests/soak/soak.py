"""A soak of the pool: run the load, monitor it from outside, check what remains, and report."""

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

from tests.soak import ownership_oracle as oracle
from tests.soak.counters import COUNTS, Counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parent.parent.parent
# The load ends by itself; this limit is for one that hangs.
HANG_SECONDS = 60.0
# After the first fault: further faults often show the cause.
_SECONDS_AFTER_FAULT = 0.3
_SECONDS_BETWEEN_CHECKS = 0.002


@dataclass(frozen=True)
class Load:
    """The parameters of a load: cycles, processes, bonds, and kills a second.

    :param seconds: the load ends after this time in any case.
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
    """The result of a soak. ``faults`` is empty if no rule was broken."""

    faults: list[str]
    seconds: float
    counts: dict[str, int]
    checks: int
    milliseconds: list[float] = field(repr=False)

    def table(self) -> str:
        """Return the closing table."""
        rows = [(name, str(number)) for name, number in self.counts.items()]
        rows += [("checks from outside", str(self.checks))]
        ordered = sorted(self.milliseconds)
        for percent in (50, 99) if ordered else ():
            rows.append((f"cycle p{percent} (ms)", f"{ordered[len(ordered) * percent // 100]:.2f}"))
        rows += [("seconds", f"{self.seconds:.1f}"), ("cycles a second", f"{self.counts['cycles'] / self.seconds:.0f}")]
        for phrase in ("two owners", "is lost"):
            rows.append((phrase, str(sum(phrase in fault for fault in self.faults))))
        rows.append(("faults in total", str(len(self.faults))))
        return "\n".join(f"  {name:20} {value:>10}" for name, value in rows)


def run(
    load: Load, directory: Path, package: Path = REPOSITORY, progress: "Callable[[int], None]" = lambda cycles: None
) -> Outcome:
    """Run a load on a new pool below an empty directory, and check it; stops soon after the first fault.

    :param package: the directory of the ``cni_sriov_bond`` to import.
    :param progress: called repeatedly with the number of finished cycles.
    """
    state, marks = directory / "state", directory / "oracle"
    pool = state / "db"
    oracle.prepare(marks)
    _workload("make", load, directory, package).communicate()
    inventory = (pool / "pool.json").read_bytes()
    counters = Counters(marks / "counters", load.drivers)
    monitor = oracle.Monitor(marks, pool)
    began = time.monotonic()
    process = _workload("load", load, directory, package)
    _monitor(monitor, counters, process, progress)
    out, _ = process.communicate(timeout=HANG_SECONDS)
    seconds = time.monotonic() - began
    counts = {name: counters.total(name) for name in COUNTS} | (json.loads(out) if process.returncode == 0 else {})
    faults = _final_check(monitor, load, directory, package, inventory)
    if process.returncode:
        faults.append(f"the load ended with status {process.returncode}")
    times = array("d", (marks / "times").read_bytes())
    return Outcome(faults, seconds, counts, monitor.checks, [took * 1000 for took in times])


@contextlib.contextmanager
def fast_directory() -> "Iterator[Path]":
    """Create a directory in memory if possible: the load tests races, and waiting for a disk would hide them."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sriov-bond-soak.", dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


def _monitor(
    monitor: oracle.Monitor, counters: Counters, process: "subprocess.Popen[str]", progress: "Callable[[int], None]"
) -> None:
    """Check the pool until the load has ended; a load that finishes no cycle for a minute has hung."""
    done, moved = 0, time.monotonic()
    until = float("inf")
    while time.monotonic() < until:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_BETWEEN_CHECKS)
            return
        monitor.check()
        now = counters.total("cycles")
        if now != done:
            done, moved = now, time.monotonic()
        elif time.monotonic() - moved > HANG_SECONDS:
            monitor.faults.append(f"no cycle finished in {HANG_SECONDS:g} s")
            counters.stop()
            os.killpg(process.pid, signal.SIGKILL)
        if monitor.faults:
            until = min(until, time.monotonic() + _SECONDS_AFTER_FAULT)
        progress(now)
    counters.stop()


def _final_check(monitor: oracle.Monitor, load: Load, directory: Path, package: Path, inventory: bytes) -> list[str]:
    marks, pool = directory / "oracle", directory / "state" / "db"
    faults = monitor.faults or oracle.at_rest(marks, pool)
    if faults:
        return list(dict.fromkeys(faults))
    finish = _workload("finish", load, directory, package)
    out, _ = finish.communicate(timeout=HANG_SECONDS)
    if finish.returncode:
        return [f"releasing everything ended with status {finish.returncode}"]
    answer = json.loads(out)
    failures = [f"it could not be released: {failure}" for failure in answer["failed"]]
    return failures + oracle.emptied(pool, answer["leased"], inventory)


def _workload(command: str, load: Load, directory: Path, package: Path) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "tests.soak.workload", command, str(directory / "state"), str(directory / "oracle")]
    for name in ("cycles", "seed", "drivers", "bonds", "kills", "seconds"):
        argv += [f"--{name}", str(getattr(load, name))]
    # The working directory is on sys.path: not the checkout, or its package would be imported instead of the given one.
    environ = {**os.environ, "PYTHONPATH": f"{package}:{REPOSITORY}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environ, cwd=directory, start_new_session=True)
