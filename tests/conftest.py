"""Fixtures that tests of every kind share."""

from pathlib import Path
from typing import Any, cast

import pytest
from _pytest.runner import runtestprotocol

from tests.lab import supplies
from tests.lab.errors import LostGuestError
from tests.lab.lab import Lab, boot


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have an option for what is asked for rarely."""
    parser.addoption("--whole-table", action="store_true", help="try every combination in tests/lab/test_options.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it uses, and let the lab's own tests come before those that use it.

    So no test is forgotten by `-m "not lab"`, and a lab that does not work is known before the product is blamed.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        for name in ("lab", "frozen"):
            if name in fixtures:
                item.add_marker(name)
    items.sort(key=lambda item: item.path.name != "test_lab.py")


@pytest.fixture(scope="session")
def frozen() -> Path:
    """Return dist/root, with executables frozen from the sources as they are now."""
    return supplies.build_product()


@pytest.fixture(scope="session")
def clients() -> Path:
    """Return a folder with the Go programs that ours are compared with: host-local, cnitool, ctr and others."""
    return supplies.clients()


class _Rack:
    """The session's guest, and a new one in its place when it was lost: QEMU 10.0 crashes or hangs now and then."""

    def __init__(self, config: pytest.Config) -> None:
        self.losses: list[str] = []
        self.description = ""
        self._config = config
        self._lab: Lab | None = None

    @property
    def lost(self) -> bool:
        """Tell whether there is a guest that was lost."""
        return self._lab is not None and self._lab.guest.lost is not None

    def lab(self, product: Path) -> Lab:
        """Return a lab with a living guest.

        :raises LostGuestError: when guests were lost too often.
        """
        if self.lost:
            self.close()
        if self._lab is None:
            if len(self.losses) > MOST_LOSSES:
                raise LostGuestError(f"{len(self.losses)} times in this run, the last time because {self.losses[-1]}")
            capture = self._config.pluginmanager.getplugin("capturemanager")
            # It takes half a minute, which should be seen.
            with capture.global_and_fixture_disabled():
                try:
                    self._lab = boot(supplies.provide(), product)
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


MOST_LOSSES = 2
RACK = pytest.StashKey[_Rack]()


def pytest_configure(config: pytest.Config) -> None:
    """Have a place for the guest."""
    config.stash[RACK] = _Rack(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the guest."""
    config.stash[RACK].close()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test again, once, that lost its guest: the emulator failed then, and whether the test would is not known.

    A guest that a test itself brings down is lost again, and fails the run; so does one that does not boot.
    """
    if "lab" not in getattr(item, "fixturenames", ()):
        return None
    rack = item.config.stash[RACK]
    before = len(rack.losses)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if (rack.lost or len(rack.losses) > before) and len(rack.losses) <= MOST_LOSSES:
        cast("Any", item)._initrequest()  # as pytest does before each test
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which kernel the lab ran, for a machine gets the newest of its series, and which guests were lost."""
    rack = config.stash[RACK]
    if rack.description:
        terminalreporter.write_line(f"lab: {rack.description}; guests lost: {len(rack.losses)}")
    for loss in rack.losses:
        terminalreporter.write_line(f"lost guest: {loss}")


@pytest.fixture
def lab(frozen: Path, pytestconfig: pytest.Config) -> Lab:
    """Return the lab, booted once for all tests.

    A guest that does not boot or goes away for good fails every test that wants it, with the reason ("lost guest:
    ..."); it never skips one.
    """
    return pytestconfig.stash[RACK].lab(frozen)
