"""``gc`` and ``release``: finish interrupted calls, and make unusable bonds available again."""

import os

from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sriov, sysfs
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import inventory, pool, quarantine
from cni_sriov_bond.pool.lease import INTERRUPTED, READY, Entry
from cni_sriov_bond.pool.record import LeaseRecord
from cni_sriov_bond.ports import Bond


def gc(state_dir: str, name: str, context: Context) -> list[dict[str, str]]:
    """Finish everything in a pool that no other process will; return what was found: bond, owner, state, message.

    :raises CniError: when the pool's files cannot be read.
    """
    findings = recover.recover(pool.Pool(state_dir, name), recover.Unused(), context)
    return [{name: getattr(finding, name) for name in ("bond", "owner", "state", "message")} for finding in findings]


def find(state_dir: str, wanted: str) -> tuple[pool.Pool, Bond]:
    """Give the bond that ``POOL/BOND`` or ``BOND`` means.

    :raises CniError: INVALID_CONFIG when there is none, or more than one.
    """
    within, _, name = wanted.rpartition("/")
    found = []
    for one in [within] if within else inventory.names(state_dir):
        where = pool.Pool(state_dir, one)
        found += [(where, bond) for bond in where.bonds() if bond.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        have = " and ".join(f"{where.name}/{name}" for where, _ in found)
        raise CniError(INVALID_CONFIG, f"there is more than one bond {name}: say {have}")
    raise CniError(INVALID_CONFIG, f"there is no bond {wanted}; `sriov-bondctl status` shows those that there are")


def give_back(where: pool.Pool, bond: Bond, context: Context) -> str:
    """Make a bond available again that is in quarantine or has a damaged lease, and return what was done.

    :raises CniError: POOL_UNUSABLE when it cannot be, saying why: a container has it, or a VF of it is not whole.
    """
    entry = next((entry for entry in where.entries() if entry.bond == bond.name), None)
    if entry is not None:
        _give_lease_back(where, entry, context)
        return "its lease is released"
    if bond.name not in quarantine.bonds(where.path):
        return "it is free already"
    where.bonds_of_this_boot()  # else the VFs at these addresses may be anybody's
    held = where.lock_bond(bond.name)
    try:
        _repair(where, bond)
        quarantine.remove(where.path, bond.name)
    finally:
        os.close(held)
    return "it is out of quarantine"


def _give_lease_back(where: pool.Pool, entry: Entry, context: Context) -> None:
    lease = where.take(entry, reconstruct=True)
    if lease is None:
        return
    try:
        if lease.entry.state == READY and not release.is_unused(lease.record):
            raise CniError(POOL_UNUSABLE, f"{lease} is in use{_by(lease.record)}; remove the container first")
        outcome = release.release_unattended(lease, context, release.DEL, enter=lease.entry.state in INTERRUPTED)
    finally:
        lease.close()
    outcome.raise_any()
    if outcome.missing:
        raise CniError(POOL_UNUSABLE, f"{lease} waits for {' and '.join(outcome.missing)} to return to the host")


def _by(record: LeaseRecord) -> str:
    return f" by {record.owner}" if record.owner else f" still, though {record.damage}"


def _repair(where: pool.Pool, bond: Bond) -> None:
    """Put the VFs of a bond into the state of those that nobody has used, or say why not."""
    host = sriov.Host()
    for port in bond.ports:
        if host.netdev(port) is None:
            raise CniError(
                POOL_UNUSABLE,
                f"bond {bond.name} of pool {where.name} cannot be used yet: {port.name} at {port.pci} is not in the host: "
                f"{sysfs.absence(port.pci)}",
            )
    host.reset(bond.ports, bond.mac)
