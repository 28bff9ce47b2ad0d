"""Two pytest processes share the tests of the lab, each with a guest of its own, if the kill sweep is among them.

The sweep takes a third of the time of all tests of the lab, and an emulated guest uses one processor, half of the time. So the
first process, which the developer started, starts a second. It runs the sweep and then test modules from the end of the list;
the first runs modules from the beginning, and then the host tests. Whichever comes first to a module takes it, as a whole. The
first process reports the tests of both, as if it had run all of them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.guests import order, uses_guest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.guests import Guests

SWEEP = "test_kill_sweep.py"
OPTION = "--second-run"
_CLAIMS, _REPORTS, _OUTPUT, _TESTS = "claims", "reports", "output", "tests"
_END_SECONDS = 20.0
_SHOWN = 3000  # characters of the second process's output, if it did not run what it took


def is_shared(item: pytest.Item) -> bool:
    """Return whether either process may run a test: those of the lab, except those that must have the machine to themselves."""
    return uses_guest(item) and order(item) == 2


class Run:
    """What both processes have in common: the loop over the tests, which takes modules."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._claims: dict[str, bool] = {}

    def _is_ours(self, item: pytest.Item) -> bool:
        """Return whether this process runs a test; take its module if nobody has."""
        module = item.path.name
        if module not in self._claims:
            try:
                (self.directory / _CLAIMS / module).touch(exist_ok=False)
            except FileExistsError:
                self._claims[module] = False
            else:
                self._claims[module] = True
        return self._claims[module]

    def _before(self, item: pytest.Item) -> None:
        """Do what comes before a test."""

    def _loop(self, session: pytest.Session) -> None:
        """Run the tests of this process, as pytest's own loop does.

        The list may grow behind the test that runs: a test that lost its guest is inserted once more.
        """
        index = self._next(session.items, 0)
        while index < len(session.items):
            item = session.items[index]
            self._before(item)
            following = self._next(session.items, index + 1)
            nextitem = session.items[following] if following < len(session.items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            index = self._next(session.items, index + 1)

    def _next(self, items: "Sequence[pytest.Item]", index: int) -> int:
        while index < len(items) and is_shared(items[index]) and not self._is_ours(items[index]):
            index += 1
        return index


class FirstRun(Run):
    """The process that the developer started, as a pytest plugin."""

    def __init__(self, config: pytest.Config, guests: "Guests") -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="sriov-bond-tests.")
        super().__init__(Path(self._scratch.name))
        self._config = config
        self._guests = guests
        self._process: subprocess.Popen[bytes] | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the tests in two processes if the sweep and others are selected; else leave it to pytest."""
        modules = {item.path.name for item in session.items if is_shared(item)}
        if self._config.option.collectonly or session.testsfailed or SWEEP not in modules or len(modules) < 2:
            return None
        (self.directory / _CLAIMS).mkdir()
        (self.directory / _CLAIMS / SWEEP).touch()
        self._loop(session)
        self._report([item for item in session.items if is_shared(item) and not self._is_ours(item)])
        return True

    def _before(self, item: pytest.Item) -> None:
        if self._process is None and order(item) >= 2:
            self._start(item.session.items)

    def _start(self, items: "Sequence[pytest.Item]") -> None:
        tests: dict[str, list[str]] = {}
        for item in items:
            if is_shared(item):
                tests.setdefault(item.path.name, []).append(f"{self._config.rootpath}/{item.nodeid}")
        modules = [tests.pop(SWEEP), *reversed(tests.values())]
        (self.directory / _TESTS).write_text("".join(f"{test}\n" for module in modules for test in module))
        options = ["--whole-table"] if self._config.getoption("--whole-table", False) else []
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(self._config.rootpath)]
        command += ["-c", str(self._config.inipath or os.devnull), OPTION, str(self.directory), *options]
        with (self.directory / _OUTPUT).open("wb") as output:
            # setpriv: as QEMU (tests/lab/machine.py), it ends with this process however that ends.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command, f"@{self.directory / _TESTS}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._config.rootpath,
                start_new_session=True,
            )

    def _report(self, items: "Sequence[pytest.Item]") -> None:
        """Report the tests of the second process, when it has ended."""
        if self._process is not None:
            self._process.wait()
        reports, losses = read(self._config, self.directory / _REPORTS)
        self._guests.losses += losses
        for item in items:
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for report in _complete(item, reports.get(item.nodeid, []), self._end_of_output()):
                item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _end_of_output(self) -> str:
        return (self.directory / _OUTPUT).read_text(errors="replace")[-_SHOWN:] if self._process else ""

    def pytest_unconfigure(self) -> None:
        """End the second process, if this one stops early."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._scratch.cleanup()


class SecondRun(Run):
    """The process that the first started, as a pytest plugin: it writes its reports to a file."""

    def __init__(self, config: pytest.Config, guests: "Guests", directory: Path) -> None:
        super().__init__(directory)
        self._claims[SWEEP] = True
        self._config = config
        self._guests = guests
        self._file = (directory / _REPORTS).open("w", encoding="utf-8")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the sweep, and then modules that the first process has not taken."""
        self._loop(session)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a report."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write({"nodeid": report.nodeid, "report": data})

    def pytest_sessionfinish(self) -> None:
        """Write which guests were lost."""
        self._write({"losses": self._guests.losses})
        self._file.close()

    def _write(self, value: dict[str, object]) -> None:
        print(json.dumps(value), file=self._file, flush=True)


def _complete(item: pytest.Item, reports: list[pytest.TestReport], output: str) -> list[pytest.TestReport]:
    """Return the reports of a test, with a failure if the process ended before the test did."""
    if reports and reports[-1].when == "teardown":
        return reports
    text = f"the second process ended before this test did; the end of its output:\n{output}"
    return [*reports, pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")]


def read(config: pytest.Config, path: Path) -> tuple[dict[str, list[pytest.TestReport]], list[str]]:
    """Return the reports of the second process by the test's id, and its lost guests; its last line may be incomplete."""
    reports: dict[str, list[pytest.TestReport]] = {}
    losses: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else ():
        if not line.endswith("\n"):
            break
        value = json.loads(line)
        losses += value.get("losses", [])
        if "report" in value:
            report = config.hook.pytest_report_from_serializable(config=config, data=value["report"])
            report.sections = [(name, text) for name, text in report.sections]  # JSON has no tuples
            reports.setdefault(value["nodeid"], []).append(report)
    return reports, losses
