"""PFs and VFs: read, set and restore a VF's state through its PF, and move it out of a container.

VFs are known by PCI address. Their names change: a VF returns to the host under the name that the container gave it.
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
# The settings of a VF that its driver has just made.
_DEFAULTS = VfSettings(
    vlan=0, vlan_qos=0, vlan_proto=_VLAN_8021Q, spoofchk=1, trust=0, link_state=0, min_tx_rate=0, max_tx_rate=0
)
_DEFAULT_MTU = 1500
_RETURN_POLL = 0.02


class Host:
    """The host's side of the VFs: one netlink socket, and each PF read once until something is changed."""

    def __init__(self) -> None:
        self.netlink = Netlink()
        self._pfs: dict[str, Link] = {}

    def pf(self, pci: str, fresh: bool = False) -> Link:
        """Return a PF with all its VFs' settings.

        :raises CniError: POOL_UNUSABLE when it is gone.
        """
        if fresh or pci not in self._pfs:
            name = sysfs.netdev(pci)
            link = self.netlink.link(name, vfs=True) if name else None
            if link is None:
                # The hooks of a rootless runtime run in another network namespace.
                raise CniError(
                    POOL_UNUSABLE,
                    f"the NIC at {pci} has no network device here; is its driver loaded, and does the runtime run in the "
                    "host's network namespace?",
                )
            self._pfs[pci] = link
        return self._pfs[pci]

    def vf(self, port: "Port", fresh: bool = False) -> Vf:
        """Return a VF's settings as its PF reports them.

        :raises CniError: POOL_UNUSABLE when the PF has no such VF.
        """
        pf = self.pf(port.pf_address, fresh)
        if port.vf_index not in pf.vfs:
            raise CniError(
                POOL_UNUSABLE,
                f"{pf.name} has no VF {port.vf_index}, which is {port.name} of the pool; run `sriov-bondctl up`",
            )
        return pf.vfs[port.vf_index]

    def netdev(self, port: "Port") -> Link | None:
        """Return a VF's network device, or None while it is not in the host."""
        name = sysfs.netdev(port.address)
        return self.netlink.link(name) if name else None

    def state(self, port: "Port") -> VfState:
        """Return what must be put back after the lease: the netdev's MTU and MAC, and every setting of the PF.

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
        """Return the state of a VF that was never used, with the pool's MAC: for one whose own state is not known.

        A setting that its driver does not know is None in it.
        """
        present = self.vf(port).settings
        known = {name: _DEFAULTS.get(name) for name in VfSettings.NAMES if present.get(name) is not None}
        return VfState(_DEFAULT_MTU, mac, mac, VfSettings(**known))

    def apply(self, port: "Port", wanted: VfSettings) -> None:
        """Make a VF's settings the wanted ones, changing only what differs, and read them back.

        :raises KernelError: when the kernel refuses one, naming it.
        :raises CniError: POOL_UNUSABLE when the kernel took a setting and shows another.
        """
        pf, vf = self.pf(port.pf_address), self.vf(port)
        differing = wanted.differing(vf.settings)
        if not differing:
            return
        for setting, words in _requests(port.vf_index, vf.settings, wanted, differing):
            self.netlink.set_vf(pf, port.vf_index, setting, words)
        # Drivers have accepted a VLAN and not set it, so what the PF shows is what counts.
        left = wanted.differing(self.vf(port, fresh=True).settings)
        if left:
            raise CniError(
                POOL_UNUSABLE,
                f"{pf.name} accepted {', '.join(f'{name} {wanted.get(name)}' for name in left)} for VF {port.vf_index} but "
                "does not show it; its driver does not support this",
            )

    def set_macs(self, port: "Port", link: Link, mac: str) -> None:
        """Set one MAC on a VF: its own (effective) one and the PF's for it (the admin MAC).

        igb refuses a VF's own change once the PF has set an admin MAC, unless the VF is trusted (igb_main.c,
        igb_set_vf_mac_filter and igb_rcv_msg_from_vf). An admin MAC of zero ends that. So the order is: admin MAC zero,
        effective MAC, admin MAC. A driver that refuses the VF's own change at first gets the admin MAC first.

        :raises KernelError: when no order works.
        """
        pf, vf = self.pf(port.pf_address), self.vf(port)
        if link.mac == mac and vf.mac == mac:
            return
        own_refused = False
        if link.mac != mac:
            if vf.mac not in (None, NO_MAC):
                self._try(lambda: self._set_admin_mac(pf, port.vf_index, NO_MAC))
            own_refused = not self._try(lambda: self.netlink.set_mac(link, mac))
        self._set_admin_mac(pf, port.vf_index, mac)
        if own_refused:
            self.netlink.set_mac(link, mac)
        self._pfs.pop(port.pf_address, None)

    def set_admin_mac(self, port: "Port", mac: str) -> None:
        """Set the PF's MAC for a VF alone."""
        self._set_admin_mac(self.pf(port.pf_address), port.vf_index, mac)
        self._pfs.pop(port.pf_address, None)

    def _set_admin_mac(self, pf: Link, vf: int, mac: str) -> None:
        self.netlink.set_vf(pf, vf, rtnetlink.vf_mac(vf, mac), f"the MAC {mac}")

    @staticmethod
    def _try(action: "Callable[[], None]") -> bool:
        try:
            action()
        except KernelError:
            return False
        return True

    def restore(self, port: "Port", before: VfState) -> None:
        """Put a VF back as it was: down, not promiscuous, with its name, no altnames, MTU, MACs and every setting of the PF.

        :param before: what ``state`` returned before the lease.
        :raises CniError: when it is not in the host or the kernel refuses.
        """
        link = self.netdev(port)
        if link is None:
            raise CniError(POOL_UNUSABLE, f"{port.name} at {port.address} is not in the host")
        if link.master:
            self.netlink.set_port(link, None)
        if link.up:
            self.netlink.set_up(link, False)
        if link.promisc_or_allmulti:
            self.netlink.clear_promisc(link)
        link = self.name(port, link)
        if link.mtu != before.mtu:
            self.netlink.set_mtu(link, before.mtu)
        vf = self.vf(port, fresh=True)
        if link.mac != before.mac:
            self.set_macs(port, link, before.mac)
            vf = self.vf(port, fresh=True)
        if vf.mac != before.admin_mac:
            self.set_admin_mac(port, before.admin_mac)
        self.apply(port, before.settings)

    def reset(self, ports: "list[Port]", mac: str) -> None:
        """Put the VFs of a bond into the state of VFs that were never used.

        :raises CniError: when one is not in the host or the kernel refuses.
        """
        for port in ports:
            self.restore(port, self.default_state(port, mac))

    def differences(self, port: "Port", wanted: VfSettings, mac: str | None) -> list[str]:
        """Return which of a VF's settings are not as wanted, and its MAC if it is not ``mac``, as its PF shows them."""
        pf, vf = self.pf(port.pf_address), self.vf(port)
        differing = [(name, vf.settings.get(name), wanted.get(name)) for name in wanted.differing(vf.settings)]
        shown = [(name, str(present), str(value)) for name, present, value in differing]
        if mac is not None and vf.mac != mac:
            shown.append(("mac", str(vf.mac), mac))
        return [f"VF {port.vf_index} of {pf.name} has {name} {present}, not {value}" for name, present, value in shown]

    def name(self, port: "Port", link: Link | None = None) -> Link:
        """Rename a VF that is down to the pool's name for it, if that is free, and drop its altnames; return its device then.

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
        """Rename a VF that is down and drop its altnames, in a namespace of our own.

        Not in the host: udev and NetworkManager see a rename there and may rename or configure the device at the same
        moment. When the name is taken in the host, the VF gets a free one: it is known by its PCI address.
        """
        with Temporary() as netns:
            self.netlink.move(link, netns.fd, "a temporary namespace")
            with Entered(netns):
                container = Netlink("a temporary namespace")
            try:
                moved = next((other for other in container.links() if other.parent == link.parent), None)
                if moved is not None:
                    move_out(container, moved, name)
            finally:
                container.close()


def move_out(container: Netlink, link: Link, name: str) -> None:
    """Move a device from the namespace of ``container`` to this process's: down, with its host name, without altnames.

    When another device of the host has that name by now, the VF gets a free one: it is known by its PCI address.
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
    """Wait until every VF has its netdev in the host, and return those that have none when the deadline is over.

    The kernel takes a deleted namespace apart in a worker of its own and moves the NICs to the host last.
    """
    with deadline.wait(f"{' and '.join(port.name for port in ports)} to return to the host"):
        while True:
            missing = [port for port in ports if not sysfs.netdev(port.address)]
            if not missing or not deadline.left():
                return missing
            sleep(_RETURN_POLL)


