"""``gc`` and ``release``: finish what died, and give back what was set aside."""

import os
from typing import Any

from cni_sriov_bond import inventory, leases, pool, quarantine, reclaim, release, sriov
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError
from cni_sriov_bond.log import Log

QUIET = Log(level="panic")  # what is found is told by the command itself


def gc(state_dir: str, name: str) -> list[dict[str, str]]:
    """Finish everything in a pool that nobody else will, and give what was found: bond, holder, state, words.

    :raises CniError: when the pool's files cannot be read.
    """
    where = pool.Pool(state_dir, name)
    # In this order: a delegate that could not be told just now is not asked again at once.
    found = reclaim.settle(where, QUIET, seconds=float("inf")) + reclaim.reclaim(where, QUIET, seconds=float("inf"))
    return [{"bond": one.bond, "holder": one.holder, "state": one.state, "words": one.words} for one in found]


def find(state_dir: str, wanted: str) -> tuple[pool.Pool, inventory.Bond]:
    """Give the bond that ``POOL/BOND`` or ``BOND`` means.

    :raises CniError: INVALID_CONFIG when there is none, or more than one.
    """
    within, _, name = wanted.rpartition("/")
    found = []
    for one in [within] if within else pool.names(state_dir):
        where = pool.Pool(state_dir, one)
        found += [(where, bond) for bond in where.bonds() if bond.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        have = " and ".join(f"{where.name}/{name}" for where, _ in found)
        raise CniError(INVALID_CONFIG, f"there is more than one bond {name}: say {have}")
    raise CniError(INVALID_CONFIG, f"there is no bond {wanted}; `sriov-bondctl status` shows those that there are")


def give_back(where: pool.Pool, bond: inventory.Bond, log: Log) -> str:
    """Let a bond be handed out again that was set aside, and say what was done.

    :raises CniError: POOL_UNUSABLE when it cannot be, saying why: a container has it, or a VF of it is not whole.
    """
    entry = next((entry for entry in where.entries() if entry.bond == bond.name), None)
    if entry is not None:
        _give_lease_back(where, entry, log)
        return "its lease is given back"
    if bond.name not in quarantine.bonds(where.path):
        return "it is free already"
    where.bonds_of_this_boot()  # else the VFs at these addresses may be anybody's
    held = where.lock_bond(bond.name)
    try:
        _repair(where, bond)
        quarantine.end(where.path, bond.name)
    finally:
        os.close(held)
    return "it is out of quarantine"


def _give_lease_back(where: pool.Pool, entry: leases.Entry, log: Log) -> None:
    lease = where.take(entry, rebuild=True)
    if lease is None:
        return
    try:
        if lease.entry.state == leases.READY and not release.is_over(lease.record):
            raise CniError(POOL_UNUSABLE, f"{lease} is in use{_by(lease.record)}; remove the container first")
        outcome = release.unattended(lease, log, lease.entry.state in leases.INTERRUPTED, seconds=release.HOME_SECONDS)
    finally:
        lease.close()
    outcome.raise_any()
    if outcome.missing:
        raise CniError(POOL_UNUSABLE, f"{lease} waits for {' and '.join(outcome.missing)} to come home")


def _by(record: dict[str, Any]) -> str:
    whose = reclaim.holder(record)
    return f" by {whose}" if whose else f" still, though {record['rebuilt']}"


def _repair(where: pool.Pool, bond: inventory.Bond) -> None:
    """Put the VFs of a bond into the state of those that nobody has used, or say why not."""
    host = sriov.Host()
    for port in bond.ports:
        if host.netdev(port) is None:
            raise CniError(
                POOL_UNUSABLE,
                f"bond {bond.name} of pool {where.name} cannot be used yet: {port.name} at {port.pci} is not in the host: "
                f"{sriov.absence(port.pci)}",
            )
    host.make_plain(bond.ports, bond.mac)
