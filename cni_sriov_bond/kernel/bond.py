"""The bond in the container: create it, add its ports, select its link monitor, compare it with what was requested."""

from errno import EADDRNOTAVAIL, EAGAIN, EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EPERM
from time import sleep

from cni_sriov_bond.errors import NAME_TAKEN, POOL_UNUSABLE, CniError, KernelError
from cni_sriov_bond.kernel import modules
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
    from cni_sriov_bond.deadline import Deadline
    from cni_sriov_bond.kernel.netlink import Netlink
    from cni_sriov_bond.ports import BondOptions, Port

# Drivers of VFs whose carrier follows their PF's cable, by their sources in Linux 6.12: ixgbevf reads the PF's link register
# (vf.c, ixgbevf_check_mac_link_vf), iavf gets VIRTCHNL_EVENT_LINK_CHANGE, mlx5 follows its vport's admin state ("auto"),
# bnxt_en gets the PF's link by firmware event. igbvf's does not: see docs/operations.md, "Link monitoring".
DRIVERS_WITH_CARRIER = ("ixgbevf", "iavf", "mlx5_core", "bnxt_en")
_PATH_INTERVAL = 200  # ms; a failed path is detected after arp_missed_max (2) intervals


class Expected:
    """The expected state of a bond.

    :param allowed_macs: those that it may have: several where it has that of its active port.
    :param mtu: its MTU, None if none was requested.
    :param ports: the PCI addresses of its ports.
    :param primary: the PCI address of its primary port, or "".
    """

    __slots__ = ("allowed_macs", "mtu", "name", "options", "ports", "primary")

    def __init__(
        self, name: str, allowed_macs: list[str], mtu: int | None, ports: list[str], options: "BondOptions", primary: str = ""
    ) -> None:
        self.name = name
        self.allowed_macs = allowed_macs
        self.mtu = mtu
        self.ports = ports
        self.options = options
        self.primary = primary


def create(container: "Netlink", name: str, mac: str, options: "BondOptions") -> Link:
    """Create the bond in the container under its final name, down and without ports, and return it.

    A bond cannot be created in the host and moved: the kernel refuses with EINVAL (bond_main.c, bond_setup: a bond is bound
    to its namespace). It is created before its ports arrive, so that it has the lowest index: nerdctl shows the first link
    that is up.

    :raises CniError: NAME_TAKEN when the container has a device of that name, POOL_UNUSABLE when there is no bonding driver.
    """
    loaded = modules.load_bonding()
    try:
        container.add_bond(name, mac, encode(options))
    except KernelError as refused:
        if refused.errno == EEXIST:
            raise CniError(NAME_TAKEN, f"the container has a device {name} already") from None
        if refused.errno == EOPNOTSUPP:  # the kernel knows no such kind of device, and could load no module for it
            message = f"cannot create the bond {name}: the kernel has no bonding driver; run `modprobe bonding max_bonds=0`"
            raise CniError(POOL_UNUSABLE, message) from None
        raise
    if not loaded:
        modules.drop_default_bond()
    link = container.link(name)
    if link is None:
        raise CniError(NAME_TAKEN, f"the bond {name} disappeared from {container.namespace} while it was created")
    return link


def find_ports(container: "Netlink", bond_ports: "list[Port]") -> "dict[str, Link]":
    """Return the VFs that are in the container, by PCI address, under any name and in any bond."""
    addresses = {port.address for port in bond_ports}
    return {link.parent: link for link in container.links() if link.parent in addresses}


def add_ports(container: "Netlink", bond: Link, members: "list[Link]", deadline: "Deadline") -> None:
    """Add ports to the bond.

    They must be down: the kernel refuses a port that is up, and brings it up itself (drivers/net/bonding/bond_main.c).

    :param deadline: of the call. A port that its PF is resetting is given at most ``RESET_SECONDS``.
    :raises KernelError: naming the port; EBUSY when something else uses it, such as a macvlan.
    """
    for member in members:
        try:
            container.set_port(member, bond)
        except KernelError as refused:
            if refused.errno in (EADDRNOTAVAIL, EAGAIN, EBUSY):
                _add_reset_port(container, bond, member, refused, deadline)
                continue
            if refused.errno in (EINVAL, EPERM):
                from cni_sriov_bond.kernel import vfmac

                if advice := vfmac.refuses_own(member):
                    raise KernelError(refused.errno, f"{refused.msg}; {advice}") from None
            raise


