"""Fixtures and ordering of all tests."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import coverage
import pytest

from cni_sriov_bond.kernel import sysfs
from tests.lab import downloads, kill_sweep
from tests.lab.errors import LabError
from tests.lab.guests import GUESTS, Guests, order, uses_guest
from tests.lab.lab import Lab, boot
from tests.lab.progress import StepFailedError
from tests.lab.two_runs import OPTION, FirstRun, SecondRun
from tests.measured import Floor
from tests.shim import build as build_shim
from tests.support import Plugin, contents, make_pool, plugin_at

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the full table of bonding options, and the one that a second process of the run gets."""
    parser.addoption(
        "--whole-table", action="store_true", help="try every mode in tests/lab/test_options.py and test_matrix.py"
    )
    parser.addoption(OPTION, type=Path, metavar="DIRECTORY", help="run as the second process of a run (tests/lab/two_runs.py)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the guests and the coverage floor; no guest is booted yet."""
    # A shell without job control starts background jobs that ignore Ctrl-C, and so would every program that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    guests = config.stash[GUESTS] = Guests(config, lambda: boot(downloads.provide(), downloads.build_product()))
    config.pluginmanager.register(guests, "guests")
    second: Path | None = config.getoption(OPTION)
    config.pluginmanager.register(SecondRun(config, guests, second) if second else FirstRun(config, guests), "two-runs")
    if running := coverage.Coverage.current():
        config.pluginmanager.register(Floor(running), "coverage-floor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures that it uses, so that `-m "not lab"` excludes all of them, and sort the tests."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        for fixture, mark in (("lab", "lab"), ("frozen", "frozen")):
            if fixture in fixtures:
                item.add_marker(mark)
    items.sort(key=order)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install, download and build only what the selected tests use, with progress on the terminal."""
    if session.config.option.collectonly:
        return
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        try:
            downloads.install_tools()
            if "frozen" in used:
                downloads.build_product()
            if "clients" in used:
                downloads.clients()
            if "prometheus" in used:
                downloads.prometheus()
            if any(map(uses_guest, session.items)):
                downloads.provide()
        except (StepFailedError, LabError) as error:
            pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def frozen() -> Path:
    """Return dist/root, with executables frozen from the present sources."""
    return downloads.build_product()


@pytest.fixture(scope="session")
def clients() -> Path:
    """Return the directory of the Go programs that ours are compared with: host-local, cnitool, ctr and others."""
    return downloads.clients()


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """Return the directory of Debian's prometheus and promtool."""
    return downloads.prometheus()


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> Plugin:
    """The plugin from the sources, and as it is built."""
    return plugin_at(None if request.param == "module" else request.getfixturevalue("frozen"), tmp_path)


@pytest.fixture
def state(plugin: Plugin) -> "Iterator[Path]":
    """A state directory with one pool, which must be as it was when the test is over."""
    make_pool(plugin.state, "db", 2)
    before = contents(plugin.state)
    yield plugin.state
    assert contents(plugin.state) == before


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library of shim.c."""
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of /sys/bus/pci/devices, the one path of the host that a test cannot create itself."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path))
    return tmp_path


@pytest.fixture
def lab(frozen: Path, pytestconfig: pytest.Config) -> Lab:
    """Return the lab, booted once for all tests.

    If the guest does not boot or is lost too often, every test that uses it fails with the reason ("lost guest: ..."). None is
    skipped.
    """
    return pytestconfig.stash[GUESTS].lab()


@pytest.fixture
def swept(lab: Lab) -> kill_sweep.Outcome:
    """Return the outcome of the kill sweep."""
    return kill_sweep.one_pass(lab.guest)
