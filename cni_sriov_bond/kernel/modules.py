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
    if program := _modprobe():
        invoke.run_program(program, "-q", "bonding", "max_bonds=0", seconds=_SECONDS)
    return files.exists(LOADED)


def lacks_bonding() -> bool:
    """Return whether the bonding driver is neither loaded nor could be loaded; it is not loaded by this.

    False also where that is not known: a process in a container may not have the program that the kernel runs on the host.
    """
    if files.exists(LOADED):
        return False
    program = _modprobe()
    if not program:
        return program == ""
    # -D shows what would be loaded; modprobe of busybox has it too.
    return invoke.run_program(program, "-q", "-D", "bonding", seconds=_SECONDS) not in (0, None)


def _modprobe() -> str | None:
    """Return the program that loads modules, "" where the kernel loads none by itself, None where that is not known."""
    try:
        with open(MODPROBE, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def drop_default_bond() -> None:
    """Delete the bond0 that the kernel made with the driver, unless somebody has begun to use it.

    For a process that cannot run modprobe, such as that of a runtime in a container, after its first bond was created.
    """
    host = Netlink()
    try:
        links = host.links()
        for link in links:
            in_use = link.up or any(link.index in (upper.master, upper.lower) for upper in links)
            if link.name == _DEFAULT_BOND and link.kind == "bond" and not in_use:
                host.delete_link(link)
    finally:
        host.close()
