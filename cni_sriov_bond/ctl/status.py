"""The state of a pool as a value: its NICs, its bonds, and which container has which bond. It changes nothing."""

from typing import NamedTuple

from cni_sriov_bond import files, lock_holder
from cni_sriov_bond.ctl import links, live
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import CniError, DamagedLeaseError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.plugin import release
from cni_sriov_bond.pool import quarantine
from cni_sriov_bond.pool.lease import DRAINING, READY, Entry
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import LeaseRecord
from cni_sriov_bond.ports import Bond

FREE, QUARANTINED, BROKEN = "free", "quarantined", "broken"


class PortStatus(NamedTuple):
    """A port of a bond; ``device`` is the VF's present name in the host, or empty while it is not there.

    In a container ``active`` is whether the bond sends through it, and ``link`` what its monitor says, as ``live.LivePort`` has
    it. Elsewhere, and where the container cannot be read, they are None and empty.
    """

    address: str
    name: str
    pf_address: str
    vf_index: int
    device: str
    active: bool | None = None
    link: str = ""

    def to_json(self) -> JsonObject:
        """Return the port as ``status --json`` has it."""
        value: JsonObject = {"pci": self.address, "name": self.name, "pf": self.pf_address, "vf": self.vf_index}
        return {**value, "device": self.device, "active": self.active, "link": self.link or None}


class LeaseStatus(NamedTuple):
    """The attachment that has a bond, its addresses, its VLAN, and the MAC of each port at the ADD, in their order."""

    network: str
    container_id: str
    ifname: str
    netns: str
    ips: list[str]
    vlan: int | None
    macs: list[str]
    created: int
    this_boot: bool


class BondStatus(NamedTuple):
    """A bond: free, in a lease's state, quarantined or broken.

    ``problem`` is why it cannot be used, or empty. ``waiting`` is what it waits for until it is free, with the command that
    finishes it, or empty.
    """

    name: str
    mac: str
    state: str
    ports: list[PortStatus]
    problem: str = ""
    waiting: str = ""
    lease: LeaseStatus | None = None

    def to_json(self) -> JsonObject:
        """Return the bond as ``status --json`` has it."""
        value: JsonObject = {"name": self.name, "mac": self.mac, "state": self.state}
        value["ports"] = [port.to_json() for port in self.ports]
        if self.problem:
            value["problem"] = self.problem
        if self.waiting:
            value["waiting"] = self.waiting
        if self.lease:
            value["lease"] = self.lease._asdict()
        return value


class PoolStatus(NamedTuple):
    """A pool; ``pending`` is the number of IPAM DELs still to be sent for bonds that are free again."""

    name: str
    this_boot: bool
    nics: list[links.Nic]
    bonds: list[BondStatus]
    pending: int

    def to_json(self) -> JsonObject:
        """Return the pool as ``status --json`` has it; docs/reference.md lists the keys."""
        return {
            "name": self.name,
            "this_boot": self.this_boot,
            "nics": [nic.to_json() for nic in self.nics],
            "bonds": [bond.to_json() for bond in self.bonds],
            "pending": self.pending,
        }


def collect(state_dir: str, name: str, *, with_nics: bool = True) -> PoolStatus:
    """Return the state of a pool.

    :param with_nics: read the NICs too; without them pyroute2 is not imported.
    :raises CniError: when it is not provisioned.
    """
    target = Pool(state_dir, name)
    made = target.inventory()
    entries = {entry.bond: entry for entry in target.entries()}
    with links.Reader() as reader:
        nics = [reader.read(nic.address, nic.name, nic.number) for nic in made.nics if with_nics]
    reasons = quarantine.reasons(target.path)
    bonds = [_bond(target, bond, entries.get(bond.name), reasons.get(bond.name)) for bond in made.bonds]
    return PoolStatus(name, made.of_this_boot, nics, bonds, len(target.pending.listed()))


def read_bond(target: Pool, bond: Bond) -> BondStatus:
    """Return the state of one bond of a pool."""
    entry = next((entry for entry in target.entries() if entry.bond == bond.name), None)
    return _bond(target, bond, entry, quarantine.reasons(target.path).get(bond.name))


def _bond(target: Pool, bond: Bond, entry: Entry | None, quarantined: str | None) -> BondStatus:
    ports = [
        PortStatus(port.address, port.name, port.pf_address, port.vf_index, sysfs.netdev(port.address)) for port in bond.ports
    ]
    status = BondStatus(bond.name, bond.mac, FREE, ports)
    if entry is None and quarantined is not None:
        waiting = f"run `sriov-bondctl release {target.name}/{bond.name}` once its VFs can be used"
        return status._replace(state=QUARANTINED, problem=quarantined, waiting=waiting)
    if entry is None:
        return _unleased(status)
    status = status._replace(state=entry.state)
    try:
        record = target.read(entry)
    except DamagedLeaseError as damaged:
        waiting = "run `sriov-bondctl gc` to release it once its VFs are in the host"
        return status._replace(problem=damaged.msg, waiting=waiting)
    except CniError as unreadable:
        return status._replace(problem=unreadable.msg)
    if record and record.attachment and record.netns:
        lease = LeaseStatus(
            network=record.attachment.network,
            container_id=record.attachment.container_id,
            ifname=record.attachment.ifname,
            netns=record.netns.path,
            ips=record.addresses or [],
            vlan=record.requested.vf.vlan,
            macs=[record.port_macs.get(port.address, "") for port in bond.ports],
            created=record.created,
            this_boot=record.boot_id == files.boot_id(),
        )
        ports = _with_live(target.name, entry, record, status.ports)
        return status._replace(lease=lease, waiting=_waiting(target, entry, record), ports=ports)
    return status


def _with_live(pool: str, entry: Entry, record: LeaseRecord, ports: list[PortStatus]) -> list[PortStatus]:
    """Return the ports of a leased bond with what its container's kernel reports, where that can be read."""
    bond = live.read_bond(pool, entry.state, record, [])
    if bond.link is None:
        return ports
    inside = {port.address: port for port in bond.ports}
    return [
        port._replace(active=inside[port.address].active, link=inside[port.address].link) if port.address in inside else port
        for port in ports
    ]


def _waiting(target: Pool, entry: Entry, record: LeaseRecord) -> str:
    """Return what the release of a lease waits for, or "" for one that a container or a running call has."""
    if lock_holder.is_held(f"{target.path}/bonds/{entry.bond}"):
        return ""
    if entry.state == READY:
        return "no container has it any more; run `sriov-bondctl gc` to release it" if release.is_unused(record) else ""
    missing = _missing(record)
    if entry.state == DRAINING and missing:
        return f"{' and '.join(missing)} not yet in the host; run `sriov-bondctl gc` when the container has ended"
    interrupted = "it is to be released" if entry.state == DRAINING else "its ADD or DEL was interrupted"
    return f"{interrupted}; run `sriov-bondctl gc` to finish it"


def _missing(record: LeaseRecord) -> list[str]:
    """Return the names of a lease's VFs that are in another namespace; none after a reboot, or before the ADD moves them."""
    if record.boot_id != files.boot_id() or not record.before:
        return []
    return [port.name for port in record.ports if sysfs.exists(port.address) and not sysfs.netdev(port.address)]


def _unleased(status: BondStatus) -> BondStatus:
    missing = [port for port in status.ports if not port.device]
    if not missing:
        return status
    verb = "is" if len(missing) == 1 else "are"
    names, reason = " and ".join(port.name for port in missing), sysfs.absence(missing[0].address)
    return status._replace(state=BROKEN, problem=f"{names} {verb} not in the host, though the bond is not leased: {reason}")
