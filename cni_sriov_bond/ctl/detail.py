"""Everything that is known of a bond, for ``sriov-bondctl show``: its lease, ports and NICs, and what the kernel reports."""

import contextlib
import time
from typing import NamedTuple

from cni_sriov_bond.ctl import linkstats, live, recover, status
from cni_sriov_bond.ctl.live import LiveBond, LiveLink, LiveNic, LivePort
from cni_sriov_bond.ctl.status import BondStatus
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.kernel import bond_options, sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.sriov import Host
from cni_sriov_bond.pool import pools
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import LeaseRecord
from cni_sriov_bond.ports import Bond, Port, VfSettings

_RESET_SECONDS = 0.5  # how long to wait for a VF that its driver does not report


class Monitor(NamedTuple):
    """How a bond notices that a port failed: kind ``mii`` (carrier) or ``arp`` (the path to targets), every ``interval`` ms.

    ``silent`` are gateways that would be targets if they had answered at the ADD; `gc` asks them again.
    """

    kind: str
    interval: int
    targets: list[str]
    silent: list[str]


class PortDetail(NamedTuple):
    """A port: where it is, and how its PF has it set. ``admin_mac`` and ``settings`` are None where the PF reports none.

    ``device`` is its name in the host, empty while it is not there.
    """

    port: LivePort
    device: str
    admin_mac: str | None
    settings: VfSettings | None

    def to_json(self) -> JsonObject:
        """Return the port as ``show --json`` has it."""
        port, nic = self.port, self.port.nic
        return {
            "pci": port.address,
            "name": port.name,
            "vf": port.vf_index,
            "device": self.device or None,
            "in_container": port.present,
            "carrier": port.carrier,
            "active": port.active,
            "link": port.link or None,
            "failures": port.failures,
            "mac": port.mac or None,
            "admin_mac": self.admin_mac,
            "settings": {name: self.settings.get(name) if self.settings else None for name in VfSettings.NAMES},
            "counters": port.counters._asdict() if port.counters else None,
            "nic": nic and nic_to_json(nic),
        }


class Detail(NamedTuple):
    """A bond. ``live`` and ``record`` are None for one that is not leased, or whose lease cannot be read.

    ``now`` is when it was read, in seconds since 1970; ``caller`` who asked for the lease, as far as the log has it.
    """

    pool: str
    status: BondStatus
    ports: list[PortDetail]
    live: LiveBond | None
    record: LeaseRecord | None
    now: float
    caller: str = ""

    @property
    def link(self) -> LiveLink | None:
        """The bond's device, None where there is none or it cannot be read."""
        return self.live.link if self.live else None

    @property
    def age(self) -> float | None:
        """The seconds since the lease was made, or None without a lease."""
        return max(0.0, self.now - self.record.created) if self.record else None

    @property
    def monitor(self) -> Monitor | None:
        """How the bond is monitored, None where that cannot be read."""
        if self.link is None or self.record is None:
            return None
        options, silent = self.link.options, self.record.silent_gateways
        interval = bond_options.number_of(options, "arp_interval")
        if interval:
            targets = [target for name in bond_options.TARGETS for target in bond_options.targets_of(options, name)]
            return Monitor("arp", interval, targets, silent)
        return Monitor("mii", bond_options.number_of(options, "miimon"), [], silent)

    def to_json(self) -> JsonObject:
        """Return the bond as ``show --json`` has it."""
        value: JsonObject = {"pool": self.pool, "bond": self.status.name, "state": self.status.state, "mac": self.status.mac}
        value["problem"] = self.status.problem or None
        value["waiting"] = self.status.waiting or None
        lease = self.status.lease
        value["lease"] = {**lease._asdict(), "age": self.age, "caller": self.caller or None} if lease else None
        value["absence"] = (self.live.absence if self.live else "") or None
        value["failovers"] = self.live.failovers if self.live else None
        value["link"] = link_to_json(self.link) if self.link else None
        value["monitor"] = self.monitor._asdict() if self.monitor else None
        value["ports"] = [port.to_json() for port in self.ports]
        return value


def nic_to_json(nic: LiveNic) -> JsonObject:
    """Return a NIC as ``show`` and ``top`` have it."""
    return {
        "pci": nic.address,
        "name": nic.name,
        "number": nic.number,
        "present": nic.present,
        "up": nic.up,
        "carrier": nic.carrier,
        "counters": nic.counters._asdict() if nic.counters else None,
    }


