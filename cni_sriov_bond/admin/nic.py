"""A NIC as sysfs tells it: its PF, how many VFs it has and could have, and where they are on the bus."""

import os
import re
from time import monotonic, sleep

from cni_sriov_bond import sriov
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError

_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_SHORT = re.compile(r"^(?=[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z)")
_POLL = 0.05


class Nic:
    """A physical function.

    :raises CniError: POOL_UNUSABLE when there is no such NIC or it has no SR-IOV, saying what there is.
    """

    def __init__(self, name_or_pci: str, number: int) -> None:
        self.asked = name_or_pci
        self.number = number
        address = _SHORT.sub("0000:", name_or_pci.lower())  # as lspci writes it
        self.pci = address if _PCI.match(address) else _pci_of(name_or_pci)
        self.path = f"{sriov.PCI_DEVICES}/{self.pci}"
        self.name = sriov.netdev(self.pci)
        if not self.name:
            raise CniError(POOL_UNUSABLE, f"the NIC {name_or_pci} has no network device here; {_nics_here()}")
        if not os.path.exists(f"{self.path}/sriov_totalvfs"):
            raise CniError(
                POOL_UNUSABLE,
                f"the NIC {self.name} ({self.pci}) has no SR-IOV, or it is off in BIOS or firmware; {_nics_here()}",
            )

    @property
    def total(self) -> int:
        """How many VFs the NIC can have."""
        return int(self._read("sriov_totalvfs"))

    @property
    def count(self) -> int:
        """How many VFs it has now."""
        return int(self._read("sriov_numvfs"))

    @count.setter
    def count(self, number: int) -> None:
        try:
            with open(f"{self.path}/sriov_numvfs", "w", encoding="ascii") as file:
                file.write(str(number))
        except OSError as failed:
            raise CniError(
                IO_FAILURE,
                f"{self.name} cannot have {number} VFs: {failed.strerror}; it offers {self.total} "
                "(`dmesg` may say more: IOMMU, memory or bus numbers)",
            ) from None

    def vfs(self) -> list[str]:
        """Give the PCI addresses of its VFs, in their order, as the kernel lists them."""
        return [os.path.basename(os.readlink(f"{self.path}/virtfn{number}")) for number in range(self.count)]

    def expected_vfs(self, number: int) -> list[str]:
        """Give the PCI addresses that VFs will have once they are made (PCI SR-IOV, "VF Routing ID").

        So that udev's rules are there before the VFs.
        """
        offset, stride = int(self._read("sriov_offset")), int(self._read("sriov_stride"))
        domain, bus, slot, function = re.split("[:.]", self.pci)
        own = int(bus, 16) << 8 | int(slot, 16) << 3 | int(function)
        ids = [own + offset + stride * place for place in range(number)]
        return [f"{domain}:{one >> 8:02x}:{one >> 3 & 31:02x}.{one & 7}" for one in ids]

    def wait_for_vfs(self, seconds: float, away: set[str]) -> list[str]:
        """Wait until every VF that is not away has a network device, and give those that have none by then."""
        deadline = monotonic() + seconds
        while True:
            missing = [pci for pci in self.vfs() if pci not in away and not sriov.netdev(pci)]
            if not missing or monotonic() > deadline:
                return missing
            sleep(_POLL)

    def _read(self, attribute: str) -> str:
        try:
            with open(f"{self.path}/{attribute}", encoding="ascii") as file:
                return file.read().strip()
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot read {attribute} of {self.name}: {failed.strerror}") from None


def _pci_of(name: str) -> str:
    device = f"/sys/class/net/{name}"
    found = os.path.basename(os.path.realpath(f"{device}/device"))
    if _PCI.match(found):
        return found
    raise CniError(
        POOL_UNUSABLE,
        f"{name} is not a PCI NIC; {_nics_here()}" if os.path.exists(device) else f"there is no NIC {name}; {_nics_here()}",
    )


def _nics_here() -> str:
    """Say which NICs of this host have SR-IOV."""
    found = []
    for pci in sorted(os.listdir(sriov.PCI_DEVICES)) if os.path.isdir(sriov.PCI_DEVICES) else ():
        name = sriov.netdev(pci)
        if name and os.path.exists(f"{sriov.PCI_DEVICES}/{pci}/sriov_totalvfs"):
            found.append(f"{name} ({pci})")
    return f"NICs with SR-IOV here: {', '.join(found)}" if found else "no NIC with SR-IOV is here"
