"""The MAC of a VF whose driver takes it over from its PF, at once, late, or only when told itself."""

from errno import EAGAIN, EBUSY
from time import sleep

from cni_sriov_bond.errors import POOL_UNUSABLE, CniError, KernelError
from cni_sriov_bond.kernel import drivers, netdevs, rtnetlink, sysfs
from cni_sriov_bond.kernel.pfs import LATE_SECONDS, RESET_POLL
from cni_sriov_bond.kernel.vfsettings import NOT_SUPPORTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.deadline import Deadline
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.kernel.objects import Link
    from cni_sriov_bond.kernel.pfs import Pfs
    from cni_sriov_bond.ports import Port

OSRELEASE = "/proc/sys/kernel/osrelease"
# From this version on the kernel skips the driver if a device has the MAC already (net/core/dev.c, dev_set_mac_address,
# commit ad72c4a06acc).
_SKIPS_EQUAL_MAC = (6, 5)


def set_through_pf(host: "Pfs", port: "Port", link: "Link", mac: str) -> None:
    """Set the admin MAC, wait until the VF's device shows it, and set it there too if it does not.

    mlx5 never takes it over while it is bound, i40e and ice reset the VF for it, qede has the VF look once a second. That the
    VF accepts a MAC is no proof: iavf before Linux 6.0 asks its PF later. So the device is read back. A PF that cannot set
    MACs of VFs leaves it to the device.

    :raises CniError: POOL_UNUSABLE when the device does not get the MAC.
    """
    way = drivers.way_of_mac(sysfs.driver(port.pf_address))
    if host.vf(port).mac != mac:
        try:
            host.change(port, rtnetlink.vf_mac(port.vf_index, mac), f"the MAC {mac}")
        except KernelError as refused:
            if refused.errno not in NOT_SUPPORTED:
                raise
        host.forget(port)
    seconds = LATE_SECONDS if way == "late" else 0.0
    if link.mac == mac or _has_mac(host, link, mac, host.patience(seconds)):
        return
    refusal = _set_device(host, link, mac)
    if not refusal and _has_mac(host, link, mac, host.patience(seconds)):
        return
    # The PF's MAC is taken over when the VF starts (hns3), or only when its driver is bound (octeontx2, nfp, mlx4).
    if way == "probe":
        _rebind(host, port, link)
    else:
        restart(host.netlink, link, host.patience())
    if not _has_mac(host, link, mac, host.patience(seconds)):
        reason = f" ({refusal})" if refusal else ""
        raise CniError(
            POOL_UNUSABLE,
            f"{link.name} (VF {port.vf_index} at {port.address}) does not take the MAC {mac} from its PF{reason}; look at "
            "dmesg, and if the network config asks for this mac, remove it",
        )


def _rebind(host: "Pfs", port: "Port", link: "Link") -> None:
    """Bind a VF's driver anew, and let ``link`` be its new network device, down."""
    sysfs.rebind(port.address)
    deadline = host.patience()
    with deadline.wait(f"the driver of {port.name}"):
        present = host.netdev(port)
        while present is None and deadline.left():
            sleep(RESET_POLL)
            present = host.netdev(port)
    if present is None:
        raise CniError(
            POOL_UNUSABLE, f"{port.name} has no network device since its driver was bound: {sysfs.absence(port.address)}"
        )
    for name in present.__slots__:
        setattr(link, name, getattr(present, name))
    if link.up:  # udev or NetworkManager were quick
        host.netlink.set_up(link, False)


def restart(netlink: "Netlink", link: "Link", deadline: "Deadline") -> None:
    """Bring a VF that is down up and down again, which makes its driver ask its PF anew.

    :raises KernelError: when it cannot be brought up; EAGAIN and EBUSY are a reset that has not ended.
    """
    while True:
        try:
            netlink.set_up(link, True)
            break
        except KernelError as refused:
            if refused.errno not in (EAGAIN, EBUSY) or not deadline.left():
                raise
        sleep(RESET_POLL)
    netlink.set_up(link, False)


def _set_device(host: "Pfs", link: "Link", mac: str) -> str:
    """Set the MAC of the device itself, and return why that was refused, or ""."""
    deadline = host.patience()
    while True:
        try:
            host.netlink.set_mac(link, mac)
        except KernelError as refused:
            if refused.errno not in (EAGAIN, EBUSY) or not deadline.left():
                return refused.msg
        else:
            return ""
        sleep(RESET_POLL)


def _has_mac(host: "Pfs", link: "Link", mac: str, deadline: "Deadline") -> bool:
    """Return whether a device shows a MAC before the deadline, and look at least once."""
    while True:
        present = host.netlink.link(index=link.index)
        if present is not None and present.mac == mac:
            link.mac = mac
            return True
        if not deadline.left():
            return False
        sleep(RESET_POLL)


def refuses_own(link: "Link") -> str:
    """Return why a VF refuses the MAC that it has, and what to do, or "" if its driver or the kernel does not refuse it.

    A bond sets its MAC on each port that it gets, except where ``fail_over_mac`` is active (bond_main.c, bond_enslave).
    """
    driver = sysfs.driver(link.parent)
    major, minor, *_ = f"{netdevs.read(OSRELEASE)}..".split(".")
    release = (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else _SKIPS_EQUAL_MAC
    if release >= _SKIPS_EQUAL_MAC or not drivers.vf_refuses_own_mac(driver):
        return ""
    return (
        f"before Linux {_SKIPS_EQUAL_MAC[0]}.{_SKIPS_EQUAL_MAC[1]} the driver {driver} refuses even the MAC that the VF has, "
        "which the bond sets: use mode active-backup, set trust to on, or update the kernel"
    )
