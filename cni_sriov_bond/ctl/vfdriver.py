"""The driver of new VFs: how long to wait for it, how to get it, and what is wrong where there is none."""

import contextlib
import os
import shutil
import subprocess
from time import monotonic

from cni_sriov_bond.cni.invoke import run_program
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sysfs

# Drivers that hand a device to a program or a virtual machine. A VF of one of these has no network device.
HANDING_OVER = ("vfio-pci", "pci-stub", "xen-pciback", "pciback", "uio_pci_generic", "igb_uio")
_MODPROBE_SECONDS = 20
# How long nothing may happen: udev loads a driver in less, and a driver registers the next device in less.
_NO_DRIVER_SECONDS, _NO_DEVICE_SECONDS = 3.0, 10.0


def is_settled(address: str) -> bool:
    """Return whether there is nothing to wait for: the VF has its network device, or is handed over to something else."""
    return bool(sysfs.netdev(address)) or sysfs.driver(address) in HANDING_OVER


class Arrival:
    """The arrival of new VFs: what is still missing, and what to try if nothing happens.

    A module is loaded that udev has not loaded, and a VF whose driver made no network device is bound again, each once.
    """

    def __init__(self, pf: str, addresses: list[str]) -> None:
        self.ready = 0
        self._pf = pf
        self._addresses = addresses
        self._counts = (-1, -1)
        self._since = monotonic()
        self._loaded = self._rebound = False

    def goes_on(self) -> bool:
        """Look at the VFs once, and return whether it is worth looking again.

        :raises CniError: POOL_UNUSABLE when none of them gets a driver.
        """
        waiting = [vf for vf in self._addresses if not is_settled(vf)]
        bound = [vf for vf in waiting if sysfs.driver(vf)]
        self.ready = len(self._addresses) - len(waiting)
        if not waiting:
            return False
        if (len(waiting), len(bound)) != self._counts:
            self._counts, self._since = (len(waiting), len(bound)), monotonic()
        idle_seconds = monotonic() - self._since
        if not bound:
            return idle_seconds < _NO_DRIVER_SECONDS or self._try_to_load(waiting[0])
        return idle_seconds < _NO_DEVICE_SECONDS or self._try_to_rebind(bound)

    def _try_to_load(self, address: str) -> bool:
        if not self._loaded:
            load(address)
            self._loaded, self._since = True, monotonic()
            return True
        if not self.ready:
            raise CniError(POOL_UNUSABLE, f"the VFs of {self._pf} get no driver: {missing(address)}")
        return False

    def _try_to_rebind(self, bound: list[str]) -> bool:
        if self._rebound:
            return False
        for address in bound:
            rebind(address)
        self._rebound, self._since = True, monotonic()
        return True


def load(address: str) -> None:
    """Load the module for a VF, as udev should have done. Modules that the host has blacklisted stay out."""
    alias, modprobe = _alias(address), shutil.which("modprobe")
    if alias and modprobe:
        run_program(modprobe, "-q", "-b", alias, seconds=_MODPROBE_SECONDS)


def bind_unbound(addresses: list[str]) -> None:
    """Bind VFs that have no driver, as the kernel would have done when they were created.

    They were created while their PF's sriov_drivers_autoprobe was 0, or unbound by hand. While it is 0 the kernel refuses
    (drivers/pci/pci-driver.c, pci_device_can_probe), and nothing is tried. A ``driver_override`` is obeyed.
    """
    unbound = [vf for vf in addresses if sysfs.exists(vf) and not sysfs.driver(vf) and sysfs.probes_vfs(f"{vf}/physfn")]
    if unbound:
        load(unbound[0])
    for address in unbound:
        _probe(address)


def _probe(address: str) -> None:
    path = f"{os.path.dirname(sysfs.PCI_DEVICES)}/drivers_probe"
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:
        file.write(address)


def rebind(address: str) -> None:
    """Unbind a VF whose driver made no network device, and let the kernel probe it again.

    Some VFs come up without one when many are created at once (iavf); this brings it.
    """
    with contextlib.suppress(OSError), open(f"{sysfs.PCI_DEVICES}/{address}/driver/unbind", "w", encoding="ascii") as file:
        file.write(address)
    _probe(address)


def missing(address: str) -> str:
    """Return why a VF has no driver, and what to do, as the end of a sentence."""
    if not sysfs.probes_vfs(f"{address}/physfn"):
        return sysfs.absence(address)
    modules = _modules(address)
    if modules:
        return f"the driver module {' or '.join(modules)} is not loaded; run `modprobe {modules[0]}`, and see `dmesg`"
    device = _read(address, "device").removeprefix("0x")
    vendor = _read(address, "vendor").removeprefix("0x")
    named = f"the device {vendor}:{device}" if vendor and device else "it"
    return f"no module of this kernel ({os.uname().release}) is a driver for {named}; install the VF driver"


def _modules(address: str) -> list[str]:
    """Return the modules that are drivers for a VF, the blacklisted ones too."""
    alias, modprobe = _alias(address), shutil.which("modprobe")
    if not alias or not modprobe:
        return []
    with contextlib.suppress(subprocess.TimeoutExpired):
        shown = subprocess.run(
            [modprobe, "-q", "-R", alias], check=False, capture_output=True, text=True, timeout=_MODPROBE_SECONDS
        )
        return shown.stdout.split() if shown.returncode == 0 else []
    return []


def _alias(address: str) -> str:
    return _read(address, "modalias")


def _read(address: str, attribute: str) -> str:
    try:
        with open(f"{sysfs.PCI_DEVICES}/{address}/{attribute}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
