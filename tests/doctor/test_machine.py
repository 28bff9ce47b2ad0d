"""The machine: virtual or not, its kernel, the bonding driver, its machine id, a cloned disk."""

import shutil
from pathlib import Path

import pytest

from cni_sriov_bond.doctor.check import FAILURE, SKIPPED, WARNING
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import modules
from tests.doctor.fake_host import NET, NICS, PCI, PFS, FakeHost, relink
from tests.support import program

VIRTUAL = "processor : 0\nflags\t\t: fpu vme hypervisor\n"


def test_a_virtual_machine_says_how_many_functions_it_has(fake: FakeHost) -> None:
    assert fake.check("virtual-machine")[0].sentence == "this is a physical machine"
    fake.write("/proc/cpuinfo", VIRTUAL)
    fake.write("/sys/class/dmi/id/sys_vendor", "QEMU\n")
    assert fake.passes("virtual-machine")
    assert fake.check("virtual-machine")[0].sentence == "this is a virtual machine (QEMU); 2 PFs and 0 VFs were handed through"


def test_a_virtual_machine_with_vfs_only_is_warned(fake: FakeHost) -> None:
    fake.write("/proc/cpuinfo", VIRTUAL)

    def damage() -> None:
        fake.remove(f"{PCI}/{PFS[1]}/sriov_totalvfs")
        relink(fake.root / PCI[1:] / PFS[1] / "driver", "../../drivers/igbvf")

    words = "an unknown hypervisor); 1 PFs and 1 VFs were handed through"
    fake.broken_and_repaired("virtual-machine", damage, words, fake.set(f"{PCI}/{PFS[1]}/sriov_totalvfs", 7), WARNING)


def test_an_old_kernel_is_named(fake: FakeHost) -> None:
    release = "/proc/sys/kernel/osrelease"
    newer = fake.set(release, "6.12.1")
    finding = fake.broken_and_repaired("kernel", fake.set(release, "4.18.0-553.el8"), "the kernel is 4.18.0-553.el8", newer)
    assert finding.remedy == "install Linux 5.14 or newer"
    fake.broken_and_repaired("kernel", fake.set(release, "5.15.0-generic"), "has no ns_ip6_target", newer, WARNING)
    fake.broken_and_repaired("kernel", fake.set(release, "nonsense"), "the kernel is nonsense", newer)


def test_an_old_kernel_matters_for_its_drivers(fake: FakeHost) -> None:
    relink(fake.root / PCI[1:] / PFS[0] / "driver", "../../drivers/qede")
    fake.write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
    [finding] = fake.wrong("kernel")
    assert (finding.object, finding.remedy) == ("qede", "install Linux 6.5 or newer")
    fake.write("/proc/sys/kernel/osrelease", "6.5.0\n")
    assert fake.passes("kernel")


def test_the_bonding_driver_is_loaded_or_can_be(fake: FakeHost) -> None:
    module = "/sys/module/bonding"
    (fake.root / module[1:] / "version").unlink()
    (fake.root / module[1:]).rmdir()
    [finding] = fake.wrong("bonding")
    assert (finding.result, finding.sentence) == (FAILURE, "Linux 6.12.1-test has no bonding module")
    fake.write("/lib/modules/6.12.1-test/modules.dep", "kernel/drivers/net/bonding/bonding.ko.xz: kernel/net/tls/tls.ko.xz\n")
    [finding] = fake.wrong("bonding")
    assert (finding.result, finding.fix is not None and finding.fix.safe) == (WARNING, True)
    fake.write(f"{module}/version", "")
    assert fake.passes("bonding")


@pytest.mark.parametrize("loads", [True, False])
def test_the_bonding_driver_is_loaded_by_the_kernels_program(
    fake: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    loaded = tmp_path / "bonding"
    modprobe = program(tmp_path, "modprobe", f"touch {loaded}" if loads else "exit 1")
    (tmp_path / "path").write_text(f"{modprobe}\n")
    monkeypatch.setattr(modules, "LOADED", str(loaded))
    monkeypatch.setattr(modules, "MODPROBE", str(tmp_path / "path"))
    shutil.rmtree(fake.root / "sys/module/bonding")
    fake.write("/lib/modules/6.12.1-test/modules.builtin", "kernel/drivers/net/bonding/bonding.ko\n")
    [finding] = fake.wrong("bonding")
    assert finding.fix is not None
    if loads:
        assert finding.fix.run() == "loaded the bonding driver"
    else:
        with pytest.raises(CniError, match="cannot be loaded"):
            finding.fix.run()


def test_the_machine_id_is_one(fake: FakeHost) -> None:
    path = "/etc/machine-id"
    sound = fake.set(path, "0123456789abcdef0123456789abcdef")
    fake.broken_and_repaired("machine-id", fake.set(path, "uninitialized"), "has no id but 'uninitialized'", sound, WARNING)
    fake.broken_and_repaired("machine-id", fake.set(path, ""), "has no id", sound, WARNING)
    fake.broken_and_repaired("machine-id", fake.set(path, "0" * 32), "as of an image that is cloned", sound, WARNING)
    dbus = "/var/lib/dbus/machine-id"
    fake.broken_and_repaired("machine-id", fake.set(dbus, "f" * 32), "differ", lambda: fake.remove(dbus), WARNING)
    fake.remove(path)
    assert [finding.result for finding in fake.check("machine-id")] == [SKIPPED]


def test_a_cloned_disk_is_known_by_the_macs_of_its_pool(fake: FakeHost) -> None:
    path = f"{NET}/{NICS[0]}/address"
    before = (fake.root / path[1:]).read_text().strip()
    damage = fake.set(path, "02:99:00:00:00:01")
    finding = fake.broken_and_repaired("clone", damage, "the MACs of pool db are not derived from nic1", fake.set(path, before))
    assert "another host may have the same MACs" in finding.sentence
