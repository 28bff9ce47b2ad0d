"""A directory that looks like a sound host with two NICs and a pool, for the checks to read."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cni_sriov_bond import files
from cni_sriov_bond.doctor import run
from cni_sriov_bond.doctor.check import FAILURE, PASS, SKIPPED, WARNING, Finding
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.tree import Tree
from cni_sriov_bond.pool import inventory, pool, pools
from cni_sriov_bond.pool.inventory import Inventory, NicRecord
from cni_sriov_bond.ports import Bond, Port
from tests.support import context

PFS = ("ffff:01:00.0", "ffff:02:00.0")
NICS = ("nic1", "nic2")
MACS = ("02:11:00:00:00:01", "02:11:00:00:00:02")
SIZE = 2
PCI, NET = "/sys/bus/pci/devices", "/sys/class/net"
CONFLIST = "/etc/cni/net.d/10-db.conflist"
GATEWAY = "10.100.0.1"


def nothing(stage: str, done: int, total: int) -> None:
    """Take a report of progress."""


def vf_address(nic: int, index: int) -> str:
    return f"{PFS[nic][:8]}10.{index * 2}"


class FakeHost:
    """The tree, and what a check finds in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "var/lib/cni/sriov-bond"
        for nic in range(2):
            self._add_nic(nic)
        for name in ("proc/cpuinfo", "proc/cmdline"):
            self.write(f"/{name}", "")
        self.write("/proc/sys/kernel/osrelease", "6.12.1-test\n")
        self.write("/proc/self/mountinfo", "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n")
        self.write("/sys/module/bonding/version", "")
        self.write("/sys/kernel/iommu_groups/0/type", "DMA\n")
        self.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        self.write("/etc/cni/sriov-bond.toml", f'[pools.db]\npfs = ["{NICS[0]}", "{NICS[1]}"]\nvfs = {SIZE}\n')
        for plugin in ("sriov-bond", "sriov-bond-ipam"):
            self.write(f"/opt/cni/bin/{plugin}", plugin, 0o755)
        self.write_network()
        self.pool = pool.Pool(str(self.state), "db")
        self.state.parent.mkdir(parents=True)
        pools.make_directories(self.pool)
        self.write_inventory()
        self.write_rules()

    def _add_nic(self, nic: int) -> None:
        vfs = [vf_address(nic, index) for index in range(SIZE)]
        self.add_device(
            PFS[nic], "igb", device="0x10c9", sriov_totalvfs=7, sriov_numvfs=SIZE, sriov_drivers_autoprobe=1, numa_node=0,
            current_link_speed="2.5 GT/s PCIe", current_link_width=4, max_link_speed="2.5 GT/s PCIe", max_link_width=4,
        )  # fmt: skip
        self.add_netdev(PFS[nic], NICS[nic], MACS[nic], flags="0x1003", ifindex=2 + nic)
        for index, address in enumerate(vfs):
            self.add_device(address, "igbvf", device="0x10ca")
            (self.root / PCI[1:] / address / "physfn").symlink_to(f"../{PFS[nic]}")
            (self.root / PCI[1:] / PFS[nic] / f"virtfn{index}").symlink_to(f"../{address}")
            self.add_netdev(address, f"VF{nic + 1}{index + 1}", self.mac(index), flags="0x1002", ifindex=10 + 2 * index + nic)

    @staticmethod
    def mac(index: int) -> str:
        """Return the MAC of a bond."""
        return inventory.stable_mac(f"sriov-bond {MACS[0]} {index}")

    def add_device(self, address: str, driver: str, **attributes: object) -> None:
        """Add a PCI device."""
        for name, value in {"class": "0x020000", "vendor": "0x8086", **attributes}.items():
            self.write(f"{PCI}/{address}/{name}", f"{value}\n")
        if driver:
            (self.root / PCI[1:] / address / "driver").symlink_to(f"../../drivers/{driver}")

    def add_netdev(self, address: str, name: str, mac: str, **attributes: object) -> None:
        """Give a PCI device a network device."""
        defaults = {"address": mac, "carrier": 1, "speed": 1000, "mtu": 1500}
        for attribute, value in {**defaults, **attributes}.items():
            self.write(f"{PCI}/{address}/net/{name}/{attribute}", f"{value}\n")
        device = self.root / PCI[1:] / address / "net" / name
        (device / "device").symlink_to(f"../../../{address}")
        (self.root / NET[1:]).mkdir(parents=True, exist_ok=True)
        (self.root / NET[1:] / name).symlink_to(f"../../bus/pci/devices/{address}/net/{name}")

    def take_netdev(self, address: str, name: str) -> None:
        """Move a network device into another namespace, as sysfs shows it."""
        link, directory = self.root / NET[1:] / name, self.root / PCI[1:] / address / "net" / name
        link.unlink()
        directory.rename(self.root / f"elsewhere-{name}")

    def return_netdev(self, address: str, name: str) -> None:
        """Move it back."""
        (self.root / f"elsewhere-{name}").rename(self.root / PCI[1:] / address / "net" / name)
        (self.root / NET[1:] / name).symlink_to(f"../../bus/pci/devices/{address}/net/{name}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the tree."""
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def remove(self, path: str) -> None:
        """Remove a file or a link of the tree."""
        (self.root / path[1:]).unlink()

    def bonds(self) -> list[Bond]:
        """Return the pool's bonds."""
        return [
            Bond(
                f"cbond{index + 1}",
                self.mac(index),
                [Port(vf_address(nic, index), f"VF{nic + 1}{index + 1}", PFS[nic], index) for nic in range(2)],
            )
            for index in range(SIZE)
        ]

    def write_inventory(self, boot_id: str = "", being_removed: bool = False) -> None:
        """Write pool.json, of this boot if no other is given."""
        nics = [NicRecord(PFS[nic], NICS[nic], nic + 1, True, False) for nic in range(2)]
        inventory.write(self.pool.path, Inventory("db", boot_id or files.boot_id(), nics, self.bonds(), being_removed))

    def write_rules(self, vfs: int = SIZE) -> None:
        """Write udev's rules, as `up` does."""
        addresses = " ".join(vf_address(nic, index) for nic in range(2) for index in range(vfs))
        self.write("/run/udev/rules.d/90-sriov-bond-db.rules", addresses)
        self.write("/run/systemd/network/10-sriov-bond-db.link", addresses)

    def write_network(self, path: str = CONFLIST, name: str = "db", ipam: dict[str, Any] | None = None, **keys: Any) -> None:
        """Write a network file."""
        subnet = {"type": "sriov-bond-ipam", "ranges": [[{"subnet": "10.100.0.0/24", "gateway": GATEWAY}]]}
        plugin = {"type": "sriov-bond", "pool": "db", "vlan": 100, "ipam": ipam or subnet, **keys}
        plugin = {key: value for key, value in plugin.items() if value is not None}
        self.write(path, json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}))

    def host(self) -> Host:
        """Return the host as one run of the checks sees it."""
        return Host(Tree(str(self.root)), context(), str(self.state), str(self.root / "etc/cni/sriov-bond.toml"))

    def check(self, name: str) -> list[Finding]:
        """Run a check and return what it finds."""
        [check] = [check for check in run.CHECKS if check.name == name]
        [outcome] = run.run(self.host(), nothing, (check,))
        return list(outcome.findings)

    def wrong(self, name: str) -> list[Finding]:
        """Return what a check finds wrong, each with a remedy."""
        found = [finding for finding in self.check(name) if finding.result in (WARNING, FAILURE)]
        assert all(finding.remedy and finding.sentence for finding in found)
        return found

    def passes(self, name: str) -> bool:
        """Return whether a check finds nothing wrong, and something right."""
        results = [finding.result for finding in self.check(name)]
        return PASS in results and set(results) <= {PASS, SKIPPED}

    def broken_and_repaired(
        self,
        check: str,
        damage: Callable[[], object],
        words: str,
        repair: Callable[[], object] | None = None,
        result: str = FAILURE,
    ) -> Finding:
        """Assert that a check passes, names the damage, and passes again after the repair; without one its own fix is run."""
        assert self.passes(check), self.check(check)
        damage()
        found = self.wrong(check)
        matching = [finding for finding in found if words in finding.sentence]
        assert matching, found
        assert matching[0].result == result
        if repair is None:
            fix = matching[0].fix
            assert fix is not None, matching[0]
            assert fix.run()
        else:
            repair()
        assert self.passes(check), self.check(check)
        return matching[0]

    def set(self, path: str, value: object) -> Callable[[], None]:
        """Return a function that writes a file."""
        return lambda: self.write(path, f"{value}\n")


def relink(path: Path, target: str) -> None:
    """Let a symbolic link lead elsewhere."""
    path.unlink()
    os.symlink(target, path)
