"""The built product under load in the lab's guest; tests/lab/inside/churn.py is the load."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.inside.churn import TIME_FACTOR
from tests.lab.machine import INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.guest import Guest

CHECKER = f"python3 -I {INSIDE}/checker.py"
_BASELINE = "/run/churn-baseline.json"


@dataclass(frozen=True)
class Outcome:
    """The result of a run. ``faults`` is empty if no rule was broken and the outside checker reported nothing."""

    report: dict[str, Any]
    faults: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """Return how often each operation was done."""
        counts: dict[str, int] = self.report.get("counts", {})
        return counts

    def table(self) -> str:
        """Return the closing table."""
        rows = [(name, str(number)) for name, number in sorted(self.counts.items())]
        for name in self.report.get("p50", {}):
            rows.append((f"{name} p50, p99 (s)", f"{self.report['p50'][name]:.2f}, {self.report['p99'][name]:.2f}"))
        rows.append(("seconds", f"{self.report.get('seconds', 0):.0f}"))
        rows.append(("two owners", str(sum("two owners" in fault for fault in self.faults))))
        rows.append(("faults in total", str(len(self.faults))))
        return "\n".join(f"  {name:24} {value:>14}" for name, value in rows)


def run(
    guest: "Guest", cycles: int, seconds: float, seed: int, progress: "Callable[[int], None]" = lambda cycles: None
) -> Outcome:
    """Run the load in a guest that has the pool db, until the cycles or the time are over; then check what remains."""
    guest.sh(f"{CHECKER} baseline {_BASELINE}")
    text = bytearray()

    def listen(stream: str, data: bytes) -> None:
        text.extend(data if stream == "stdout" else b"")
        lines = [line for line in text.decode(errors="replace").splitlines() if line.startswith("cycles ")]
        if lines:
            progress(int(lines[-1].split()[1]))

    command = f"exec python3 -I {INSIDE}/churn.py --cycles {cycles} --seconds {seconds} --seed {seed}"
    done = guest.run(command, timeout=TIME_FACTOR * seconds + 240, listener=listen)
    last = done.stdout.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        return Outcome({}, [f"the load ended with status {done.status}: {done.stdout[-500:]}{done.stderr[-2000:]}"])
    report = json.loads(last)
    return Outcome(report, report["faults"] + remains(guest, _BASELINE))


def remains(guest: "Guest", baseline: str) -> list[str]:
    """Return what the outside checker reports beyond the baseline, or that the checker itself failed."""
    done = guest.run(f"{CHECKER} check {baseline}")
    faults = [f"remains: {line}" for line in done.stdout.splitlines()]
    if (done.status != 0) != bool(faults):
        faults.append(f"the checker ended with status {done.status} and {len(faults)} lines: {done.stderr[-2000:]}")
    return faults
