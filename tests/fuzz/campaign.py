"""Run many hostile calls on all processors, count them by verb and code, and save failing calls in files."""

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
# One sequence (of at most 24 calls) for this many single calls.
_CALLS_PER_SEQUENCE = 100
_REPORT_SECONDS = 5.0
_MOST_REPORTED = 20
# The silent call takes 45 s, everything else much less. A worker without a line for this long hangs.
_HANG_SECONDS = 90.0


@dataclass
class Run:
    """The results of a run: the number of calls by (program, verb, code), and the id and the complaints of each failure."""

    seed: int
    counts: "Counter[tuple[str, str, int]]" = field(default_factory=Counter)
    failures: list[tuple[str, list[str]]] = field(default_factory=list)
    seconds: float = 0.0
    # The slowest call (seconds) and the one with the largest memory (MiB), each with its id.
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    @property
    def calls(self) -> int:
        return sum(self.counts.values())

    def table(self) -> str:
        """Return the counts, one line for each program and verb."""
        lines = []
        for program, verb in sorted({(program, verb) for program, verb, _ in self.counts}):
            codes = sorted((key[2], count) for key, count in self.counts.items() if key[:2] == (program, verb))
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
    report: Callable[[str], None],
    only: tuple[str, ...] = (),
    silent: bool = True,
) -> Run:
    """Make a number of calls, and sequences of calls.

    :param keep: the directory for failing calls; each gets a subdirectory with environment, input, delegate and answer.
    :param report: called with each line of progress.
    :param only: ids of single calls to make instead.
    :param silent: whether to include the call whose delegate never answers, which takes 45 s.
    """
    began = time.monotonic()
    results = Run(seed)
    shares = [list(only)] if only else _shares(number, silent)
    workers = [_start(product, seed, share) for share in shares]
    selector = selectors.DefaultSelector()
    partial: dict[int, bytes] = {}
    for worker in workers:
        partial[worker.stdout.fileno()] = b""  # type: ignore[union-attr]
        selector.register(worker.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
    reported, answered = began, began
    while selector.get_map():
        for key, _ in selector.select(1.0):
            answered = time.monotonic()
            data = os.read(key.fd, 65536)
            if not data:
                selector.unregister(key.fileobj)
            *lines, partial[key.fd] = (partial[key.fd] + data).split(b"\n")
            for line in lines:
                _note(results, json.loads(line), keep, report)
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            report(f"fuzz: {results.calls} calls in {reported - began:.0f} s, {len(results.failures)} failures")
        if time.monotonic() - answered > _HANG_SECONDS:
            for worker in workers:
                worker.kill()
    for worker, share in zip(workers, shares, strict=True):
        if worker.wait():
            results.failures.append(("worker", [f"the worker of {share} ended with status {worker.returncode}"]))
        worker.stdout.close()  # type: ignore[union-attr]
    results.seconds = time.monotonic() - began
    return results


def _shares(number: int, silent: bool) -> list[list[str]]:
    width = max(1, len(os.sched_getaffinity(0)))
    sequences = number // _CALLS_PER_SEQUENCE
    shares = [[f"{index}-{number}-{width}", f"s{index}-{sequences}-{width}"] for index in range(width)]
    return [["silent"], *shares] if silent else shares


def _start(product: Path, seed: int, share: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.fuzz.worker", str(product), str(seed), *share]
    return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def _note(results: Run, line: dict[str, Any], keep: Path, report: Callable[[str], None]) -> None:
    for program, verb, code in line["calls"]:
        results.counts[program, verb, code] += 1
    results.slowest = max(results.slowest, (line.get("seconds", 0.0), line["id"]))
    results.largest = max(results.largest, (line.get("memory", 0), line["id"]))
    if not line["wrong"]:
        return
    results.failures.append((line["id"], line["wrong"]))
    folder = keep / f"{results.seed}-{line['id']}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in line["files"].items():
        (folder / name).write_bytes(base64.b64decode(data))
    (folder / "wrong").write_text("".join(f"{complaint}\n" for complaint in line["wrong"]), "utf-8", "backslashreplace")
    if len(results.failures) <= _MOST_REPORTED:
        report(f"fuzz: FAILED ./dev fuzz --seed {results.seed} --case {line['id']}; saved in {folder}")
        for complaint in line["wrong"]:
            report(f"    {complaint[:500]!r}")


def fresh_seed() -> int:
    """Return a random seed."""
    return random.SystemRandom().randrange(1 << 32)
