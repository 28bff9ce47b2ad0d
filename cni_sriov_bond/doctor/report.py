"""What the checks found as lines of text and as JSON."""

import re
import textwrap
from collections import Counter
from typing import NamedTuple

from cni_sriov_bond.ctl.text import JsonObject, printable
from cni_sriov_bond.doctor.check import FAILURE, PASS, RESULTS, SKIPPED, WARNING, Finding
from cni_sriov_bond.doctor.run import Outcome, Repair

_MARKS = {PASS: "ok", WARNING: "warn", FAILURE: "FAIL", SKIPPED: "skip"}
_STYLES = {PASS: "green", WARNING: "yellow", FAILURE: "red", SKIPPED: "dim"}
_CONTAINER_ID, _ID_CHARACTERS = re.compile(r"\b[0-9a-f]{64}\b"), 12  # cut on a terminal, as `docker ps` cuts it
_LEAST_TEXT = 24  # columns; on a narrower terminal the lines are longer than it is
VERSION = 1


class Line(NamedTuple):
    """A line of output; ``style`` is of its mark, which are its first ``marked`` characters."""

    text: str
    style: str = ""
    marked: int = 0


def counts(outcomes: list[Outcome]) -> dict[str, int]:
    """Return how many findings have each result."""
    found = Counter(finding.result for outcome in outcomes for finding in outcome.findings)
    return {result: found[result] for result in (PASS, WARNING, FAILURE, SKIPPED)}


def to_json(outcomes: list[Outcome], repairs: list[Repair]) -> JsonObject:
    """Return the document of ``--json``; its schema is in ctl/outputs."""
    findings = [finding.to_json(outcome.check.name) for outcome in outcomes for finding in outcome.findings]
    return {
        "version": VERSION,
        "counts": counts(outcomes),
        "findings": findings,
        "repairs": [entry._asdict() for entry in repairs],
    }


def lines(outcomes: list[Outcome], width: int | None, *, only_wrong: bool = False) -> list[Line]:
    """Return a line for each check, and one for each thing that is wrong, with its remedy.

    :param width: the terminal's columns, to which lines are wrapped between words; None for one line each, for programs.
    """
    found: list[Line] = []
    subject = ""
    for outcome in outcomes:
        if only_wrong and outcome.result not in (WARNING, FAILURE):
            continue
        if outcome.check.subject != subject:
            subject = outcome.check.subject
            found.append(Line(subject, "bold", len(subject)))
        found += _check_lines(outcome, width)
    return found


def _check_lines(outcome: Outcome, width: int | None) -> list[Line]:
    found = []
    bad = [finding for finding in outcome.findings if finding.result in (WARNING, FAILURE)]
    for finding in sorted(bad, key=lambda finding: -RESULTS.index(finding.result)):
        found += _wrapped(outcome.check.name, finding, width)
    good = [finding for finding in outcome.findings if finding.result == PASS]
    if good or not bad:
        rest = good or list(outcome.findings)
        joined = "; ".join(dict.fromkeys(finding.sentence for finding in rest)) or "nothing to check"
        found += _wrapped(outcome.check.name, Finding("", PASS if good else SKIPPED, joined), width)
    return found


def _wrapped(name: str, finding: Finding, width: int | None) -> list[Line]:
    mark, style = _MARKS[finding.result], _STYLES[finding.result]
    head = f"  {mark:4}  {name:15} "
    sentence, remedy = printable(finding.sentence), printable(finding.remedy)
    if width is None:
        return [Line(f"{head}{sentence}{f'; {remedy}' if remedy else ''}", style, 6)]
    columns = max(width - len(head) - 1, _LEAST_TEXT)
    blank = " " * len(head)
    sentence = _CONTAINER_ID.sub(lambda match: f"{match[0][:_ID_CHARACTERS]}…", sentence)

    def wrap(text: str, first: str, rest: str) -> list[str]:
        return textwrap.wrap(
            text, columns, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
        )

    texts = wrap(sentence, "", "")
    texts += wrap(remedy, "-> ", "   ") if remedy else []
    return [Line((head if index == 0 else blank) + text, style, 6 if index == 0 else 0) for index, text in enumerate(texts)]


def summary(outcomes: list[Outcome]) -> str:
    """Return the last line: how much is wrong."""
    number = counts(outcomes)
    names = ", ".join(outcome.check.name for outcome in outcomes if outcome.result == FAILURE)
    failures = f"{number[FAILURE]} failure{'s' if number[FAILURE] > 1 else ''} ({names})" if names else "no failure"
    warnings = "no warning" if not number[WARNING] else f"{number[WARNING]} warning{'s' if number[WARNING] > 1 else ''}"
    skips = sum(outcome.result == SKIPPED for outcome in outcomes)
    return f"{len(outcomes)} checks: {failures}, {warnings}{f', {skips} skipped' if skips else ''}"


def repair_lines(repairs: list[Repair]) -> list[Line]:
    """Return what was repaired, and what was not and why."""
    done = ((repair.message, "done", "green") for repair in repairs if repair.done)
    left = ((f"{repair.text}: {repair.message}", "left", "yellow") for repair in repairs if not repair.done)
    return [Line(f"  {mark}  {printable(text)}", style, 6) for text, mark, style in (*done, *left)]
