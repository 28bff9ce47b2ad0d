"""``./dev soak``: its options, its progress and its result."""

import argparse
import contextlib
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.lab import downloads, lab
from tests.lab.guest import GUEST_DEADLINE
from tests.lab.product import Product
from tests.lab.progress import console
from tests.soak import end_to_end, soak

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A guest is ended at its deadline; the rest is for provisioning and for the final check.
MOST_SECONDS = GUEST_DEADLINE - 600


def main(arguments: list[str]) -> int:
    """Run a soak and return the exit status: 0 if no rule was broken."""
    parser = argparse.ArgumentParser(prog="./dev soak", description="Load a pool with processes that are killed at random.")
    parser.add_argument("cycles", type=int, help="number of bonds to acquire and release")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="seed of all random choices (random)")
    parser.add_argument("--drivers", type=int, default=12, help="number of concurrent processes (%(default)s)")
    parser.add_argument("--bonds", type=int, default=7, help="bonds of the pool (%(default)s)")
    parser.add_argument("--kills", type=float, default=20.0, help="processes stopped or killed a second (%(default)s)")
    parser.add_argument(
        "--disk", action="store_true", help="keep the pool on a disk, not in memory: slower, and fsync has an effect"
    )
    parser.add_argument("--lab", action="store_true", help="run ADDs and DELs in the guest, 12 containers on 7 bonds")
    options = parser.parse_args(arguments)
    outcome = _in_lab(options) if options.lab else _on_host(options)
    print(outcome.table())
    for fault in outcome.faults:
        print(f"FAULT: {fault}")
    return 1 if outcome.faults else 0


def _on_host(options: argparse.Namespace) -> soak.Outcome:
    load = soak.Load(options.cycles, options.seed, options.drivers, options.bonds, options.kills)
    console.print(f"Soak: {load}")
    create = _on_disk if options.disk else soak.fast_directory
    with create() as directory, _progress(options.cycles) as progress:
        return soak.run(load, directory, progress=progress)


def _in_lab(options: argparse.Namespace) -> end_to_end.Outcome:
    product = downloads.build_product()
    booted = lab.boot(downloads.provide(), product)
    try:
        Product(booted.guest).provision()
        console.print(f"Soak in the guest: {options.cycles} cycles, seed {options.seed}")
        with _progress(options.cycles) as progress:
            return end_to_end.run(booted.guest, options.cycles, MOST_SECONDS, options.seed, progress)
    finally:
        booted.close()


@contextlib.contextmanager
def _on_disk() -> "Iterator[Path]":
    with tempfile.TemporaryDirectory(prefix="sriov-bond-soak.") as made:
        yield Path(made)


@contextlib.contextmanager
def _progress(cycles: int) -> "Iterator[Callable[[int], None]]":
    """Show the progress: as a bar on a terminal, else as a line for every tenth."""
    if not console.is_terminal:
        tenths = [0]

        def report(done: int) -> None:
            if done * 10 // cycles > tenths[0]:
                tenths[0] = done * 10 // cycles
                console.print(f"{done} of {cycles} cycles")

        yield report
        return
    columns = (TextColumn("cycles"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=cycles)
        yield lambda done: bar.update(task, completed=done)
