"""``./dev soak``: its words, its progress and its verdict."""

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

# A guest lives no longer than its deadline, and there is something to do before and after.
MOST_SECONDS = GUEST_DEADLINE - 600


def main(arguments: list[str]) -> int:
    """Run a soak and give its exit status: 0 when every rule held."""
    parser = argparse.ArgumentParser(prog="./dev soak", description="Load a pool with processes that are killed at random.")
    parser.add_argument("cycles", type=int, help="how many bonds are to be acquired and given back")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to choose alike again (random)")
    parser.add_argument("--drivers", type=int, default=12, help="processes at a time (%(default)s)")
    parser.add_argument("--bonds", type=int, default=7, help="bonds of the pool (%(default)s)")
    parser.add_argument("--kills", type=float, default=20.0, help="processes stopped or killed a second (%(default)s)")
    parser.add_argument(
        "--disk", action="store_true", help="keep the pool on a disk, not in memory: slower, and each fsync counts"
    )
    parser.add_argument("--lab", action="store_true", help="whole ADDs and DELs in the guest, 12 containers on 7 bonds")
    asked = parser.parse_args(arguments)
    outcome = _in_lab(asked) if asked.lab else _on_host(asked)
    print(outcome.table())
    for fault in outcome.faults:
        print(f"FAULT: {fault}")
    return 1 if outcome.faults else 0


def _on_host(asked: argparse.Namespace) -> soak.Outcome:
    load = soak.Load(asked.cycles, asked.seed, asked.drivers, asked.bonds, asked.kills)
    console.print(f"Soak: {load}")
    place = _on_disk if asked.disk else soak.fast_directory
    with place() as directory, _progress(asked.cycles) as progress:
        return soak.run(load, directory, progress=progress)


def _in_lab(asked: argparse.Namespace) -> end_to_end.Outcome:
    product = downloads.build_product()
    booted = lab.boot(downloads.provide(), product)
    try:
        Product(booted.guest).provision()
        console.print(f"Soak in the guest: {asked.cycles} cycles, seed {asked.seed}")
        with _progress(asked.cycles) as progress:
            return end_to_end.run(booted.guest, asked.cycles, MOST_SECONDS, asked.seed, progress)
    finally:
        booted.close()


@contextlib.contextmanager
def _on_disk() -> "Iterator[Path]":
    with tempfile.TemporaryDirectory(prefix="sriov-bond-soak.") as made:
        yield Path(made)


@contextlib.contextmanager
def _progress(cycles: int) -> "Iterator[Callable[[int], None]]":
    """Show how far it is: as a bar on a terminal, else a line at every tenth."""
    if not console.is_terminal:
        told = [0]

        def tell(done: int) -> None:
            if done * 10 // cycles > told[0]:
                told[0] = done * 10 // cycles
                console.print(f"{done} of {cycles} cycles")

        yield tell
        return
    columns = (TextColumn("cycles"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=cycles)
        yield lambda done: bar.update(task, completed=done)
