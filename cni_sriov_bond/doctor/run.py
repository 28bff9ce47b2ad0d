"""Run the checks, side by side because most of them wait, and run repairs."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple

from cni_sriov_bond.doctor import card, docker, firmware, gateway, leases, machine, networks, nic, plugins, services, state, vfs
from cni_sriov_bond.doctor.check import FAILURE, WARNING, Check, Finding, failure, worst
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.errors import CniError

CHECKS: tuple[Check, ...] = (
    *firmware.CHECKS, *machine.CHECKS, *nic.CHECKS, *card.CHECKS, *vfs.CHECKS, *services.CHECKS, *state.CHECKS, *leases.CHECKS,
    *plugins.CHECKS, *networks.CHECKS, *gateway.CHECKS, *docker.CHECKS,
)  # fmt: skip
# A check that takes longer hangs, e.g. on a file system whose server is gone.
_SECONDS = 30.0

Report = Callable[[str, int, int], None]


class Outcome(NamedTuple):
    """What a check found."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def result(self) -> str:
        """The worst result of its findings."""
        return worst(self.findings)


class Repair(NamedTuple):
    """A repair that was run, or not; ``message`` is what was done, or why nothing was."""

    text: str
    done: bool
    message: str


def run(host: Host, report: Report, checks: tuple[Check, ...] = CHECKS, seconds: float = _SECONDS) -> list[Outcome]:
    """Run checks and return what they found, in their order.

    :param report: called with (what is done, how much is done, of how much).
    :param seconds: how long to wait for checks; one that takes longer is a failure.
    """
    found: dict[str, tuple[Finding, ...]] = {}
    answers: SimpleQueue[tuple[str, tuple[Finding, ...]]] = SimpleQueue()
    beside = [check for check in checks if not check.alone]
    for check in beside:
        # A daemon thread: one that hangs must not keep the command from ending.
        threading.Thread(target=lambda check=check: answers.put((check.name, _findings(check, host))), daemon=True).start()
    end = monotonic() + seconds
    while len(found) < len(beside):
        report("checking", len(found), len(checks))
        try:
            name, findings = answers.get(timeout=max(0.0, end - monotonic()))
        except Empty:
            break
        found[name] = findings
    for check in checks:
        if check.alone:
            report("checking", len(found), len(checks))
            found[check.name] = _findings(check, host)
    report("checking", len(found), len(checks))
    hangs = (failure("", f"this check did not end within {seconds:g} s", "look for a disk or program that does not answer"),)
    return [Outcome(check, found.get(check.name, hangs)) for check in checks]


def _findings(check: Check, host: Host) -> tuple[Finding, ...]:
    """Return what a check found; a check that fails itself must not take the others with it."""
    try:
        return tuple(check.run(host))
    except CniError as failed:
        return (failure("", f"this check failed: {failed.msg}", "correct that, and run it again"),)
    except OSError as failed:
        about = f": {failed.filename}" if failed.filename else ""
        return (failure("", f"this check failed: {failed.strerror or failed}{about}", "correct that, and run it again"),)
    except Exception as bug:
        text = " ".join(f"{type(bug).__name__} {bug}".split())[:120]
        return (failure("", f"this check failed: {text}", "report it as a bug; the other checks are valid"),)


def repair(outcomes: list[Outcome], allowed: Callable[[str], bool], report: Report) -> list[Repair]:
    """Run the repairs that are safe, and of the others those that are allowed; return each with what it did.

    Those that judge what others repair are the last.

    :param allowed: asks whether to run a repair.
    """
    fixes = {
        finding.fix.text: finding.fix
        for outcome in outcomes
        for finding in outcome.findings
        if finding.fix and finding.result in (WARNING, FAILURE)
    }
    repairs = []
    for number, fix in enumerate(sorted(fixes.values(), key=lambda fix: (fix.last, not fix.safe))):
        if not fix.safe and not allowed(fix.text):
            repairs.append(Repair(fix.text, False, "it was not allowed"))
            continue
        report("repairing", number, len(fixes))
        try:
            repairs.append(Repair(fix.text, True, fix.run()))
        except CniError as failed:
            repairs.append(Repair(fix.text, False, failed.msg))
        except OSError as failed:
            repairs.append(Repair(fix.text, False, f"{failed.strerror or failed}"))
    return repairs
