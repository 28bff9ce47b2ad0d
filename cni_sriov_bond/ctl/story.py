"""The story of a bond or a container: who attached it, each step, the failures of its ports, and its end."""

from typing import NamedTuple

from cni_sriov_bond.ctl import eventlog
from cni_sriov_bond.ctl.detail import matches
from cni_sriov_bond.ctl.eventlog import Event, PortEvent
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.pool.pool import Pool

# Actions that give a container its bond, and those that take it away.
_BEGINNINGS, _ENDS = ("ADD",), ("DEL", "release")


class Happening(NamedTuple):
    """What happened to a bond at a time: an action, or a line of the kernel about a port, with the NIC that the port is on."""

    time: float
    pool: str
    bond: str
    action: Event | None = None
    port: PortEvent | None = None
    nic: str = ""

    def to_json(self) -> JsonObject:
        """Return it as ``log --json`` has it."""
        if self.action:
            return self.action.to_json()
        line = self.port or PortEvent(self.time, "", "", "")
        value: JsonObject = {"kind": "port", "time": self.time, "pool": self.pool, "bond": self.bond}
        return {**value, "port": line.port, "nic": self.nic or None, "meaning": line.meaning, "text": line.text}


class _Period(NamedTuple):
    """A time during which a container has a bond."""

    pool: str
    bond: str
    begin: float
    end: float


def of(state_dir: str, wanted: str) -> list[Happening]:
    """Return what happened to a bond (BOND or POOL/BOND) or to a container (an id, or its beginning), in order of time.

    :raises CniError: INVALID_CONFIG when nothing is known of it, IO_FAILURE when the log cannot be read.
    """
    every = eventlog.read(state_dir)
    chosen = [event for event in every if event.bond and wanted in (event.bond, f"{event.pool}/{event.bond}")]
    if not chosen:
        chosen = _of_container(every, wanted)
    if not chosen:
        raise CniError(INVALID_CONFIG, f"the log has no bond and no container {wanted}; `sriov-bondctl status` shows both")
    happenings = [Happening(event.time, event.pool, event.bond, action=event) for event in chosen]
    happenings += _of_ports(state_dir, _periods(chosen))
    return sorted(happenings, key=lambda happening: happening.time)


def callers(state_dir: str) -> dict[tuple[str, str, str], str]:
    """Return who asked for the last ADD that succeeded, by network, container id and interface, as far as the log goes back."""
    try:
        every = eventlog.read(state_dir)
    except CniError:
        return {}
    succeeded = [event for event in every if event.action in _BEGINNINGS and not event.error]
    return {(event.network, event.container_id, event.ifname): event.caller for event in succeeded}


def _of_container(every: list[Event], wanted: str) -> list[Event]:
    ids = {event.container_id for event in every if event.container_id and matches(event.container_id, wanted)}
    if wanted in ids:
        ids = {wanted}
    if len(ids) > 1:
        raise CniError(INVALID_CONFIG, f"several containers match {wanted}: {', '.join(sorted(ids))}; give more of the id")
    return [event for event in every if event.container_id in ids]


def _periods(chosen: list[Event]) -> list[_Period]:
    """Return when containers had which bonds. An ADD that failed gave none; a DEL may have failed, and others follow."""
    periods = []
    begun: dict[tuple[str, str], float] = {}
    for event in chosen:
        key = (event.pool, event.bond)
        if event.action in _BEGINNINGS and event.bond and not event.error:
            begun[key] = event.time
        elif event.action in _ENDS and key in begun and not event.error:
            periods.append(_Period(*key, begun.pop(key), event.time))
    return periods + [_Period(*key, begin, float("inf")) for key, begin in begun.items()]


def _of_ports(state_dir: str, periods: list[_Period]) -> list[Happening]:
    """Return what the kernel logged of the bonds' ports while containers had them."""
    if not periods:
        return []
    lines = eventlog.port_events(min(period.begin for period in periods))
    names = {(period.pool, period.bond): _ports(state_dir, period.pool, period.bond) for period in periods}
    return [
        Happening(line.time, period.pool, period.bond, port=line, nic=names[period.pool, period.bond][line.port])
        for period in periods
        for line in lines
        if period.begin <= line.time <= period.end and line.port in names[period.pool, period.bond]
    ]


def _ports(state_dir: str, pool: str, bond: str) -> dict[str, str]:
    """Return the names of a bond's ports, and the name of the NIC of each."""
    try:
        inventory = Pool(state_dir, pool).inventory()
    except CniError:  # the pool was removed meanwhile
        return {}
    nics = {nic.address: f"NIC {nic.number} ({nic.name})" for nic in inventory.nics}
    return {
        port.name: nics.get(port.pf_address, port.pf_address)
        for candidate in inventory.bonds
        if candidate.name == bond
        for port in candidate.ports
    }
