"""Which of several network devices of one PCI device is its own: the uplink or the first port, not a representor."""

import posix as os  # os itself costs an ADD 4 million instructions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def read(path: str) -> str:
    """Return the text of an attribute in sysfs, or "" where the driver has none (EOPNOTSUPP)."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def choose(directory: str, names: "Sequence[str]") -> str:
    """Return the network device that administers the VFs of a PCI device.

    In switchdev mode the representors of VFs and subfunctions have the PF's PCI device as their parent too, and the uplink has
    the ``phys_port_name`` "p<N>" (kernel: Documentation/networking/representors.rst). Two ports of one function differ in
    ``dev_port`` (mlx4, cxgb4), and the first is taken. Names and their order say nothing. What is equal in all of this is
    ordered by the interface index, which a rename does not change.

    :param directory: ``/sys/bus/pci/devices/ADDRESS/net``.
    :param names: what it lists.
    """
    own_names = [name for name in names if not _is_other_device(directory, name)] or names
    return min(own_names, key=lambda name: _rank(f"{directory}/{name}"))


def is_representor(directory: str, name: str) -> bool:
    """Return whether a network device represents a VF or a subfunction: "pf0vf1", "c1pf0sf88"."""
    port_name = read(f"{directory}/{name}/phys_port_name")
    return "pf" in port_name and any(port_name.rpartition(kind)[2].isdecimal() for kind in ("vf", "sf"))


def _is_other_device(directory: str, name: str) -> bool:
    """Return whether a network device belongs to another device, e.g. a subfunction's, or is one with fewer VFs."""
    try:
        device = os.readlink(f"{directory}/{name}/device")
    except OSError:
        return False
    return device.rpartition("/")[2] != directory.split("/")[-2]


def _rank(path: str) -> "tuple[bool, bool, int, int]":
    directory, _, name = path.rpartition("/")
    port_name = read(f"{path}/phys_port_name")
    is_uplink = port_name[:1] == "p" and port_name[1:].replace("s", "").isdecimal()  # "p0"; "p0s1" where a port is split
    # Most drivers without a port name have no switch either: a device of a switch without one is not the uplink.
    return (is_representor(directory, name), not is_uplink, _number(f"{path}/dev_port"), _number(f"{path}/ifindex"))


def _number(path: str) -> int:
    text = read(path)
    return int(text[:9], 0) if text[:9].isdecimal() else 0
