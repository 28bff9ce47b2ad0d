"""The commands of `./dev` that are written in Python."""

import argparse
import os
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main as hostile_calls
from tests.lab import dashboard, downloads, kill_sweep, lab, shell
from tests.lab.errors import LabError, LostGuestError
from tests.lab.progress import StepFailedError, console
from tests.soak import command

# An exit status that no script has, so that a lost guest is not taken for a failed script.
LOST_GUEST = 128


def main(argv: list[str]) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="./dev")
    parser.add_argument(
        "--from", dest="origin", type=Path, default=Path.cwd(), help="the working directory of the caller of dev"
    )
    parser.add_argument("command", choices=("test", "build", "lab", "demo", "kill-sweep", "fuzz", "soak", "dashboard"))
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    commands = {"test": test, "build": build, "lab": open_lab, "demo": demo, "fuzz": fuzz, "soak": soak}
    commands |= {"kill-sweep": sweep, "dashboard": draw_dashboard}
    try:
        return commands[options.command](options.arguments, options.origin)
    except (StepFailedError, LabError) as error:
        console.print(f"dev: {error}", markup=False)
        return LOST_GUEST if isinstance(error, LostGuestError) else 1
    except KeyboardInterrupt:
        return 130


def test(arguments: list[str], origin: Path) -> int:
    """Run pytest; tests/conftest.py sets up what the selected tests use."""
    return int(pytest.main(arguments))


def build(arguments: list[str], origin: Path) -> int:
    """Freeze the executables."""
    downloads.build_product()
    return 0


def open_lab(arguments: list[str], origin: Path) -> int:
    """Boot the guest for interactive use or for a script."""
    product = downloads.build_product()
    provided = downloads.provide()
    booted = lab.boot(provided, product, terminal=not arguments and shell.at_terminal())
    try:
        return shell.script(booted.guest, arguments, origin) if arguments else shell.interact(booted.guest)
    finally:
        booted.close()


def sweep(arguments: list[str], origin: Path) -> int:
    """Kill ADD and DEL at every system call, in a guest of its own."""
    product = downloads.build_product()
    booted = lab.boot(downloads.provide(), product, deadline=kill_sweep.DEADLINE)
    try:
        return kill_sweep.main(booted.guest, arguments)
    finally:
        booted.close()


def fuzz(arguments: list[str], origin: Path) -> int:
    """Make hostile calls of the executables."""
    return hostile_calls(downloads.build_product(), arguments)


def demo(arguments: list[str], origin: Path) -> int:
    """Execute the demo in place of this process."""
    downloads.build_product()
    downloads.provide()
    os.execv(sys.executable, [sys.executable, "-m", "tests.lab.demo", *arguments])


def draw_dashboard(arguments: list[str], origin: Path) -> int:
    """Draw the picture of the Grafana dashboard."""
    return dashboard.main([str(origin / argument) for argument in arguments])


def soak(arguments: list[str], origin: Path) -> int:
    """Load a pool with processes that are killed at random."""
    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
