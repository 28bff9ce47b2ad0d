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


@pytest.mark.parametrize(
    ("loaded", "body", "lacks"),
    [(True, "exit 1", False), (False, "exit 0", False), (False, "exit 1", True), (False, None, False)],
)
def test_whether_it_could_be_loaded_is_seen_without_loading_it(host: Path, loaded: bool, body: str | None, lacks: bool) -> None:
    """Without a modprobe here, as in a runtime's container, the kernel may still find it on the host."""
    if loaded:
        (host / "bonding").mkdir()
    if body:
        program(host, "modprobe", f'echo "$@" >{host}/called; {body}')
    assert modules.lacks_bonding() == lacks
    assert (host / "called").exists() == (body is not None and not loaded)
    if (host / "called").exists():
        assert (host / "called").read_text() == "-q -D bonding\n"


@pytest.mark.parametrize(("sysctl", "lacks"), [("", True), (None, False)])
def test_a_kernel_that_loads_no_modules_lacks_it(host: Path, sysctl: str | None, lacks: bool) -> None:
    if sysctl is None:
        (host / "sysctl").unlink()
    else:
        (host / "sysctl").write_text(f"{sysctl}\n")
    assert modules.lacks_bonding() == lacks


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
