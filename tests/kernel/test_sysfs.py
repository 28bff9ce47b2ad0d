"""PCI devices are read from a directory tree in place of /sys/bus/pci/devices."""

from pathlib import Path

import pytest

from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.ports import Port
from tests.support import add_device

VF = "0000:01:10.0"
PF = "0000:01:00.0"


def test_network_device_and_driver_of_an_address(devices: Path) -> None:
    """The driver's name is the last part of its link; what does not exist is an empty name."""
    add_device(devices, VF, "VF11", "igbvf")
    add_device(devices, "0000:01:10.2")
    names = {address: (sysfs.netdev(address), sysfs.driver(address)) for address in (VF, "0000:01:10.2", "0000:09:00.0")}
    assert names == {VF: ("VF11", "igbvf"), "0000:01:10.2": ("", ""), "0000:09:00.0": ("", "")}


def test_a_network_device_in_another_namespace_is_not_listed(devices: Path) -> None:
    """The kernel leaves the directory, empty; a file in its place is no network device either."""
    (add_device(devices, VF) / "net").mkdir()
    (add_device(devices, PF) / "net").write_text("")
    assert (sysfs.netdev(VF), sysfs.netdev(PF)) == ("", "")


def test_a_device_that_cannot_be_read_is_an_error(devices: Path) -> None:
    """It may have a network device, so "none" would be wrong."""
    path = add_device(devices, VF)
    (path / "net").symlink_to("net")
    with pytest.raises(CniError, match=f"cannot read the network device of {VF}: Too many levels of symbolic links") as failed:
        sysfs.netdev(VF)
    assert failed.value.code == IO_FAILURE


def test_existence_needs_no_driver(devices: Path) -> None:
    add_device(devices, VF)
    assert (sysfs.exists(VF), sysfs.exists(PF)) == (True, False)


def test_why_a_vf_is_not_in_the_host(devices: Path) -> None:
    """Each of the four cases has its own text and its own remedy."""
    assert sysfs.absence(VF) == "it is not on the PCI bus; run `sriov-bondctl up`"
    device = add_device(devices, VF)
    assert sysfs.absence(VF) == "it has no driver; load the VF driver, or bind this VF to it"
    (device / "driver").symlink_to("../../bus/pci/drivers/vfio-pci")
    assert sysfs.absence(VF) == "its driver vfio-pci creates no network device; bind this VF to its network driver"
    (device / "net").mkdir()
    assert sysfs.absence(VF) == (
        "its driver vfio-pci has it in another network namespace; it returns to the host when that namespace ends"
    )


def test_carrier(devices: Path) -> None:
    """A device that is down has an attribute that cannot be read: EINVAL, here a directory."""
    add_device(devices, VF, "VF11", carrier="1")
    add_device(devices, PF, "enp1s0", carrier="0")
    down = add_device(devices, "0000:02:00.0", "enp2s0")
    (down / "net/enp2s0/carrier").mkdir()
    addresses = (VF, PF, "0000:02:00.0", "0000:09:00.0")
    assert [sysfs.has_carrier(address) for address in addresses] == [True, False, False, False]


def test_a_vf_is_identified_by_its_index_on_the_pf(devices: Path) -> None:
    """With another number of VFs an address may be another VF, and the VLAN would be set on the wrong one."""
    port = Port(VF, "VF11", PF, 0)
    pf = add_device(devices, PF, "enp1s0")
    assert sysfs.is_vf(port)  # no answer: left to the PF's own
    (pf / "virtfn0").symlink_to(f"../{VF}")
    assert sysfs.is_vf(port)
    (pf / "virtfn0").unlink()
    (pf / "virtfn0").symlink_to("../0000:01:10.2")
    assert not sysfs.is_vf(port)


def test_a_device_is_bound_to_its_driver_anew(devices: Path) -> None:
    """By the files of its driver, which it leaves in between."""
    device = add_device(devices, VF)
    drivers = devices / "drivers/igbvf"
    drivers.mkdir(parents=True)
    (device / "driver").symlink_to("../drivers/igbvf")
    sysfs.rebind(VF)
    assert [(drivers / action).read_text() for action in ("unbind", "bind")] == [VF, VF]
    (device / "driver").unlink()
    with pytest.raises(CniError, match=f"cannot bind {VF} to its driver anew: No such file or directory") as failed:
        sysfs.rebind(VF)
    assert failed.value.code == IO_FAILURE
