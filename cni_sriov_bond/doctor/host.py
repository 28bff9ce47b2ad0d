"""What several checks read of the host: its NICs, its pools and their leases, each read once."""

import re
from functools import cached_property
from typing import NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.ctl import hostfile
from cni_sriov_bond.ctl.hostfile import PoolPlan
from cni_sriov_bond.ctl.hostfile_schema import DEFAULT_PATH
from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.doctor import netfiles
from cni_sriov_bond.doctor.netfiles import Network, NetworkFile
from cni_sriov_bond.doctor.tree import NET, PCI, Tree
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import netdevs, nic_models
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import Entry
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import LeaseRecord
from cni_sriov_bond.ports import Bond, Port

_ETHERNET = "0x0200"  # linux/pci_ids.h, PCI_CLASS_NETWORK_ETHERNET


class Nic(NamedTuple):
    """A NIC of the host: a PF, or a PCI NIC without SR-IOV. ``total_vfs`` and ``vf_count`` are None without SR-IOV."""

    address: str
    name: str
    driver: str
    vendor: str
    device: str
    total_vfs: int | None
    vf_count: int | None

    @property
    def model(self) -> str:
        """The model, or the PCI id where it is not known."""
        ids = f"{self.vendor.removeprefix('0x')}:{self.device.removeprefix('0x')}"
        return nic_models.model_of(self.vendor, self.device)[0] or f"PCI {ids}"

    @property
    def label(self) -> str:
        """The name, or the PCI address of a NIC without a network device."""
        return self.name or self.address


class PoolState(NamedTuple):
    """A pool on disk; ``inventory`` is None, and ``problem`` says why, where its inventory cannot be used."""

    pool: Pool
    inventory: Inventory | None
    problem: str

    @property
    def ports(self) -> list[tuple[Bond, Port]]:
        """Every port with its bond."""
        return [(bond, port) for bond in self.inventory.bonds for port in bond.ports] if self.inventory else []


class LeaseState(NamedTuple):
    """A lease on disk; ``record`` is None, and ``problem`` says why, where it cannot be read."""

    pool: Pool
    entry: Entry
    record: LeaseRecord | None
    problem: str = ""


