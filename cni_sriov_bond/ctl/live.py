"""What the kernel reports now of leased bonds and of the NICs of pools: carrier, active port, counters, addresses.

The bonds are in the containers' namespaces. Reading enters a namespace for one system call, to open a netlink socket there. No
process and no descriptor of ours is then in the container. Socket and namespace are closed after each reading, because an open
one would delay the return of the VFs when the container ends. Nothing is changed.

A container may end at any time: its bond is then a ``LiveBond`` without ``link``, whose ``absence`` is the reason.
"""

import contextlib
import time
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.ctl import linkstats
from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.linkstats import LinkState
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import bond_options, netns, sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.objects import Address
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment, LeaseRecord
from cni_sriov_bond.ports import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.ports import BondOptions


class LiveNic(NamedTuple):
    """A NIC of a pool. ``counters`` is None while it has no network device; ``name`` is then that of the inventory."""

    pool: str
    address: str
    name: str
    number: int
    present: bool = False
    up: bool = False
    carrier: bool = False
    counters: Counters | None = None


class LivePort(NamedTuple):
    """A port of a bond, as its container has it.

    ``name`` is its present name there, or that of the pool while ``present`` is false: then it is not in the container.
    ``active`` is whether the bond sends through it. ``link`` is what the bond's monitor says: up, going down, down or going up.
    ``failures`` counts how often the monitor took it for failed, since it was added to the bond. ``nic`` is its NIC.
    """

    address: str
    name: str
    vf_index: int
    nic: LiveNic | None
    present: bool = False
    carrier: bool = False
    active: bool = False
    link: str = ""
    failures: int = 0
    mac: str = ""
    counters: Counters | None = None


class LiveLink(NamedTuple):
    """The bond's own device: ``mtu`` in bytes, addresses with prefix length, options by the kernel's names.

    ``carrier_changes`` counts how often its carrier went up or down since it was created.
    """

    up: bool
    carrier: bool
    mac: str
    mtu: int
    options: "BondOptions"
    addresses: list[str]
    carrier_changes: int
    counters: Counters

    @property
    def mode(self) -> str:
        """The name of the bonding mode."""
        return bond_options.mode_of(self.options)


class LiveBond(NamedTuple):
    """A leased bond. ``state`` is the lease's. ``link`` is None, with the reason in ``absence``, where it cannot be read."""

    pool: str
    name: str
    state: str
    record: LeaseRecord
    attachment: Attachment
    ports: list[LivePort]
    link: LiveLink | None = None
    absence: str = ""

    @property
    def failovers(self) -> int:
        """How often a port failed since the bond was created; the kernel counts failures of ports, not changes of the bond."""
        return sum(port.failures for port in self.ports)

    @property
    def active(self) -> list[LivePort]:
        """The ports that the bond sends through."""
        return [port for port in self.ports if port.active]


class Snapshot(NamedTuple):
    """NICs and leased bonds of some pools at one time: ``taken`` in seconds of the monotonic clock, to compute rates.

    ``sizes`` is the number of bonds of each pool. ``problems`` are pools and leases that could not be read.
    """

    taken: float
    nics: list[LiveNic]
    bonds: list[LiveBond]
    sizes: dict[str, int]
    problems: list[str]


def read(state_dir: str, pools: list[str]) -> Snapshot:
    """Return the state of all NICs and leased bonds of pools. It never fails as a whole: see ``Snapshot.problems``.

    Call it from the main thread: the namespace that it returns to is that of the process.
    """
    taken = time.monotonic()
    all_nics: list[LiveNic] = []
    bonds: list[LiveBond] = []
    sizes: dict[str, int] = {}
    problems: list[str] = []
    with contextlib.closing(Netlink()) as host:
        links = {link.name: link for link in linkstats.read(host)}
    for name in pools:
        pool = Pool(state_dir, name)
        try:
            inventory = pool.inventory()
        except CniError as unusable:
            problems.append(unusable.msg)
            continue
        sizes[name] = len(inventory.bonds)
        nics = [_nic(name, nic.address, nic.name, nic.number, links) for nic in inventory.nics]
        all_nics += nics
        order = {bond.name: number for number, bond in enumerate(inventory.bonds)}
        for entry in sorted(pool.entries(), key=lambda entry: order.get(entry.bond, len(order))):
            try:
                record = pool.read(entry)
            except CniError as unreadable:
                problems.append(unreadable.msg)
                continue
            if record and record.attachment:
                bonds.append(read_bond(name, entry.state, record, nics))
    return Snapshot(taken, all_nics, bonds, sizes, problems)


