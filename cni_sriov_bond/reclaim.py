"""Finish what nobody else will: leases of ADDs and DELs that died, of containers that are gone, and of earlier boots.

Who looks finishes: the next ADD, GC, `sriov-bondctl gc`, `up` and `status`. What another process works on is left alone.
"""

from time import monotonic

from cni_sriov_bond import debts, ipam, pool, release, store
from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.leases import INTERRUPTED, READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.leases import Entry, Lease
    from cni_sriov_bond.log import Log

# A delegate that hangs must not hold up the next container for as long as its own ADD may.
_DELEGATE_SECONDS = 10.0
_LEAST_DELEGATE_SECONDS = 3.0


class _Patience:
    """How long delegates may take in all that are told in one look at a pool: what is not told by then becomes a debt."""

    def __init__(self, seconds: float, each: float = _DELEGATE_SECONDS) -> None:
        self._deadline = monotonic() + seconds
        self._each = each

    @property
    def left(self) -> float:
        """How long the next one may take; 0 when it is not to be asked."""
        left = min(self._each, self._deadline - monotonic())
        return left if left >= min(self._each, _LEAST_DELEGATE_SECONDS) else 0.0


DONE, WAITS, FAILED = "done", "waits", "failed"


class Finding:
    """What was found of one lease, and what became of it.

    :param holder: the container and interface, as far as they are known.
    :param state: ``DONE``, ``WAITS`` for VFs to come home, or ``FAILED``.
    """

    __slots__ = ("bond", "holder", "state", "words")

    def __init__(self, bond: str, holder: str, state: str, words: str) -> None:
        self.bond = bond
        self.holder = holder
        self.state = state
        self.words = words


def finish(where: pool.Pool, log: "Log") -> None:
    """Finish ADDs and DELs that died and releases that waited for VFs, as far as they are home by now."""
    patience = _Patience(_DELEGATE_SECONDS)
    for entry in where.entries():
        if entry.state != READY:
            _tell(_finish(where, entry, log, patience), log)


def reclaim(where: pool.Pool, log: "Log", seconds: float = _DELEGATE_SECONDS) -> list[Finding]:
    """Free what nobody will ask us to free, also where that means to read every lease, and give what was found.

    :param seconds: how long delegates may take in all.
    :raises CniError: when the pool's files cannot be read.
    """
    findings = []
    patience = _Patience(seconds)
    for entry in where.entries():
        if entry.state != READY or _is_over(where, entry):
            found = _finish(where, entry, log, patience)
            _tell(found, log)
            findings += [found] if found else []
    where.drop_leftovers()
    return findings


def _is_over(where: pool.Pool, entry: "Entry") -> bool:
    """Tell whether a ready lease serves nobody. One of which that cannot be seen may: it is looked at under its lock."""
    try:
        record = where.read(entry)
        return record is not None and release.is_over(record)
    except CniError:
        return True


def _tell(found: Finding | None, log: "Log") -> None:
    if found and found.state == FAILED:  # of those that wait `release` has told
        log.warn(f"bond {found.bond}{found.holder and ' of '}{found.holder}: {found.words}")


def holder(record: "dict[str, Any]") -> str:
    """Say whose a lease is."""
    return f"{record['container_id']} {record['ifname']}" if "container_id" in record else ""


def _finish(where: pool.Pool, entry: "Entry", log: "Log", patience: _Patience) -> Finding | None:
    """Release a lease if nobody works on it and its owner will not; None when there is nothing to tell."""
    try:
        lease = where.take(entry, seconds=0, rebuild=True)
    except CniError as failed:
        busy = failed.code == TRY_AGAIN_LATER
        return None if busy else Finding(entry.bond, "", FAILED, failed.msg)
    if lease is None:
        return None
    try:
        # Only now, under the lock: an ADD may have finished since its lease was listed, and its container lives.
        if lease.entry.state == READY and not release.is_over(lease.record):
            damage = lease.record.get("rebuilt")
            return (
                Finding(entry.bond, "", FAILED, f"{damage}; its VFs are in use still, so it is left alone") if damage else None
            )
        return _release(lease, log, patience)
    except CniError as failed:
        return Finding(entry.bond, holder(lease.record), FAILED, failed.msg)
    finally:
        lease.close()


