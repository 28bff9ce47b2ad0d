"""PCI devices in sysfs: which have a network device in the host, which driver, and why one has none."""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import ENODEV, ENOENT, ENOTDIR

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.ports import Port

PCI_DEVICES = "/sys/bus/pci/devices"


def netdev(pci: str) -> str:
    """Return the name of a PCI device's netdev in this process's namespace, or "" when it has none there.

    A listing of ``/sys/bus/pci/devices/X/net`` shows only devices of the namespace that sysfs was mounted in, which
    is how we see that a VF is in the host.

    :raises CniError: IO_FAILURE when sysfs cannot be read, which does not mean that it has none.
    """
    try:
        names = os.listdir(f"{PCI_DEVICES}/{pci}/net")
    except OSError as failed:
        if failed.errno in (ENOENT, ENOTDIR, ENODEV):
            return ""
        raise CniError(IO_FAILURE, f"cannot see where {pci} is: {failed.strerror}") from None
    return names[0] if names else ""


def exists(pci: str) -> bool:
    """Return whether there is such a PCI device, with or without a driver.

    :raises CniError: IO_FAILURE when sysfs cannot be read.
    """
    return files.exists(f"{PCI_DEVICES}/{pci}")


def is_vf(port: "Port") -> bool:
    """Return whether the PF's VF is where the inventory has it: with another number of VFs it may be elsewhere on the bus.

    When sysfs does not say, True: the later request to the PF fails then, and its error is more precise.
    """
    try:
        return os.readlink(f"{PCI_DEVICES}/{port.pf_address}/virtfn{port.vf_index}").rpartition("/")[2] == port.address
    except OSError:
        return True


def absence(pci: str) -> str:
    """Return why a VF has no network device in the host, and what to do."""
    if not exists(pci):
        return "it is not on the PCI bus; run `sriov-bondctl up`"
    if files.exists(f"{PCI_DEVICES}/{pci}/net"):
        return f"its driver {driver(pci)} has it in another network namespace; the kernel returns it when that namespace ends"
    if not driver(pci):
        return "it has no driver; load the VF driver, or bind this VF to it"
    return f"its driver {driver(pci)} creates no network device; bind this VF to its network driver"


def has_carrier(pci: str) -> bool:
    """Return whether a PCI device's netdev is up and has carrier; reading it of a device that is down fails (EINVAL)."""
    try:
        with open(f"{PCI_DEVICES}/{pci}/net/{netdev(pci)}/carrier", encoding="ascii") as file:
            return file.read(1) == "1"
    except OSError:
        return False


def driver(pci: str) -> str:
    """Return the name of the driver that a PCI device is bound to, or ""."""
    try:
        return os.readlink(f"{PCI_DEVICES}/{pci}/driver").rpartition("/")[2]
    except OSError:
        return ""
