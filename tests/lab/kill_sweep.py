"""`./dev kill-sweep`: run tests/lab/inside/sweep.py in the guest, and show its progress and its table."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.lab import downloads
from tests.lab.inside.sweep import ERRORS, RECOVERIES
from tests.lab.machine import INSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.lab.guest import Guest

DEADLINE = 3 * 3600.0
# The time limit of the pass that is part of every test run.
PASS_SECONDS = 1800.0


@dataclass
class Outcome:
    """The outcome of a sweep: a row for each case, and the leaks, as sweep.py reports them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)

    def table(self) -> Table:
        """Return the rows as a table."""
        table = Table(
            "variant", "verb", "kind", "points", *RECOVERIES, "leaks", "s", title="kill sweep, and the runs of each recovery"
        )
        for row in self.rows:
            recoveries = [row["recoveries"].get(recovery, 0) for recovery in RECOVERIES]
            table.add_row(
                *map(str, (row["variant"], row["verb"], row["kind"], row["points"], *recoveries, row["leaks"], row["seconds"]))
            )
        points, leaks, seconds = (sum(row[column] for row in self.rows) for column in ("points", "leaks", "seconds"))
        recoveries = [sum(row["recoveries"].get(recovery, 0) for row in self.rows) for recovery in RECOVERIES]
        table.add_row("all", "", "", *map(str, (points, *recoveries, leaks, f"{seconds:.0f}")), style="bold")
        return table


def sweep(guest: "Guest", arguments: "Sequence[str]", report: "Callable[[str], None]", timeout: float = DEADLINE) -> Outcome:
    """Run a sweep in the guest, which removes existing pools, and leaves none.

    :param report: called with each line of progress.
    :raises AssertionError: when the sweep itself failed.
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
                report(f"{case}: {event['points']} points, {event['leaks']} leaks, {event['seconds']:.0f} s")
            elif event["event"] == "leak":
                outcome.leaks.append(event)
                report(f"LEAK {json.dumps(event)}")
            elif event["event"] == "progress":
                report(f"  {event['case']}: point {event['points']}, {event['leaks']} leaks")

    # In memory: starting it from 9p is slow.
    guest.sh(f"cp {downloads.tracer()} /run/tracer")
    command = ["python3", "-m", "tests.lab.inside.sweep", "/run/tracer", *arguments]
    done = guest.run(command, cwd=str(INSIDE.parents[2]), timeout=timeout, listener=take)
    if done.status != (1 if outcome.leaks else 0):
        raise AssertionError(f"the sweep ended with status {done.status}: {done.stderr[-3000:]}")
    return outcome


def turn() -> int:
    """Return the number of the first recovery and error: by what was built, so that in time each point gets all of them.

    Not by commit: a machine that runs the tests need not have git.
    """
    built = (INSIDE.parents[2] / "dist/.stamp").read_text()
    return int(built[:8], 16) % (len(RECOVERIES) * len(ERRORS))


def one_pass(guest: "Guest") -> Outcome:
    """Run the pass that is part of every test run, silently, because pytest uses the terminal."""
    return sweep(guest, ("--turn", str(turn())), lambda line: None, timeout=PASS_SECONDS)


def main(guest: "Guest", arguments: "Sequence[str]") -> int:
    """Run a sweep for a person."""
    console = Console(highlight=False, soft_wrap=True)
    outcome = sweep(guest, arguments, lambda line: console.print(line, markup=False))
    console.print(outcome.table())
    return 1 if outcome.leaks else 0
