"""``gc`` and ``release``: finish interrupted calls, and make bonds available again."""

import os
from typing import Any, NamedTuple

from cni_sriov_bond import inventory, leases, pool, quarantine, reclaim, release, sriov
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.pool import Pool

QUIET = Log(level="panic")  # the command itself prints what is found


class Result(NamedTuple):
    """What ``gc`` did about one lease; ``owner`` is the container and interface, as far as they are known."""

    bond: str
    owner: str
    state: str
    message: str

    @property
    def failed(self) -> bool:
        """Whether it could not be finished."""
        return self.state == reclaim.FAILED

    def to_json(self) -> dict[str, str]:
        """Return the result as ``gc --json`` has it; docs/reference.md lists the keys."""
        return self._asdict()


def gc(state_dir: str, name: str) -> list[Result]:
    """Finish every interrupted call of a pool, free the leases of containers that are gone, and send pending IPAM DELs.

    :raises CniError: when the pool's files cannot be read.
    """
    target = Pool(state_dir, name)
    # Pending DELs first: one that fails now and becomes pending would be sent twice otherwise.
    findings = reclaim.settle(target, QUIET, seconds=float("inf")) + reclaim.reclaim(target, QUIET, seconds=float("inf"))
    return [Result(finding.bond, finding.holder, finding.state, finding.words) for finding in findings]


def find(state_dir: str, wanted: str) -> tuple[Pool, inventory.Bond]:
    """Return the bond that ``POOL/BOND`` or ``BOND`` names, and its pool.

    :raises CniError: INVALID_CONFIG when there is none, or more than one.
    """
    in_pool, _, name = wanted.rpartition("/")
    matches = []
    for pool_name in [in_pool] if in_pool else pool.names(state_dir):
        target = Pool(state_dir, pool_name)
        matches += [(target, bond) for bond in target.bonds() if bond.name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        have = " or ".join(f"{target.name}/{name}" for target, _ in matches)
        raise CniError(INVALID_CONFIG, f"there is more than one bond {name}; name {have}")
    raise CniError(INVALID_CONFIG, f"there is no bond {wanted}; `sriov-bondctl status` shows the bonds")


def release_bond(target: Pool, bond: inventory.Bond, log: Log) -> str:
    """Make a bond available again that is in quarantine or whose lease is damaged, and return what was done.

    :raises CniError: POOL_UNUSABLE when it cannot be: a container has it, or one of its VFs is missing.
    """
    entry = next((entry for entry in target.entries() if entry.bond == bond.name), None)
    if entry is not None:
        _release_lease(target, entry, log)
        return "its lease is freed"
    if bond.name not in quarantine.bonds(target.path):
        return "it is free already"
    target.bonds_of_this_boot()  # VFs of an earlier boot may have other addresses by now
    lock = target.lock_bond(bond.name)
    try:
        _reset(target, bond)
        quarantine.end(target.path, bond.name)
    finally:
        os.close(lock)
    return "it is out of quarantine"


def _release_lease(target: Pool, entry: leases.Entry, log: Log) -> None:
    lease = target.take(entry, rebuild=True)
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
        raise CniError(POOL_UNUSABLE, f"{lease} is not free yet: {' and '.join(outcome.missing)} not back in the host")


def _by(record: dict[str, Any]) -> str:
    whose = reclaim.holder(record)
    return f" by {whose}" if whose else f" still, though {record['rebuilt']}"


def _reset(target: Pool, bond: inventory.Bond) -> None:
    """Reset the VFs of a bond to the state of VFs that were never used.

    :raises CniError: POOL_UNUSABLE when one is not in the host.
    """
    host = sriov.Host()
    for port in bond.ports:
        if host.netdev(port) is None:
            raise CniError(
                POOL_UNUSABLE,
                f"bond {bond.name} of pool {target.name} cannot be used yet: {port.name} at {port.pci} is not in the host: "
                f"{sriov.absence(port.pci)}",
            )
    host.make_plain(bond.ports, bond.mac)
