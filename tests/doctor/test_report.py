"""What the checks found, as text that fits the terminal, and as JSON by its schema."""

import json
import re

import pytest

from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.doctor import report, run
from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.run import Outcome, Repair
from tests.ctl.strict import violations
from tests.doctor.fake_host import NET, FakeHost, nothing
from tests.support import REPOSITORY

PAGE = REPOSITORY / "docs/doctor.md"


def _outcome(name: str, *findings: Finding, subject: str = "NICs") -> Outcome:
    return Outcome(Check(name, subject, "", lambda host: []), findings)


OUTCOMES = [
    _outcome("sriov", passed("", "NICs with SR-IOV: nic1 (7 VFs)"), subject="firmware"),
    _outcome("nic-up", passed("nic1", "nic1 is up"), failure("nic2", "nic2 is down", "run `ip link set nic2 up`")),
    _outcome("nic-carrier", passed("a", "a has carrier"), passed("b", "b has carrier")),
    _outcome("network-overlap", warning("db", "networks \x1b[31mdb and web overlap", "give each its own range " * 6)),
    _outcome("gateway", skipped("there is none")),
]


def test_programs_get_one_line_for_each_result() -> None:
    assert [line.text for line in report.lines(OUTCOMES, None)] == [
        "firmware",
        "  ok    sriov           NICs with SR-IOV: nic1 (7 VFs)",
        "NICs",
        "  FAIL  nic-up          nic2 is down; run `ip link set nic2 up`",
        "  ok    nic-up          nic1 is up",
        "  ok    nic-carrier     a has carrier; b has carrier",
        f"  warn  network-overlap networks �[31mdb and web overlap; {'give each its own range ' * 6}",
        "  skip  gateway         there is none",
    ]


def test_after_repairs_only_what_is_still_wrong_is_shown() -> None:
    texts = [line.text.split()[:2] for line in report.lines(OUTCOMES, None, only_wrong=True)]
    assert texts == [["NICs"], ["FAIL", "nic-up"], ["ok", "nic-up"], ["warn", "network-overlap"]]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal_and_no_word_is_broken(fake: FakeHost, width: int) -> None:
    fake.write(f"{NET}/nic2/flags", "0x1002")
    fake.remove("/opt/cni/bin/sriov-bond-ipam")
    outcomes = run.run(fake.host(), nothing, tuple(check for check in run.CHECKS if not check.alone))
    lines = report.lines(outcomes + OUTCOMES, width)
    long = [line.text for line in lines if len(line.text) > width]
    assert [text for text in long if len(text.split()) > 3] == [], "only a single long word may be wider"
    words = {word for line in lines for word in line.text.split()}
    for outcome in outcomes:
        for finding in outcome.findings:
            assert set(printable(finding.sentence).split()) <= words


def test_a_container_id_is_cut_on_a_terminal_only() -> None:
    identity = "0123456789ab" + "c" * 52
    outcomes = [_outcome("lease", failure("db/cbond1", f"cbond1 is leased by container {identity} eth0", "run gc"))]
    assert [line.text for line in report.lines(outcomes, 80)][1:] == [
        "  FAIL  lease           cbond1 is leased by container 0123456789ab… eth0",
        "                        -> run gc",
    ]
    assert identity in report.lines(outcomes, None)[1].text


def test_the_summary_names_what_fails() -> None:
    assert report.summary(OUTCOMES) == "5 checks: 1 failure (nic-up), 1 warning, 1 skipped"
    assert report.summary(OUTCOMES[:1]) == "1 checks: no failure, no warning"


def test_repairs_say_what_was_done_and_what_was_left() -> None:
    lines = report.repair_lines([Repair("set nic2 up", True, "set nic2 up"), Repair("move it", False, "it was not allowed")])
    assert [line.text for line in lines] == ["  done  set nic2 up", "  left  move it: it was not allowed"]


def test_the_json_follows_its_schema(fake: FakeHost) -> None:
    fake.write(f"{NET}/nic2/flags", "0x1002")
    outcomes = run.run(fake.host(), nothing, tuple(check for check in run.CHECKS if not check.alone))
    fixes = [_outcome("x", failure("o", "s", "r", Fix("t", False, lambda: "")))]
    document = json.loads(json.dumps(report.to_json(outcomes + fixes, [Repair("t", False, "it was not allowed")])))
    assert violations("doctor", document) == []
    assert document["counts"]["failure"] == 2
    assert {"check": "x", "object": "o", "result": "failure", "sentence": "s", "remedy": "r"}.items() <= document["findings"][
        -1
    ].items()
    del document["findings"][0]["remedy"]
    assert violations("doctor", document) != []


def test_the_page_has_every_check() -> None:
    text = PAGE.read_text()
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", text)
    assert [(name, about) for name, about, _, _ in rows] == [(check.name, check.about) for check in run.CHECKS]
    assert all(remedy.strip() for _, _, remedy, _ in rows)
