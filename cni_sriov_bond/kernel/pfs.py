"""PFs and their VFs as the kernel reports them, looked up by PCI address; requests that wait while a VF is reset."""

from errno import EAGAIN, EBUSY
from time import sleep

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError, KernelError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.objects import Link, Vf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.ports import Port

# A VF that its PF resets comes back within this time: i40e and ice need up to 3 s for many VFs, sriov-cni waits 1 s for one.
RESET_SECONDS = 5.0
RESET_POLL = 0.1
# How long a VF may take to take over a MAC, and a driver to report a setting: iavf after a reset, qede and bnx2x by a page that
# they read each second.
LATE_SECONDS = 3.0
# How often a device is looked up again whose name belonged to another device by the time that the kernel was asked.
_LOOKUPS, _LOOKUP_POLL = 10, 0.005

# The hooks of a rootless runtime run in a namespace of their own, where sysfs still lists the host's devices.
_ABSENT = (
    "the NIC at {} has no network device here; is its driver loaded, and does the runtime run in the host's network namespace?"
)


class Pfs:
    """The PFs and VFs in the host: one netlink socket, and a cache of PFs that is updated after a change.

    :param netlink: a socket to use instead of a new one.
    :param deadline: that of the call; without one, a reset is given its full time.
    """

    def __init__(self, netlink: Netlink | None = None, deadline: Deadline | None = None) -> None:
        self.netlink = netlink or Netlink()
        self._deadline = deadline
        self._pfs: dict[str, Link] = {}
        self._stale: set[str] = set()

    def patience(self, seconds: float = RESET_SECONDS) -> Deadline:
        """Return a deadline in ``seconds``, or that of the call if it is earlier."""
        return self._deadline.part(seconds) if self._deadline else Deadline(seconds)

    def pf(self, address: str, refresh: bool = False) -> Link:
        """Return a PF with the settings of all its VFs.

        :param refresh: ask the kernel also if the PF is cached.
        :raises CniError: POOL_UNUSABLE when it has no network device in this namespace.
        """
        if refresh or address not in self._pfs or address in self._stale:
            link = self._link(address, vfs=True)
            if link is None:
                raise CniError(POOL_UNUSABLE, _ABSENT.format(address))
            self._pfs[address] = link
            self._stale.discard(address)
        return self._pfs[address]

    def require_pf(self, address: str) -> None:
        """Raise an error unless a device of the PF's name is in this namespace; it is not to be changed.

        :raises CniError: POOL_UNUSABLE when there is none.
        """
        name = sysfs.netdev(address)
        if not name or self.netlink.link(name) is None:
            raise CniError(POOL_UNUSABLE, _ABSENT.format(address))

    def forget(self, port: "Port") -> None:
        """Note that a VF of a port's PF has changed: what is cached of them is out of date."""
        self._stale.add(port.pf_address)

    def netdev(self, port: "Port") -> Link | None:
        """Return a VF's network device, or None if it is not in the host."""
        return self._link(port.address)

    def _link(self, address: str, vfs: bool = False) -> Link | None:
        """Return the network device of a PCI device.

        sysfs has only its name, and it may be renamed before the kernel is asked, and another device get its name. So the
        answer counts only if it is about this PCI device; all requests that follow go by its index.
        """
        for _ in range(_LOOKUPS):
            name = sysfs.netdev(address)
            if not name:
                return None
            link = self.netlink.link(name, vfs=vfs)
            if link is not None and link.parent == address:
                return link
            sleep(_LOOKUP_POLL)
        return None

    def vf(self, port: "Port", refresh: bool = False) -> Vf:
        """Return a VF's settings as its PF reports them, in the form that is set; wait for one that is being reset.

        :raises CniError: POOL_UNUSABLE when the PF has no such VF, TRY_AGAIN_LATER when it is not reported for too long.
        """
        vf = self.pf(port.pf_address, refresh).vfs.get(port.vf_index) or self._missing_vf(port)
        if vf.settings.max_tx_rate:
            from cni_sriov_bond.kernel import drivers

            driver = sysfs.driver(port.pf_address)
            if drivers.reports_rate_for_none(driver) and vf.settings.max_tx_rate == drivers.rate_of_none(
                driver, self.speed(port)
            ):
                vf.settings.max_tx_rate = 0
        return vf

    def _missing_vf(self, port: "Port") -> Vf:
        """Return a VF that its PF has and does not report.

        A VF whose driver answers with an error is left out of the list, without an error: i40e, ice and others do so while they
        reset it (net/core/rtnetlink.c, rtnl_fill_vfinfo). Of a driver that reports none, every setting is None.
        """
        pf = self._pfs[port.pf_address]
        if port.vf_index >= pf.num_vfs:
            raise CniError(
                POOL_UNUSABLE,
                f"{pf.name} has no VF {port.vf_index}, which is {port.name} of the pool; run `sriov-bondctl up`",
            )
        from cni_sriov_bond.kernel import drivers

        driver = sysfs.driver(port.pf_address)
        if drivers.reports_no_vfs(driver):
            return pf.vfs.setdefault(port.vf_index, Vf(port.vf_index))
        deadline = self.patience()
        with deadline.wait(f"{pf.name} to report VF {port.vf_index}"):
            while deadline.left():
                sleep(RESET_POLL)
                vf = self.pf(port.pf_address, refresh=True).vfs.get(port.vf_index)
                if vf is not None:
                    return vf
        raise CniError(
            TRY_AGAIN_LATER,
            f"{pf.name} does not report its VF {port.vf_index} ({port.name}): its driver {driver} is resetting the VF or the "
            f"NIC, or {pf.name} is down; look at `ip link show {pf.name}` and dmesg, then try again",
        )

    def speed(self, port: "Port") -> int:
        """Return the speed of the PF's link in Mbit/s, 0 where it has none."""
        from cni_sriov_bond.kernel import netdevs

        text = netdevs.read(f"{sysfs.PCI_DEVICES}/{port.pf_address}/net/{self.pf(port.pf_address).name}/speed")
        return int(text) if text.isdecimal() and len(text) < 10 else 0

    def change(self, port: "Port", setting: bytes, text: str) -> None:
        """Change one setting of a VF through its PF; repeat it while the VF is being reset.

        :param setting: what ``rtnetlink.vf_mac`` and the like return.
        :param text: the setting in an error, e.g. "the VLAN 100".
        :raises KernelError: when the kernel refuses it.
        """
        pf = self._pfs.get(port.pf_address) or self.pf(port.pf_address)
        try:
            self.netlink.set_vf(pf, port.vf_index, setting, text)
        except KernelError as refused:
            if refused.errno not in (EAGAIN, EBUSY):
                raise
            self._repeat(pf, port, setting, text)

    def _repeat(self, pf: Link, port: "Port", setting: bytes, text: str) -> None:
        deadline = self.patience()
        with deadline.wait(f"the reset of VF {port.vf_index} of {pf.name}"):
            while True:
                sleep(RESET_POLL)
                try:
                    return self.netlink.set_vf(pf, port.vf_index, setting, text)
                except KernelError as refused:
                    if refused.errno not in (EAGAIN, EBUSY):
                        raise
                    if not deadline.left():
                        message = f"{refused.msg}; the driver still resets this VF after {RESET_SECONDS:.0f} s; try again"
                        raise KernelError(refused.errno, message) from None