def link_to_json(link: LiveLink) -> JsonObject:
    """Return the bond's device; options have the kernel's names, and the names of their values."""
    return {
        "up": link.up,
        "carrier": link.carrier,
        "carrier_changes": link.carrier_changes,
        "mac": link.mac,
        "mtu": link.mtu,
        "mode": link.mode,
        "addresses": link.addresses,
        "options": {
            name: value if isinstance(value, list) else bond_options.words(name, value)
            for name, value in link.options.items()
            if name != "primary"  # the index of a port, which means nothing outside
        },
        "counters": link.counters._asdict(),
    }


def find(state_dir: str, wanted: str) -> list[Detail]:
    """Return the bond that ``POOL/BOND`` or ``BOND`` names, or else the bonds of the container that an id names.

    :param wanted: of an id also its beginning, with or without the namespace that a runtime puts before it ("k8s.io-").
    :raises CniError: INVALID_CONFIG when there is none, or when several containers' ids begin so.
    """
    known = [(Pool(state_dir, name), bond) for name in pools.known(state_dir) for bond in _bonds(Pool(state_dir, name))]
    named = [(pool, bond) for pool, bond in known if wanted in (bond.name, f"{pool.name}/{bond.name}")]
    if len(named) > 1:
        recover.find(state_dir, wanted)  # raises, naming them
    details = [read(pool, bond) for pool, bond in named] or _of_container(known, wanted)
    if not details:
        raise CniError(
            INVALID_CONFIG, f"there is no bond and no container {wanted} with a bond; `sriov-bondctl status` shows both"
        )
    return details


def _bonds(pool: Pool) -> list[Bond]:
    """Return the bonds of a pool; none where its inventory is lost, which `status` reports."""
    try:
        return pool.bonds()
    except CniError:
        return []


def matches(container_id: str, wanted: str) -> bool:
    """Return whether a container is meant by an id or its beginning, with or without the namespace before it."""
    return container_id.startswith(wanted) or container_id.partition("-")[2].startswith(wanted)


def _of_container(known: list[tuple[Pool, Bond]], wanted: str) -> list[Detail]:
    found: dict[str, list[tuple[Pool, Bond]]] = {}
    for pool, bond in known:
        record = _record(pool, bond.name)
        if record and record.attachment and matches(record.attachment.container_id, wanted):
            found.setdefault(record.attachment.container_id, []).append((pool, bond))
    if wanted in found:
        found = {wanted: found[wanted]}
    if len(found) > 1:
        raise CniError(INVALID_CONFIG, f"several containers match {wanted}: {', '.join(sorted(found))}; give more of the id")
    return [read(pool, bond) for bonds in found.values() for pool, bond in bonds]


def _record(pool: Pool, bond: str) -> LeaseRecord | None:
    with contextlib.suppress(CniError):  # a damaged lease: `status` reports it
        for entry in pool.entries():
            if entry.bond == bond:
                return pool.read(entry)
    return None


def read(pool: Pool, bond: Bond) -> Detail:
    """Return everything that is known of a bond.

    :raises CniError: when its pool has no inventory.
    """
    shown = status.read_bond(pool, bond)
    nics = live.read_nics(pool.state_dir, pool.name)
    record = _record(pool, bond.name)
    if record is not None and record.attachment is None:
        record = None
    inside = live.read_bond(pool.name, shown.state, record, nics) if record else None
    ports = inside.ports if inside else _in_host(bond, nics)
    host = Host(deadline=Deadline(_RESET_SECONDS))
    try:
        details = [_port(host, port, wanted) for port, wanted in zip(ports, (record or bond).ports, strict=True)]
    finally:
        host.netlink.close()
    return Detail(pool.name, shown, details, inside, record, time.time())


def _port(host: Host, port: LivePort, wanted: Port) -> PortDetail:
    device = sysfs.netdev(port.address)
    try:
        vf = host.vf(wanted)
    except CniError:  # its PF is missing, or does not report it
        return PortDetail(port, device, None, None)
    return PortDetail(port, device, vf.mac, vf.settings)


def _in_host(bond: Bond, nics: list[LiveNic]) -> list[LivePort]:
    """Return the ports of a bond that no container has, as they are in the host."""
    by_address = {nic.address: nic for nic in nics}
    with contextlib.closing(Netlink()) as netlink:
        links = {link.name: link for link in linkstats.read(netlink)}
    ports = []
    for port in bond.ports:
        shown = LivePort(port.address, port.name, port.vf_index, by_address.get(port.pf_address))
        link = links.get(sysfs.netdev(port.address))
        ports.append(shown._replace(mac=link.mac, counters=link.counters) if link else shown)
    return ports
