"""The bond in the container: make it, give it its ports, watch its links, compare it with what was asked."""

from errno import EEXIST

from cni_sriov_bond.errors import NAME_TAKEN, CniError, KernelError
from cni_sriov_bond.kernel.bond_options import (
    DELAYS,
    MODES_WITHOUT_ARP_MONITOR,
    TARGETS,
    decode,
    encode,
    mode_of,
    number_of,
    targets_of,
    words,
)
from cni_sriov_bond.kernel.objects import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.kernel.bond_options import BondOptions
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.ports import Port

# Drivers of VFs whose carrier follows their PF's cable, by their sources in Linux 6.12: ixgbevf asks the PF's link register
# (vf.c, ixgbevf_check_mac_link_vf), iavf gets VIRTCHNL_EVENT_LINK_CHANGE, mlx5 follows its vport's admin state ("auto"),
# bnxt_en gets the PF's link by firmware event. igbvf does not: see docs/operations.md, "Link monitoring".
DRIVERS_WITH_CARRIER = ("ixgbevf", "iavf", "mlx5_core", "bnxt_en")
_PATH_INTERVAL = 200  # ms; a dead path is noticed after arp_missed_max (2) of them


class Expected:
    """What a bond should be: ``mtu`` None where that was not said, its ports' PCI addresses, and that of the primary, or ""."""

    __slots__ = ("mac", "mtu", "name", "options", "ports", "primary")

    def __init__(
        self, name: str, mac: str, mtu: int | None, ports: list[str], options: "BondOptions", primary: str = ""
    ) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.ports = ports
        self.options = options
        self.primary = primary


def make(inside: "Netlink", name: str, mac: str, options: "BondOptions") -> Link:
    """Make the bond under its final name, down and without ports.

    Before its ports come: nerdctl shows the first link that is up, and the bond so gets the lower index.

    :raises CniError: NAME_TAKEN when the container has a device of that name.
    """
    try:
        inside.add_bond(name, mac, encode(options))
    except KernelError as refused:
        if refused.errno == EEXIST:
            raise CniError(NAME_TAKEN, f"the container has a device {name} already") from None
        raise
    link = inside.link(name)
    if link is None:
        raise CniError(NAME_TAKEN, f"the bond {name} vanished from {inside.namespace} while it was made")
    return link


def ports(inside: "Netlink", wanted: "list[Port]") -> "dict[str, Link]":
    """Return the VFs that are in a namespace, by PCI address, whatever their names are there."""
    addresses = {port.address for port in wanted}
    return {link.parent: link for link in inside.links() if link.parent in addresses}


def add_ports(inside: "Netlink", bond: Link, members: "list[Link]") -> None:
    """Add the ports.

    :raises KernelError: naming the port; EBUSY when something else holds it, such as a macvlan.
    """
    for member in members:
        inside.set_port(member, bond)


def start(inside: "Netlink", bond: Link, mtu: int | None, primary: Link | None = None) -> None:
    """Set the MTU of a bond and its ports and bring it up, which brings its ports up.

    :param primary: the port to prefer.
    :raises KernelError: what the kernel refused.
    """
    if primary is not None:
        inside.change_bond(bond.index, encode({"primary": primary.index}), f"make {primary.name} the primary of {bond.name}")
    if mtu is not None and mtu != bond.mtu:
        inside.set_mtu(bond, mtu)
    inside.set_up(bond, True)


def differences(bond: Link | None, members: "list[Link]", expected: Expected) -> list[str]:
    """Return what of a bond is not as expected, one clause each.

    :param members: every device of the namespace that is a port of something.
    """
    if bond is None:
        return [f"the bond {expected.name} is gone"]
    if bond.kind != "bond":
        return [f"{expected.name} is a {bond.kind or 'NIC'}, not a bond"]
    found = [] if bond.up else [f"{bond.name} is down"]
    if bond.mac != expected.mac:
        found.append(f"{bond.name} has the MAC {bond.mac}, not {expected.mac}")
    if expected.mtu is not None and bond.mtu != expected.mtu:
        found.append(f"{bond.name} has the MTU {bond.mtu}, not {expected.mtu}")
    present = decode(bond.bond_data)
    for name, value in expected.options.items():
        if present.get(name) != value:
            found.append(f"{bond.name} has {name} {words(name, present.get(name))}, not {words(name, value)}")
    if expected.primary:
        found += _primary_differences(bond, members, expected.primary, number_of(present, "primary"))
    return found + _port_differences(bond, members, expected.ports)


def _primary_differences(bond: Link, members: "list[Link]", wanted: str, index: int) -> list[str]:
    names = {member.index: member.parent or member.name for member in members}
    found = names.get(index) if index else None
    return [] if found == wanted else [f"{bond.name} has the primary {found or 'none'}, not {wanted}"]


def _port_differences(bond: Link, members: "list[Link]", wanted: "list[str]") -> list[str]:
    found = []
    mine = {member.parent or member.name: member for member in members if member.master == bond.index}
    for pci in wanted:
        if pci not in mine:
            found.append(f"the VF {pci} is not a port of {bond.name}")
        elif not mine[pci].up:
            found.append(f"the port {mine[pci].name} is down")
    found += [f"{mine[one].name} is a port of {bond.name} and should not be" for one in mine if one not in wanted]
    return found


def wants_path(asked: "BondOptions", choice: str, drivers: list[str]) -> bool:
    """Return whether the bond should monitor its path rather than its carrier.

    :param asked: the bond options of the config; explicit ``miimon`` or ``arp_interval`` win over any choice.
    :param choice: ``mii``, ``arp`` or ``auto``: carrier where every VF's driver passes its PF's cable on, else the path.
    """
    if "miimon" in asked or "arp_interval" in asked or choice == "mii":
        return False
    if any(name in asked for name in DELAYS):
        return False  # they delay what carrier says
    if mode_of(asked) in MODES_WITHOUT_ARP_MONITOR:
        return False
    return choice == "arp" or not all(name in DRIVERS_WITH_CARRIER for name in drivers)


def path_monitor(asked: "BondOptions", targets: "dict[str, list[str]]") -> "BondOptions":
    """Return the options that make a bond watch the path to its gateways; targets of the config win."""
    own = {name: targets_of(asked, name) for name in TARGETS if name in asked}
    return {"miimon": 0, "arp_interval": _PATH_INTERVAL, **targets, **own}
