"""The guests of a test run, as a pytest plugin: when each is booted, and what happens when one is lost."""

import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal

import pytest

from tests.lab.errors import LostGuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.lab.guest import Guest
    from tests.lab.kill_sweep import Outcome
    from tests.lab.lab import Lab

MOST_LOSSES = 2
# An outcome that pytest does not know, so that it is neither a failure nor a pass.
LOST = "lost guest"
# Measures time, so nothing else of the run may use the machine meanwhile.
MEASURES = "measures"


class Guests:
    """The session's guest, and another in its place when it was lost: QEMU 10.0 crashes or hangs now and then.

    A test that lost its guest runs again, once: the emulator failed then, and whether the test would have is not known. A guest
    that a test itself brings down is lost again, and fails the run; so does one that does not boot.
    """

    def __init__(self, config: pytest.Config, boot: "Callable[[], Lab]") -> None:
        self.losses: list[str] = []
        self.description = ""
        self._config = config
        self._boot = boot
        self._lab: Lab | None = None
        self._losses_before = 0
        self._retried: pytest.Item | None = None
        self._retries = False

    @property
    def lost(self) -> bool:
        """Return whether there is a guest that was lost."""
        return self._lab is not None and self._lab.guest.lost is not None

    def lab(self) -> "Lab":
        """Return a lab with a living guest.

        :raises LostGuestError: when guests were lost too often.
        """
        if self._lab is None:
            if len(self.losses) > MOST_LOSSES:
                raise LostGuestError(f"{len(self.losses)} times in this run, the last time because {self.losses[-1]}")
            capture = self._config.pluginmanager.getplugin("capturemanager")
            # It takes half a minute, which should be seen.
            with capture.global_and_fixture_disabled():
                try:
                    self._lab = self._boot()
                except LostGuestError as lost:
                    self.losses.append(str(lost))
                    raise
            self.description = self._lab.description
        return self._lab

    def close(self) -> None:
        """End the guest, if there is one."""
        if self._lab is not None:
            if self.lost:
                self.losses.append(self._lab.guest.lost or "")
            self._lab.close()
            self._lab = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Remember how many guests had been lost before this test; pytest itself runs it."""
        if self.lost:
            self.close()
        self._losses_before = len(self.losses)
        self._retries = item is self._retried
        self._retried = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
        """Put a test that lost its guest behind itself in the session's list, which pytest is going through.

        What it reported until then, and what it reports until it is torn down, counts as neither passed nor failed.
        """
        report = yield
        lost = self.lost or len(self.losses) > self._losses_before
        if lost and not self._retries and len(self.losses) <= MOST_LOSSES and uses_guest(item):
            if self._retried is None:
                self._retried = item
                item.session.items.insert(item.session.items.index(item) + 1, item)
                report.sections.append(("first", LOST))
            report.outcome = LOST  # type: ignore[assignment]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
        """Count a lost guest once, under a name of its own, in pytest's closing line."""
        if report.outcome != LOST:
            return None
        return (LOST, "L", "LOST GUEST") if ("first", LOST) in report.sections else ("", "", "")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which kernel the lab ran, for a machine gets the newest of its series, and which guests were lost."""
        if self.description:
            terminalreporter.write_line(f"lab: {self.description}; guests lost: {len(self.losses)}")
        for loss in self.losses:
            terminalreporter.write_line(f"lost guest: {loss}")

    def pytest_unconfigure(self) -> None:
        """End the guest."""
        self.close()


class Background:
    """The kill sweep, in a guest of its own and beside the other tests: it takes a third of the time of all of them.

    It uses one processor, and so do they, nearly always.
    """

    def __init__(self, boot: "Callable[[], Lab]", sweep: "Callable[[Guest], Outcome]") -> None:
        self._boot = boot
        self._sweep = sweep
        self._running: Future[Outcome] | None = None
        self._lab: Lab | None = None

    def start(self) -> None:
        """Begin the sweep, if it has not begun."""
        if self._running is None:
            self._running = Future()
            # A daemon: a run that is interrupted must not wait for a boot. QEMU ends with the thread that started it.
            threading.Thread(target=self._run, args=(self._running,), daemon=True).start()

    def outcome(self) -> "Outcome":
        """Wait for the sweep, which begins now if it has not, and return what it found.

        :raises LostGuestError: when its guest was lost; the next call begins another.
        """
        self.start()
        running, self._running = self._running, None
        assert running is not None
        return running.result()

    def pytest_unconfigure(self) -> None:
        """End a sweep that nobody waits for any more."""
        if self._lab is not None and self._running is not None:
            self._lab.guest.lose("the tests have ended")
            with contextlib.suppress(LostGuestError):
                self.outcome()

    def _run(self, running: "Future[Outcome]") -> None:
        try:
            self._lab = self._boot()
            try:
                outcome = self._sweep(self._lab.guest)
            finally:
                self._lab.close()
        except BaseException as error:
            running.set_exception(error)
        else:
            running.set_result(outcome)


def uses_guest(item: pytest.Item) -> bool:
    """Return whether a test runs in a guest."""
    return item.get_closest_marker("lab") is not None


def order(item: pytest.Item) -> Literal[0, 1, 2, 3]:
    """Return a test's place: the lab's own tests, what measures, all others, and the sweep that runs beside the others.

    So a lab that does not work is known before the product is blamed, and nothing runs beside what measures.
    """
    if item.path.name == "test_lab.py":
        return 0
    if item.get_closest_marker(MEASURES):
        return 1
    return 3 if "swept" in getattr(item, "fixturenames", ()) else 2
