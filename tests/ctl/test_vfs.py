"""The VFs of several NICs are created at once, and what does not come is told in seconds."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import vfdriver, vfs
from cni_sriov_bond.ctl.changes import SavedVf
from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sysfs
from tests.ctl.fake_sriov import FakeKernel
from tests.kernel.fake_kernel import played
from tests.support import program


def quiet(stage: str, done: int, total: int) -> None:
    """Take a report of progress."""


def request(
    kernel: FakeKernel, address: str, size: int, indices: list[int] | None = None, replace: bool = True
) -> vfs.NicRequest:
    own = list(range(size)) if indices is None else indices
    return vfs.NicRequest(PhysicalFunction(address, 1), size, own, replace, set())


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in the place of /sys/bus/pci."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path / "devices"))
    yield tmp_path


def test_nics_are_provisioned_side_by_side(tree: Path) -> None:
    """No VF of either NIC comes before both were asked. One after the other, the first would be waited for in vain."""
    with FakeKernel(tree, together=True) as kernel:
        nics = [kernel.add_nic(1), kernel.add_nic(2)]
        began = time.monotonic()
        assert vfs.create([request(kernel, nic, 4) for nic in nics], quiet) == set(nics)
        assert time.monotonic() - began < 3
        assert [kernel.count(nic) for nic in nics] == [4, 4]


def test_progress_is_of_all_nics(tree: Path) -> None:
    """One stage for all: a bar for each NIC would replace that of the other."""
    stages = set()
    with FakeKernel(tree) as kernel:
        nics = [kernel.add_nic(1), kernel.add_nic(2)]
        vfs.create([request(kernel, nic, 4) for nic in nics], lambda stage, done, total: stages.add((stage, total)))
    assert stages <= {("creating the VFs of enp1s0 and enp2s0", 8)}


def test_a_nic_with_as_many_is_left_alone(tree: Path) -> None:
    with FakeKernel(tree) as kernel:
        nics = [kernel.add_nic(1, vfs=3), kernel.add_nic(2)]
        (tree / "devices" / nics[0] / "sriov_numvfs").chmod(0o444)
        assert vfs.create([request(kernel, nic, 3) for nic in nics], quiet) == {nics[1]}


def test_vfs_of_others_are_neither_replaced_nor_waited_for(tree: Path) -> None:
    """A NIC with more VFs than the pool needs keeps them; one of them is with a virtual machine, another without a driver."""
    with FakeKernel(tree) as kernel:
        kernel.netdevs = lambda index: index < 2
        nic = kernel.add_nic(1, vfs=5)
        began = time.monotonic()
        assert vfs.create([request(kernel, nic, 2, replace=False)], quiet) == set()
        assert time.monotonic() - began < 1
        assert kernel.count(nic) == 5


@pytest.mark.parametrize("autoprobe", [0, 1])
def test_vfs_that_have_no_driver_are_bound_unless_the_kernel_would_refuse(tree: Path, autoprobe: int) -> None:
    """Those of the pool alone: a VF of others may be without a driver on purpose."""
    with FakeKernel(tree) as kernel:
        kernel.driver, kernel.netdevs = "", lambda index: False
        nic = kernel.add_nic(1, vfs=3)
        (tree / "devices" / nic / "sriov_drivers_autoprobe").write_text(f"{autoprobe}\n")
        assert vfs.create([request(kernel, nic, 3, [1])], quiet) == set()
        deadline = time.monotonic() + 2
        while autoprobe and not kernel.rebound and time.monotonic() < deadline:
            time.sleep(0.01)
        assert kernel.rebound == ["ffff:01:10.2"] * autoprobe


@pytest.mark.parametrize(
    ("modprobe", "words"),
    [
        ('case "$*" in *-R*) echo igbvf ;; *) exit 1 ;; esac', "the driver module igbvf is not loaded; run `modprobe igbvf`"),
        ("exit 1", "is a driver for the device 8086:10ca; install the VF driver"),
    ],
)
def test_a_missing_driver_is_told_in_seconds(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modprobe: str, words: str
) -> None:
    """It was waited for 30 s and one more for each VF."""
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "modprobe", modprobe)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with FakeKernel(tree) as kernel:
        kernel.driver, kernel.netdevs = "", lambda index: False
        nic = kernel.add_nic(1)
        alias = "pci:v00008086d000010CAsv00000000sd00000000bc02sc00i00"
        kernel.attributes = {"modalias": alias, "vendor": "0x8086", "device": "0x10ca"}
        began = time.monotonic()
        with pytest.raises(CniError, match="the VFs of enp1s0 get no driver: ") as refused:
            vfs.create([request(kernel, nic, 7)], quiet)
    assert time.monotonic() - began < 10
    assert (refused.value.code, words in refused.value.msg) == (POOL_UNUSABLE, True), refused.value.msg


def test_a_module_that_udev_has_not_loaded_is_loaded(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without udev nobody else does. The module binds the VFs when it is loaded, which this modprobe does for it."""
    (tmp_path / "bin").mkdir()
    bind = 'ln -s ../../drivers/igbvf "$vf/driver"; mkdir -p "$vf/net/n$(basename "$vf")"'
    binds = f"for vf in {tree}/devices/ffff:01:1*; do {bind}; done"
    program(tmp_path / "bin", "modprobe", f'echo "$@" >{tmp_path}/called\n{binds}')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with FakeKernel(tree) as kernel:
        kernel.driver, kernel.netdevs = "", lambda index: False
        kernel.attributes = {"modalias": "pci:v1"}
        nic = kernel.add_nic(1)
        assert vfs.create([request(kernel, nic, 3)], quiet) == {nic}
    assert (tmp_path / "called").read_text() == "-q -b pci:v1\n"


