"""PFs and VFs: read, set and restore a VF's state through its PF, and move a VF out of a container.

VFs are identified by PCI address. Their names change: a VF returns to the host under the name that it had in the container.
"""

from errno import EEXIST
from time import sleep

from cni_sriov_bond.errors import POOL_UNUSABLE, CniError, KernelError
from cni_sriov_bond.kernel import rtnetlink, sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Temporary, own
from cni_sriov_bond.kernel.objects import Link, Vf
from cni_sriov_bond.ports import VfSettings, VfState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.deadline import Deadline
    from cni_sriov_bond.ports import Port

NO_MAC = "00:00:00:00:00:00"
_VLAN_8021Q = 0x8100
# The settings of a new VF.
_DEFAULTS = VfSettings(
    vlan=0, vlan_qos=0, vlan_proto=_VLAN_8021Q, spoofchk=1, trust=0, link_state=0, min_tx_rate=0, max_tx_rate=0
)
_DEFAULT_MTU = 1500
_RETURN_POLL = 0.02


class Host:
    """The PFs and VFs in the host: one netlink socket, and a cache of PFs that is updated after a change."""

    def __init__(self) -> None:
        self.netlink = Netlink()
        self._pfs: dict[str, Link] = {}

    def pf(self, address: str, refresh: bool = False) -> Link:
        """Return a PF with the settings of all its VFs.

        :param refresh: ask the kernel also if the PF is cached.
        :raises CniError: POOL_UNUSABLE when it has no network device in this namespace.
        """
        if refresh or address not in self._pfs:
            name = sysfs.netdev(address)
            link = self.netlink.link(name, vfs=True) if name else None
            if link is None:
                # The hooks of a rootless runtime run in a namespace of their own, where sysfs still lists the host's devices.
                raise CniError(
                    POOL_UNUSABLE,
                    f"the NIC at {address} has no network device here; is its driver loaded, and does the runtime run in the "
                    "host's network namespace?",
                )
            self._pfs[address] = link
        return self._pfs[address]

    def vf(self, port: "Port", refresh: bool = False) -> Vf:
        """Return a VF's settings as its PF reports them.

        :raises CniError: POOL_UNUSABLE when the PF has no such VF.
        """
        pf = self.pf(port.pf_address, refresh)
        if port.vf_index not in pf.vfs:
            raise CniError(
                POOL_UNUSABLE,
                f"{pf.name} has no VF {port.vf_index}, which is {port.name} of the pool; run `sriov-bondctl up`",
            )
        return pf.vfs[port.vf_index]

    def netdev(self, port: "Port") -> Link | None:
        """Return a VF's network device, or None if it is not in the host."""
        name = sysfs.netdev(port.address)
        return self.netlink.link(name) if name else None

    def state(self, port: "Port") -> VfState:
        """Return what is to be restored after the lease: the VF's MTU and MAC, and every setting made through its PF.

        :raises CniError: POOL_UNUSABLE when the VF is not in the host.
        """
        link = self.netdev(port)
        if link is None:
            raise CniError(
                POOL_UNUSABLE,
                f"{port.name} (VF {port.vf_index} at {port.address}) is not in the host: {sysfs.absence(port.address)}",
            )
        vf = self.vf(port)
        return VfState(link.mtu, link.mac, vf.mac or "", vf.settings)

    def default_state(self, port: "Port", mac: str) -> VfState:
        """Return the state of an unused VF with the pool's MAC, for a VF whose earlier state was not recorded.

        A setting that its driver does not have is None.
        """
        present = self.vf(port).settings
        known = {name: _DEFAULTS.get(name) for name in VfSettings.NAMES if present.get(name) is not None}
        return VfState(_DEFAULT_MTU, mac, mac, VfSettings(**known))

    def bring_down(self, link: Link) -> None:
        """Bring a VF down and clear its promiscuous mode."""
        if link.up:
            self.netlink.set_up(link, False)
        if link.promisc_or_allmulti:
            self.netlink.clear_promisc(link)

    def apply(self, port: "Port", wanted: VfSettings) -> None:
        """Change the settings of a VF that differ from the wanted ones, and read them back.

        Settings that do not differ are not sent: some drivers refuse a setting that they do not have, or reset the VF.

        :raises KernelError: when the kernel refuses one, naming it.
        :raises CniError: POOL_UNUSABLE when the kernel accepted a setting and reports another.
        """
        pf, vf = self.pf(port.pf_address), self.vf(port)
        differing = wanted.differing(vf.settings)
        if not differing:
            return
        for setting, text in setting_requests(port.vf_index, vf.settings, wanted, differing):
            self.netlink.set_vf(pf, port.vf_index, setting, text)
        # Some drivers accept a VLAN without setting it. The container must not start in another network.
        left = wanted.differing(self.vf(port, refresh=True).settings)
        if left:
            settings = ", ".join(f"{name} {wanted.get(name)}" for name in left)
            raise CniError(
                POOL_UNUSABLE,
                f"{pf.name} accepted {settings} for VF {port.vf_index} but does not report it; its driver does not support "
                "this",
            )

    def set_macs(self, port: "Port", link: Link, mac: str) -> None:
        """Set the MAC of a VF: on its network device, and through its PF (the admin MAC).

        The order matters. Once an admin MAC is set, igb refuses any change by an untrusted VF with "Cannot assign requested
        address", even to the same MAC (igb_main.c, igb_rcv_msg_from_vf: IGB_VF_FLAG_PF_SET_MAC). Setting the admin MAC to zero
        clears that flag. So: admin MAC to zero, MAC of the device, admin MAC. Tried with igb and igbvf of Linux 6.12.

        Other drivers refuse a zero admin MAC, or a VF's change before it has an admin MAC. Both refusals are therefore
        ignored at first, and the device's MAC is set again after the admin MAC.

        :raises KernelError: when neither order works.
        """
        pf, vf = self.pf(port.pf_address), self.vf(port)
        if link.mac == mac and vf.mac == mac:
            return
        device_refused = False
        if link.mac != mac:
            if vf.mac not in (None, NO_MAC):
                self._try(lambda: self._set_admin_mac(pf, port.vf_index, NO_MAC))
            device_refused = not self._try(lambda: self.netlink.set_mac(link, mac))
        self._set_admin_mac(pf, port.vf_index, mac)
        if device_refused:
            self.netlink.set_mac(link, mac)
        self._pfs.pop(port.pf_address, None)

    def set_admin_mac(self, port: "Port", mac: str) -> None:
        """Set the admin MAC of a VF, and not that of its network device."""
        self._set_admin_mac(self.pf(port.pf_address), port.vf_index, mac)
        self._pfs.pop(port.pf_address, None)

    def _set_admin_mac(self, pf: Link, vf: int, mac: str) -> None:
        self.netlink.set_vf(pf, vf, rtnetlink.vf_mac(vf, mac), f"the MAC {mac}")

    @staticmethod
    def _try(action: "Callable[[], None]") -> bool:
        """Return whether the kernel accepted a request."""
        try:
            action()
        except KernelError:
            return False
        return True

    def restore(self, port: "Port", before: VfState) -> None:
        """Restore a VF: down, not promiscuous, its name, no altnames, its MTU, MACs and settings.

        It is removed from a bond and brought down first: a bond sets MAC and MTU of its ports, and a device that is up is not
        renamed. The admin MAC is read again after the MACs were set, because setting one may have changed the other.

        :param before: what ``state`` returned before the lease.
        :raises CniError: when it is not in the host or the kernel refuses.
        """
        link = self.netdev(port)
        if link is None:
            raise CniError(POOL_UNUSABLE, f"{port.name} at {port.address} is not in the host")
        if link.master:
            self.netlink.set_port(link, None)
        self.bring_down(link)
        link = self.name(port, link)
        if link.mtu != before.mtu:
            self.netlink.set_mtu(link, before.mtu)
        vf = self.vf(port, refresh=True)
        if link.mac != before.mac:
            self.set_macs(port, link, before.mac)
            vf = self.vf(port, refresh=True)
        if vf.mac != before.admin_mac:
            self.set_admin_mac(port, before.admin_mac)
        self.apply(port, before.settings)

    def reset(self, ports: "list[Port]", mac: str) -> None:
        """Restore the VFs of a bond to the state of unused VFs.

        :raises CniError: when one is not in the host or the kernel refuses.
        """
        for port in ports:
            self.restore(port, self.default_state(port, mac))

    def differences(self, port: "Port", wanted: VfSettings, mac: str | None) -> list[str]:
        """Return how the settings that a VF's PF reports differ from the wanted ones, and its admin MAC from ``mac``."""
        pf, vf = self.pf(port.pf_address), self.vf(port)
        values = [(name, str(vf.settings.get(name)), str(wanted.get(name))) for name in wanted.differing(vf.settings)]
        if mac is not None and vf.mac != mac:
            values.append(("mac", str(vf.mac), mac))
        return [f"VF {port.vf_index} of {pf.name} has {name} {present}, not {value}" for name, present, value in values]

    def name(self, port: "Port", link: Link | None = None) -> Link:
        """Rename a VF that is down to the pool's name for it if that is free, remove its altnames, and return its device.

        :raises CniError: POOL_UNUSABLE when it is not in the host.
        """
        link = link or self.netdev(port)
        if link is not None and (link.name != port.name or link.altnames):
            self._rename(link, port.name)
            link = self.netdev(port)
        if link is None:
            raise CniError(POOL_UNUSABLE, f"{port.name} at {port.address} is not in the host")
        return link

    def _rename(self, link: Link, name: str) -> None:
        """Rename a VF that is down and remove its altnames, in a temporary namespace.

        Not in the host: udev and NetworkManager react to a rename there, and may bring the VF up or rename it again. So it is
        moved first and renamed there. If another device in the host has the name, the VF gets a free one and remains in use.
        """
        with Temporary() as netns:
            self.netlink.move(link, netns.fd, "a temporary namespace")
            with Entered(netns):
                temporary = Netlink("a temporary namespace")
            try:
                # Read again: the index may have changed, because the kernel assigns a new one where the old is in use.
                moved = next((other for other in temporary.links() if other.parent == link.parent), None)
                if moved is not None:
                    move_out(temporary, moved, name)
            finally:
                temporary.close()


