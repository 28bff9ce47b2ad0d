"""The lab: the guest, and the cables and switches around it."""

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.debian import kernel_image
from tests.lab.downloads import filesystem_image
from tests.lab.guest import GUEST_DEADLINE, Guest
from tests.lab.machine import SWITCHES, Machine, working_kvm
from tests.lab.progress import step
from tests.lab.qmp import Qmp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.downloads import Downloads


class Lab:
    """A guest with NIC 1 cabled to switch A, NIC 2 to switch B (and so on), and peers ("the world") behind all of them."""

    def __init__(self, guest: Guest, description: str) -> None:
        self.guest = guest
        self.description = description
        self._qmp = Qmp(guest.machine.channels.qmp)

    def cable(self, name: str, *, plugged: bool) -> None:
        """Pull the cable between the host's NIC and a switch, or plug it in."""
        self._qmp.set_link(f"nic{_known(name)}", up=plugged)

    def switch(self, name: str, *, powered: bool) -> None:
        """Power a switch off or on: its ports to the host and to the world."""
        self.cable(name, plugged=powered)
        self._qmp.set_link(f"world{name}", up=powered)

    @contextlib.contextmanager
    def pulled(self, name: str) -> "Iterator[None]":
        """Pull a cable for the duration of the block."""
        self.cable(name, plugged=False)
        try:
            yield
        finally:
            self.cable(name, plugged=True)

    def close(self) -> None:
        """End the lab."""
        self._qmp.close()
        self.guest.close()


def boot(
    downloads: "Downloads",
    product: "Path | None",
    *,
    terminal: bool = False,
    disks: "dict[str, Path] | None" = None,
    deadline: float = GUEST_DEADLINE,
    nics: int = 2,
    systemd: bool = False,
) -> Lab:
    """Boot the guest, with the executables of ``product`` (dist/root) installed, if given.

    :param disks: writable images, by name (see ``machine.Machine``).
    :param deadline: seconds after which the guest is ended in any case.
    :param nics: the number of SR-IOV NICs, two to four.
    """
    kvm = working_kvm(downloads.kernel)
    version = kernel_image(downloads.kernel).name.removeprefix("vmlinuz-")
    description = f"kernel {version}, {'on KVM' if kvm else 'emulated'}"
    with step(f"Booting the guest ({description})"):
        folder = Path(tempfile.mkdtemp(prefix="sriov-bond-lab."))
        images = {"tools": downloads.tools_image}
        if product is not None:
            images["product"] = folder / "product.ext4"
            filesystem_image(product, images["product"])
        machine = Machine(folder, downloads.kernel, images, kvm=kvm, terminal=terminal, disks=disks, nics=nics, systemd=systemd)
        guest = Guest(machine, deadline=deadline)
        machine.drop_files()
        return Lab(guest, description)


def _known(name: str) -> str:
    if name not in SWITCHES:
        raise ValueError(f"there is no switch {name!r}, only {' and '.join(SWITCHES)}")
    return name
