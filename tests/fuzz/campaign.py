"""A run of many hostile calls over the machine's processors, counted by verb and code, with what fails kept in files."""

import base64
import json
import os
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
# One in so many calls is of a sequence; a sequence has at most 24 calls.
_CALLS_PER_SEQUENCE = 100
_REPORT_SECONDS = 5.0
_MOST_TOLD = 20
# Beside the silent call's 45 s no worker takes long for one line; this is for one that hangs itself.
_SILENCE_SECONDS = 90.0


@dataclass
class Run:
    """What a run found: calls by (program, verb, code), and of each failure its id and what is wrong."""

    seed: int
    counts: "Counter[tuple[str, str, int]]" = field(default_factory=Counter)
    failures: list[tuple[str, list[str]]] = field(default_factory=list)
    seconds: float = 0.0
    # What is hardest on the programs, each with the call's id: seconds, and MiB of memory.
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    @property
    def calls(self) -> int:
        return sum(self.counts.values())

    def table(self) -> str:
        """Give the counts, a line for each program and verb."""
        lines = []
        for program, verb in sorted({(program, verb) for program, verb, _ in self.counts}):
            codes = sorted(
                (code, count) for (one, other, code), count in self.counts.items() if (one, other) == (program, verb)
            )
            shown = "  ".join(f"{'none' if code < 0 else code}: {count}" for code, count in codes[:20])
            lines.append(f"{program:16}{verb:8}{shown}")
        return "\n".join(lines)

    def summary(self) -> str:
        hardest = f"at most {self.slowest[0]:.2f} s (call {self.slowest[1]}) and {self.largest[0]} MiB (call {self.largest[1]})"
        failed = f"{len(self.failures)} failures"
        return f"fuzz: seed {self.seed}, {self.calls} calls in {self.seconds:.0f} s, {hardest}; {failed}"


def run(
    product: Path,
    seed: int,
    number: int,
    keep: Path,
    tell: Callable[[str], None],
    only: tuple[str, ...] = (),
    silent: bool = True,
) -> Run:
    """Make so many calls and sequences of calls.

    :param keep: the folder where a failing call is kept, in one of its own: environment, input, delegate and answer.
    :param only: ids of single calls to make instead.
    :param silent: whether the call whose delegate never answers, which takes 45 s, is one of them.
    """
    began = time.monotonic()
    found = Run(seed)
    shares = [list(only)] if only else _shares(number, silent)
    workers = [_start(product, seed, share) for share in shares]
    selector = selectors.DefaultSelector()
    rests: dict[int, bytes] = {}
    for worker in workers:
        rests[worker.stdout.fileno()] = b""  # type: ignore[union-attr]
        selector.register(worker.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
    told, heard = began, began
    while selector.get_map():
        for key, _ in selector.select(1.0):
            heard = time.monotonic()
            data = os.read(key.fd, 65536)
            if not data:
                selector.unregister(key.fileobj)
            *lines, rests[key.fd] = (rests[key.fd] + data).split(b"\n")
            for line in lines:
                _note(found, json.loads(line), keep, tell)
        if time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            tell(f"fuzz: {found.calls} calls in {told - began:.0f} s, {len(found.failures)} failures")
        if time.monotonic() - heard > _SILENCE_SECONDS:
            for worker in workers:
                worker.kill()
    for worker, share in zip(workers, shares, strict=True):
        if worker.wait():
            found.failures.append(("worker", [f"the worker of {share} ended with status {worker.returncode}"]))
        worker.stdout.close()  # type: ignore[union-attr]
    found.seconds = time.monotonic() - began
    return found


def _shares(number: int, silent: bool) -> list[list[str]]:
    width = max(1, len(os.sched_getaffinity(0)))
    sequences = number // _CALLS_PER_SEQUENCE
    shares = [[f"{one}-{number}-{width}", f"s{one}-{sequences}-{width}"] for one in range(width)]
    return [["silent"], *shares] if silent else shares


def _start(product: Path, seed: int, share: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.fuzz.worker", str(product), str(seed), *share]
    return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _note(found: Run, line: dict[str, Any], keep: Path, tell: Callable[[str], None]) -> None:
    for program, verb, code in line["calls"]:
        found.counts[program, verb, code] += 1
    found.slowest = max(found.slowest, (line.get("seconds", 0.0), line["id"]))
    found.largest = max(found.largest, (line.get("memory", 0), line["id"]))
    if not line["wrong"]:
        return
    found.failures.append((line["id"], line["wrong"]))
    folder = keep / f"{found.seed}-{line['id']}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in line["files"].items():
        (folder / name).write_bytes(base64.b64decode(data))
    (folder / "wrong").write_text("".join(f"{one}\n" for one in line["wrong"]), "utf-8", "backslashreplace")
    if len(found.failures) <= _MOST_TOLD:
        tell(f"fuzz: FAILED ./dev fuzz --seed {found.seed} --case {line['id']}; kept in {folder}")
        for one in line["wrong"]:
            tell(f"    {one[:500]!r}")


def fresh_seed() -> int:
    """Give a seed that was not used before, most likely."""
    return random.SystemRandom().randrange(1 << 32)
