"""A NIC as sysfs tells it, over a tree of files like the kernel's."""

from pathlib import Path

import pytest

from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError
from tests.kernel.fake_kernel import played
from tests.support import add_device

PF = "0000:01:00.0"


def add_pf(devices: Path, pci: str = PF, name: str = "enp1s0", total: int = 7, offset: int = 128, stride: int = 2) -> Path:
    path = add_device(devices, pci, name, "igb")
    values = {"sriov_totalvfs": total, "sriov_numvfs": 0, "sriov_offset": offset, "sriov_stride": stride}
    for attribute, value in values.items():
        (path / attribute).write_text(f"{value}\n")
    return path


def make_vfs(devices: Path, pf: Path, addresses: list[str], drivers: int = 99) -> None:
    """Do what the kernel does at a write to sriov_numvfs; only the first ``drivers`` get a network device."""
    for number, pci in enumerate(addresses):
        add_device(devices, pci, f"vf{number}" if number < drivers else "")
        (pf / f"virtfn{number}").symlink_to(f"../{pci}")
    (pf / "sriov_numvfs").write_text(f"{len(addresses)}\n")


def test_a_nic_is_known_by_its_pci_address(devices: Path) -> None:
    """Name, number of VFs and how many there could be are read from its directory."""
    add_pf(devices, total=63)
    pf = PhysicalFunction(PF, 2)
    assert (pf.address, pf.name, pf.number, pf.total_vfs, pf.vf_count) == (PF, "enp1s0", 2, 63, 0)


def test_its_vfs_are_listed_in_their_order(devices: Path) -> None:
    """VF 10 comes after VF 9 though its link sorts before, and each is known by its address."""
    pf = add_pf(devices, total=12)
    addresses = [f"0000:01:{16 + number // 4:02x}.{number % 4 * 2}" for number in range(12)]
    make_vfs(devices, pf, addresses)
    assert PhysicalFunction(PF, 1).vfs() == addresses


@pytest.mark.parametrize(
    ("pf", "offset", "stride", "expected"),
    [
        # Intel 82576 (igb): the datasheet's 10.0, 10.2, 10.4; its second port has the odd functions.
        ("0000:01:00.0", 128, 2, ["0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:01:10.6", "0000:01:11.0"]),
        ("0000:01:00.1", 128, 2, ["0000:01:10.1", "0000:01:10.3", "0000:01:10.5", "0000:01:10.7", "0000:01:11.1"]),
        # A NIC whose VFs follow it function by function.
        ("0000:3b:00.0", 2, 1, ["0000:3b:00.2", "0000:3b:00.3", "0000:3b:00.4", "0000:3b:00.5", "0000:3b:00.6"]),
        # Over the end of a bus.
        ("0001:3b:1f.7", 1, 1, ["0001:3c:00.0", "0001:3c:00.1", "0001:3c:00.2", "0001:3c:00.3", "0001:3c:00.4"]),
    ],
)
def test_addresses_of_vfs_are_known_before_they_are_made(
    devices: Path, pf: str, offset: int, stride: int, expected: list[str]
) -> None:
    """First VF offset and VF stride give each VF's address, as PCI's SR-IOV chapter has it."""
    add_pf(devices, pf, offset=offset, stride=stride)
    assert PhysicalFunction(pf, 1).expected_vfs(5) == expected


def test_the_number_of_vfs_is_written(devices: Path) -> None:
    """Creating VFs writes their number where the kernel reads it, and removing them writes 0."""
    path = add_pf(devices)
    make_vfs(devices, path, [f"0000:01:10.{function}" for function in range(5)])
    pf = PhysicalFunction(PF, 1)
    pf.create_vfs(5)
    assert (path / "sriov_numvfs").read_text() == "5"
    pf.remove_vfs()
    assert (path / "sriov_numvfs").read_text() == "0"


def test_a_number_that_the_kernel_refuses_is_told(devices: Path) -> None:
    """The error names NIC, number, reason, and what the NIC offers."""
    path = add_pf(devices, total=7)
    pf = PhysicalFunction(PF, 1)
    (path / "sriov_numvfs").unlink()
    (path / "sriov_numvfs").mkdir()
    with pytest.raises(CniError, match=r"enp1s0 cannot have 9 VFs: Is a directory; it offers 7") as refused:
        pf.create_vfs(9)
    assert refused.value.code == IO_FAILURE
    with pytest.raises(CniError, match=r"the VFs of enp1s0 cannot be removed: Is a directory") as refused:
        pf.remove_vfs()
    assert refused.value.code == IO_FAILURE