def move_in(host: Host, port: "Port", link: Link, netns_fd: int, target: str) -> None:
    """Move a VF that is down and has no altnames into a container, under the pool's name for it if that is free there.

    If a device of the container has that name, the VF gets a free one: it is identified by its PCI address.

    :param target: the text for the container's namespace in errors.
    :raises KernelError: when the kernel refuses.
    """
    try:
        host.netlink.move(link, netns_fd, target, port.name if link.name != port.name else "")
    except KernelError as refused:
        if refused.errno != EEXIST:
            raise
        # The kernel moves first and renames then. If only the name was refused, the VF has arrived under the name that it had.
        if host.netdev(port) is not None:
            host.netlink.move(link, netns_fd, target, "vf%d")


def move_out(container: Netlink, link: Link, name: str) -> None:
    """Move a device from the container's namespace to this process's; it is then down, has its host name and no altnames.

    It is renamed in the container, before the move: in the host udev and NetworkManager would react to the rename. A name
    that another device has, in the container or by now in the host, must not keep the VF there: it then gets a free one.
    """
    if link.up:
        container.set_up(link, False)
    container.drop_altnames(link)
    host = own()
    try:
        if link.name != name:
            try:
                container.set_name(link, name)
                link.name = name
            except KernelError as refused:
                if refused.errno != EEXIST:
                    raise
        try:
            container.move(link, host.fd, "the host")
        except KernelError as refused:
            if refused.errno != EEXIST:
                raise
            container.move(link, host.fd, "the host", "vf%d")
    finally:
        host.close()


