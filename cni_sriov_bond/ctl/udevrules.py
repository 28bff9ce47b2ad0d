"""Rules that tell udev, NetworkManager and others to leave our VFs alone: no renaming, altnames, MACs or DHCP.

They are written to /run before the VFs are created, because udev acts on a VF the moment that it appears.
"""

import os
import shutil
import subprocess

from cni_sriov_bond.ctl.changes import missing_directories
from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.kernel import sysfs

_LINK_DIR = "/run/systemd/network"
_RULES_DIR = "/run/udev/rules.d"
_SETTLE_SECONDS = 10
_ABOUT = "# Written by `sriov-bondctl up` for the VFs of pool {pool}; removed by the next boot.\n"


def directories_to_create() -> list[str]:
    """Return the directories that ``write`` is going to create, the outer ones first."""
    return list(dict.fromkeys([*missing_directories(_LINK_DIR), *missing_directories(_RULES_DIR)]))


def write(pool: str, vfs: list[str]) -> bool:
    """Write the rules for a pool's VFs, by PCI address, and return whether that changed anything."""
    about = _ABOUT.format(pool=pool)
    paths = " ".join(f"pci-{pci}" for pci in vfs)
    # Only "keep": a new VF has the kernel's name until `up` names it.
    link = f"{about}[Match]\nPath={paths}\n\n[Link]\nNamePolicy=keep\nMACAddressPolicy=none\n"
    lines = [
        f'SUBSYSTEM=="net", ACTION!="remove", KERNELS=="{pci}", '
        'ENV{NM_UNMANAGED}="1", ENV{ID_NET_MANAGED_BY}="sriov-bond"\n'
        for pci in vfs
    ]
    changed = _replace(_link_file(pool), link)
    changed = _replace(_rules_file(pool), about + "".join(lines)) or changed
    if changed:
        _reload()
    return changed


def remove(pool: str, kept: list[str]) -> None:
    """Remove a pool's rules; rules that are not there are no error.

    :param kept: PCI addresses of VFs that stay. udev finishes what it does by the rules first, and then lets NetworkManager
        have these VFs.
    """
    if kept:
        _udevadm("settle", f"--timeout={_SETTLE_SECONDS}")
    for path in (_link_file(pool), _rules_file(pool)):
        if os.path.exists(path):
            os.unlink(path)
    _reload()
    if kept:
        # Only an "add" names devices (systemd, 80-net-setup-link.rules).
        devices = [f"{sysfs.PCI_DEVICES}/{vf}/net/{name}" for vf in kept if (name := sysfs.netdev(vf))]
        if devices:
            _udevadm("trigger", "--action=change", *devices)


def _link_file(pool: str) -> str:
    return f"{_LINK_DIR}/10-sriov-bond-{pool}.link"


def _rules_file(pool: str) -> str:
    return f"{_RULES_DIR}/90-sriov-bond-{pool}.rules"


def _replace(path: str, text: str) -> bool:
    try:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                if file.read() == text:
                    return False
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(f"{path}.new", path)
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot write {path}: {failed.strerror}") from None
    return True


def _reload() -> None:
    """Make a running udev read its rules again; without udev there is nothing to do."""
    _udevadm("control", "--reload")


def _udevadm(*arguments: str) -> None:
    udevadm = shutil.which("udevadm")
    if udevadm and os.path.exists("/run/udev/control"):
        try:
            subprocess.run([udevadm, *arguments], check=False, capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            raise CniError(IO_FAILURE, "udev does not answer; see `systemctl status systemd-udevd` and try again") from None
