"""Two processes share the tests of the lab; pytest is run here with fake guests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

CONFTEST = """
from pathlib import Path
from types import SimpleNamespace
import os, time
import pytest
from tests.lab.errors import LostGuestError
from tests.lab.guests import Guests, order
from tests.lab.two_runs import OPTION, FirstRun, SecondRun

HERE = Path(__file__).parent

def pytest_addoption(parser):
    parser.addoption(OPTION, type=Path)

def pytest_configure(config):
    config.addinivalue_line("markers", "lab: ...")
    config.addinivalue_line("markers", "measures: ...")
    boot = lambda: SimpleNamespace(guest=SimpleNamespace(lost=None), description="paper", close=lambda: None)
    config.guests = Guests(config, boot)
    config.pluginmanager.register(config.guests)
    second = config.getoption(OPTION)
    config.second = bool(second)
    config.pluginmanager.register(SecondRun(config, config.guests, second) if second else FirstRun(config, config.guests))

def pytest_collection_modifyitems(items):
    items.sort(key=order)

@pytest.fixture(autouse=True)
def ran(request):
    with (HERE / "ran").open("a") as file:
        file.write(f"{request.node.path.stem} {'second' if request.config.second else 'first'} {os.getpid()}\\n")
    (HERE / f"{request.node.path.stem}.began").touch()

@pytest.fixture
def lab(pytestconfig):
    return pytestconfig.guests.lab()

@pytest.fixture
def wait_for():
    def wait_for(name):
        until = time.monotonic() + 30
        while not (HERE / f"{name}.began").exists():
            assert time.monotonic() < until, f"{name} did not begin"
            time.sleep(0.01)
    return wait_for
"""
# Each waits for the one that has to run at the same time, so that the split is the same in each run.
WAITS = {"lab/test_a": "test_kill_sweep", "lab/test_b": "test_d", "lab/test_d": "test_b", "lab/test_kill_sweep": "test_a"}
LAB = """
import os
import pytest
from tests.lab.errors import LostGuestError
pytestmark = pytest.mark.lab

@pytest.fixture(scope="module")
def of_module():
    yield

def test_it(lab, wait_for, of_module):
    {wait}
    {body}

def test_again(lab, of_module): pass
"""
HOST = "def test_it(): pass\n"


def run(folder: Path, bodies: dict[str, str], *arguments: str) -> tuple[int, str, dict[str, set[str]]]:
    """Run pytest on four modules of the lab and one of the host.

    :param bodies: what a module's first test does.
    :return: its status, its output, and which process ran each module.
    """
    (folder / "lab").mkdir()
    (folder / "host").mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    for name, other in WAITS.items():
        body = bodies.get(name.rpartition("/")[2], "pass")
        (folder / f"{name}.py").write_text(LAB.format(wait=f"wait_for({other!r})", body=body))
    (folder / "host/test_host.py").write_text(HOST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--rootdir", str(folder), "-c", "/dev/null"]
    # Without CI pytest cuts the lines of its summary.
    environ = {key: value for key, value in os.environ.items() if key != "CI"}
    environ |= {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)}
    done = subprocess.run(
        [*command, str(folder), *arguments], cwd=folder, capture_output=True, text=True, env=environ, timeout=90
    )
    assert "INTERNALERROR" not in done.stdout, done.stdout
    ran: dict[str, set[str]] = {}
    for line in (folder / "ran").read_text().splitlines():
        module, process, _ = line.split()
        ran.setdefault(module, set()).add(process)
    assert list(folder.glob("sriov-bond-tests.*")) == []
    return done.returncode, done.stdout, ran


def passed(out: str) -> list[str]:
    return re.findall(r"^(\S+) PASSED", out, re.MULTILINE)


def test_each_test_runs_once_in_one_of_two_processes(tmp_path: Path) -> None:
    status, out, ran = run(tmp_path, {})
    assert (status, out.splitlines()[-1].strip("= ").partition(" in ")[0]) == (0, "9 passed"), out
    assert ran == {
        "test_a": {"first"}, "test_b": {"first"}, "test_d": {"second"}, "test_kill_sweep": {"second"}, "test_host": {"first"},
    }  # fmt: skip
    assert len((tmp_path / "ran").read_text().splitlines()) == len(set(passed(out))) == 9


def test_a_failure_in_the_second_process_is_one_of_the_run(tmp_path: Path) -> None:
    status, out, ran = run(tmp_path, {"test_d": "print('said'); assert 1 == 2"})
    assert (status, "1 failed, 8 passed in" in out.splitlines()[-1]) == (1, True), out
    assert ran["test_d"] == {"second"}
    assert "assert 1 == 2" in out
    assert "said" in out


def test_a_guest_that_the_second_process_lost_is_counted_and_its_test_repeated(tmp_path: Path) -> None:
    lose = "if not os.path.exists('lost'): open('lost', 'w'); lab.guest.lost = 'the end'; raise LostGuestError('the end')"
    status, out, _ = run(tmp_path, {"test_kill_sweep": lose})
    assert (status, "9 passed, 1 lost guest in" in out.splitlines()[-1]) == (0, True), out
    assert "lost guest: the end" in out


def test_what_a_dead_second_process_did_not_run_fails(tmp_path: Path) -> None:
    """The modules that it has not taken are run by the first."""
    for name in ("test_b", "test_d"):
        (tmp_path / f"{name}.began").touch()
    status, out, ran = run(tmp_path, {"test_kill_sweep": "os._exit(9)"})
    assert status == 1
    assert len(re.findall("the second process ended before this test did; the end of its output:", out)) == 2
    assert ran["test_a"] == ran["test_b"] == ran["test_d"] == {"first"}
    assert "test_kill_sweep.py::test_again FAILED" in out
    assert "lab/test_kill_sweep.py::test_it FAILED" in out


@pytest.mark.parametrize("arguments", [("-k", "not kill_sweep"), ("-k", "kill_sweep"), ("-m", "not lab")])
def test_there_is_no_second_process_without_the_sweep_and_others(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for name in WAITS.values():
        (tmp_path / f"{name}.began").touch()
    status, out, ran = run(tmp_path, {}, *arguments)
    assert (status, set.union(*ran.values())) == (0, {"first"}), out


def test_a_run_that_stops_ends_the_second_process(tmp_path: Path) -> None:
    bodies = {"test_a": "wait_for('test_kill_sweep'); assert 0", "test_kill_sweep": "import time; time.sleep(60)"}
    status, out, _ = run(tmp_path, bodies, "-x")
    assert (status, "1 failed in" in out.splitlines()[-1]) == (1, True), out
    [pid] = {int(line.split()[2]) for line in (tmp_path / "ran").read_text().splitlines() if " second " in line}
    assert not Path(f"/proc/{pid}").exists()
