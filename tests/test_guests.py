"""A test that lost its guest is repeated once and counted separately; pytest is run here with fake guests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

# A fake guest; those whose number is in FAILS_TO_BOOT do not boot.
CONFTEST = """
from types import SimpleNamespace
import pytest
from tests.lab.errors import LostGuestError
from tests.lab.guests import Guests

BOOTED = []
FAILS_TO_BOOT = {fails_to_boot}

def boot():
    BOOTED.append(None)
    if len(BOOTED) in FAILS_TO_BOOT:
        raise LostGuestError("it did not boot")
    return SimpleNamespace(guest=SimpleNamespace(lost=None), description="paper", close=lambda: None)

def pytest_configure(config):
    config.addinivalue_line("markers", "lab: ...")
    config.guests = Guests(config, boot)
    config.pluginmanager.register(config.guests)

@pytest.fixture
def lab(pytestconfig):
    lab = pytestconfig.guests.lab()
    lab.number = len(BOOTED)
    yield lab
    if lab.guest.lost == "at the end":
        raise LostGuestError("at the end")
"""
TESTS = """
import pytest
from tests.lab.errors import LostGuestError
pytestmark = pytest.mark.lab

def lose(lab, how):
    lab.guest.lost = how
    raise LostGuestError(how)

def test_before(lab): pass
def test_it(lab):
    {body}
def test_after(lab): assert lab.guest.lost is None
"""


def run(folder: Path, body: str, fails_to_boot: tuple[int, ...] = ()) -> tuple[int, str]:
    """Run pytest on three tests, the second of which has this body; return its status and output."""
    (folder / "conftest.py").write_text(CONFTEST.format(fails_to_boot=fails_to_boot))
    (folder / "test_paper.py").write_text(TESTS.format(body=body))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--rootdir", str(folder), "-c", "/dev/null"]
    done = subprocess.run(
        [*command, str(folder)], cwd=REPOSITORY, capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert "INTERNALERROR" not in done.stdout, done.stdout
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("body", "fails_to_boot", "closing"),
    [
        ("pass", (), "3 passed in"),
        ("lab.number > 1 or lose(lab, 'in the middle')", (), "3 passed, 1 lost guest in"),
        ("if lab.number == 1: lab.guest.lost = 'unnoticed'", (), "3 passed, 1 lost guest in"),
        ("if lab.number == 1: lab.guest.lost = 'at the end'", (), "3 passed, 1 lost guest in"),
        ("pass", (1,), "3 passed, 1 lost guest in"),
    ],
    ids=["no loss", "in the test", "unnoticed", "at its end", "at the boot"],
)
def test_a_test_that_lost_its_guest_runs_again(tmp_path: Path, body: str, fails_to_boot: tuple[int, ...], closing: str) -> None:
    status, out = run(tmp_path, body, fails_to_boot)
    assert status == 0, out
    assert closing in out.splitlines()[-1]
    assert out.count("LOST GUEST") == len(re.findall("^lost guest: ", out, re.MULTILINE)) == closing.count("lost")


def test_a_test_that_loses_its_second_guest_too_fails(tmp_path: Path) -> None:
    """The test itself may be the cause; the next test gets a new guest."""
    status, out = run(tmp_path, "lose(lab, 'each time')")
    assert status == 1
    assert "1 failed, 2 passed, 1 lost guest in" in out.splitlines()[-1]
    assert "LostGuestError: lost guest: each time" in out


def test_a_run_whose_guests_do_not_boot_fails(tmp_path: Path) -> None:
    """Each test reports it; nothing is skipped, and no more guests are booted than MOST_LOSSES allows."""
    status, out = run(tmp_path, "pass", tuple(range(1, 9)))
    assert status == 1
    assert "3 errors" in out.splitlines()[-1]
    assert "3 times in this run, the last time because lost guest: it did not boot" in out


def test_a_failure_with_a_running_guest_is_final(tmp_path: Path) -> None:
    status, out = run(tmp_path, "assert lab is None")
    assert status == 1
    assert "1 failed, 2 passed in" in out.splitlines()[-1]
