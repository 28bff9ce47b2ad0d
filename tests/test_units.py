"""The systemd units, as systemd itself reads them. tests/lab/test_units.py runs them."""

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import exposition, hostfile_schema
from cni_sriov_bond.ctl.__main__ import parser
from tests.support import REPOSITORY

UNITS = sorted((REPOSITORY / "conf/systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
RUNTIMES = {"containerd", "docker", "crio", "cri-o", "kubelet", "podman", "podman-restart"}
PROGRAM = "/usr/local/sbin/sriov-bondctl"
# `systemd-analyze security`, in tenths; 40 is "medium".
MOST_EXPOSED = 40


class _Unit(configparser.RawConfigParser):
    """A unit's settings; a repeated one has its last value."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def read(path: Path) -> _Unit:
    unit = _Unit(strict=False)
    unit.read_string(path.read_text())
    return unit


def seconds(text: str) -> int:
    """Return a time span of systemd: a number of seconds, or one with a unit."""
    match = re.fullmatch(r"(\d+)(min)?", text)
    assert match
    return int(match[1]) * (60 if match[2] else 1)


def name(path: Path) -> str:
    return path.name


@pytest.fixture
def installed(frozen: Path, tmp_path: Path) -> list[Path]:
    """Return the units of the built tree, changed to run its program where it is."""
    built = sorted((frozen / "usr/local/lib/systemd/system").iterdir())
    for path in built:
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, f"{frozen}{PROGRAM}"))
    return [tmp_path / path.name for path in built]


@pytest.mark.frozen
def test_systemd_finds_no_mistake(installed: list[Path]) -> None:
    """`systemd-analyze verify` is silent, and is not about a setting that does not exist."""
    assert [path.name for path in installed] == [path.name for path in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *installed], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    wrong = installed[0]
    wrong.write_text(wrong.read_text().replace("ProtectClock=", "ProtectClok="))
    done = subprocess.run(["systemd-analyze", "verify", wrong], capture_output=True, text=True, timeout=120)
    assert "ProtectClok" in done.stderr


@pytest.mark.parametrize("path", SERVICES, ids=name)
def test_a_service_may_do_little(path: Path) -> None:
    """The exposure that systemd computes is below 4; comments in the units say why it is not less."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert overall and 0 < float(overall[1]) * 10 < MOST_EXPOSED


@pytest.mark.parametrize("path", SERVICES, ids=name)
def test_a_service_runs_a_command_of_the_program(path: Path) -> None:
    """The program takes its arguments, and has a deadline: a oneshot service has none unless one is set."""
    service = read(path)["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == PROGRAM
    arguments = parser().parse_args(words)
    assert callable(arguments.run)
    assert seconds(service["TimeoutStartSec"]) <= 240
    if words[0] == "up":
        assert 0 < arguments.wait < seconds(service["TimeoutStartSec"]) / 2
        limit = read(path)["Unit"]
        tries = seconds(limit["StartLimitIntervalSec"]) / (arguments.wait + seconds(service["RestartSec"]))
        assert tries > int(limit["StartLimitBurst"]), "at some time it gives up"
    if words[0] == "metrics":
        assert arguments.textfile.endswith(exposition.SUFFIX)
        assert str(Path(arguments.textfile).parent) in service["ReadWritePaths"]


@pytest.mark.parametrize("unit", ["sriov-bond-up", "sriov-bond-gc"])
def test_pools_are_there_before_anything_starts_containers(unit: str) -> None:
    settings = read(REPOSITORY / f"conf/systemd/{unit}.service")
    assert set(settings["Unit"]["Before"].split()) == {f"{runtime}.service" for runtime in RUNTIMES}
    assert settings["Unit"]["ConditionPathExists"] == hostfile_schema.DEFAULT_PATH
    assert settings["Install"]["WantedBy"] == "multi-user.target"


def test_gc_comes_after_up() -> None:
    assert read(REPOSITORY / "conf/systemd/sriov-bond-gc.service")["Unit"]["After"] == "sriov-bond-up.service"


@pytest.mark.parametrize("path", [path for path in UNITS if path.suffix == ".timer"], ids=name)
def test_a_timer_has_its_service(path: Path) -> None:
    """It starts the service of its own name, again and again."""
    assert path.with_suffix(".service") in UNITS
    timer = read(path)
    assert {"OnBootSec", "OnUnitInactiveSec"} <= set(timer["Timer"])
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("path", UNITS, ids=name)
def test_the_page_of_a_unit_is_installed(path: Path) -> None:
    documentation = read(path)["Unit"]["Documentation"]
    prefix = "file:/usr/share/doc/sriov-bond/"
    assert documentation.startswith(prefix)
    assert (REPOSITORY / documentation.removeprefix(prefix)).is_file()
