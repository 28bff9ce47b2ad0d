"""The active port of a bond in active-backup: which it is, and how another becomes it."""

from errno import EINVAL
from time import sleep

from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.deadline import Deadline
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.kernel.objects import Link

# uapi/linux/if_link.h: attributes of a bond and of its port, each 2 in its own list. uapi/linux/if_bonding.h: the link is up.
_ACTIVE, _LINK_STATUS, _LINK_UP = 2, 2, b"\0"
_POLL = 0.02  # s; with miimon the bond itself looks every 100 ms


def is_active(bond: "Link", port: "Link") -> bool:
    """Return whether a port is the active one of its bond."""
    return bond.bond_data.get(_ACTIVE) == port.index.to_bytes(4, "little")


def activate(container: "Netlink", name: str, address: str, end: "Deadline") -> bool:
    """Let a port be the active one as soon as its bond sees its link, and return whether it is in time.

    The kernel activates the port whose link it sees first, and keeps it. It refuses one whose link it does not see, with EINVAL
    (bond_options.c, the setter of the active port), which is not tried. What it does after a failure is unchanged.

    :param name: the bond.
    :param address: the PCI address of the port.
    :raises KernelError: when the kernel refuses for another reason.
    """
    while True:
        links = container.links()
        bond = next((link for link in links if link.name == name), None)
        port = next((link for link in links if link.parent == address), None)
        if bond is None or port is None or port.master != bond.index:
            return False
        if is_active(bond, port):
            return True
        if port.port_data.get(_LINK_STATUS) == _LINK_UP and _set_active(container, bond, port):
            return True
        if not end.left():
            return False
        sleep(_POLL)


def _set_active(container: "Netlink", bond: "Link", port: "Link") -> bool:
    """Return whether the kernel has taken the port: its link may have gone since it was looked at."""
    try:
        action = f"let {port.name} be the active port of {bond.name}"
        container.change_bond(bond.index, rtnetlink.u32(_ACTIVE, port.index), action)
    except KernelError as refused:
        if refused.errno != EINVAL:
            raise
        return False
    return True