def _requests(number: int, present: VfSettings, wanted: VfSettings, differing: list[str]) -> "list[tuple[bytes, str]]":
    """Return the requests for the settings that differ, each with its words for an error."""

    def value(name: str) -> int:
        wish = wanted.get(name)
        return wish if wish is not None else present.get(name) or 0

    requests = []
    if {"vlan", "vlan_qos", "vlan_proto"} & set(differing):
        proto = value("vlan_proto") or _VLAN_8021Q
        words = f"the VLAN {value('vlan')} (priority {value('vlan_qos')}, protocol {proto:#06x})"
        requests.append((rtnetlink.vf_vlan(number, value("vlan"), value("vlan_qos"), proto), words))
    for name, kind, words in (
        ("trust", rtnetlink.VF_TRUST, "trust"),
        ("spoofchk", rtnetlink.VF_SPOOFCHK, "spoof check"),
        ("link_state", rtnetlink.VF_LINK_STATE, "link state"),
    ):
        if name in differing:
            requests.append((rtnetlink.vf_number(kind, number, value(name)), f"{words} {value(name)}"))
    if {"min_tx_rate", "max_tx_rate"} & set(differing):
        least, most = value("min_tx_rate"), value("max_tx_rate")
        requests.append((rtnetlink.vf_rate(number, least, most), f"the rates {least} to {most} Mbit/s"))
    return requests
