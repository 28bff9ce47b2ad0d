"""A physical function in sysfs: how many VFs it has and can have, and their PCI addresses."""

import contextlib
import os
import re
from errno import ENOENT
from time import monotonic, sleep

from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.objects import Link

_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_SHORT = re.compile(r"^(?=[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z)")
_FINISH_SECONDS, _POLL = 2.0, 0.05
_RENAMES = 3  # how often to read a name again that was changed meanwhile


class PhysicalFunction:
    """The PF of a NIC, known by its PCI address. Its VFs are changed by ``create_vfs`` and ``remove_vfs`` alone.

    ``name`` is what the NIC was called when it was looked at last; it may change at any time.

    :param number: the NIC's number over the whole host file, from 1.
    :param netlink: a socket to look for altnames with, instead of a new one.
    :raises CniError: POOL_UNUSABLE when there is no such NIC or it has no SR-IOV, naming the NICs that have.
    """

    def __init__(self, name_or_pci: str, number: int, netlink: Netlink | None = None) -> None:
        self.requested = name_or_pci
        self.number = number
        address = _SHORT.sub("0000:", name_or_pci.lower())  # as lspci writes it
        self.address = address if _PCI.match(address) else _pci_of(name_or_pci, netlink)
        self.path = f"{sysfs.PCI_DEVICES}/{self.address}"
        self.name = sysfs.netdev(self.address)
        if not self.name:
            raise CniError(POOL_UNUSABLE, f"the NIC {name_or_pci} has no network device here; {_nics_here()}")
        if not os.path.exists(f"{self.path}/sriov_totalvfs"):
            raise CniError(
                POOL_UNUSABLE,
                f"the NIC {self.name} ({self.address}) has no SR-IOV, or it is off in BIOS or firmware; {_nics_here()}",
            )

    @property
    def total_vfs(self) -> int:
        """How many VFs the NIC can have."""
        return int(self._read("sriov_totalvfs"))

    @property
    def vf_count(self) -> int:
        """How many VFs it has now."""
        return int(self._read("sriov_numvfs"))

    def create_vfs(self, number: int) -> None:
        """Create VFs. The NIC must have none: the kernel refuses to change one number into another (EBUSY).

        :raises CniError: IO_FAILURE when the kernel refuses the number; POOL_UNUSABLE when the driver creates fewer, for which
            there is no error (drivers/pci/iov.c, sriov_numvfs_store). The NIC has none then.
        """
        self._write_vf_count(
            number,
            f"{self.name} cannot have {number} VFs",
            f"it offers {self.total_vfs} (`dmesg` may have the reason: IOMMU, memory or bus numbers)",
        )
        made = self._count_made()
        if made != number:
            if made:
                self.remove_vfs()
            raise CniError(
                POOL_UNUSABLE,
                f"the driver {sysfs.driver(self.address)} of {self.name} created {made or 'none'} of {number} VFs; `dmesg` may "
                f"have the reason{f', or set vfs = {made}' if made else ''}",
            )

    def _count_made(self) -> int:
        """Return how many VFs there are after they were created; a driver may finish that after the write has returned."""
        deadline = monotonic() + _FINISH_SECONDS
        while True:
            count = self.vf_count
            finished = os.path.lexists(f"{self.path}/virtfn{count - 1}") if count else False
            if finished or monotonic() > deadline:
                return count
            sleep(_POLL)

    def remove_vfs(self) -> None:
        """Remove all VFs, also those that containers have.

        :raises CniError: IO_FAILURE when the kernel refuses.
        """
        self._write_vf_count(0, f"the VFs of {self.name} cannot be removed", "`dmesg` may have the reason")

    def _write_vf_count(self, number: int, problem: str, advice: str) -> None:
        try:
            with open(f"{self.path}/sriov_numvfs", "w", encoding="ascii") as file:
                file.write(str(number))
        except OSError as failed:
            if failed.errno == ENOENT:  # the driver has no operation for it, as mlx4 and enic
                driver = sysfs.driver(self.address)
                advice = (
                    f"its driver {driver} creates VFs only as its module parameters (`modinfo {driver}`: num_vfs, max_vfs) or "
                    "the NIC's firmware say; set the number there, reboot, and run `sriov-bondctl up` again"
                )
            raise CniError(IO_FAILURE, f"{problem}: {failed.strerror}; {advice}") from None

    def link(self, host: Netlink) -> Link:
        """Return the network device of the PF, under whichever name it has now.

        :raises CniError: POOL_UNUSABLE when it has none.
        """
        for _ in range(_RENAMES):
            name = sysfs.netdev(self.address)
            link = host.link(name) if name else None
            # Another device has the name if both were renamed after it was read.
            if link is not None and link.parent in ("", self.address):
                self.name = link.name
                return link
        raise CniError(POOL_UNUSABLE, f"the NIC {self.name} ({self.address}) has no network device here any more")

    def vfs(self) -> list[str]:
        """Return the PCI addresses of its VFs in the kernel's order."""
        return [os.path.basename(os.readlink(f"{self.path}/virtfn{number}")) for number in range(self.vf_count)]

    def expected_vfs(self, number: int) -> list[str]:
        """Return the PCI addresses that VFs should get when they are created (PCI SR-IOV, "VF Routing ID").

        udev's rules must exist before the VFs do, so they are written for these addresses.
        """
        offset, stride = int(self._read("sriov_offset")), int(self._read("sriov_stride"))
        domain, bus, slot, function = re.split("[:.]", self.address)
        own = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)
        ids = [own + offset + stride * index for index in range(number)]
        return [f"{domain}:{rid >> 8:02x}:{rid >> 3 & 31:02x}.{rid & 7}" for rid in ids]

    def _read(self, attribute: str) -> str:
        try:
            with open(f"{self.path}/{attribute}", encoding="ascii") as file:
                return file.read().strip()
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot read {attribute} of {self.name}: {failed.strerror}") from None


def _pci_of(name: str, netlink: Netlink | None) -> str:
    device = f"/sys/class/net/{name}"
    address = os.path.basename(os.path.realpath(f"{device}/device"))
    if _PCI.match(address):
        return address
    if not os.path.exists(device):
        # sysfs has no altnames; a device of 5.14 and later has its PCI address (IFLA_PARENT_DEV_NAME).
        with contextlib.closing(netlink or Netlink()) as host:
            for link in host.links():
                if name in link.altnames and _PCI.match(link.parent):
                    return link.parent
    raise CniError(
        POOL_UNUSABLE,
        f"{name} is not a PCI NIC; {_nics_here()}" if os.path.exists(device) else f"there is no NIC {name}; {_nics_here()}",
    )


def _nics_here() -> str:
    """Return which NICs of this host have SR-IOV."""
    nics = []
    for address in sorted(os.listdir(sysfs.PCI_DEVICES)) if os.path.isdir(sysfs.PCI_DEVICES) else ():
        name = sysfs.netdev(address)
        if name and os.path.exists(f"{sysfs.PCI_DEVICES}/{address}/sriov_totalvfs"):
            nics.append(f"{name} ({address})")
    return f"NICs with SR-IOV here: {', '.join(nics)}" if nics else "this host has no NIC with SR-IOV"
