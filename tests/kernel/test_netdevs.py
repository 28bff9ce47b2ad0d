"""The network device of a PCI device that has several, in a directory tree in place of /sys/bus/pci/devices."""

from pathlib import Path

import pytest

from cni_sriov_bond.kernel import netdevs, sysfs

PF = "0000:01:00.0"


def add_netdev(devices: Path, name: str, device: str = "", **attributes: str) -> None:
    """Add a network device with its attributes; one that is not given does not exist in the tree either."""
    path = devices / PF / "net" / name
    path.mkdir(parents=True)
    for attribute, value in attributes.items():
        (path / attribute).write_text(f"{value}\n")
    if device:
        (path / "device").symlink_to(f"../../../{device}")


@pytest.mark.parametrize(
    ("netdevs", "own_name"),
    [
        ({"a_rep": {"phys_port_name": "pf0vf0"}, "z_up": {"phys_port_name": "p0"}}, "z_up"),
        ({"a_sf": {"phys_port_name": "c1pf0sf88"}, "z_up": {"phys_port_name": "p1"}}, "z_up"),
        ({"a_rep": {"phys_port_name": "pf0vf0"}, "z_up": {}}, "z_up"),
        ({"a_second": {"dev_port": "1", "ifindex": "4"}, "z_first": {"dev_port": "0", "ifindex": "9"}}, "z_first"),
        ({"a_late": {"dev_port": "0", "ifindex": "12"}, "z_early": {"dev_port": "0", "ifindex": "3"}}, "z_early"),
        ({"a_sub": {"device": "mlx5_core.sf.2"}, "z_own": {"device": PF}}, "z_own"),
        ({"a_split": {"phys_port_name": "p0s1", "dev_port": "1"}, "z": {"phys_port_name": "p0s0", "dev_port": "0"}}, "z"),
        ({"a": {"phys_port_name": "pf0vf0"}, "b": {"phys_port_name": "pf0vf1"}, "z": {"phys_port_name": "p0"}}, "z"),
    ],
    ids=["representor", "subfunction", "no port name", "two ports", "same port", "other device", "split", "two"],
)  # fmt: skip
def test_the_own_device_is_found_whatever_the_names(devices: Path, netdevs: dict[str, dict[str, str]], own_name: str) -> None:
    """In each case the alphabet, and the order of creation, would choose another."""
    for name, attributes in netdevs.items():
        add_netdev(devices, name, **attributes)
    assert sysfs.netdev(PF) == own_name


def test_what_a_representor_is_called(devices: Path) -> None:
    """By its port name, in both forms; an uplink and a device without a port name are none."""
    for name, port_name in {"a": "pf0vf1", "b": "c1pf0sf88", "c": "p0", "d": "pfifo", "e": "pf0"}.items():
        add_netdev(devices, name, phys_port_name=port_name)
    add_netdev(devices, "f")
    directory = str(devices / PF / "net")
    assert [name for name in "abcdef" if netdevs.is_representor(directory, name)] == ["a", "b"]