def test_a_nic_that_is_not_there_is_told_with_those_that_are(devices: Path) -> None:
    """A name or address that no NIC has is answered with the NICs that have SR-IOV."""
    add_pf(devices)
    add_device(devices, "0000:02:00.0", "eth9", "e1000")
    for asked in ("enp9s0", "0000:09:00.0"):
        with pytest.raises(CniError, match=rf"{asked}.*NICs with SR-IOV here: enp1s0 \({PF}\)$") as refused:
            PhysicalFunction(asked, 1)
        assert refused.value.code == POOL_UNUSABLE


def test_a_nic_without_sriov_is_told_so(devices: Path) -> None:
    """A NIC that has none, or has it off in the firmware, says so rather than that a file is missing."""
    add_device(devices, "0000:02:00.0", "eth9", "e1000")
    with pytest.raises(CniError, match=r"eth9 \(0000:02:00.0\) has no SR-IOV, or it is off.*this host has no NIC with SR-IOV"):
        PhysicalFunction("0000:02:00.0", 1)


def test_a_nic_without_a_driver_is_told_so(devices: Path) -> None:
    """A PCI device that is there but has no network device here is not taken."""
    add_device(devices, PF)
    with pytest.raises(CniError, match=f"the NIC {PF} has no network device here"):
        PhysicalFunction(PF, 1)


def test_an_attribute_that_cannot_be_read_is_told(devices: Path) -> None:
    """The error names the attribute and the NIC."""
    path = add_pf(devices)
    (path / "sriov_offset").unlink()
    with pytest.raises(CniError, match="cannot read sriov_offset of enp1s0: No such file or directory"):
        PhysicalFunction(PF, 1).expected_vfs(1)


@pytest.mark.parametrize("written", ["01:00.0", "0000:01:00.0", "0000:01:00.0".upper()])
def test_an_address_may_be_written_as_lspci_does(devices: Path, written: str) -> None:
    add_pf(devices)
    assert PhysicalFunction(written, 1).address == PF


def test_a_driver_that_takes_no_number_is_told(devices: Path) -> None:
    """mlx4 and enic make VFs by module parameters or firmware; the kernel answers ENOENT to a write."""
    (devices / PF).mkdir()
    for attribute, value in (("sriov_totalvfs", 7), ("sriov_numvfs", 0)):
        (devices / PF / attribute).write_text(f"{value}\n")
    (devices / PF / "net/ens1").mkdir(parents=True)
    (devices / PF / "driver").symlink_to("../../drivers/mlx4_core")
    pf = PhysicalFunction(PF, 1)
    (devices / PF / "sriov_numvfs").unlink()
    (devices / PF / "sriov_numvfs").symlink_to(f"{devices}/none/none")
    with pytest.raises(
        CniError, match=r"ens1 cannot have 4 VFs: .*; its driver mlx4_core creates VFs only as .*num_vfs"
    ) as refused:
        pf.create_vfs(4)
    assert refused.value.code == IO_FAILURE


def test_a_nic_may_be_named_by_an_altname(devices: Path) -> None:
    """A rename at boot changes the name, not the altnames that udev gives by slot and by path."""
    name = "enp1s0-by-slot-with-a-long-name"
    with played(devices, "igb") as (kernel, _):
        (devices / PF / "sriov_totalvfs").write_text("7\n")
        kernel.altnames = {PF: ["another-altname", name], kernel.vfs[0].address: ["a-vf"]}
        nic = PhysicalFunction(name, 1, kernel.netlink)
        assert (nic.address, nic.name, nic.requested) == (PF, "enp1s0", name)


def test_an_altname_that_no_device_has_is_told(devices: Path) -> None:
    with played(devices, "igb") as (kernel, _), pytest.raises(CniError, match="there is no NIC other-name"):
        PhysicalFunction("other-name", 1, kernel.netlink)


def test_a_device_that_is_no_pci_nic_is_told(devices: Path) -> None:
    """lo is there, and so it would be wrong to say that it is not."""
    with pytest.raises(CniError, match="lo is not a PCI NIC; this host has no NIC with SR-IOV"):
        PhysicalFunction("lo", 1)
