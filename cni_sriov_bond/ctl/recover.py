"""``gc`` and ``release``: finish interrupted calls, and make bonds available again."""

import os

from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.events import Action, Subject
from cni_sriov_bond.kernel import sriov, sysfs
from cni_sriov_bond.plugin import monitor, recover, release
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.plugin.recover import Finding
from cni_sriov_bond.pool import inventory, quarantine
from cni_sriov_bond.pool.lease import INTERRUPTED, READY, Entry
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import LeaseRecord
from cni_sriov_bond.ports import Bond


def gc(state_dir: str, name: str, context: Context) -> list[Finding]:
    """Finish every interrupted call of a pool, free the leases of containers that are gone, and send pending IPAM DELs.

    Bonds that monitor carrier only, because no gateway answered at their ADD, ask their gateways again.

    :raises CniError: when the pool's files cannot be read.
    """
    pool = Pool(state_dir, name)
    findings = recover.recover(pool, recover.Unused(), context)
    return findings + [finding for entry in pool.entries() for finding in _ask_gateways(pool, entry)]


def _ask_gateways(pool: Pool, entry: Entry) -> list[Finding]:
    """Ask the gateways of a lease that were silent; return a finding if one answers by now, or if that fails."""
    try:
        record = pool.read(entry)
    except CniError:
        return []  # reported by the recovery before
    if record is None or not record.silent_gateways:
        return []
    try:
        lease = pool.take(entry, seconds=0)
        if lease is None:
            return []
        try:
            answering = monitor.ask_again(lease)
        finally:
            lease.close()
    except CniError as failed:
        if failed.code == TRY_AGAIN_LATER:
            return []  # another call works on it
        return [Finding(entry.bond, "", recover.FAILED, f"cannot monitor its path: {failed.msg}", failed.code)]
    if not answering:
        return []
    message = f"it monitors the path to {' and '.join(answering)} from now on, which did not answer at its ADD"
    return [Finding(entry.bond, record.owner, recover.DONE, message)]


def to_json(finding: Finding) -> dict[str, str]:
    """Return a finding as ``gc --json`` has it; docs/reference.md lists the keys."""
    return {"bond": finding.bond, "owner": finding.owner, "state": finding.state, "message": finding.message}


def find(state_dir: str, wanted: str) -> tuple[Pool, Bond]:
    """Return the bond that ``POOL/BOND`` or ``BOND`` names, and its pool.

    :raises CniError: INVALID_CONFIG when there is none, or more than one.
    """
    in_pool, _, name = wanted.rpartition("/")
    matches = []
    for pool_name in [in_pool] if in_pool else inventory.names(state_dir):
        target = Pool(state_dir, pool_name)
        matches += [(target, bond) for bond in target.bonds() if bond.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        have = " or ".join(f"{target.name}/{name}" for target, _ in matches)
        raise CniError(INVALID_CONFIG, f"there is more than one bond {name}; name {have}")
    raise CniError(INVALID_CONFIG, f"there is no bond {wanted}; `sriov-bondctl status` shows the bonds")


def release_bond(target: Pool, bond: Bond, context: Context) -> str:
    """Make a bond available again that is in quarantine or whose lease is damaged, and return what was done.

    :raises CniError: POOL_UNUSABLE when it cannot be: a container has it, or one of its VFs is missing.
    """
    entry = next((entry for entry in target.entries() if entry.bond == bond.name), None)
    if entry is not None:
        _release_lease(target, entry, context)
        return "its lease is freed"
    if bond.name not in target.quarantined():
        return "it is free already"
    target.bonds_of_this_boot()  # VFs of an earlier boot may have other addresses by now
    lock = target.lock_bond(bond.name)
    try:
        if any(entry.bond == bond.name for entry in target.entries()):  # again: only under the lock nobody leases it
            raise CniError(TRY_AGAIN_LATER, f"bond {bond.name} of pool {target.name} was leased meanwhile; run it again")
        action = Action(context.log, "release")
        _reset(target, bond)
        quarantine.remove(target.path, bond.name)
        action.end(target.state_dir, Subject(target.name, bond.name))
    finally:
        os.close(lock)
    return "it is out of quarantine"


def _release_lease(target: Pool, entry: Entry, context: Context) -> None:
    lease = target.take(entry, reconstruct=True)
    if lease is None:
        return
    try:
        if lease.entry.state == READY and not release.is_unused(lease.record):
            raise CniError(POOL_UNUSABLE, f"{lease} is in use{_by(lease.record)}; remove the container first")
        action = Action(context.log, "release")
        outcome = release.release_unattended(lease, context, release.DEL, enter=lease.entry.state in INTERRUPTED)
        if outcome.free or outcome.problems:
            action.end(target.state_dir, recover.subject_of(lease.record), next(iter(outcome.problems), None))
    finally:
        lease.close()
    outcome.raise_any()
    if outcome.missing:
        raise CniError(POOL_UNUSABLE, f"{lease} is not free yet: {' and '.join(outcome.missing)} not back in the host")


def _by(record: LeaseRecord) -> str:
    return f" by {record.owner}" if record.owner else f" still, though {record.damage}"


def _reset(target: Pool, bond: Bond) -> None:
    """Reset the VFs of a bond to the state of VFs that were never used.

    :raises CniError: POOL_UNUSABLE when one is not in the host.
    """
    host = sriov.Host()
    for port in bond.ports:
        if host.netdev(port) is None:
            raise CniError(
                POOL_UNUSABLE,
                f"bond {bond.name} of pool {target.name} cannot be used yet: {port.name} at {port.address} is not in the host: "
                f"{sysfs.absence(port.address)}",
            )
    host.reset(bond.ports, bond.mac)
