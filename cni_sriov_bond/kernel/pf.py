"""Whether a NIC can be used. ``sriov-bondctl`` asks before it creates VFs, an ADD only after a setting was refused."""

import posix as os  # as in the rest of kernel/

from cni_sriov_bond.kernel import devlink, netdevs, sysfs

# linux/if_arp.h
_ARPHRD_ETHER, _ARPHRD_INFINIBAND = 1, 32
# The admin function of Marvell octeontx2. Its VFs are loopback interfaces (rvu.c, rvu_enable_sriov: "LBK").
_LOOPBACK_DRIVER = "rvu_af"


def pf_problem(pci: str, *other_pfs: str) -> str:
    """Return why the PF at a PCI address cannot be used and what to do, as the end of a sentence, or "".

    :param other_pfs: addresses of other PFs of the same bond; two PFs on one cable are no redundancy.
    """
    if sysfs.driver(pci) == _LOOPBACK_DRIVER:
        return f"its driver {_LOOPBACK_DRIVER} makes loopback VFs (LBK), which have no cable; name a NIC of driver rvu_nicpf"
    name = sysfs.netdev(pci)
    if not name:
        return ""  # without a network device: others say that
    path = f"{sysfs.PCI_DEVICES}/{pci}/net"
    return _kind_problem(f"{path}/{name}", name) or mode_problem(pci) or _port_problem(pci, other_pfs)


def _kind_problem(path: str, name: str) -> str:
    kind = netdevs.read(f"{path}/type")
    if kind == str(_ARPHRD_INFINIBAND):
        return (
            f"{name} is InfiniBand, which has no VLANs or MACs for VFs; set its port to Ethernet (mlxconfig LINK_TYPE_P1=2, "
            "then reset its firmware or reboot), or name another NIC"
        )
    if kind not in ("", str(_ARPHRD_ETHER)):
        return f"{name} is no Ethernet device (ARPHRD type {kind}), such as the management device of cxgb4; name another NIC"
    return ""


def mode_problem(pci: str) -> str:
    """Return what the switch of a PF in switchdev mode does not have and what to do, as the end of a sentence, or ""."""
    path = f"{sysfs.PCI_DEVICES}/{pci}/net"
    represented = any(netdevs.is_representor(path, name) for name in _listed(path))
    if represented or devlink.eswitch_mode(pci) == "switchdev":
        return (
            "the NIC is in switchdev mode, in which VLAN, spoof check, trust and link state of VFs cannot be set; run "
            f"`devlink dev eswitch set pci/{pci} mode legacy`"
        )
    return ""


def _port_problem(pci: str, other_pfs: tuple[str, ...]) -> str:
    if len({netdevs.read(f"{path}/dev_port") for path in _netdevs(f"{sysfs.PCI_DEVICES}/{pci}/virtfn0")}) > 1:
        return "its VFs have two ports each; load mlx4_core with num_vfs=N,M,0, so that each VF has one port"
    port = _port_id(pci)
    for other_pf in other_pfs:
        if port and other_pf != pci and _port_id(other_pf) == port:
            return (
                f"it is on the same port as {other_pf} (phys_port_id {port}): one cable carries both; name a NIC on another "
                "port"
            )
    return ""


def _port_id(pci: str) -> str:
    """Return what tells the partitions of one port (NPAR), which are PFs of their own; most drivers have none."""
    name = sysfs.netdev(pci)
    return netdevs.read(f"{sysfs.PCI_DEVICES}/{pci}/net/{name}/phys_port_id") if name else ""


def _netdevs(device: str) -> list[str]:
    return [f"{device}/net/{name}" for name in _listed(f"{device}/net")]


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
