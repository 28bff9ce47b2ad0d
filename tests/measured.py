"""Coverage of the package by the host tests: of what runs in this process, and of plugins started from the sources.

`dev` runs everything under coverage when all host tests are wanted. Not measured are the built executables, whose lines are
the same, and processes that end by `os._exit`. The host tests take 1.3 times as long with it, nearly all of that for starting
it anew in each plugin.
"""

import json
import shutil
import sys
from pathlib import Path

import coverage
import pytest

_SETTINGS = Path(__file__).parent.parent / "pyproject.toml"
_LEAST_SHOWN = 4


def command(module: str) -> list[str]:
    """Return the command that runs a module of the package from the sources, measured if this process is."""
    running = coverage.Coverage.current()
    if running is None:
        return [sys.executable, "-m", module]
    settings = f"--rcfile={_SETTINGS}", f"--data-file={_data_file(running, _SETTINGS)}"
    return [sys.executable, "-m", "coverage", "run", *settings, "-m", module]


def _data_file(running: coverage.Coverage, settings: Path) -> Path:
    return settings.parent / str(running.get_option("run:data_file"))


class Floor:
    """A pytest plugin that fails a run whose coverage fell below the floor, and says in a few words how much there is."""

    def __init__(self, running: coverage.Coverage, settings: Path = _SETTINGS) -> None:
        self._running = running
        self._settings = settings
        self._data_file = _data_file(running, settings)
        self._words = ""

    def pytest_sessionstart(self) -> None:
        """Forget what earlier runs measured."""
        shutil.rmtree(self._data_file.parent, ignore_errors=True)
        self._data_file.parent.mkdir(parents=True)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Join what all processes measured, and compare; the terminal's summary comes after this."""
        self._running.stop()
        self._running.save()
        whole = coverage.Coverage(data_file=str(self._data_file), config_file=str(self._settings))
        whole.combine()
        report = self._data_file.with_name("report.json")
        whole.json_report(outfile=str(report))
        measured = json.loads(report.read_text())
        floor = int(float(str(whole.get_option("report:fail_under"))))
        total = int(measured["totals"]["percent_covered"])
        modules = sorted((file["summary"]["percent_covered"], name) for name, file in measured["files"].items())
        least = ", ".join(f"{Path(name).with_suffix('')} {percent:.0f} %" for percent, name in modules[:_LEAST_SHOWN])
        self._words = f"coverage by the host tests: {total} % of {measured['totals']['num_statements']} lines"
        self._words += f", the floor is {floor} %; least: {least}"
        if total < floor and exitstatus == pytest.ExitCode.OK:
            self._words = f"FAILED: {self._words}"
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it."""
        terminalreporter.write_line(self._words)
