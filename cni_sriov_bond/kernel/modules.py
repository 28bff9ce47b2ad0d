"""Kernel modules: load the bonding driver without the device that it makes by default."""

from cni_sriov_bond import files
from cni_sriov_bond.cni import invoke
from cni_sriov_bond.kernel.netlink import Netlink

LOADED = "/sys/module/bonding"  # also where it is built in: it has parameters
MODPROBE = "/proc/sys/kernel/modprobe"  # the program that the kernel itself loads modules with
_SECONDS = 20.0
_DEFAULT_BOND = "bond0"


def load_bonding() -> bool:
    """Load the bonding driver if it is not loaded, and return whether it is.

    Else the kernel loads it when the first bond is created, and it makes bond0 in the host: its parameter max_bonds is 1 unless
    a file of modprobe.d says otherwise, as systemd's does (drivers/net/bonding/bond_main.c, bonding_init).
    """
    if files.exists(LOADED):
        return True
    try:
        with open(MODPROBE, encoding="utf-8") as file:
            program = file.read().strip()
    except OSError:
        return False
    if program:
        invoke.run_program(program, "-q", "bonding", "max_bonds=0", seconds=_SECONDS)
    return files.exists(LOADED)


def drop_default_bond() -> None:
    """Delete the bond0 that the kernel made with the driver, unless somebody has begun to use it.

    For a process that cannot run modprobe, such as that of a runtime in a container, after its first bond was created.
    """
    host = Netlink()
    try:
        links = host.links()
        for link in links:
            used = link.up or any(link.index in (other.master, other.lower) for other in links)
            if link.name == _DEFAULT_BOND and link.kind == "bond" and not used:
                host.delete_link(link)
    finally:
        host.close()
