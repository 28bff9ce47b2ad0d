"""SR-IOV and the IOMMU, as firmware and kernel command line have them."""

import struct
from collections.abc import Iterator

from cni_sriov_bond.doctor.check import Check, Finding, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host, Nic
from cni_sriov_bond.doctor.tree import PCI
from cni_sriov_bond.kernel import nic_models

SUBJECT = "firmware"
_EXTENDED, _SRIOV = 0x100, 0x0010  # linux/pci_regs.h, PCI_CFG_SPACE_SIZE and PCI_EXT_CAP_ID_SRIOV
_MENU = (
    "turn SR-IOV on in the BIOS setup (Dell: Integrated Devices > SR-IOV Global Enable; HPE: Virtualization Options > SR-IOV; "
    "Supermicro: PCIe/PCI/PnP Configuration > SR-IOV Support) and in the NIC's own menu there (Device Level Configuration > "
    "Virtualization Mode), then reboot"
)
_VT_D = "BIOS setup: VT-d (Processor or Chipset > Intel VT for Directed I/O)"
_AMD_VI = "BIOS setup: IOMMU and SVM (Advanced > AMD CBS > NBIO > IOMMU)"


def sriov(host: Host) -> Iterator[Finding]:
    """Look for NICs with SR-IOV, and for those whose firmware hides it."""
    able = [nic for nic in host.nics if nic.total_vfs]
    if able:
        names = ", ".join(f"{nic.label} ({nic.total_vfs} VFs)" for nic in able)
        yield passed("", f"NICs with SR-IOV: {names}")
    hidden = [nic for nic in host.nics if not nic.total_vfs and _is_capable(host, nic)]
    for nic in hidden:
        yield (warning if able else failure)(
            nic.label, f"{nic.label} ({nic.model}) can have VFs, but firmware offers none", _remedy(nic)
        )
    if able or hidden:
        return
    if host.hypervisor:
        remedy = "hand the PFs of two NICs through to this virtual machine, or VFs and use them without sriov-bond"
        yield failure("", "this virtual machine has no NIC with SR-IOV", remedy)
        return
    have = ", ".join(f"{nic.label} ({nic.model})" for nic in host.nics) or "none on the PCI bus"
    yield failure("", f"this host has no NIC with SR-IOV; its NICs: {have}", f"fit two NICs with SR-IOV, or {_MENU}")


def _remedy(nic: Nic) -> str:
    model_driver = nic.driver or nic_models.model_of(nic.vendor, nic.device)[1]
    return nic_models.FIRMWARE.get(model_driver, _MENU).replace("PCI_ADDRESS", nic.address)


def _is_capable(host: Host, nic: Nic) -> bool:
    """Return whether a NIC has SR-IOV by its model, or by its capability, which has 0 VFs then."""
    return bool(nic_models.model_of(nic.vendor, nic.device)[0]) or has_capability(
        host.tree.octets(f"{PCI}/{nic.address}/config")
    )


def has_capability(config: bytes) -> bool:
    """Return whether a configuration space has the SR-IOV capability (PCI Express Base, "Extended Capabilities").

    Only root reads more than its first 64 bytes.
    """
    offset, seen = _EXTENDED, set()
    while offset >= _EXTENDED and offset + 4 <= len(config) and offset not in seen:
        seen.add(offset)
        [header] = struct.unpack_from("<I", config, offset)
        if header & 0xFFFF == _SRIOV:
            return True
        offset = header >> 20
    return False


def iommu(host: Host) -> Iterator[Finding]:
    """Look for VT-d or AMD-Vi: ACPI table, kernel command line, IOMMU groups. Containers do without it."""
    vendor = "AMD-Vi" if "AuthenticAMD" in host.tree.read("/proc/cpuinfo") else "VT-d"
    groups = len(host.tree.listed("/sys/kernel/iommu_groups"))
    if groups:
        yield passed("", f"the IOMMU ({vendor}) is on, with {groups} groups")
        return
    if host.hypervisor:
        yield skipped("the IOMMU is the hypervisor's")
        return
    needed = "containers do not need it, virtual machines that get VFs do"
    options = [
        word for word in host.tree.read("/proc/cmdline").split() if word.startswith(("intel_iommu=", "amd_iommu=", "iommu="))
    ]
    off = [word for word in options if word.endswith("=off")]
    tables = "/sys/firmware/acpi/tables"
    if not any(host.tree.exists(f"{tables}/{table}") for table in ("DMAR", "IVRS")):
        yield warning(
            "",
            f"{vendor} is off in firmware (no ACPI table DMAR or IVRS); {needed}",
            f"turn it on in the {_AMD_VI if vendor == 'AMD-Vi' else _VT_D}",
        )
    elif off:
        yield warning(
            "", f"the kernel command line has {' '.join(off)}; {needed}", "remove it from GRUB_CMDLINE_LINUX and reboot"
        )
    else:
        option = "amd_iommu=on" if vendor == "AMD-Vi" else "intel_iommu=on"
        yield warning(
            "",
            f"{vendor} is on in firmware, but the kernel has no IOMMU groups; {needed}",
            f"add `{option} iommu=pt` to GRUB_CMDLINE_LINUX and reboot",
        )


CHECKS = (
    Check("sriov", SUBJECT, "there is a NIC with SR-IOV, and firmware does not hide it", sriov),
    Check("iommu", SUBJECT, "VT-d or AMD-Vi is on; only virtual machines need it", iommu),
)