class Host:
    """The host, or a directory that looks like one.

    :param tree: what is read of /sys, /proc, /etc, /run and /usr.
    :param state_dir, config: paths on this host, also where the tree is another.
    :param context: for repairs that run the steps of other commands, and for questions on the wire.
    """

    def __init__(self, tree: Tree, context: Context, state_dir: str = files.STATE_DIR, config: str = DEFAULT_PATH) -> None:
        self.tree = tree
        self.context = context
        self.state_dir = state_dir
        self.config = config

    # -- the host file

    @cached_property
    def config_problem(self) -> str:
        """Why the host file cannot be used, or ""."""
        try:
            hostfile.read(self.config)
        except CniError as failed:
            return failed.msg
        return ""

    @cached_property
    def plans(self) -> list[PoolPlan]:
        """The pools of the host file; none where it cannot be used."""
        return [] if self.config_problem else hostfile.read(self.config)

    # -- NICs

    def netdev(self, address: str) -> str:
        """Return the name of a PCI device's network device in the host, or ""."""
        names = self.tree.listed(f"{PCI}/{address}/net")
        if len(names) > 1:
            return netdevs.choose(self.tree.path(f"{PCI}/{address}/net"), names)
        return names[0] if names else ""

    def driver(self, address: str) -> str:
        """Return the driver of a PCI device, or ""."""
        return self.tree.link(f"{PCI}/{address}/driver")

    def nic(self, address: str) -> Nic:
        """Return the NIC at a PCI address."""
        at = f"{PCI}/{address}"
        read, number = self.tree.read, self.tree.number
        return Nic(
            address,
            self.netdev(address),
            self.driver(address),
            read(f"{at}/vendor"),
            read(f"{at}/device"),
            number(f"{at}/sriov_totalvfs"),
            number(f"{at}/sriov_numvfs"),
        )

    @cached_property
    def nics(self) -> list[Nic]:
        """Every Ethernet function of the PCI bus that is not a VF of a PF here."""
        addresses = [
            address
            for address in self.tree.listed(PCI)
            if self.tree.read(f"{PCI}/{address}/class").startswith(_ETHERNET)
            and not self.tree.exists(f"{PCI}/{address}/physfn")
        ]
        return [self.nic(address) for address in addresses]

    def address_of(self, name: str) -> str:
        """Return the PCI address of a NIC that the host file names, or "" if there is none."""
        if self.tree.exists(f"{PCI}/{name}"):
            return name
        if self.tree.exists(f"{PCI}/0000:{name}"):
            return f"0000:{name}"
        address = self.tree.link(f"{NET}/{name}/device")
        if address:
            return address
        if not self.tree.root:  # a name that only the kernel knows: an altname
            try:
                return PhysicalFunction(name, 0).address
            except CniError:
                pass
        return ""

    @cached_property
    def pool_nics(self) -> list[Nic]:
        """The NICs of the pools: of the host file, and of inventories for pools that it does not have."""
        addresses = [self.address_of(name) for plan in self.plans for name in plan.pfs]
        for state in self.pools:
            addresses += [nic.address for nic in state.inventory.nics] if state.inventory else []
        return [self.nic(address) for address in dict.fromkeys(addresses) if address and self.tree.exists(f"{PCI}/{address}")]

    # -- networks

    @cached_property
    def network_files(self) -> list[NetworkFile]:
        """Every network file that has one of our plugins or cannot be read."""
        return netfiles.read(self.tree)

    @cached_property
    def networks(self) -> list[Network]:
        """The networks with sriov-bond."""
        return [file.network for file in self.network_files if file.network]

    def pool_of(self, network: Network) -> str:
        """Return the pool of a network, or "" where it has another state directory, or names none and there is not one."""
        if network.state_dir not in ("", self.state_dir):
            return ""
        return network.pool or (self.pool_names[0] if len(self.pool_names) == 1 else "")

    # -- pools

    @cached_property
    def pools(self) -> list[PoolState]:
        """Every pool on disk."""
        states = []
        for name in inventory.directories(self.state_dir):
            pool = Pool(self.state_dir, name)
            try:
                states.append(PoolState(pool, pool.inventory(), ""))
            except CniError as failed:
                states.append(PoolState(pool, None, failed.msg))
        return states

    @cached_property
    def pool_names(self) -> list[str]:
        """The pools that networks may name: those on disk, and those of the host file."""
        return sorted({state.pool.name for state in self.pools} | {plan.name for plan in self.plans})

    def leases(self) -> list[LeaseState]:
        """Return every lease; they are read again at each call."""
        return [self._lease(state.pool, entry) for state in self.pools for entry in state.pool.entries()]

    def _lease(self, pool: Pool, entry: Entry) -> LeaseState:
        try:
            return LeaseState(pool, entry, pool.read(entry))
        except CniError as failed:
            return LeaseState(pool, entry, None, failed.msg)

    def leased(self) -> set[tuple[str, str]]:
        """Return pool and bond of every lease."""
        return {(state.pool.name, entry.bond) for state in self.pools for entry in state.pool.entries()}

    # -- the machine

    @cached_property
    def kernel(self) -> tuple[int, int]:
        """The kernel's version, (0, 0) where it is not known."""
        match = re.match(r"(\d+)\.(\d+)", self.tree.read("/proc/sys/kernel/osrelease"))
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @cached_property
    def hypervisor(self) -> str:
        """The maker of the virtual machine that this is, or ""."""
        flags = next((line for line in self.tree.read("/proc/cpuinfo").splitlines() if line.startswith("flags")), "")
        if "hypervisor" not in flags.split():
            return ""
        return self.tree.read("/sys/class/dmi/id/sys_vendor") or "an unknown hypervisor"
