"""Acquire a bond of a pool: one bond for one attachment, whatever other processes do.

What may be concluded from what is read, and under which lock:

- A lease is created only under the locks of its pool and of the state directory. So under the latter an attachment without a
  lease gets none by another ADD, in this pool or another.
- A lease is changed or erased only under its bond's lock. So only under that lock a bond is known to be free.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from time import sleep

from cni_sriov_bond import files
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.lease import ADDING, QUARANTINE, Entry, Lease
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import LeaseRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested
    from cni_sriov_bond.ports import Bond

_BUSY_POLL = 0.02


def acquire(
    pool: Pool,
    attachment: "Attachment",
    netns: "NetnsIdentity",
    requested: "Requested",
    delegate: "DelegateCall | None" = None,
    *,
    unusable: "Collection[str]" = (),
    device: str = "",
    deadline: Deadline | None = None,
) -> Lease:
    """Lease the first free bond, locked; the record is on disk when this returns, but not yet durable.

    :param netns, requested, delegate: for the record.
    :param unusable: names of bonds to pass over, in addition to those in quarantine.
    :param device: lease only this bond, named by its name or by the PCI address of a port.
    :param deadline: until when to wait for locks; ``files.LOCK_SECONDS`` from now if not given.
    :raises CniError: INVALID_CONFIG when there is no such bond.
    :raises CniError: TRY_AGAIN_LATER when no bond is free, naming the owners, when the requested MAC is in use, or when the
        attachment's earlier bond is not released yet; POOL_UNUSABLE when the attachment has a bond, or `up` was not run since
        the host booted.
    """
    deadline = (deadline or Deadline(files.LOCK_SECONDS)).part(files.LOCK_SECONDS)
    search = _Search(pool, attachment, unusable, device, requested)
    with deadline.wait(f"a bond of pool {pool.name}"):
        while True:
            lease = search.lease_first_free(
                lambda bond: LeaseRecord(pool.name, bond, attachment, netns, requested, delegate), deadline
            )
            if lease:
                return lease
            if not search.busy:
                raise CniError(TRY_AGAIN_LATER, search.shortage())
            if not deadline.left():
                os.close(pool.lock_bond(search.busy, 0))  # raises, naming the holder
            sleep(_BUSY_POLL)


def refuse_second(pool: Pool, attachment: "Attachment") -> None:
    """Refuse an attachment that has a bond of a pool or a pending IPAM DEL in it.

    :raises CniError: TRY_AGAIN_LATER, POOL_UNUSABLE as ``acquire``.
    """
    _entries_without(pool, attachment)


def _entries_without(pool: Pool, attachment: "Attachment") -> "list[Entry]":
    """Return the entry of every lease of a pool; raise if one of them is the attachment's."""
    entries = pool.entries()
    for entry in entries:
        if entry.key == attachment.key:
            from cni_sriov_bond.pool import shortage  # late: few ADDs are refused

            raise CniError(*shortage.has_bond(pool.name, attachment, entry))
    # After the listing of leases: a release turns a lease into a pending DEL by one rename. In the other order, a rename in
    # between would be missed in both places.
    if pool.pending.holds(attachment.key):
        raise CniError(
            TRY_AGAIN_LATER, f"an earlier IPAM DEL of {attachment} is still pending in pool {pool.name}; try again later"
        )
    return entries


