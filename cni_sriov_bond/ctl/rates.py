"""Traffic between two readings of the live state: per bond and per NIC, for ``sriov-bondctl top``."""

from typing import NamedTuple

from cni_sriov_bond.ctl.detail import nic_to_json
from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.live import LiveBond, LiveNic, Snapshot
from cni_sriov_bond.ctl.text import JsonObject

SORTS = ("traffic", "name", "failovers", "errors")


class Rates(NamedTuple):
    """Traffic in a second: bits and packets received and sent, and errors of both ways."""

    rx_bits: float
    tx_bits: float
    rx_packets: float
    tx_packets: float
    errors: float

    @property
    def bits(self) -> float:
        """Bits of both ways."""
        return self.rx_bits + self.tx_bits

    def plus(self, other: "Rates") -> "Rates":
        """Return the sum of both."""
        return Rates(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


NONE = Rates(0.0, 0.0, 0.0, 0.0, 0.0)


class BondRow(NamedTuple):
    """A leased bond and its traffic; ``rates`` is None where it cannot be read, or was not there at the first reading."""

    bond: LiveBond
    rates: Rates | None

    @property
    def errors(self) -> int:
        """Errors and dropped packets since the bond was created."""
        counters = self.bond.link.counters if self.bond.link else None
        if counters is None:
            return 0
        return counters.rx_errors + counters.tx_errors + counters.rx_dropped + counters.tx_dropped

    def to_json(self) -> JsonObject:
        """Return the bond as ``top --json`` has it."""
        bond, link = self.bond, self.bond.link
        return {
            "pool": bond.pool,
            "bond": bond.name,
            "state": bond.state,
            "network": bond.attachment.network,
            "container_id": bond.attachment.container_id,
            "ifname": bond.attachment.ifname,
            "mode": link and link.mode,
            "carrier": link and link.carrier,
            "active": [port.nic.number for port in bond.active if port.nic],
            "failovers": bond.failovers if link else None,
            "counters": link and link.counters._asdict(),
            "rates": self.rates and self.rates._asdict(),
            "absence": bond.absence or None,
        }


class NicRow(NamedTuple):
    """A NIC. ``rates`` is the traffic of the bonds' ports on it; ``own`` is what its PF's device counts.

    What a PF counts depends on its driver: all that passes the cable, or only the host's own packets.
    """

    nic: LiveNic
    rates: Rates
    own: Rates | None

    def to_json(self) -> JsonObject:
        """Return the NIC as ``top --json`` has it."""
        return {
            "pool": self.nic.pool,
            **nic_to_json(self.nic),
            "rates": self.rates._asdict(),
            "own_rates": self.own and self.own._asdict(),
        }


class Top(NamedTuple):
    """All NICs and leased bonds, with the traffic in the last ``interval`` seconds."""

    interval: float
    nics: list[NicRow]
    bonds: list[BondRow]
    size: int
    problems: list[str]

    def to_json(self) -> JsonObject:
        """Return what ``top --json`` prints."""
        return {
            "interval": round(self.interval, 3),
            "nics": [row.to_json() for row in self.nics],
            "bonds": [row.to_json() for row in self.bonds],
            "problems": self.problems,
        }


def between(before: Snapshot, after: Snapshot, sort: str = SORTS[0]) -> Top:
    """Return the state at the second reading, with the traffic since the first.

    :param sort: one of ``SORTS``; the highest first, or by name.
    """
    seconds = max(after.taken - before.taken, 1e-6)
    links = {_key(bond): bond.link.counters for bond in before.bonds if bond.link}
    ports = {(_key(bond), port.address): port.counters for bond in before.bonds for port in bond.ports}
    nics = {(nic.pool, nic.address): nic.counters for nic in before.nics}
    rows = [
        BondRow(bond, _rates(links.get(_key(bond)), bond.link.counters if bond.link else None, seconds)) for bond in after.bonds
    ]
    of_nics: dict[tuple[str, str], Rates] = {}
    for bond in after.bonds:
        for port in bond.ports:
            rates = _rates(ports.get((_key(bond), port.address)), port.counters, seconds)
            if port.nic and rates:
                key = (bond.pool, port.nic.address)
                of_nics[key] = of_nics.get(key, NONE).plus(rates)
    nic_rows = [
        NicRow(
            nic,
            of_nics.get((nic.pool, nic.address), NONE),
            _rates(nics.get((nic.pool, nic.address)), nic.counters, seconds),
        )
        for nic in after.nics
    ]
    return Top(seconds, nic_rows, _sorted(rows, sort), sum(after.sizes.values()), after.problems)


def _key(bond: LiveBond) -> tuple[str, str, str, float]:
    """Identify a lease: another one of the same bond begins to count anew."""
    return bond.pool, bond.name, bond.attachment.key, bond.record.created


def _rates(before: Counters | None, after: Counters | None, seconds: float) -> Rates | None:
    """Return the rates, or None where a reading is missing or the counters began anew in between."""
    if before is None or after is None:
        return None
    change = Counters(*(new - old for old, new in zip(before, after, strict=True)))
    if min(change) < 0:
        return None
    return Rates(
        change.rx_bytes * 8 / seconds,
        change.tx_bytes * 8 / seconds,
        change.rx_packets / seconds,
        change.tx_packets / seconds,
        (change.rx_errors + change.tx_errors + change.rx_dropped + change.tx_dropped) / seconds,
    )


def _sorted(rows: list[BondRow], sort: str) -> list[BondRow]:
    """Return the rows in an order; rows of equal value keep that of the pool."""
    if sort == "name":
        return rows
    if sort == "failovers":
        return sorted(rows, key=lambda row: -row.bond.failovers)
    if sort == "errors":
        return sorted(rows, key=lambda row: -row.errors)
    return sorted(rows, key=lambda row: -(row.rates or NONE).bits)
