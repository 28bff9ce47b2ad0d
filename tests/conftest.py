"""Fixtures that tests of every kind share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import supplies
from tests.lab.lab import Lab, boot

if TYPE_CHECKING:
    from collections.abc import Iterator

LAB = pytest.StashKey[str]()


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which kernel the lab ran: a machine gets the newest of its series."""
    if description := config.stash.get(LAB, None):
        terminalreporter.write_line(f"lab: {description}")


@pytest.fixture(scope="session")
def lab(frozen: Path, pytestconfig: pytest.Config) -> "Iterator[Lab]":
    """Return the lab, booted once for all tests.

    A guest that does not boot or goes away fails every test that wants it, at once and with one and the same reason
    ("lost guest: ..."); it never skips one.
    """
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    # It takes half a minute, which should be seen.
    with capture.global_and_fixture_disabled():
        booted = boot(supplies.provide(), frozen)
    pytestconfig.stash[LAB] = booted.description
    try:
        yield booted
    finally:
        booted.close()