def test_a_vf_without_a_device_is_bound_again_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """iavf loses some when many VFs are created at once; the others are left alone."""
    monkeypatch.setattr(vfdriver, "_NO_DEVICE_SECONDS", 0.3)
    with FakeKernel(tree) as kernel:
        kernel.netdevs = lambda index: index != 2
        nic = kernel.add_nic(1)
        assert vfs.create([request(kernel, nic, 4)], quiet) == {nic}
        assert kernel.rebound == ["ffff:01:10.4"]
        assert (tree / "devices/ffff:01:10.4/driver/unbind").read_text() == "ffff:01:10.4"


def test_too_few_vfs_are_told_and_given_back(tree: Path) -> None:
    """Some drivers round down and report success (bnxt, bnx2x); the other NIC's VFs stay for the next `up`."""
    with FakeKernel(tree, creates=lambda asked: min(asked, 3)) as kernel:
        nic = kernel.add_nic(1)
        with pytest.raises(CniError, match=r"the driver igb of enp1s0 created 3 of 7 VFs; .*, or set vfs = 3") as refused:
            vfs.create([request(kernel, nic, 7)], quiet)
        assert refused.value.code == POOL_UNUSABLE
        assert (tree / "devices" / nic / "sriov_numvfs").read_text().strip() == "0"


def test_what_a_vf_is_like_is_saved_under_its_present_name(devices: Path) -> None:
    """`down` gives that name back, not the pool's; a VF in a container or with a virtual machine is not saved."""
    with played(devices, "igb") as (kernel, host):
        present, away = kernel.ports
        kernel.rename(present.address, "eth5")
        kernel.altnames = {present.address: ["enp1s0v0", "left-card"]}
        kernel.vfs[0].up = True
        kernel.vfs[0].settings["vlan"] = 7
        (devices / away.address / "net" / away.name).rmdir()
        saved = vfs.save(host, present)
        assert saved is not None
        assert (saved.port.name, saved.port.address, saved.port.vf_index) == ("eth5", present.address, 0)
        assert (saved.altnames, saved.up, saved.state.settings.vlan) == (("enp1s0v0", "left-card"), True, 7)
        assert SavedVf.from_json(present.address, saved.to_json()).to_json() == saved.to_json()
        assert vfs.save(host, away) is None
