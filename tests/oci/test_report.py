"""The one line that a hook says, on standard error and in the journal."""

import contextlib
import socket
from pathlib import Path

import pytest

from cni_sriov_bond.oci import report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n b\t\x00c", "a b c"),
        ("open /x: Permission denied", "open /x: not permitted"),
        ("x: no such file or directory, y: No Such File Or Directory", "x: does not exist, y: does not exist"),
        ("is not a directory; is a directory; not a directory", "is no folder; is a folder; no folder"),
        ("executable file not found in $PATH", "no such program in $PATH"),
        ("x" * 500, "x" * 397 + "..."),
    ],
)
def test_a_line_is_short_and_without_the_words_that_docker_takes_for_its_own(text: str, expected: str) -> None:
    assert report.line(text) == expected


@pytest.mark.parametrize("present", ["_JOURNAL", "_SYSLOG"])
def test_the_line_is_in_the_journal_or_else_in_syslog(
    present: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("_JOURNAL", "_SYSLOG"):
        monkeypatch.setattr(report, name, str(tmp_path / name))
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as daemon:
        daemon.bind(str(tmp_path / present))
        report.fail("it is broken\nhere", "c1")
        received = daemon.recv(4096).decode()
        assert capfd.readouterr().err == "sriov-bond: it is broken here\n"
        assert "sriov-bond: it is broken here" in received
        if present == "_JOURNAL":
            lines = received.splitlines()
            assert lines == [
                "MESSAGE=sriov-bond: it is broken here",
                "PRIORITY=3",
                "SYSLOG_IDENTIFIER=sriov-bond-hook",
                "SRIOV_BOND_CONTAINER=c1",
            ]
        else:
            assert received.startswith("<27>sriov-bond-hook[")
        report.warn("slow")
        assert "sriov-bond: slow" in daemon.recv(4096).decode()
        assert capfd.readouterr().err == ""


def test_a_host_without_either_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_JOURNAL", "_SYSLOG"):
        monkeypatch.setattr(report, name, str(tmp_path / "none"))
    report.warn("slow")