def _release(lease: "Lease", log: "Log", patience: _Patience) -> Finding:
    record, bond = lease.record, lease.entry.bond
    outcome = release.unattended(lease, log, lease.entry.state in INTERRUPTED, delegate_seconds=patience.left)
    words = "; ".join(problem.msg for problem in outcome.problems)
    if words:
        return Finding(bond, holder(record), FAILED, words)
    if outcome.missing:
        return Finding(bond, holder(record), WAITS, f"waits for {' and '.join(outcome.missing)} to come home")
    if "rebuilt" in record:
        return Finding(bond, "", FAILED, f"given back, but whose it was and its delegate are not known: {record['rebuilt']}")
    return Finding(bond, holder(record), DONE, "given back")


def collect(where: pool.Pool, network: str, kept: "set[tuple[str, str]] | None", log: "Log") -> list[CniError]:
    """Release every lease of a network that is not one of ``kept``, and give what failed; the others are done.

    :param kept: (container id, interface name) of all that live; None when nobody said, and then a lease is released only
        if its namespace is gone.
    """
    problems = []
    patience = _Patience(ipam.SECONDS, ipam.SECONDS)
    for entry in where.entries():
        try:
            record = where.read(entry)
        except CniError as damaged:
            log.warn(f"left alone: {damaged.msg}")  # whose it is cannot be known
            continue
        if record is None or record["network"] != network:
            continue
        if kept is None or (record["container_id"], record["ifname"]) not in kept:
            problems += _collect_one(where, entry, kept is None, log, patience)
    where.drop_leftovers()
    return problems


def _collect_one(where: pool.Pool, entry: "Entry", only_dead: bool, log: "Log", patience: _Patience) -> list[CniError]:
    try:
        lease = where.take(entry, seconds=0)
    except CniError as failed:
        if failed.code != TRY_AGAIN_LATER:
            return [failed]
        log.warn(f"left alone: {failed.msg}")
        return []
    if lease is None:
        return []
    try:
        if only_dead and lease.entry.state not in INTERRUPTED and release.lives(lease.record):
            return []
        return release.unattended(lease, log, enter=True, delegate_seconds=patience.left).problems
    except CniError as failed:
        return [failed]
    finally:
        lease.close()


def holders(where: pool.Pool, network: str) -> set[tuple[str, str]]:
    """Give the (container id, interface name) of every lease of a network that is still there."""
    found = set()
    for entry in where.entries():
        try:
            record = where.read(entry)
        except CniError:
            continue
        if record and record.get("network") == network:
            found.add((record["container_id"], record["ifname"]))
    return found


def settle(where: pool.Pool, log: "Log", key: str = "", seconds: float = _DELEGATE_SECONDS) -> list[Finding]:
    """Tell delegates what they have still to be told, and give what became of it.

    :param key: only this attachment's, waiting for whoever tells it now.
    :param seconds: how long all of them together may take; what is not told by then stays for the next who looks.
    :raises CniError: TRY_AGAIN_LATER when another process tells that attachment's delegate for too long.
    """
    owed = [one for one in debts.keys(where.path) if key in ("", one)]
    if not owed:
        return []
    try:
        lock = debts.lock(where.path, _DELEGATE_SECONDS * 2 if key else 0)
    except CniError:
        if key:
            raise
        return []  # another process is at it
    findings: list[Finding] = []
    deadline = monotonic() + seconds
    try:
        for place, one in enumerate(owed):
            left = deadline - monotonic()
            if left <= 0:
                break
            # A share, so that one that hangs is not all that is ever tried.
            share = max(_LEAST_DELEGATE_SECONDS, left / (len(owed) - place))
            findings.append(_settle_one(where, one, log, min(share, _DELEGATE_SECONDS), lock))
    finally:
        store.unlock(lock)
    return findings


def _settle_one(where: pool.Pool, key: str, log: "Log", seconds: float, lock: int) -> Finding:
    bond, whose = "", ""
    try:
        record = debts.read(where.path, key)
        if record is not None:
            bond, whose = record["bond"], holder(record)
            # With the lock: should we be killed, nobody adds this attachment while the delegate may free its addresses.
            release.tell_delegate(record, seconds, lock)
            debts.settle(where.path, key)
    except CniError as failed:
        log.warn(f"the addresses of {whose or key} may be reserved still: {failed.msg}")
        return Finding(bond, whose, FAILED, f"its delegate could not be told: {failed.msg}")
    return Finding(bond, whose, DONE, "its delegate is told")
