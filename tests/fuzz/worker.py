"""One process of a run: make a share of the calls in a sandbox, and print one line of JSON for each.

``python -m tests.fuzz.worker PRODUCT SEED NUMBER...``: NUMBER is a call, ``sNUMBER`` a sequence, ``silent`` the call that
takes 45 s, ``A-B-C`` every C-th call from A to B (exclusive), and ``sA-B-C`` every C-th sequence.
"""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz import case as cases
from tests.fuzz import delegates, process, samples, sequence, verdict
from tests.fuzz.case import Case
from tests.fuzz.process import Outcome
from tests.fuzz.sandbox import PRODUCT, Sandbox

_WORLD_OF_SEQUENCES = "empty"


class Worker:
    """A sandbox, and the calls in it."""

    def __init__(self, product: Path) -> None:
        self._sandbox = Sandbox(product)
        process.adopt()

    def call(self, case: Case) -> tuple[Outcome, list[str]]:
        """Make one call; return its outcome and the complaints about it."""
        self._sandbox.reset(case.world)
        delegates.install(case.delegate, f"{samples.BIN}/odd")
        return self._observed(case)

    def _observed(self, case: Case) -> tuple[Outcome, list[str]]:
        before, links = self._sandbox.tree(), self._sandbox.links()
        outcome = process.run(f"{PRODUCT}/opt/cni/bin/{case.program}", case, verdict.SECONDS + case.delegate.seconds)
        after = self._sandbox.tree()
        wrong = verdict.complaints(case, outcome, before, after)
        if self._sandbox.links() != links:
            wrong.append("network devices have changed")
        return outcome, wrong

    def sequence(self, seed: int, number: int) -> dict[str, Any]:
        """Make one sequence of calls of our IPAM plugin."""
        self._sandbox.reset(_WORLD_OF_SEQUENCES)
        wrong: list[str] = []

        def call(case: Case) -> Outcome:
            outcome, complaints = self._observed(case)
            wrong.extend(complaints)
            return outcome

        broken, calls = sequence.run(seed, number, call, self._sandbox.tree)
        counts = [[cases.IPAM, case.verb, code] for case, code in calls]
        report = {"id": f"s{number}", "calls": counts, "wrong": wrong + broken}
        return {**report, **_files(calls[-1][0], "")} if report["wrong"] else report


def _code(outcome: Outcome) -> int:
    try:
        document = json.loads(outcome.out)
        return int(document.get("code", 0))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return 0 if outcome.status == 0 else -1


def _files(case: Case, summary: str) -> dict[str, Any]:
    """Return the files by which a call can be repeated by hand."""
    script = case.delegate.script + b"# /run/fuzz/answer:\n" + case.delegate.answer
    contents = {"env": b"\0".join(case.environ), "stdin": case.stdin or b"", "delegate": script, "outcome": summary.encode()}
    return {"files": {name: base64.b64encode(data).decode() for name, data in contents.items()}}


def _numbers(words: list[str]) -> Iterator[tuple[str, int]]:
    for word in words:
        kind, digits = ("s", word[1:]) if word.startswith("s") and word != "silent" else ("", word)
        if word == "silent":
            yield "silent", 0
        elif "-" in digits:
            yield from ((kind, number) for number in range(*map(int, digits.split("-"))))
        else:
            yield kind, int(digits)


def main(product: str, seed: str, *words: str) -> None:
    """Make the calls that the arguments name."""
    worker = Worker(Path(product))
    for kind, number in _numbers(list(words)):
        if kind == "s":
            report = worker.sequence(int(seed), number)
        else:
            case = cases.silent() if kind else cases.make(int(seed), number)
            outcome, wrong = worker.call(case)
            verb = case.verb if case.verb in ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION") else "other"
            report = {"id": kind or str(number), "calls": [[case.program, verb, _code(outcome)]], "wrong": wrong}
            report |= {"seconds": round(outcome.seconds - case.delegate.seconds, 2), "memory": outcome.memory >> 20}
            if wrong:
                summary = f"status {outcome.status}, {outcome.seconds:.2f} s, {outcome.memory >> 20} MiB, "
                summary += f"{case.streams}, {case.world}\n"
                summary += f"{outcome.out[:20000]!r}\n{outcome.err[:20000]!r}\n"
                report |= _files(case, summary)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
