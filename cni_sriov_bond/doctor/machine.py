"""The machine: a virtual one, its kernel, the bonding driver, and its machine id."""

import re
from collections.abc import Iterator

from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.tree import PCI
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import drivers, modules, nic_models

SUBJECT = "machine"
_OLDEST = (5, 14)  # IFLA_PARENT_DEV_NAME, by which VFs are known
_NS_TARGETS = (5, 19)  # IFLA_BOND_NS_IP6_TARGET
_VF_DRIVERS = frozenset(row[0] for driver, row in drivers.DRIVERS.items() if row[0] != driver)
_ID = re.compile(r"[0-9a-f]{32}\Z")


def virtual_machine(host: Host) -> Iterator[Finding]:
    """Say whether this is a virtual machine, and which functions of NICs were handed through."""
    if not host.hypervisor:
        yield passed("", "this is a physical machine")
        return
    pfs = [nic for nic in host.nics if nic.total_vfs]
    vfs = [nic for nic in host.nics if not nic.total_vfs and nic.driver in _VF_DRIVERS]
    passed_in = f"{len(pfs)} PFs and {len(vfs)} VFs were handed through"
    if len(pfs) >= 2:
        yield passed("", f"this is a virtual machine ({host.hypervisor}); {passed_in}")
    else:
        yield warning(
            "",
            f"this is a virtual machine ({host.hypervisor}); {passed_in}",
            "hand the PFs of two NICs through to it (QEMU: q35, vfio-pci): only a PF sets VLANs of VFs",
        )


def kernel(host: Host) -> Iterator[Finding]:
    """Compare the kernel's version with what sriov-bond and the drivers of the NICs need."""
    release = host.tree.read("/proc/sys/kernel/osrelease")
    if host.kernel < _OLDEST:
        yield failure("", f"the kernel is {release or 'unknown'}", f"install Linux {_OLDEST[0]}.{_OLDEST[1]} or newer")
        return
    in_use = {nic.driver for nic in host.pool_nics}
    in_use |= {drivers.fact(driver, "vf") for driver in in_use}
    old = [
        (driver, version, problem)
        for driver, version, problem in nic_models.OLD_KERNELS
        if driver in in_use and host.kernel < version
    ]
    for driver, version, problem in old:
        yield warning(driver, f"{driver} of Linux {release} {problem}", f"install Linux {version[0]}.{version[1]} or newer")
    if host.kernel < _NS_TARGETS:
        yield warning(
            "", f"Linux {release} has no ns_ip6_target for the monitor of IPv6 gateways", "install Linux 5.19 or newer"
        )
    elif not old:
        yield passed("", f"the kernel is {release}")


def bonding(host: Host) -> Iterator[Finding]:
    """Look for the bonding driver: loaded, or a module that can be loaded."""
    if host.tree.exists("/sys/module/bonding"):
        yield passed("", "the bonding driver is loaded")
        return
    release = host.tree.read("/proc/sys/kernel/osrelease")
    known = [host.tree.read(f"/lib/modules/{release}/{file}") for file in ("modules.dep", "modules.builtin")]
    if any("/bonding.ko" in text for text in known):
        yield warning(
            "", "the bonding driver is not loaded; the first ADD loads it", "run `modprobe bonding max_bonds=0`", _LOAD
        )
    else:
        package = "the package linux-modules-extra or kernel-modules of this kernel"
        yield failure("", f"Linux {release} has no bonding module", f"install {package}")


def _load() -> str:
    if not modules.load_bonding():
        raise CniError(POOL_UNUSABLE, "the bonding driver cannot be loaded; see `dmesg`")
    return "loaded the bonding driver"


_LOAD = Fix("load the bonding driver", True, _load)


def machine_id(host: Host) -> Iterator[Finding]:
    """Check the machine id: machines with one id, or none, give their devices the same MACs (systemd, MACAddressPolicy=)."""
    path = "/etc/machine-id"
    text = host.tree.read(path)
    remedy = "run `rm -f /etc/machine-id; systemd-machine-id-setup` and reboot, on every clone"
    if not host.tree.exists(path):
        yield skipped("there is no /etc/machine-id, so no systemd that derives MACs from it")
    elif not _ID.match(text):
        yield warning("", f"/etc/machine-id has no id but {text[:40]!r}", remedy)
    else:
        dbus = host.tree.read("/var/lib/dbus/machine-id")
        if dbus and dbus != text:
            sentence = "/etc/machine-id and /var/lib/dbus/machine-id differ: one of them is of the image that was cloned"
            yield warning("", sentence, "run `ln -sf /etc/machine-id /var/lib/dbus/machine-id`")
        elif len(set(text)) == 1:
            yield warning("", f"/etc/machine-id is {text}, as of an image that is cloned", remedy)
        else:
            yield passed("", "the machine id is valid")


def clone(host: Host) -> Iterator[Finding]:
    """Compare the MACs of the bonds with those that are derived from this host's first NIC: a cloned disk has another's."""
    from cni_sriov_bond.pool import inventory

    seen = False
    for state in host.pools:
        if state.inventory is None or not state.inventory.of_this_boot or not state.inventory.nics or not state.inventory.bonds:
            continue
        seen = True
        address = state.inventory.nics[0].address
        mac = permanent_mac(host, address)
        bond = state.inventory.bonds[0]
        expected = inventory.stable_mac(f"sriov-bond {mac} {bond.ports[0].vf_index}")
        if mac and bond.mac != expected:
            yield failure(
                state.pool.name,
                f"the MACs of pool {state.pool.name} are not derived from {host.netdev(address)}: the disk was cloned, or the "
                "NIC was exchanged, and another host may have the same MACs",
                "run `sriov-bondctl up` when no bond is leased",
            )
        else:
            yield passed(state.pool.name, f"the MACs of pool {state.pool.name} are of this host")
    if not seen:
        yield skipped("there is no pool of this boot")


def permanent_mac(host: Host, address: str) -> str:
    """Return the burnt-in MAC of a NIC, or the present one where the driver reports none."""
    name = host.netdev(address)
    if not name:
        return ""
    if not host.tree.root:
        from contextlib import closing

        from cni_sriov_bond.kernel.netlink import Netlink

        with closing(Netlink()) as netlink:
            link = netlink.link(name)
        return (link.perm_mac or link.mac) if link else ""
    return host.tree.read(f"{PCI}/{address}/net/{name}/address")


CHECKS = (
    Check(
        "virtual-machine", SUBJECT, "physical or virtual, and which functions of NICs a virtual machine has", virtual_machine
    ),
    Check("kernel", SUBJECT, "the kernel is new enough for sriov-bond and for the NICs' drivers", kernel),
    Check("bonding", SUBJECT, "the bonding driver is loaded or can be", bonding),
    Check("machine-id", SUBJECT, "the machine id is there and not of a cloned image", machine_id),
    Check("clone", SUBJECT, "the bonds' MACs are derived from this host's NIC, not from another's", clone),
)
