"""The runner: side by side, and whatever a check or a repair does, one line."""

import os
import threading
from collections.abc import Iterator

from cni_sriov_bond.doctor import run
from cni_sriov_bond.doctor.check import FAILURE, PASS, Check, Finding, Fix, failure, passed, warning
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.run import Outcome
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from tests.doctor.fake_host import FakeHost, nothing

NOTHING: dict[str, str] = {}


def test_checks_that_wait_run_side_by_side_and_are_reported_in_their_order(fake: FakeHost) -> None:
    meeting = threading.Barrier(3, timeout=10)
    threads = []

    def meets(host: Host) -> Iterator[Finding]:
        meeting.wait()
        threads.append(threading.current_thread())
        yield passed("", "met")

    def alone(host: Host) -> Iterator[Finding]:
        assert len(threads) == 3, "the others are done"
        threads.append(threading.current_thread())
        yield passed("", "alone")

    checks = (Check("alone", "s", "", alone, alone=True), *(Check(f"c{number}", "s", "", meets) for number in range(3)))
    progress: list[tuple[str, int, int]] = []
    outcomes = run.run(fake.host(), lambda stage, done, total: progress.append((stage, done, total)), checks)
    assert [(outcome.check.name, outcome.result) for outcome in outcomes] == [(check.name, PASS) for check in checks]
    assert threads[3] is threading.main_thread()
    assert threading.main_thread() not in threads[:3]
    assert progress[0] == ("checking", 0, 4)
    assert progress[-1] == ("checking", 4, 4)


def test_a_check_that_fails_itself_is_one_line(fake: FakeHost) -> None:
    def refused(host: Host) -> Iterator[Finding]:
        raise CniError(POOL_UNUSABLE, "the pool is odd")

    def unreadable(host: Host) -> Iterator[Finding]:
        yield passed("", "so far")
        os.stat("/none/at/all")

    def wrong(host: Host) -> Iterator[Finding]:
        yield passed("", NOTHING["no\nsuch"])

    checks = tuple(Check(function.__name__, "s", "", function) for function in (refused, unreadable, wrong))
    found = [finding for outcome in run.run(fake.host(), nothing, checks) for finding in outcome.findings]
    assert [finding.result for finding in found] == [FAILURE] * 3
    assert [finding.sentence for finding in found] == [
        "this check failed: the pool is odd",
        "this check failed: No such file or directory: /none/at/all",
        "this check failed: KeyError 'no\\nsuch'",
    ]
    assert all(finding.remedy and "\n" not in finding.sentence for finding in found)


def test_a_check_that_hangs_does_not_keep_the_others(fake: FakeHost) -> None:
    end = threading.Event()

    def hangs(host: Host) -> Iterator[Finding]:
        end.wait(30)
        yield passed("", "late")

    checks = (Check("hangs", "s", "", hangs), Check("other", "s", "", lambda host: [passed("", "there")]))
    outcomes = run.run(fake.host(), nothing, checks, seconds=0.3)
    end.set()
    assert [outcome.result for outcome in outcomes] == [FAILURE, PASS]
    assert outcomes[0].findings[0].sentence == "this check did not end within 0.3 s"


def test_a_sound_host_passes_every_check(fake: FakeHost) -> None:
    """All but the gateways, which are asked through a kernel."""
    outcomes = run.run(fake.host(), nothing, tuple(check for check in run.CHECKS if not check.alone))
    assert [outcome for outcome in outcomes if outcome.result not in (PASS, "skipped")] == []
    assert len(outcomes) == len(run.CHECKS) - 1
    assert len({check.name for check in run.CHECKS}) == len(run.CHECKS)
    assert all(check.run.__doc__ and check.about for check in run.CHECKS)


def _outcome(*findings: Finding) -> Outcome:
    return Outcome(Check("c", "s", "", lambda host: []), findings)


def test_safe_repairs_come_first_each_once_and_the_others_are_asked_for_and_up_is_the_last() -> None:
    done: list[str] = []

    def fix(text: str, safe: bool, last: bool = False) -> Fix:
        def repair() -> str:
            done.append(text)
            return f"did {text}"

        return Fix(text, safe, repair, last)

    outcomes = [
        _outcome(failure("a", "x", "y", fix("up", True, last=True)), failure("a", "x", "y", fix("risky", False))),
        _outcome(failure("b", "x", "y", fix("safe", True))),
        _outcome(warning("c", "x", "y", fix("safe", True)), failure("d", "x", "y"), warning("e", "x", "y", fix("no", False))),
    ]
    asked: list[str] = []

    def allowed(text: str) -> bool:
        asked.append(text)
        return text != "no"

    repairs = run.repair(outcomes, allowed, nothing)
    assert (done, asked) == (["safe", "risky", "up"], ["risky", "no"])
    assert [tuple(one) for one in repairs] == [
        ("safe", True, "did safe"),
        ("risky", True, "did risky"),
        ("no", False, "it was not allowed"),
        ("up", True, "did up"),
    ]


def test_a_repair_that_fails_says_why_and_the_next_one_runs() -> None:
    def refused() -> str:
        raise CniError(POOL_UNUSABLE, "the bond is leased")

    def system() -> str:
        raise PermissionError(1, "Operation not permitted")

    findings = [failure("a", "x", "y", Fix(text, True, repair)) for text, repair in (("one", refused), ("two", system))]
    findings.append(failure("b", "x", "y", Fix("three", True, lambda: "done")))
    repairs = run.repair([_outcome(*findings)], lambda text: False, nothing)
    assert [(one.done, one.message) for one in repairs] == [
        (False, "the bond is leased"),
        (False, "Operation not permitted"),
        (True, "done"),
    ]
