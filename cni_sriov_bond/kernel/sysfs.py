"""PCI devices in sysfs: their network device in the host, their driver, and why a VF is not in the host."""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import ENODEV, ENOENT, ENOTDIR

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.ports import Port

PCI_DEVICES = "/sys/bus/pci/devices"


def netdev(address: str) -> str:
    """Return the name of a PCI device's network device in the host, or "" if it has none there.

    A listing of ``/sys/bus/pci/devices/X/net`` shows only devices of the namespace that this sysfs was mounted in (they
    are tagged: fs/kernfs/dir.c, kernfs_fop_readdir). So a VF in a container has none, and setns() changes nothing. Of several
    it is the uplink or the first port, see ``kernel/netdevs``.

    :raises CniError: IO_FAILURE when it cannot be read, which does not mean that there is none.
    """
    try:
        names = os.listdir(f"{PCI_DEVICES}/{address}/net")
    except OSError as failed:
        # ENODEV: the VF was removed while it was read.
        if failed.errno in (ENOENT, ENOTDIR, ENODEV):
            return ""
        raise CniError(IO_FAILURE, f"cannot read the network device of {address}: {failed.strerror}") from None
    if len(names) > 1:
        from cni_sriov_bond.kernel import netdevs  # late: most PCI devices have one

        return netdevs.choose(f"{PCI_DEVICES}/{address}/net", names)
    return names[0] if names else ""


def exists(address: str) -> bool:
    """Return whether there is such a PCI device, with or without a driver.

    :raises CniError: IO_FAILURE when it cannot be read.
    """
    return files.exists(f"{PCI_DEVICES}/{address}")


def is_vf(port: "Port") -> bool:
    """Return whether the PF has this VF at the address that the inventory has.

    With another number of VFs their addresses may differ. If sysfs cannot be read the answer is True: the netlink answer of
    the PF then shows what is wrong.
    """
    try:
        target = os.readlink(f"{PCI_DEVICES}/{port.pf_address}/virtfn{port.vf_index}")
    except OSError:
        return True
    return target.rpartition("/")[2] == port.address


def absence(address: str) -> str:
    """Return why a VF has no network device in the host, and what to do, as the end of an error."""
    if not exists(address):
        return "it is not on the PCI bus; run `sriov-bondctl up`"
    if files.exists(f"{PCI_DEVICES}/{address}/net"):
        return (
            f"its driver {driver(address)} has it in another network namespace; it returns to the host when that namespace ends"
        )
    if not driver(address):
        return "it has no driver; " + (
            "load the VF driver, or bind this VF to it"
            if probes_vfs(f"{address}/physfn")
            # A bind by hand is refused too, with ENODEV (drivers/pci/pci-driver.c, pci_device_can_probe).
            else f"its PF's sriov_drivers_autoprobe is 0, so it gets none: run `echo 1 > {PCI_DEVICES}/{address}/physfn/"
            f"sriov_drivers_autoprobe; echo {address} > /sys/bus/pci/drivers_probe`"
        )
    return f"its driver {driver(address)} creates no network device; bind this VF to its network driver"


def probes_vfs(pf: str) -> bool:
    """Return whether the VFs of a PF get a driver. False only if its ``sriov_drivers_autoprobe`` is 0."""
    try:
        with open(f"{PCI_DEVICES}/{pf}/sriov_drivers_autoprobe", encoding="ascii") as file:
            return file.read(1) != "0"
    except OSError:
        return True  # a kernel without the attribute


def has_carrier(address: str) -> bool:
    """Return whether a PCI device's network device is up and has carrier; of one that is down the kernel reports EINVAL."""
    try:
        with open(f"{PCI_DEVICES}/{address}/net/{netdev(address)}/carrier", encoding="ascii") as file:
            return file.read(1) == "1"
    except OSError:
        return False


def driver(address: str) -> str:
    """Return the name of the driver that a PCI device is bound to, or ""."""
    try:
        return os.readlink(f"{PCI_DEVICES}/{address}/driver").rpartition("/")[2]
    except OSError:
        return ""


def rebind(address: str) -> None:
    """Bind a PCI device to its driver anew; its network device is another one then.

    :raises CniError: IO_FAILURE when the kernel refuses, or the device has no driver.
    """
    try:
        directory = f"{PCI_DEVICES}/{address}/{os.readlink(f'{PCI_DEVICES}/{address}/driver')}"
        for action in ("unbind", "bind"):
            with open(f"{directory}/{action}", "w", encoding="ascii") as file:
                file.write(address)
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot bind {address} to its driver anew: {failed.strerror}") from None