def read_nics(state_dir: str, name: str) -> list[LiveNic]:
    """Return the NICs of one pool.

    :raises CniError: when the pool has no inventory, or the kernel does not answer.
    """
    with contextlib.closing(Netlink()) as host:
        links = {link.name: link for link in linkstats.read(host)}
    return [_nic(name, nic.address, nic.name, nic.number, links) for nic in Pool(state_dir, name).inventory().nics]


def read_bond(pool: str, state: str, record: LeaseRecord, nics: list[LiveNic]) -> LiveBond:
    """Return a leased bond.

    :param state: the state of its lease.
    :param nics: the NICs of its pool.
    """
    attachment = record.attachment or Attachment("", "", "")
    by_address = {nic.address: nic for nic in nics}
    ports = [LivePort(port.address, port.name, port.vf_index, by_address.get(port.pf_address)) for port in record.ports]
    bond = LiveBond(pool, record.bond.name, state, record, attachment, ports)
    try:
        return _read_inside(bond)
    except (CniError, OSError) as failed:
        return bond._replace(absence=failed.msg if isinstance(failed, CniError) else str(failed))


def _nic(pool: str, address: str, name: str, number: int, links: dict[str, LinkState]) -> LiveNic:
    device = sysfs.netdev(address)
    link = links.get(device)
    if link is None:
        return LiveNic(pool, address, device or name, number)
    return LiveNic(pool, address, device, number, True, link.up, link.up and link.carrier, link.counters)


def _read_inside(bond: LiveBond) -> LiveBond:
    """Return a bond with what the kernel reports of it, or with the reason why it cannot.

    :raises CniError, OSError: when the kernel refuses.
    """
    record = bond.record
    if record.boot_id != files.boot_id():
        return bond._replace(absence="its container ran before the last boot")
    namespace = netns.find(record.netns.path) if record.netns else None
    if namespace is None or record.netns is None:
        return bond._replace(absence="the namespace of its container is gone")
    with contextlib.closing(namespace):
        if not namespace.same(record.netns):
            return bond._replace(absence="the namespace of its container is gone, and there is another at its path")
        with contextlib.closing(netns.open_netlink(namespace)) as container:
            links = linkstats.read(container)
            addresses = container.addresses()
    own = _bond_link(links, record, bond.attachment.ifname)
    if own is None:
        return bond._replace(absence=f"its container has no bond {bond.attachment.ifname}")
    texts = [_text(address) for address in addresses if address.index == own.ifindex and address.family in (AF_INET, AF_INET6)]
    link = LiveLink(
        own.up, own.carrier, own.mac, own.mtu, bond_options.decode(own.bond_data), texts, own.carrier_changes, own.counters
    )
    inside = {other.parent: other for other in links if other.master == own.ifindex}
    named = {other.name: other for other in links if other.master == own.ifindex}  # before Linux 5.14 there is no parent
    ports = [
        _port(port, wanted, inside.get(port.address) or named.get(port.name))
        for port, wanted in zip(bond.ports, record.ports, strict=True)
    ]
    return bond._replace(link=link, ports=ports)


def _bond_link(links: list[LinkState], record: LeaseRecord, ifname: str) -> LinkState | None:
    """Return the bond that has the lease's VFs, under any name, or else the bond of the expected name."""
    addresses = {port.address for port in record.ports}
    masters = {link.master for link in links if link.parent in addresses}
    bonds = [link for link in links if link.kind == "bond"]
    of_ports = [link for link in bonds if link.ifindex in masters]
    return next(iter(of_ports), None) or next((link for link in bonds if link.name == ifname), None)


def _text(address: Address) -> str:
    return f"{inet_ntop(address.family, address.ip)}/{address.prefix}"


def _port(port: LivePort, wanted: Port, link: LinkState | None) -> LivePort:
    if link is None:
        return port
    return port._replace(
        name=link.name,
        present=True,
        carrier=link.up and link.carrier,
        active=link.port_active,
        link=link.port_link,
        failures=link.port_failures,
        mac=link.mac,
        counters=link.counters,
    )
