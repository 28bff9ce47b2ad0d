"""The guests of a test run, as a pytest plugin: boot them when needed, and repeat a test that lost its guest."""

from typing import TYPE_CHECKING, Literal

import pytest

from tests.lab.errors import LostGuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.lab.lab import Lab

MOST_LOSSES = 2
# An outcome that pytest does not know, so that it counts neither as failed nor as passed.
LOST = "lost guest"
# Where a session has its guests.
GUESTS: "pytest.StashKey[Guests]" = pytest.StashKey()
# The mark of tests that measure time; nothing else of the run may use the machine then.
MEASURES = "measures"


class Guests:
    """The guest of the session, replaced when it was lost: QEMU 10.0 crashes or hangs sometimes.

    A test that lost its guest is repeated once, because the emulator failed and the result of the test is unknown. If the test
    itself is the cause, the second guest is lost too, and the run fails. It also fails if guests do not boot.
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
        """Return whether the present guest is lost."""
        return self._lab is not None and self._lab.guest.lost is not None

    def lab(self) -> "Lab":
        """Return a lab with a running guest.

        :raises LostGuestError: when guests were lost too often.
        """
        if self._lab is None:
            if len(self.losses) > MOST_LOSSES:
                raise LostGuestError(f"{len(self.losses)} times in this run, the last time because {self.losses[-1]}")
            capture = self._config.pluginmanager.getplugin("capturemanager")
            # Show that it boots, because it takes half a minute.
            with capture.global_and_fixture_disabled():
                try:
                    self._lab = self._boot()
                except LostGuestError as lost:
                    self.losses.append(str(lost))
                    raise
            self.description = self._lab.description
        return self._lab

    def close(self) -> None:
        """End the guest, if one is running; the next test that needs one boots another."""
        if self._lab is not None:
            if self.lost:
                self.losses.append(self._lab.guest.lost or "")
            self._lab.close()
            self._lab = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Record how many guests were lost before this test; pytest itself runs it."""
        if self.lost:
            self.close()
        self._losses_before = len(self.losses)
        self._retries = item is self._retried
        self._retried = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
        """Insert a test that lost its guest once more into the session's list, which pytest is iterating over.

        All reports of the first run, including the teardown's, count neither as passed nor as failed.
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
        """Count a lost guest once, under its own name, in pytest's closing line."""
        if report.outcome != LOST:
            return None
        return (LOST, "L", "LOST GUEST") if ("first", LOST) in report.sections else ("", "", "")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report the kernel of the lab (the newest of its series at the time), and the lost guests."""
        if self.description:
            terminalreporter.write_line(f"lab: {self.description}; guests lost: {len(self.losses)}")
        for loss in self.losses:
            terminalreporter.write_line(f"lost guest: {loss}")

    def pytest_unconfigure(self) -> None:
        """End the guest."""
        self.close()


def uses_guest(item: pytest.Item) -> bool:
    """Return whether a test runs in a guest."""
    return item.get_closest_marker("lab") is not None


def order(item: pytest.Item) -> Literal[0, 1, 2, 3]:
    """Return the position of a test: the lab's own tests, those that measure time, others in the guest, and all others.

    So a broken lab is noticed before the product is tested, and nothing runs beside measurements. The host tests come last:
    one process runs them while another may still work in its guest (tests/lab/two_runs.py).
    """
    if item.path.name == "test_lab.py":
        return 0
    if item.get_closest_marker(MEASURES):
        return 1
    return 2 if uses_guest(item) else 3
