"""The VFs of a pool: create them, wait for their network devices, name them, and set their MACs."""

from collections.abc import Callable

from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.kernel import sriov
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Temporary
from cni_sriov_bond.kernel.objects import Link
from cni_sriov_bond.ports import Bond, Port

# Creating VFs takes a driver some seconds, and each VF has to be bound to its own driver and registered.
_CREATE_SECONDS, _MORE_PER_VF = 30.0, 1.0
# VFs that exist have their devices, unless they were created a moment ago.
_EXISTING_SECONDS = 5.0

Report = Callable[[str, int, int], None]


def create(pf: PhysicalFunction, size: int, leased: set[str], report: Report) -> bool:
    """Create the VFs of a NIC unless it has as many, wait for their network devices, and return whether they were created.

    :param leased: addresses of VFs that containers have; they are not waited for.
    :raises CniError: IO_FAILURE when the kernel refuses.
    """
    if pf.vf_count == size:
        _wait(pf, leased, report, _EXISTING_SECONDS)
        return False
    if pf.vf_count:
        pf.remove_vfs()
    report(f"{pf.name}: creating {size} VFs", 0, size)
    pf.create_vfs(size)
    _wait(pf, leased, report, _CREATE_SECONDS + _MORE_PER_VF * size)
    return True


def _wait(pf: PhysicalFunction, leased: set[str], report: Report, seconds: float) -> None:
    count = pf.vf_count
    for _ in range(int(seconds)):
        missing = pf.wait_for_vfs(1, leased)
        report(f"{pf.name}: waiting for its VFs", count - len(missing), count)
        if not missing:
            return


def set_names(bonds: list[Bond], report: Report) -> bool:
    """Give the VFs their names in the inventory and remove their altnames; return whether a VF was changed."""
    host = sriov.Host()
    try:
        renamed = []
        for bond in bonds:
            for port in bond.ports:
                link = host.netdev(port)
                if link is not None and (link.name != port.name or link.altnames):
                    renamed.append((port, link))
        if renamed:
            _rename(host, renamed, report)
    finally:
        host.netlink.close()
    return bool(renamed)


def _rename(host: sriov.Host, renamed: list[tuple[Port, Link]], report: Report) -> None:
    """Rename VFs in a temporary namespace, where udev does not interfere.

    All are moved there before the first is moved back: a VF may have the name that another is to get.
    """
    stage, total = "naming the VFs", 2 * len(renamed)
    with Temporary() as netns:
        with Entered(netns):
            temporary = Netlink("a temporary namespace")
        for done, (_, link) in enumerate(renamed):
            report(stage, done, total)
            if link.up:
                host.netlink.set_up(link, False)
            host.netlink.move(link, netns.fd, "a temporary namespace", "vf%d")
        names = {port.address: port.name for port, _ in renamed}
        moved = [link for link in temporary.links() if link.parent in names]
        # Before the first moves out: an altname that exists in the host would make its move fail.
        for link in moved:
            temporary.drop_altnames(link)
            temporary.set_name(link, "vf%d")
        for done, link in enumerate(moved, len(renamed)):
            report(stage, done, total)
            link.name, link.altnames = "", []
            sriov.move_out(temporary, link, names[link.parent])
        temporary.close()


def set_macs(bonds: list[Bond], report: Report) -> bool:
    """Set the bond's MAC on the VFs of every bond; return whether a VF was changed."""
    host = sriov.Host()
    changed = False
    try:
        for done, bond in enumerate(bonds):
            report("setting MACs", done, len(bonds))
            for port in bond.ports:
                link = host.netdev(port)
                if link is not None and (link.mac != bond.mac or host.vf(port).mac != bond.mac):
                    host.set_macs(port, link, bond.mac)
                    changed = True
        report("setting MACs", len(bonds), len(bonds))
    finally:
        host.netlink.close()
    return changed