class _Search:
    """The search of one ADD for a free bond.

    :ivar bonds: those that it may get, after a try.
    :ivar busy: the name of a free bond that was locked at the last try, or "".
    """

    __slots__ = ("_attachment", "_device", "_pool", "_requested", "_unusable", "bonds", "busy")

    def __init__(
        self, pool: Pool, attachment: "Attachment", unusable: "Collection[str]", device: str, requested: "Requested"
    ) -> None:
        self._pool = pool
        self._attachment = attachment
        self._unusable = unusable
        self._device = device
        self._requested = requested
        self.bonds: list[Bond] = []
        self.busy = ""

    def lease_first_free(self, record: "Callable[[Bond], LeaseRecord]", deadline: Deadline) -> Lease | None:
        """Lease a bond if one is free now, with the record that ``record`` returns for it."""
        pool = self._pool
        self.busy = ""
        pool_lock = self._lock_pool(deadline.left())
        try:
            # Under the lock: `up` or `down` may have rewritten the inventory while we waited.
            self.bonds = self._of_device() if self._device else pool.bonds_of_this_boot()
            state_lock = files.locked_directory(pool.state_dir, f"the directory {pool.state_dir}", deadline.left())
            try:
                self._check_other_leases()
                return self._lease_one_of(self.bonds, record)
            finally:
                os.close(state_lock)
        finally:
            os.close(pool_lock)

    def _lock_pool(self, seconds: float) -> int:
        """Lock the pool; where there is none, raise the error that says which pools there are."""
        try:
            return self._pool.lock(seconds)
        except CniError as failed:
            if failed.code == IO_FAILURE:
                self._pool.bonds_of_this_boot()
            raise

    def _check_other_leases(self) -> None:
        """Refuse an attachment that has a bond of another pool; with a requested MAC look at the leases of all pools.

        :raises CniError: as ``acquire``.
        """
        pool = self._pool
        other_pools = [Pool(pool.state_dir, name) for name in inventory.directories(pool.state_dir) if name != pool.name]
        for other_pool in other_pools:
            refuse_second(other_pool, self._attachment)
        if self._requested.mac:
            from cni_sriov_bond.pool import requested_mac  # late: most ADDs request none

            ports = max((len(bond.ports) for bond in self.bonds), default=0)
            requested_mac.refuse_used(self._requested, ports, [pool, *other_pools])
            self.bonds = requested_mac.allowed_bonds(self._requested.mac, self.bonds, [pool, *other_pools])

    def _lease_one_of(self, bonds: "list[Bond]", record: "Callable[[Bond], LeaseRecord]") -> Lease | None:
        entries = _entries_without(self._pool, self._attachment)
        unavailable = {entry.bond for entry in entries}.union(self._unusable, self._pool.quarantined())
        for bond in bonds:
            if bond.name in unavailable:
                continue
            # A free bond may be locked by a release that has just erased its lease, by a delegate that outlived its ADD, or by
            # `up`.
            lock = self._pool.try_bond(bond.name)
            if lock is None:
                self.busy = self.busy or bond.name
                continue
            leased = False
            try:
                if self._is_free(bond.name):
                    lease = self._write_new(record(bond), lock)
                    leased = True
                    return lease
            finally:
                if not leased:
                    os.close(lock)
        return None

    def _is_free(self, name: str) -> bool:
        """Return whether a bond is free that has been locked since its pool was listed.

        Another process may have leased or quarantined it in between, and released the lock.
        """
        if any(entry.bond == name for entry in _entries_without(self._pool, self._attachment)):
            return False
        return not files.exists(f"{self._pool.path}/{QUARANTINE}/{name}")

    def _write_new(self, record: LeaseRecord, lock: int) -> Lease:
        pool = self._pool
        lease = Lease(pool.name, pool.path, Entry(record.bond.name, self._attachment.key, ADDING), record, lock)
        lease.write(durable=False)
        return lease

    def _of_device(self) -> "list[Bond]":
        device = self._device
        for bond in self._pool.bonds_of_this_boot():
            if device == bond.name or device.lower() in [port.address for port in bond.ports]:
                return [bond]
        raise CniError(
            INVALID_CONFIG,
            f"deviceID {device!r} is neither a bond of pool {self._pool.name} nor the PCI address of one of its VFs; see "
            "`sriov-bondctl status`",
        )

    def shortage(self) -> str:
        """Return the message of an ADD that got no bond."""
        from cni_sriov_bond.pool.shortage import Shortage  # late: most ADDs find a bond

        shortage = Shortage(self._pool.name, self._pool.path, self._pool.entries(), self._pool.read)
        if self._device:
            return shortage.of_bond(self.bonds[0].name, "which deviceID asks for")
        mac = self._requested.mac
        if mac and len(self.bonds) == 1 and mac in inventory.macs_of(self.bonds[0].mac, len(self.bonds[0].ports)):
            return shortage.of_bond(self.bonds[0].name, f"whose own MAC {mac} is requested")
        return shortage.of_pool(self.bonds)
