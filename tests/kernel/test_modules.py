"""The bonding driver is loaded without bond0. That it makes none is seen in the lab (test_host_unchanged)."""

from pathlib import Path

import pytest

from cni_sriov_bond.kernel import modules
from tests.support import program


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in the place of /sys/module/bonding, which is not there, and of the sysctl that names modprobe."""
    monkeypatch.setattr(modules, "LOADED", str(tmp_path / "bonding"))
    monkeypatch.setattr(modules, "MODPROBE", str(tmp_path / "sysctl"))
    (tmp_path / "sysctl").write_text(f"{tmp_path}/modprobe\n")
    return tmp_path


def test_it_is_loaded_with_no_bonds(host: Path) -> None:
    """The driver's own default is one, and the kernel gives no parameters when it loads a module by itself."""
    program(host, "modprobe", f'echo "$@" >{host}/called; mkdir {host}/bonding')
    assert modules.load_bonding()
    assert (host / "called").read_text() == "-q bonding max_bonds=0\n"


def test_a_loaded_driver_is_left_alone(host: Path) -> None:
    (host / "bonding").mkdir()
    program(host, "modprobe", f"touch {host}/called")
    assert modules.load_bonding()
    assert not (host / "called").exists()


@pytest.mark.parametrize("body", ["exit 1", None])
def test_where_modprobe_does_not_help_the_caller_knows(host: Path, body: str | None) -> None:
    """It may not be there at all where the runtime is in a container; the caller then removes what the kernel makes."""
    if body:
        program(host, "modprobe", body)
    assert not modules.load_bonding()
    (host / "sysctl").write_text("\n")
    assert not modules.load_bonding()
    (host / "sysctl").unlink()
    assert not modules.load_bonding()
