"""Which NICs cannot be used, from a directory tree in place of /sys/bus/pci/devices."""

from pathlib import Path

import pytest

from cni_sriov_bond.kernel.pf import pf_problem
from tests.support import add_device

PF, OTHER = "0000:01:00.0", "0000:01:00.1"


def add_nic(devices: Path, address: str, driver: str = "igb", **attributes: str) -> Path:
    path = add_device(devices, address, f"nic{address[-1]}", driver)
    for attribute, value in attributes.items():
        (path / "net" / f"nic{address[-1]}" / attribute).write_text(f"{value}\n")
    return path


def test_an_ordinary_nic_has_no_problem(devices: Path) -> None:
    """Nor has one without attributes, one without a network device, or one that does not exist: `up` says what is missing."""
    add_nic(devices, PF, type="1", phys_port_name="p0", phys_switch_id="e8ebd3", phys_port_id="aa")
    add_nic(devices, OTHER)
    add_device(devices, "0000:02:00.0", driver="igb")
    assert [pf_problem(address, PF) for address in (PF, OTHER, "0000:02:00.0", "0000:03:00.0")] == [""] * 4


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"type": "32"}, "nic0 is InfiniBand, .* set its port to Ethernet"),
        ({"type": "65534"}, "nic0 is no Ethernet device .ARPHRD type 65534., such as the management device of cxgb4"),
        ({"driver": "rvu_af"}, "its driver rvu_af makes loopback VFs .LBK., .* name a NIC of driver rvu_nicpf"),
    ],
    ids=["InfiniBand", "management", "loopback"],
)
def test_a_nic_of_another_kind_is_named(devices: Path, attributes: dict[str, str], problem: str) -> None:
    add_nic(devices, PF, **attributes)
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(pf_problem(PF))


def test_switchdev_is_seen_by_its_representors(devices: Path) -> None:
    """A switch id alone is none: ice and mlx5 have one in legacy mode too."""
    pf = add_nic(devices, PF, phys_port_name="p0", phys_switch_id="e8ebd3")
    assert pf_problem(PF) == ""
    (pf / "net/rep0").mkdir()
    (pf / "net/rep0/phys_port_name").write_text("pf0vf0\n")
    assert pf_problem(PF) == (
        "the NIC is in switchdev mode, in which VLAN, spoof check, trust and link state of VFs cannot be set; run "
        f"`devlink dev eswitch set pci/{PF} mode legacy`"
    )


def test_two_partitions_of_one_port_are_one_cable(devices: Path) -> None:
    """Only PFs of the same bond are compared: partitions in two pools are no problem."""
    add_nic(devices, PF, phys_port_id="aa:bb")
    add_nic(devices, OTHER, phys_port_id="aa:bb")
    assert pf_problem(PF) == ""
    assert f"on the same port as {OTHER} (phys_port_id aa:bb): one cable" in pf_problem(PF, PF, OTHER)


def test_vfs_with_two_ports_are_named(devices: Path) -> None:
    """mlx4 makes them where it is not told otherwise; two devices of a VF on one port are not such."""
    pf = add_nic(devices, PF, driver="mlx4_core")
    for name, number in (("a", "0"), ("b", "1")):
        path = devices / "0000:01:00.2" / "net" / name
        path.mkdir(parents=True)
        (path / "dev_port").write_text(f"{number}\n")
    (pf / "virtfn0").symlink_to("../0000:01:00.2")
    assert pf_problem(PF) == "its VFs have two ports each; load mlx4_core with num_vfs=N,M,0, so that each VF has one port"
    (devices / "0000:01:00.2/net/b/dev_port").write_text("0\n")
    assert pf_problem(PF) == ""
