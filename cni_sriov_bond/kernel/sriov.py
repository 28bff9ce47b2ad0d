"""PFs and VFs: read, set and restore a VF's state through its PF, and move a VF out of a container.

VFs are identified by PCI address. Their names change: a VF returns to the host under the name that it had in the container.
"""

from errno import EEXIST
from time import sleep

from cni_sriov_bond.errors import POOL_UNUSABLE, CniError, KernelError
from cni_sriov_bond.kernel import rtnetlink, sysfs
from cni_sriov_bond.kernel.configure import Configurator
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Temporary, own
from cni_sriov_bond.kernel.objects import Link
from cni_sriov_bond.ports import VfSettings, VfState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.deadline import Deadline
    from cni_sriov_bond.ports import Port

# The settings of a new VF.
_DEFAULTS = VfSettings(
    vlan=0, vlan_qos=0, vlan_proto=rtnetlink.ETH_P_8021Q, spoofchk=1, trust=0, link_state=0, min_tx_rate=0, max_tx_rate=0
)
_DEFAULT_MTU = 1500
_RETURN_POLL = 0.02


class Host(Configurator):
    """The PFs and VFs in the host: what is read, set and restored of a VF."""

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
        unknown = [name for name in VfSettings.NAMES if present.get(name) is None]
        return VfState(_DEFAULT_MTU, mac, mac, _DEFAULTS.without(unknown))

    def bring_down(self, link: Link) -> None:
        """Bring a VF down and clear its promiscuous mode."""
        if link.up:
            self.netlink.set_up(link, False)
        if link.promisc_or_allmulti:
            self.netlink.clear_promisc(link)

    def restore(self, port: "Port", before: VfState) -> None:
        """Restore a VF: down, not promiscuous, its name, no altnames, its MTU, MACs and settings.

        It is removed from a bond and brought down first: a bond sets MAC and MTU of its ports, and a device that is up is not
        renamed.

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
        self.unconfigure(port, link, before)

    def reset(self, ports: "list[Port]", mac: str) -> None:
        """Restore the VFs of a bond to the state of unused VFs.

        :raises CniError: when one is not in the host or the kernel refuses.
        """
        for port in ports:
            self.restore(port, self.default_state(port, mac))

    def differences(self, port: "Port", requested: VfSettings, mac: str | None) -> list[str]:
        """Return how the settings that a VF's PF reports differ from the wanted ones, and its admin MAC from ``mac``."""
        pf, vf = self.pf(port.pf_address), self.vf(port)
        names = self.differing(port, requested)
        names = [name for name in names if vf.settings.get(name) is not None or name not in requested.defaults]
        values = [(name, str(vf.settings.get(name)), str(requested.get(name))) for name in names]
        if mac is not None and vf.mac not in (None, mac):
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
                moved = next((device for device in temporary.links() if device.parent == link.parent), None)
                if moved is not None:
                    move_out(temporary, moved, name)
            finally:
                temporary.close()


def move_in(host: Host, port: "Port", link: Link, netns_fd: int, netns_text: str) -> None:
    """Move a VF that is down and has no altnames into a container, under the pool's name for it if that is free there.

    If a device of the container has that name, the VF gets a free one: it is identified by its PCI address.

    :param netns_text: the text for the container's namespace in errors.
    :raises KernelError: when the kernel refuses.
    """
    try:
        host.netlink.move(link, netns_fd, netns_text, port.name if link.name != port.name else "")
    except KernelError as refused:
        if refused.errno != EEXIST:
            raise
        # The kernel moves first and renames then. If only the name was refused, the VF has arrived under the name that it had.
        present = host.netlink.link(index=link.index)
        if present is not None and present.parent == link.parent:
            host.netlink.move(link, netns_fd, netns_text, "vf%d")


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
