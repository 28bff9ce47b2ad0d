"""Finish what no other process will: interrupted ADDs and DELs, leases of containers that are gone, pending IPAM DELs.

Three callers want different leases and the same work: the next ADD (``Interrupted``), an ADD of an empty pool, ``up``, ``down``
and `sriov-bondctl gc` (``Unused``), and GC (``NotListed``). A bond that another process has locked is left alone.
"""

from cni_sriov_bond import files
from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.plugin import release
from cni_sriov_bond.pool import pool
from cni_sriov_bond.pool.lease import INTERRUPTED, READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Entry, Lease
    from cni_sriov_bond.pool.record import Attachment

# How long all delegates together may hold up the next container, and how long one pending DEL may take of it.
SECONDS = 20.0
_LEAST_DELEGATE_SECONDS = 3.0

DONE, WAITS, FAILED = "done", "waits", "failed"


class Finding:
    """What was found of one lease or pending DEL, and the result.

    :param owner: the container and interface, "" where they are not known.
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

    def error(self) -> CniError:
        """Return a failure as an error."""
        return CniError(self.code, self.message)


def _failed(bond: str, owner: str, error: CniError) -> Finding:
    return Finding(bond, owner, FAILED, error.msg, error.code)


class Interrupted:
    """The leases of ADDs and DELs that were interrupted, and of DELs that wait for VFs."""

    takes_damaged = True
    drops_leftovers = False  # every ADD passes here

    def wants(self, where: pool.Pool, entry: "Entry") -> bool:
        """Return whether a lease is to be looked at under its lock."""
        return entry.state != READY

    def releases(self, lease: "Lease") -> bool:
        """Return whether a lease is to be released, now that it is locked and its state certain."""
        # An ADD may have finished since the leases were listed, and its container lives.
        return lease.entry.state != READY or release.is_unused(lease.record)

    def enters(self, lease: "Lease") -> bool:
        """Return whether the recorded namespace may be entered."""
        return lease.entry.state in INTERRUPTED


class Unused(Interrupted):
    """The same, and the ready leases whose containers are gone. It reads every lease."""

    drops_leftovers = True

    def wants(self, where: pool.Pool, entry: "Entry") -> bool:
        """Return whether a lease is to be looked at under its lock: one that cannot be read is, too."""
        if super().wants(where, entry):
            return True
        try:
            record = where.read(entry)
            return record is not None and release.is_unused(record)
        except CniError:
            return True


class NotListed:
    """The leases of one network that are not those of attachments which the runtime lists as live.

    :param live: (container id, interface name); None when the runtime gave no list. Then only leases whose namespace is gone.
    """

    takes_damaged = False  # the attachment of a damaged lease is not known
    drops_leftovers = True

    def __init__(self, network: str, live: "set[tuple[str, str]] | None", context: "Context") -> None:
        self._network = network
        self._live = live
        self._log = context.log

    def wants(self, where: pool.Pool, entry: "Entry") -> bool:
        """Return whether a lease is to be looked at under its lock."""
        try:
            record = where.read(entry)
        except CniError as damaged:
            self._log.warn(f"left alone: {damaged.msg}")
            return False
        if record is None or record.attachment is None or record.attachment.network != self._network:
            return False
        return self._live is None or (record.attachment.container_id, record.attachment.ifname) not in self._live

    def releases(self, lease: "Lease") -> bool:
        """Return whether a lease is to be released, now that it is locked and its state certain."""
        return self._live is not None or lease.entry.state in INTERRUPTED or not release.has_netns(lease.record)

    def enters(self, lease: "Lease") -> bool:
        """Return whether the recorded namespace may be entered: the runtime says that the attachment is over."""
        return True


def recover(where: pool.Pool, selection: "Interrupted | NotListed", context: "Context") -> list[Finding]:
    """Send pending DELs and release the selected leases that are not locked; return what was found.

    :raises CniError: when the pool's files cannot be read.
    """
    # In this order: a delegate whose DEL fails in a release below is not asked again at once.
    findings = send_pending_dels(where, context)
    for entry in where.entries():
        if selection.wants(where, entry):
            finding = _recover_one(where, entry, selection, context)
            if finding:
                findings.append(finding)
    if selection.drops_leftovers:
        where.drop_leftovers()
    return findings


def _recover_one(where: pool.Pool, entry: "Entry", selection: "Interrupted | NotListed", context: "Context") -> Finding | None:
    """Release a lease if it is not locked and still selected; return None when there is nothing to report."""
    try:
        lease = where.take(entry, seconds=0, reconstruct=selection.takes_damaged)
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
            return _report(_release(lease, selection, context), context)
        if lease.record.damage:
            message = f"{lease.record.damage}; its VFs are still in use, so it is left alone"
            return _report(Finding(entry.bond, "", FAILED, message, POOL_UNUSABLE), context)
        return None
    except CniError as failed:
        return _report(_failed(entry.bond, lease.record.owner, failed), context)
    finally:
        lease.close()


def _report(finding: Finding, context: "Context") -> Finding:
    if finding.state == FAILED:  # releases that wait are reported by ``release``
        owner = f" of {finding.owner}" if finding.owner else ""
        context.log.warn(f"bond {finding.bond}{owner}: {finding.message}")
    return finding


def _release(lease: "Lease", selection: "Interrupted | NotListed", context: "Context") -> Finding:
    record, bond = lease.record, lease.entry.bond
    outcome = release.release_unattended(lease, context, release.RECOVERY, enter=selection.enters(lease))
    if outcome.problems:
        message = "; ".join(problem.msg for problem in outcome.problems)
        return Finding(bond, record.owner, FAILED, message, outcome.problems[0].code)
    if outcome.missing:
        return Finding(bond, record.owner, WAITS, f"waits for {' and '.join(outcome.missing)} to return to the host")
    if record.damage:
        message = f"released, but its container and its IPAM plugin are not known: {record.damage}"
        return Finding(bond, "", FAILED, message, POOL_UNUSABLE)
    return Finding(bond, record.owner, DONE, "released")


def leased(where: pool.Pool, network: str) -> set[tuple[str, str]]:
    """Return the (container id, interface name) of every lease of a network."""
    attachments = set()
    for entry in where.entries():
        try:
            record = where.read(entry)
        except CniError:
            continue
        if record and record.attachment and record.attachment.network == network:
            attachments.add((record.attachment.container_id, record.attachment.ifname))
    return attachments


# -- pending DELs


def send_pending_dels(where: pool.Pool, context: "Context", key: str = "") -> list[Finding]:
    """Send delegates the DELs that are pending, within the context's deadline, and return the results.

    :param key: only this attachment's, waiting for a process that sends it now. "" for all, unless another process sends them.
    :raises CniError: TRY_AGAIN_LATER when another process sends that attachment's DEL for too long.
    """
    keys = [pending for pending in where.pending.listed() if key in ("", pending)]
    if not keys:
        return []
    try:
        with context.deadline.wait("another process to send pending IPAM DELs"):
            lock = where.pending.lock(context.deadline.left(SECONDS) if key else 0)
    except CniError:
        if key:
            raise
        return []
    findings: list[Finding] = []
    try:
        for place, pending in enumerate(keys):
            left = context.deadline.left()
            if not left:
                break
            # A share of the time, so that one delegate that hangs is not the only one that is ever asked.
            share = max(_LEAST_DELEGATE_SECONDS, left / (len(keys) - place))
            findings.append(_send_pending_del(where, pending, context, min(share, release.RECOVERY.delegate_seconds), lock))
    finally:
        files.unlock(lock)
    return findings


def _send_pending_del(where: pool.Pool, key: str, context: "Context", seconds: float, lock: int) -> Finding:
    bond, owner = "", ""
    try:
        record = where.pending.read(key)
        if record is not None:
            bond, owner = record.bond.name, record.owner
            # The delegate gets the lock: should we be killed, no ADD of this attachment starts while it may free addresses.
            release.send_del(record, context, seconds, lock)
            where.pending.remove(key)
    except CniError as failed:
        context.log.warn(f"the addresses of {owner or key} may still be reserved: {failed.msg}")
        return Finding(bond, owner, FAILED, f"the IPAM DEL could not be sent: {failed.msg}", failed.code)
    return Finding(bond, owner, DONE, "the pending IPAM DEL is sent")


def require_no_pending_del(where: pool.Pool, attachment: "Attachment", context: "Context") -> None:
    """Send the pending DEL of an attachment, if there is one: sent after a new ADD, it would free that ADD's addresses.

    :raises CniError: TRY_AGAIN_LATER when it fails and the attachment had addresses.
    """
    for finding in send_pending_dels(where, context, attachment.key):
        if finding.state != FAILED:
            continue
        record = where.pending.read(attachment.key)
        if record is None or record.addresses is not None:
            raise CniError(
                TRY_AGAIN_LATER, f"an earlier IPAM DEL of {attachment} is still pending: {finding.message}; try again later"
            )
        # No address was recorded, so drop the pending DEL. If one was allocated, the delegate will refuse this ADD.
        where.pending.remove(attachment.key)