def _add_reset_port(container: "Netlink", bond: Link, port: Link, refused: KernelError, deadline: "Deadline") -> None:
    """Add a port whose driver was not ready for it.

    - igbvf compares a MAC with that of its last reset, also an equal one (vf.c, e1000_rar_set_vf). If its PF did not answer
      that reset, the bond gets EADDRNOTAVAIL when it sets the MAC, until the port is brought up and down once.
    - iavf and others cannot be brought up while their PF resets them: EBUSY. A VF that no PF resets has another user.
    """
    from cni_sriov_bond.kernel import drivers, sysfs, vfmac
    from cni_sriov_bond.kernel.pfs import RESET_POLL, RESET_SECONDS

    end = deadline.part(RESET_SECONDS)
    if refused.errno == EADDRNOTAVAIL:
        vfmac.restart(container, port, end)
        return container.set_port(port, bond)
    if not drivers.may_be_resetting(sysfs.driver(port.parent)):
        raise refused
    with end.wait(f"the reset of {port.name}"):
        while end.left():
            sleep(RESET_POLL)
            try:
                return container.set_port(port, bond)
            except KernelError as repeated:
                if repeated.errno not in (EAGAIN, EBUSY):
                    raise
    raise refused


def bring_up(container: "Netlink", bond: Link, mtu: int | None, primary: Link | None = None) -> None:
    """Set the primary and the MTU of a bond that has its ports, and bring it up.

    The MTU is set after the ports are added, because the bond sets it on each of them (bond_main.c, bond_change_mtu).
    Adding the ports has brought them up.

    :param primary: the port to prefer.
    :raises KernelError: when the kernel refuses one of these.
    """
    if primary is not None:
        action = f"set the primary of {bond.name} to {primary.name}"
        container.change_bond(bond.index, encode({"primary": primary.index}), action)
    if mtu is not None and mtu != bond.mtu:
        container.set_mtu(bond, mtu)
    container.set_up(bond, True)


def differences(bond: Link | None, members: "list[Link]", expected: Expected) -> list[str]:
    """Return how a bond differs from what is expected, one clause each.

    :param members: every device of the namespace, of which some are ports of the bond.
    """
    if bond is None:
        return [f"the bond {expected.name} is gone"]
    if bond.kind != "bond":
        return [f"{expected.name} is a {bond.kind or 'NIC'}, not a bond"]
    clauses = [] if bond.up else [f"{bond.name} is down"]
    if bond.mac not in expected.allowed_macs:
        clauses.append(f"{bond.name} has the MAC {bond.mac}, not {' or '.join(expected.allowed_macs)}")
    if expected.mtu is not None and bond.mtu != expected.mtu:
        clauses.append(f"{bond.name} has the MTU {bond.mtu}, not {expected.mtu}")
    present = decode(bond.bond_data)
    for name, value in expected.options.items():
        if present.get(name) != value:
            clauses.append(f"{bond.name} has {name} {words(name, present.get(name))}, not {words(name, value)}")
    if expected.primary:
        clauses += _primary_differences(bond, members, expected.primary, number_of(present, "primary"))
    return clauses + _port_differences(bond, members, expected.ports)


def _primary_differences(bond: Link, members: "list[Link]", expected: str, index: int) -> list[str]:
    names = {member.index: member.parent or member.name for member in members}
    present = names.get(index) if index else None
    return [] if present == expected else [f"{bond.name} has the primary {present or 'none'}, not {expected}"]


def _port_differences(bond: Link, members: "list[Link]", expected: "list[str]") -> list[str]:
    clauses = []
    ports = {member.parent or member.name: member for member in members if member.master == bond.index}
    for address in expected:
        if address not in ports:
            clauses.append(f"the VF {address} is not a port of {bond.name}")
        elif not ports[address].up:
            clauses.append(f"the port {ports[address].name} is down")
    clauses += [f"{port.name} is a port of {bond.name} and should not be" for key, port in ports.items() if key not in expected]
    return clauses


def selects_path_monitor(options: "BondOptions", choice: str, drivers: list[str]) -> bool:
    """Return whether the bond should monitor its path rather than carrier.

    :param options: the bond options of the config; an explicit ``miimon`` or ``arp_interval`` takes precedence.
    :param choice: ``mii``, ``arp`` or ``auto``: carrier if every VF's driver reports its PF's cable, else the path.
    """
    if "miimon" in options or "arp_interval" in options or choice == "mii":
        return False
    if any(name in options for name in DELAYS):
        return False  # they need miimon
    if mode_of(options) in MODES_WITHOUT_ARP_MONITOR:
        return False
    return choice == "arp" or not all(name in DRIVERS_WITH_CARRIER for name in drivers)


def path_monitor_options(options: "BondOptions", targets: "dict[str, list[str]]") -> "BondOptions":
    """Return the options with which a bond monitors the path to its gateways; targets in the config take precedence."""
    configured = {name: targets_of(options, name) for name in TARGETS if name in options}
    return {"miimon": 0, "arp_interval": _PATH_INTERVAL, **targets, **configured}
