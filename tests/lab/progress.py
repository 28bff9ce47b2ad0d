"""Progress of long steps: their titles, their times, and the log of a step that failed."""

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.lab import cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 15

# Standard error: with `./dev lab SCRIPT`, standard output is the script's.
console = Console(stderr=True, highlight=False, soft_wrap=True)


class StepFailedError(Exception):
    """A step of the set-up failed; the message names the step and its log."""


@contextlib.contextmanager
def step(title: str) -> "Iterator[None]":
    """Show the title of a step while it runs, and its time at the end."""
    began = time.monotonic()
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(escape(title), total=None)
            yield
    else:
        console.print(f"{escape(title)} ...")
        yield
    console.print(f"{escape(title)}: done in {time.monotonic() - began:.1f} s")


def run(
    argv: "Sequence[str | Path]", log_name: str, *, env: "Mapping[str, str] | None" = None, cwd: "Path | None" = None
) -> None:
    """Run a program with its output in a log; raise StepFailedError with the log's tail if it fails."""
    log = cache.log(log_name)
    with log.open("ab") as file:
        file.write(f"+ {' '.join(map(str, argv))}\n".encode())
        file.flush()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, cwd=cwd, check=False)
    if done.returncode != 0:
        raise StepFailedError(f"{argv[0]} failed (exit status {done.returncode}); {tail(log)}")


def tail(log: "Path") -> str:
    """Return the last lines of a log, with its path."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return f"the end of {log}:\n" + "\n".join(f"  {line}" for line in lines)
