"""A check, what it found of an object, and what repairs that. No I/O."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from cni_sriov_bond.ctl.text import JsonObject

if TYPE_CHECKING:
    from cni_sriov_bond.doctor.host import Host

PASS, WARNING, FAILURE, SKIPPED = "pass", "warning", "failure", "skipped"
# From the best to the worst.
RESULTS = (SKIPPED, PASS, WARNING, FAILURE)


class Fix(NamedTuple):
    """A repair.

    ``text`` says what it does, beginning with a verb; two fixes of one text are one, which is run once. ``safe`` is whether it
    can harm nobody, so that it is run without a question. ``run`` returns what was done, and raises CniError or OSError.
    ``last`` is for one that judges what the others repair: `up` quarantines bonds whose VFs are not in the host.
    """

    text: str
    safe: bool
    run: Callable[[], str]
    last: bool = False


class Finding(NamedTuple):
    """What a check found of an object, such as a NIC; ``object`` is empty for the host itself.

    ``sentence`` is complete but for its full stop. For ``skipped`` it is the reason. ``remedy`` is what to do, beginning with a
    verb; it is empty for ``pass`` and ``skipped``.
    """

    object: str
    result: str
    sentence: str
    remedy: str = ""
    fix: Fix | None = None

    def to_json(self, check: str) -> JsonObject:
        """Return the finding of a check as ``doctor --json`` has it; docs/doctor.md lists the keys."""
        fix = {"text": self.fix.text, "safe": self.fix.safe} if self.fix else None
        return {"check": check, **self._asdict(), "fix": fix}


class Check(NamedTuple):
    """A check: its name, which is stable, its subject, what it looks for, and the function that returns what it found.

    ``alone`` is for a check that changes something for a moment: it is run in the main thread, after the others.
    """

    name: str
    subject: str
    about: str
    run: "Callable[[Host], Iterable[Finding]]"
    alone: bool = False


def passed(subject: str, sentence: str) -> Finding:
    """Return that an object is as it should be."""
    return Finding(subject, PASS, sentence)


def warning(subject: str, sentence: str, remedy: str, fix: Fix | None = None) -> Finding:
    """Return that an object works, but not as well as it could."""
    return Finding(subject, WARNING, sentence, remedy, fix)


def failure(subject: str, sentence: str, remedy: str, fix: Fix | None = None) -> Finding:
    """Return that an object is wrong."""
    return Finding(subject, FAILURE, sentence, remedy, fix)


def skipped(reason: str, subject: str = "") -> Finding:
    """Return that there was nothing to check, and why."""
    return Finding(subject, SKIPPED, reason)


def worst(findings: Iterable[Finding]) -> str:
    """Return the worst result of findings, or "skipped" where there are none."""
    return max((finding.result for finding in findings), key=RESULTS.index, default=SKIPPED)