def wait_for_vfs(ports: "list[Port]", deadline: "Deadline") -> "list[Port]":
    """Wait until every VF has its network device in the host, and return those that have none when the deadline is over.

    The kernel dismantles a deleted namespace in a workqueue, after the last process has left it and the last file of it was
    closed (net/core/net_namespace.c, cleanup_net). That may take seconds, and it moves the NICs to the host late.
    """
    with deadline.wait(f"{' and '.join(port.name for port in ports)} to return to the host"):
        while True:
            missing = [port for port in ports if not sysfs.netdev(port.address)]
            if not missing or not deadline.left():
                return missing
            sleep(_RETURN_POLL)


def setting_requests(number: int, present: VfSettings, wanted: VfSettings, differing: list[str]) -> "list[tuple[bytes, str]]":
    """Return the requests for the settings that differ, each with its text for an error.

    VLAN, priority and protocol are one setting to the kernel, and so are both rates. A value of such a group that is not
    requested is sent as it is at present.
    """

    def value(name: str) -> int:
        requested = wanted.get(name)
        return requested if requested is not None else present.get(name) or 0

    requests = []
    if {"vlan", "vlan_qos", "vlan_proto"} & set(differing):
        proto = value("vlan_proto") or _VLAN_8021Q
        text = f"the VLAN {value('vlan')} (priority {value('vlan_qos')}, protocol {proto:#06x})"
        requests.append((rtnetlink.vf_vlan(number, value("vlan"), value("vlan_qos"), proto), text))
    for name, kind, text in (
        ("trust", rtnetlink.VF_TRUST, "trust"),
        ("spoofchk", rtnetlink.VF_SPOOFCHK, "spoof check"),
        ("link_state", rtnetlink.VF_LINK_STATE, "link state"),
    ):
        if name in differing:
            requests.append((rtnetlink.vf_number(kind, number, value(name)), f"{text} {value(name)}"))
    if {"min_tx_rate", "max_tx_rate"} & set(differing):
        minimum, maximum = value("min_tx_rate"), value("max_tx_rate")
        requests.append((rtnetlink.vf_rate(number, minimum, maximum), f"the rates {minimum} to {maximum} Mbit/s"))
    return requests
