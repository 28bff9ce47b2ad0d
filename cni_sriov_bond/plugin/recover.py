"""Recovery: finish interrupted ADDs and DELs, release leases of containers that are gone, and send pending IPAM DELs.

Three callers select different leases for the same work: the next ADD (``Interrupted``), an ADD of an empty pool, ``up``,
``down`` and `sriov-bondctl gc` (``Unused``), and GC (``NotListed``). A bond that another process has locked is left alone.
"""

from cni_sriov_bond import events, files
from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.plugin import release
from cni_sriov_bond.pool.lease import INTERRUPTED, READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Entry, Lease
    from cni_sriov_bond.pool.pool import Pool
    from cni_sriov_bond.pool.record import Attachment, LeaseRecord

# How long an ADD waits for all recovery together, and the least that one pending DEL gets of it.
SECONDS = 20.0
_LEAST_DELEGATE_SECONDS = 3.0

DONE, WAITS, FAILED = "done", "waits", "failed"


class Finding:
    """The result for one lease or one pending DEL.

    :param owner: the container and interface, or "" where they are not known.
    :param state: ``DONE``, ``WAITS`` for VFs to return to the host, or ``FAILED``.
    :param code: the CNI error code of a failure, else 0.
    """

    __slots__ = ("bond", "code", "message", "owner", "state")

    def __init__(self, bond: str, owner: str, state: str, message: str, code: int = 0) -> None:
        self.bond = bond
        self.owner = owner
        self.state = state
        self.message = message
        self.code = code

    @property
    def failed(self) -> bool:
        """Whether something could not be finished."""
        return self.state == FAILED

    def error(self) -> CniError:
        """Return a failure as an error."""
        return CniError(self.code, self.message)


def _failed(bond: str, owner: str, error: CniError) -> Finding:
    return Finding(bond, owner, FAILED, error.msg, error.code)


class Interrupted:
    """The leases of ADDs and DELs that were interrupted, and of DELs that wait for VFs."""

    takes_damaged = True
    drops_leftovers = False  # every ADD passes here

    def selects(self, pool: "Pool", entry: "Entry") -> bool:
        """Return whether to lock a lease and decide by ``releases``."""
        return entry.state != READY

    def releases(self, lease: "Lease") -> bool:
        """Return whether to release a locked lease."""
        # The state again: an ADD may have finished since the listing, and its container runs.
        return lease.entry.state != READY or release.is_unused(lease.record)

    def enters(self, lease: "Lease") -> bool:
        """Return whether the recorded namespace may be entered."""
        return lease.entry.state in INTERRUPTED


class Unused(Interrupted):
    """The leases of ``Interrupted``, and ready leases whose containers are gone. It reads every lease."""

    drops_leftovers = True

    def selects(self, pool: "Pool", entry: "Entry") -> bool:
        """Return whether to lock a lease and decide by ``releases``; a damaged lease is locked too, and then reconstructed."""
        if super().selects(pool, entry):
            return True
        try:
            record = pool.read(entry)
            return record is not None and release.is_unused(record)
        except CniError:
            return True


class NotListed:
    """The leases of one network whose attachments the runtime does not list as live.

    :param live: (container id, interface name) of each. None if the runtime sent no list: then only leases whose namespace is
        gone, and interrupted calls.
    """

    takes_damaged = False  # the attachment of a damaged lease is not known
    drops_leftovers = True

    def __init__(self, network: str, live: "set[tuple[str, str]] | None", context: "Context") -> None:
        self._network = network
        self._live = live
        self._log = context.log

    def selects(self, pool: "Pool", entry: "Entry") -> bool:
        """Return whether to lock a lease and decide by ``releases``."""
        try:
            record = pool.read(entry)
        except CniError as damaged:
            self._log.warn(f"left alone: {damaged.msg}")
            return False
        if record is None or record.attachment is None or record.attachment.network != self._network:
            return False
        return self._live is None or (record.attachment.container_id, record.attachment.ifname) not in self._live

    def releases(self, lease: "Lease") -> bool:
        """Return whether to release a locked lease."""
        return self._live is not None or lease.entry.state in INTERRUPTED or not release.has_netns(lease.record)

    def enters(self, lease: "Lease") -> bool:
        """Return whether the recorded namespace may be entered: the runtime says that the attachment is over."""
        return True


def recover(pool: "Pool", selection: "Interrupted | NotListed", context: "Context") -> list[Finding]:
    """Send pending DELs and release the selected leases that are not locked; return the results.

    :raises CniError: when the pool's files cannot be read.
    """
    # In this order: a DEL that fails in a release below becomes pending, and must not be sent twice in one recovery.
    findings = send_pending_dels(pool, context)
    for entry in pool.entries():
        if selection.selects(pool, entry):
            finding = _recover_lease(pool, entry, selection, context)
            if finding:
                findings.append(finding)
    if selection.drops_leftovers:
        pool.drop_leftovers()
    return findings


def _recover_lease(pool: "Pool", entry: "Entry", selection: "Interrupted | NotListed", context: "Context") -> Finding | None:
    """Release a lease if it is not locked and still selected; return None when there is nothing to report."""
    try:
        # Without waiting: a locked bond belongs to a call that runs and finishes its own work.
        lease = pool.take(entry, seconds=0, reconstruct=selection.takes_damaged)
    except CniError as failed:
        if failed.code != TRY_AGAIN_LATER:
            return _report(_failed(entry.bond, "", failed), context)
        if isinstance(selection, NotListed):  # the runtime will not send this GC again
            context.log.warn(f"left alone: {failed.msg}")
        return None
    if lease is None:
        return None
    try:
        if selection.releases(lease):
            return _report(_release(pool, lease, selection, context), context)
        if lease.record.damage:
            message = f"{lease.record.damage}; its VFs are still in use, so it is left alone"
            return _report(Finding(entry.bond, "", FAILED, message, POOL_UNUSABLE), context)
        return None
    except CniError as failed:
        return _report(_failed(entry.bond, lease.record.owner, failed), context)
    finally:
        lease.close()


