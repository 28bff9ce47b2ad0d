"""`./dev kill-sweep`: the sweep of tests/lab/inside/sweep.py, watched from this machine, and its table."""

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.lab import downloads
from tests.lab.inside.sweep import ERRORS, WAYS
from tests.lab.machine import INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.lab.guest import Guest

DEADLINE = 3 * 3600.0
# What the pass that every test run makes may take, beside the other tests, before its guest is given up.
PASS_SECONDS = 1800.0


@dataclass
class Outcome:
    """What a sweep found: a row for each case, and each leak, as sweep.py tells them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> Table:
        """Return the rows for people."""
        table = Table(
            "variant", "verb", "what", "points", *WAYS, "leaks", "s", title="kill sweep, and the runs of each way back"
        )
        for row in self.rows:
            ways = [row["ways"].get(way, 0) for way in WAYS]
            table.add_row(
                *map(str, (row["variant"], row["verb"], row["kind"], row["points"], *ways, row["leaks"], row["seconds"]))
            )
        points, leaks, seconds = (sum(row[what] for row in self.rows) for what in ("points", "leaks", "seconds"))
        ways = [sum(row["ways"].get(way, 0) for row in self.rows) for way in WAYS]
        table.add_row("all", "", "", *map(str, (points, *ways, leaks, f"{seconds:.0f}")), style="bold")
        return table


def sweep(guest: "Guest", arguments: "Sequence[str]", say: "Callable[[str], None]", timeout: float = DEADLINE) -> Outcome:
    """Run a sweep in the guest; it takes the pools away that are there, and leaves none.

    :param say: is given each line of progress.
    :raises CommandFailedError: when the sweep itself could not go on.
    """
    outcome = Outcome()
    pending = b""

    def take(stream: str, data: bytes) -> None:
        nonlocal pending
        if stream != "stdout":
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if event["event"] == "row":
                outcome.rows.append(event)
                case = f"{event['variant']} {event['verb']} {event['kind']}"
                say(f"{case}: {event['points']} points, {event['leaks']} leaks, {event['seconds']:.0f} s")
            elif event["event"] == "leak":
                outcome.leaks.append(event)
                say(f"LEAK {json.dumps(event)}")
            elif event["event"] == "progress":
                say(f"  {event['case']}: point {event['points']}, {event['leaks']} leaks")

    # A program in memory: from 9p each start of it would be slow.
    guest.sh(f"cp {downloads.tracer()} /run/tracer")
    command = ["python3", "-m", "tests.lab.inside.sweep", "/run/tracer", *arguments]
    done = guest.run(command, cwd=str(INSIDE.parents[2]), timeout=timeout, listener=take)
    if done.status != (1 if outcome.leaks else 0):
        raise AssertionError(f"the sweep ended with status {done.status}: {done.stderr[-3000:]}")
    return outcome


def turn() -> int:
    """Return with which way back and which error a sweep begins: by the commit, so that in time each point meets all."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=INSIDE, capture_output=True, text=True, check=False)
    return int(done.stdout[:8] or "0", 16) % (len(WAYS) * len(ERRORS))


def one_pass(guest: "Guest") -> Outcome:
    """Make the pass that belongs to every run of the tests, without a word on the terminal, where others report."""
    return sweep(guest, ("--turn", str(turn())), lambda line: None, timeout=PASS_SECONDS)


def main(guest: "Guest", arguments: "Sequence[str]") -> int:
    """Run a sweep for a person."""
    console = Console(highlight=False, soft_wrap=True)
    outcome = sweep(guest, arguments, lambda line: console.print(line, markup=False))
    console.print(outcome.table())
    return 1 if outcome.leaks else 0
