"""The whole product under load, in the lab's guest: see inside/churn.py, which is the load."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.inside.churn import MOST
from tests.lab.machine import INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.guest import Guest

CHECKER = f"python3 -I {INSIDE}/checker.py"
_BASELINE = "/run/churn-baseline.json"


@dataclass(frozen=True)
class Outcome:
    """What came of it. ``faults`` is empty when every rule held, the outside checker's among them."""

    said: dict[str, Any]
    faults: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """Give how often each thing was done."""
        found: dict[str, int] = self.said.get("counts", {})
        return found

    def table(self) -> str:
        """Give the closing table."""
        rows = [(name, str(number)) for name, number in sorted(self.counts.items())]
        for name in self.said.get("p50", {}):
            rows.append((f"{name} p50, p99 (s)", f"{self.said['p50'][name]:.2f}, {self.said['p99'][name]:.2f}"))
        rows.append(("seconds", f"{self.said.get('seconds', 0):.0f}"))
        rows.append(("two owners", str(sum("two owners" in fault for fault in self.faults))))
        rows.append(("faults in all", str(len(self.faults))))
        return "\n".join(f"  {name:24} {value:>14}" for name, value in rows)


def run(
    guest: "Guest", cycles: int, seconds: float, seed: int, progress: "Callable[[int], None]" = lambda cycles: None
) -> Outcome:
    """Load the guest, whose pool db is made, until the cycles are done or the time is over, and look what is left."""
    guest.sh(f"{CHECKER} baseline {_BASELINE}")
    text = bytearray()

    def listen(stream: str, data: bytes) -> None:
        text.extend(data if stream == "stdout" else b"")
        lines = [line for line in text.decode(errors="replace").splitlines() if line.startswith("cycles ")]
        if lines:
            progress(int(lines[-1].split()[1]))

    command = f"exec python3 -I {INSIDE}/churn.py --cycles {cycles} --seconds {seconds} --seed {seed}"
    done = guest.run(command, timeout=MOST * seconds + 240, listener=listen)
    last = done.stdout.strip().rpartition("\n")[2]
    if not last.startswith("{"):
        return Outcome({}, [f"the load ended with status {done.status}: {done.stdout[-500:]}{done.stderr[-2000:]}"])
    said = json.loads(last)
    return Outcome(said, said["faults"] + left(guest, _BASELINE))


def left(guest: "Guest", baseline: str) -> list[str]:
    """Say what the outside checker finds that was not there before, and that it could not look, if so."""
    done = guest.run(f"{CHECKER} check {baseline}")
    faults = [f"left: {line}" for line in done.stdout.splitlines()]
    if (done.status != 0) != bool(faults):
        faults.append(f"the checker ended with status {done.status} and {len(faults)} lines: {done.stderr[-2000:]}")
    return faults
