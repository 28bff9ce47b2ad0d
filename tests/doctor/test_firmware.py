"""SR-IOV and the IOMMU."""

import shutil
import struct

from cni_sriov_bond.doctor.check import FAILURE, SKIPPED, WARNING
from cni_sriov_bond.doctor.firmware import has_capability
from tests.doctor.fake_host import NICS, PCI, PFS, FakeHost


def capability(*ids: int) -> bytes:
    """Return a configuration space with these extended capabilities."""
    space = bytearray(4096)
    for number, kind in enumerate(ids):
        following = 0x100 + 16 * (number + 1) if number + 1 < len(ids) else 0
        struct.pack_into("<I", space, 0x100 + 16 * number, kind | 1 << 16 | following << 20)
    return bytes(space)


def test_the_sriov_capability_is_found_in_the_list() -> None:
    assert has_capability(capability(0x0001, 0x000E, 0x0010))
    assert not has_capability(capability(0x0001, 0x000E))
    assert not has_capability(bytes(64)), "what a user reads who is not root"
    looped = bytearray(capability(0x0001))
    struct.pack_into("<I", looped, 0x100, 0x0001 | 1 << 16 | 0x100 << 20)
    assert not has_capability(bytes(looped))


def test_a_nic_whose_firmware_hides_its_vfs_is_named_with_its_remedy(fake: FakeHost) -> None:
    total = f"{PCI}/{PFS[1]}/sriov_totalvfs"
    words = "nic2 (Intel 82576) can have VFs, but firmware offers none"
    finding = fake.broken_and_repaired("sriov", lambda: fake.remove(total), words, fake.set(total, 7), WARNING)
    assert "SR-IOV Global Enable" in finding.remedy
    fake.remove(total)
    fake.remove(f"{PCI}/{PFS[0]}/sriov_totalvfs")
    assert [(finding.object, finding.result) for finding in fake.wrong("sriov")] == [(nic, FAILURE) for nic in NICS]


def test_a_model_that_is_not_known_is_recognised_by_its_capability(fake: FakeHost) -> None:
    fake.add_device("ffff:05:00.0", "newdriver", vendor="0x9999", device="0x0001")
    config = fake.root / PCI[1:] / "ffff:05:00.0/config"
    config.write_bytes(capability(0x0010))
    [finding] = fake.wrong("sriov")
    assert finding.sentence == "ffff:05:00.0 (PCI 9999:0001) can have VFs, but firmware offers none"
    config.write_bytes(capability(0x0001))
    assert fake.passes("sriov")


def test_mellanox_is_told_its_own_command(fake: FakeHost) -> None:
    fake.add_device("ffff:05:00.0", "mlx5_core", vendor="0x15b3", device="0x1017")
    [finding] = fake.wrong("sriov")
    assert finding.remedy.startswith("run `mlxconfig -d ffff:05:00.0 set SRIOV_EN=1")


def test_a_host_without_sriov_gets_an_answer_about_its_nics(fake: FakeHost) -> None:
    shutil.rmtree(fake.root / PCI[1:])
    assert "its NICs: none on the PCI bus" in fake.wrong("sriov")[0].sentence
    fake.add_device("ffff:03:00.0", "e1000e", vendor="0x8086", device="0x10d3")
    [finding] = fake.wrong("sriov")
    assert finding.sentence == "this host has no NIC with SR-IOV; its NICs: ffff:03:00.0 (PCI 8086:10d3)"
    assert "fit two NICs with SR-IOV" in finding.remedy
    fake.write("/proc/cpuinfo", "flags\t\t: fpu hypervisor\n")
    assert fake.wrong("sriov")[0].sentence == "this virtual machine has no NIC with SR-IOV"


def test_the_iommu_is_on_or_somebody_is_told_where_to_turn_it_on(fake: FakeHost) -> None:
    group = "/sys/kernel/iommu_groups/0"
    for words, remedy, files in (
        ("VT-d is off in firmware (no ACPI table DMAR or IVRS)", "Intel VT for Directed I/O", {}),
        ("the kernel has no IOMMU groups", "`intel_iommu=on iommu=pt`", {"/sys/firmware/acpi/tables/DMAR": ""}),
        ("the kernel command line has intel_iommu=off", "remove it", {"/proc/cmdline": "quiet intel_iommu=off"}),
        ("AMD-Vi", "remove it", {"/proc/cpuinfo": "vendor_id : AuthenticAMD", "/proc/cmdline": "amd_iommu=off"}),
    ):
        assert fake.passes("iommu") or files
        shutil.rmtree(fake.root / group[1:], ignore_errors=True)
        for path, text in files.items():
            fake.write(path, text)
        [finding] = fake.wrong("iommu")
        assert finding.result == WARNING, "containers do without it"
        assert words in finding.sentence or words == "AMD-Vi"
        assert remedy in finding.remedy
        fake.write(f"{group}/type", "DMA")
        assert fake.passes("iommu")


def test_amd_is_told_its_own_menu(fake: FakeHost) -> None:
    shutil.rmtree(fake.root / "sys/kernel/iommu_groups")
    fake.write("/proc/cpuinfo", "vendor_id : AuthenticAMD")
    [finding] = fake.wrong("iommu")
    assert (finding.sentence[:6], "AMD CBS" in finding.remedy) == ("AMD-Vi", True)
    fake.write("/proc/cpuinfo", "flags : hypervisor")
    assert [finding.result for finding in fake.check("iommu")] == [SKIPPED]
