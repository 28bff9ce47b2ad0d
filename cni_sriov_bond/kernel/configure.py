"""Set a VF's settings and MACs through its PF, in the order in which NICs take them, and set them back."""

from time import sleep

from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError, KernelError
from cni_sriov_bond.kernel import rtnetlink, sysfs
from cni_sriov_bond.kernel.pfs import LATE_SECONDS, RESET_POLL, Pfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni_sriov_bond.kernel.objects import Link
    from cni_sriov_bond.kernel.vfsettings import SettingRequest
    from cni_sriov_bond.ports import Port, VfSettings, VfState

NO_MAC = "00:00:00:00:00:00"


class Configurator(Pfs):
    """Changes VFs. What is known of drivers and settings is imported late: a VF that is as it should be needs none of it."""

    def unsupported(self, port: "Port", requested: "VfSettings") -> list[str]:
        """Return the defaults that the driver of a port's PF does not have.

        Only trust and spoof check are known before they are set: the kernel reports -1 for them.

        :raises CniError: INVALID_CONFIG when the config asks for one explicitly.
        """
        present = self.vf(port).settings
        names = [name for name in ("trust", "spoofchk") if requested.get(name) is not None and present.get(name) is None]
        if not names:
            return []
        from cni_sriov_bond.kernel import drivers, vfsettings

        driver = sysfs.driver(port.pf_address)
        names = [name for name in names if not drivers.accepts_unreported(driver, name)]
        explicit = [name for name in names if name not in requested.defaults]
        if explicit:
            from cni_sriov_bond.kernel import pf as pfs

            pf, name = self.pf(port.pf_address).name, explicit[0]
            if mode := pfs.mode_problem(port.pf_address):
                raise CniError(INVALID_CONFIG, f"{pf} has no {vfsettings.words(name)} for VFs: {mode}")
            raise CniError(
                INVALID_CONFIG,
                f"the driver {driver} of {pf} has no {vfsettings.words(name)} for VFs: remove {name} from the network config, "
                "or set it to leave",
            )
        return names

    def consequences(self, port: "Port", missing: "Sequence[str]") -> list[str]:
        """Return what it means that a driver does not have some of the defaults, a clause each.

        No trust is what a driver without it gives, so it has no consequence.
        """
        if not missing:
            return []
        from cni_sriov_bond.kernel import pf, vfsettings

        names = [name for name in missing if name in vfsettings.CONSEQUENCES]
        if not names:
            return []
        cause = "switchdev mode" if pf.mode_problem(port.pf_address) else f"the driver {sysfs.driver(port.pf_address)}"
        return [f"{cause} has no {vfsettings.words(name)} for VFs, so {vfsettings.CONSEQUENCES[name]}" for name in names]

    def configure(self, port: "Port", link: "Link", requested: "VfSettings", mac: str) -> list[str]:
        """Set a VF's settings and MAC, in the order in which NICs take them, and read the settings back.

        What is so already is not sent: some drivers refuse a setting that they do not have, and some reset the VF for it.

        :param link: its network device.
        :return: the defaults that the driver does not have.
        :raises KernelError: when the kernel refuses a setting, naming it.
        :raises CniError: INVALID_CONFIG for a setting of the config that the driver does not have; POOL_UNUSABLE when the
            kernel accepted a setting and reports another.
        """
        missing = self.unsupported(port, requested)
        requested = requested.without(missing)
        before_mac, after_mac = self._requests(port, requested)
        missing += self._send(port, requested, before_mac, requested.defaults)
        self.set_macs(port, link, mac)
        missing += self._send(port, requested, after_mac, requested.defaults)
        if before_mac or after_mac:
            self._verify(port, requested.without(missing))
        return missing

    def unconfigure(self, port: "Port", link: "Link", before: "VfState") -> None:
        """Set a VF's settings and MACs back, in the reverse order.

        The admin MAC is read again after the MACs were set, because setting one may have changed the other.

        :param before: the state before ``configure``. A setting in it that the driver does not have was not changed either.
        :raises CniError: when the kernel refuses, or accepts a setting and reports another.
        """
        vf = self.vf(port, refresh=True)
        settings = before.settings
        before_mac, after_mac = self._requests(port, settings)
        missing = self._send(port, settings, after_mac[::-1], settings.NAMES)
        if link.mac != before.mac:
            self.set_macs(port, link, before.mac)
            vf = self.vf(port, refresh=True)
        if vf.mac != before.admin_mac:
            self.set_admin_mac(port, before.admin_mac)
        missing += self._send(port, settings, before_mac[::-1], settings.NAMES)
        if before_mac or after_mac:
            self._verify(port, settings.without(missing))

    def _requests(self, port: "Port", requested: "VfSettings") -> "tuple[list[SettingRequest], list[SettingRequest]]":
        """Return the requests for the settings that differ: those that come before the MAC, and those after it."""
        present = self.vf(port).settings
        differing = requested.differing(present)
        if not differing:
            return [], []
        from cni_sriov_bond.kernel import vfsettings

        no_rate = 0
        if "max_tx_rate" in differing and not requested.max_tx_rate:
            from cni_sriov_bond.kernel import drivers

            no_rate = drivers.rate_for_none(sysfs.driver(port.pf_address), self.speed(port))
        requests = vfsettings.requests(port.vf_index, present, requested, differing, no_rate)
        count = sum(request.names[0] in vfsettings.BEFORE_MAC for request in requests)
        return requests[:count], requests[count:]

    def _send(
        self, port: "Port", requested: "VfSettings", requests: "list[SettingRequest]", optional: "Sequence[str]"
    ) -> list[str]:
        """Send requests, and return the names of the settings that the driver does not have.

        :param optional: names of settings that it need not have.
        """
        missing: list[str] = []
        for request in requests:
            try:
                self.change(port, request.setting, request.text)
            except KernelError as refused:
                from cni_sriov_bond.kernel import vfsettings

                if refused.errno not in vfsettings.NOT_SUPPORTED or request.names[0] not in optional:
                    raise KernelError(refused.errno, self._explain(port, refused, request, requested)) from None
                missing += request.names
        return missing

    def _explain(self, port: "Port", refused: KernelError, request: "SettingRequest", requested: "VfSettings") -> str:
        """Return the message of a refused request: in switchdev mode it is not the driver that lacks the setting."""
        from cni_sriov_bond.kernel import pf, vfsettings

        mode = pf.mode_problem(port.pf_address) if refused.errno in vfsettings.NOT_SUPPORTED else ""
        if mode:
            return f"{refused.msg}; {mode}"
        return vfsettings.explain(refused, request, requested, sysfs.driver(port.pf_address))

    def _verify(self, port: "Port", requested: "VfSettings") -> None:
        """Read the settings back: some drivers accept a VLAN without setting it, some only later.

        The container must not start in another network.
        """
        differing = self.differing(port, requested, refresh=True)
        if not differing:
            return
        from cni_sriov_bond.kernel import drivers

        deadline = self.patience(LATE_SECONDS if drivers.reports_late(sysfs.driver(port.pf_address)) else 0)
        while differing and deadline.left():
            sleep(RESET_POLL)
            differing = self.differing(port, requested, refresh=True)
        if differing:
            pf, settings = self.pf(port.pf_address).name, ", ".join(f"{name} {requested.get(name)}" for name in differing)
            raise CniError(
                POOL_UNUSABLE,
                f"{pf} accepted {settings} for VF {port.vf_index} but does not report it; its driver does not support this",
            )

    def differing(self, port: "Port", requested: "VfSettings", refresh: bool = False) -> list[str]:
        """Return the names of the settings that are reported otherwise than wanted; what is never reported does not count."""
        present = self.vf(port, refresh).settings
        names = requested.differing(present)
        if all(present.get(name) is not None for name in names):
            return names
        from cni_sriov_bond.kernel import drivers

        driver = sysfs.driver(port.pf_address)
        return [name for name in names if present.get(name) is not None or not drivers.accepts_unreported(driver, name)]

    def set_macs(self, port: "Port", link: "Link", mac: str) -> None:
        """Set the MAC of a VF: on its network device, and through its PF (the admin MAC).

        The order matters. Once an admin MAC is set, igb refuses any change by an untrusted VF with "Cannot assign requested
        address", even to the same MAC (igb_main.c, igb_rcv_msg_from_vf: IGB_VF_FLAG_PF_SET_MAC). Setting the admin MAC to zero
        clears that flag, in ixgbe too. So there: admin MAC to zero, MAC of the device, admin MAC. Tried with igb and igbvf of
        Linux 6.12. For the order of other drivers see ``kernel/vfmac``.

        :raises KernelError: when the kernel refuses.
        :raises CniError: POOL_UNUSABLE when the device does not take the MAC.
        """
        vf = self.vf(port)
        if link.mac == mac and (vf.mac == mac or vf.mac is None):
            return
        from cni_sriov_bond.kernel import drivers

        if drivers.way_of_mac(sysfs.driver(port.pf_address)) != "claim":
            from cni_sriov_bond.kernel import vfmac

            vfmac.set_through_pf(self, port, link, mac)
            return
        device_refused = False
        if link.mac != mac:
            if vf.mac not in (None, NO_MAC):
                self._try(lambda: self._set_admin_mac(port, NO_MAC))
            device_refused = not self._try(lambda: self.netlink.set_mac(link, mac))
        self._set_admin_mac(port, mac)
        if device_refused:
            self.netlink.set_mac(link, mac)
        link.mac = mac
        self.forget(port)

    def set_admin_mac(self, port: "Port", mac: str) -> None:
        """Set the admin MAC of a VF, and not that of its network device; where a driver refuses none, it keeps its MAC."""
        if mac in ("", NO_MAC):
            from cni_sriov_bond.kernel import drivers

            if not (mac and drivers.takes_zero_mac(sysfs.driver(port.pf_address))):
                return
        try:
            self._set_admin_mac(port, mac)
        except KernelError as refused:
            from cni_sriov_bond.kernel import vfsettings

            if refused.errno not in vfsettings.NOT_SUPPORTED:
                raise
        self.forget(port)

    def _set_admin_mac(self, port: "Port", mac: str) -> None:
        self.change(port, rtnetlink.vf_mac(port.vf_index, mac), f"the MAC {mac}")

    @staticmethod
    def _try(action: "Callable[[], None]") -> bool:
        """Return whether the kernel accepted a request."""
        try:
            action()
        except KernelError:
            return False
        return True