def _report(finding: Finding, context: "Context") -> Finding:
    if finding.failed:  # releases that wait are reported by ``release``
        owner = f" of {finding.owner}" if finding.owner else ""
        context.log.warn(f"bond {finding.bond}{owner}: {finding.message}")
    return finding


def _release(pool: "Pool", lease: "Lease", selection: "Interrupted | NotListed", context: "Context") -> Finding:
    record, bond = lease.record, lease.entry.bond
    action = events.Action(context.log, "release")
    context.log.step(f"the lease was {lease.entry.state}")
    outcome = release.release_unattended(lease, context, release.RECOVERY, enter=selection.enters(lease))
    if outcome.free or outcome.problems:  # a release that waits is tried again and again
        action.end(pool.state_dir, subject_of(record), outcome.problems[0] if outcome.problems else None)
    if outcome.problems:
        message = "; ".join(problem.msg for problem in outcome.problems)
        return Finding(bond, record.owner, FAILED, message, outcome.problems[0].code)
    if outcome.missing:
        return Finding(bond, record.owner, WAITS, f"waits for {' and '.join(outcome.missing)} to return to the host")
    if record.damage:
        message = f"released, but its container and its IPAM plugin are not known: {record.damage}"
        return Finding(bond, "", FAILED, message, POOL_UNUSABLE)
    return Finding(bond, record.owner, DONE, "released")


def subject_of(record: "LeaseRecord") -> events.Subject:
    """Return what the event of an action on a lease is about."""
    attachment = record.attachment
    parts = (attachment.network, attachment.container_id, attachment.ifname) if attachment else ()
    return events.Subject(record.pool, record.bond.name, *parts)


def leased(pool: "Pool", network: str) -> set[tuple[str, str]]:
    """Return the (container id, interface name) of every lease of a network; that of a damaged one is not known.

    :raises CniError: IO_FAILURE when one cannot be read. Its addresses must not be freed.
    """
    attachments = set()
    for entry in pool.entries():
        try:
            record = pool.read(entry)
        except CniError as damaged:
            if damaged.code != POOL_UNUSABLE:
                raise
            continue
        if record and record.attachment and record.attachment.network == network:
            attachments.add((record.attachment.container_id, record.attachment.ifname))
    return attachments


# -- pending DELs


def send_pending_dels(pool: "Pool", context: "Context", key: str = "") -> list[Finding]:
    """Send delegates their pending DELs, within the context's deadline, and return the results.

    :param key: send only this attachment's DEL, and wait for another process that sends DELs now. With "", send all DELs, but
        none if another process does so.
    :raises CniError: TRY_AGAIN_LATER when another process has the queue locked for too long.
    """
    keys = [pending for pending in pool.pending.listed() if key in ("", pending)]
    if not keys:
        return []
    try:
        with context.deadline.wait("another process to send pending IPAM DELs"):
            lock = pool.pending.lock(context.deadline.left(SECONDS) if key else 0)
    except CniError:
        if key:
            raise
        return []
    findings: list[Finding] = []
    try:
        for index, pending in enumerate(keys):
            left = context.deadline.left()
            if not left:
                break
            # A share of the time: one delegate that hangs must not use up the time of all others, at every recovery again.
            share = max(_LEAST_DELEGATE_SECONDS, left / (len(keys) - index))
            findings.append(_send_pending_del(pool, pending, context, min(share, release.RECOVERY.delegate_seconds), lock))
    finally:
        files.unlock(lock)
    return findings


def _send_pending_del(pool: "Pool", key: str, context: "Context", seconds: float, lock: int) -> Finding:
    bond, owner = "", ""
    try:
        record = pool.pending.read(key)
        if record is not None:  # None: another process has sent it since the listing
            bond, owner = record.bond.name, record.owner
            action = events.Action(context.log, "IPAM DEL")
            # The delegate inherits the lock: if we are killed, no ADD of this attachment starts while it may free addresses.
            release.send_del(record, context, seconds, lock)
            # After the DEL: a process that is killed in between sends it twice, which CNI allows, but never not at all.
            pool.pending.remove(key)
            action.end(pool.state_dir, subject_of(record))
    except CniError as failed:
        context.log.warn(f"the addresses of {owner or key} may still be reserved: {failed.msg}")
        return Finding(bond, owner, FAILED, f"the IPAM DEL could not be sent: {failed.msg}", failed.code)
    return Finding(bond, owner, DONE, "the pending IPAM DEL is sent")


def require_no_pending_del(pool: "Pool", attachment: "Attachment", context: "Context") -> None:
    """Send the pending DEL of an attachment, if there is one. Sent after a new ADD, it would free that ADD's addresses.

    :raises CniError: TRY_AGAIN_LATER when it fails and the attachment had addresses.
    """
    for finding in send_pending_dels(pool, context, attachment.key):
        if not finding.failed:
            continue
        record = pool.pending.read(attachment.key)
        if record is None or record.addresses is not None:
            raise CniError(
                TRY_AGAIN_LATER, f"an earlier IPAM DEL of {attachment} is still pending: {finding.message}; try again later"
            )
        # No address was recorded, so remove the pending DEL, which may fail for ever. If one was allocated all the same, the
        # delegate refuses this ADD.
        pool.pending.remove(attachment.key)
