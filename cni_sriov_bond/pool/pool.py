"""A pool of bonds in files with locks: acquire bonds, and take leases that are there.

On disk, below the state directory::

    POOL/pool.json                 the inventory: every bond and its ports; written by `sriov-bondctl up` alone
    POOL/lock                      flock, held to choose a bond and record it, never during kernel work or a delegate
    POOL/bonds/BOND                flock of one bond, held during all work on it; the file is empty and stays
    POOL/leases/BOND.KEY.STATE     one lease; KEY is a hash of the attachment, STATE is adding, ready, releasing or draining
    POOL/quarantine/BOND           why a bond is not leased
    POOL/pending/KEY               a released lease whose IPAM DEL is still to be sent
    POOL/pending/lock              flock, held while such DELs are sent

Locks are taken in this order: the pool's, then a bond's. A process that holds a bond's lock never waits for the pool's, so the
two cannot deadlock. While the pool's lock is held a bond's is only tried, because its holder may run a delegate for a minute.

Lock files are not unlinked while the pool exists: a process that waits for an unlinked file would lock what no other sees.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from time import sleep

from cni_sriov_bond import files
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError, DamagedLeaseError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.lease import ADDING, QUARANTINE, READY, STATES, Entry, Lease, drop_leftovers, leftover_of, read_record
from cni_sriov_bond.pool.pending import PendingDels
from cni_sriov_bond.pool.record import Attachment, LeaseRecord
from cni_sriov_bond.ports import Bond

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from cni_sriov_bond.pool.inventory import Inventory
    from cni_sriov_bond.pool.record import DelegateCall, NetnsIdentity, Requested

_BUSY_POLL = 0.02


class Pool:
    """A pool's directory. Creating the value reads nothing."""

    def __init__(self, state_dir: str, name: str) -> None:
        self.name = name
        self.state_dir = state_dir
        self.path = f"{state_dir}/{name}"
        self.leases = f"{self.path}/leases"
        self.pending = PendingDels(self.path)

    def inventory(self) -> "Inventory":
        """Read the inventory, as ``up`` wrote it.

        :raises CniError: POOL_UNUSABLE when there is none, or it is damaged or of another version.
        """
        try:
            return inventory.read(self.path, self.name)
        except FileNotFoundError:
            raise CniError(POOL_UNUSABLE, self._without_inventory()) from None

    def _without_inventory(self) -> str:
        """Return the message about a pool without an inventory: it was lost, or there is no such pool."""
        count = len(self.entries())
        if count:
            leased = f"{count} of its bonds are leased" if count > 1 else "a bond of it is leased"
            return f"the inventory of pool {self.name} is lost, though {leased}; run `sriov-bondctl up` to write it again"
        names = inventory.names(self.state_dir)
        have = f"there is {', '.join(names)}" if names else "there is none yet"
        have += "" if self.state_dir == files.STATE_DIR else f" in {self.state_dir}"
        return f"pool {self.name!r} is not provisioned ({have}); name it in /etc/cni/sriov-bond.toml and run `sriov-bondctl up`"

    def bonds(self) -> "list[Bond]":
        """Return the bonds of the inventory in their order.

        :raises CniError: as ``inventory``.
        """
        return self.inventory().bonds

    def bonds_of_this_boot(self) -> "list[Bond]":
        """Return the bonds of an inventory that `up` wrote since the host booted: older VFs may have other addresses now.

        :raises CniError: POOL_UNUSABLE as ``inventory``, for an inventory of an earlier boot, and for an interrupted `down`.
        """
        made = self.inventory()
        if not made.of_this_boot:
            raise CniError(POOL_UNUSABLE, f"pool {self.name} was made before this boot; run `sriov-bondctl up`")
        if made.being_removed:
            raise CniError(
                POOL_UNUSABLE,
                f"the removal of pool {self.name} was interrupted; run `sriov-bondctl down {self.name}` again, or `up`",
            )
        return made.bonds

    def entries(self) -> list[Entry]:
        """Return every lease's entry, one per lease."""
        entries: dict[tuple[str, str], Entry] = {}
        for file in files.listed(self.leases):
            parts = file.split(".")
            if len(parts) != 3 or parts[2] not in STATES:
                continue  # a temporary file of a writer
            other = entries.get((parts[0], parts[1]))
            if other is None or STATES.index(parts[2]) < STATES.index(other.state):
                entries[parts[0], parts[1]] = Entry(*parts)
        return list(entries.values())

    def quarantined(self) -> list[str]:
        """Return the names of the bonds in quarantine.

        :raises CniError: IO_FAILURE when it cannot be listed.
        """
        return [name for name in files.listed(f"{self.path}/{QUARANTINE}") if not name.startswith(".")]

    def is_used(self) -> bool:
        """Return whether there are leases or pending IPAM DELs."""
        return bool(self.entries() or self.pending.listed())

    def has_unfinished(self) -> bool:
        """Return whether there are pending IPAM DELs, or leases of ADDs and DELs that still run or were interrupted."""
        return bool(self.pending.listed()) or any(entry.state != READY for entry in self.entries())

    def drop_leftovers(self) -> int:
        """Delete the temporary files of killed writers and return their number; files of bonds that are locked stay."""
        count = 0
        for directory in (self.leases, f"{self.path}/{QUARANTINE}"):
            for bond in {leftover_of(file) for file in files.listed(directory)} - {""}:
                # A writer holds its bond's lock: without it the file of a running writer would be deleted.
                lock = self._try_bond(bond)
                if lock is not None:
                    try:
                        count += drop_leftovers(directory, bond)
                    finally:
                        os.close(lock)
        return count

    def lock(self, seconds: float = files.LOCK_SECONDS) -> int:
        """Lock the pool and return the descriptor to close.

        :raises CniError: TRY_AGAIN_LATER naming the holder, after ``seconds``.
        """
        return files.locked(f"{self.path}/lock", f"pool {self.name}", seconds)

    def lock_bond(self, name: str, seconds: float = files.LOCK_SECONDS) -> int:
        """Lock one bond and return the descriptor to close; ``seconds`` 0 tries once.

        :raises CniError: TRY_AGAIN_LATER naming the holder, after ``seconds``.
        """
        return files.locked(f"{self.path}/bonds/{name}", f"bond {name} of pool {self.name}", seconds)

    def lock_free_bond(self, name: str) -> int | None:
        """Lock a bond that is neither leased nor locked, and return the descriptor to close; else return None.

        :raises CniError: IO_FAILURE.
        """
        lock = self._try_bond(name)
        # Listed under the lock: before it, another process could lease the bond between the listing and the lock.
        if lock is not None and any(entry.bond == name for entry in self.entries()):
            os.close(lock)
            return None
        return lock

    def _try_bond(self, name: str) -> int | None:
        try:
            return self.lock_bond(name, 0)
        except CniError as busy:
            if busy.code != TRY_AGAIN_LATER:
                raise
            return None

    # -- acquiring

    def acquire(
        self,
        attachment: Attachment,
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
        :raises CniError: TRY_AGAIN_LATER when no bond is free, naming the owners, or the attachment's earlier bond is not
            released yet; POOL_UNUSABLE when the attachment has a bond, or `up` was not run since the host booted.
        """
        deadline = (deadline or Deadline(files.LOCK_SECONDS)).part(files.LOCK_SECONDS)
        with deadline.wait(f"a bond of pool {self.name}"):
            while True:
                # Re-read: `up` may have rewritten the inventory while we waited.
                bonds = self._of_device(device) if device else self.bonds_of_this_boot()
                entries, busy, chosen = self._lock_first_free(attachment, bonds, unusable, deadline, netns, requested, delegate)
                if chosen:
                    return chosen
                if not busy:
                    from cni_sriov_bond.pool.shortage import Shortage  # late: most ADDs find a bond

                    shortage = Shortage(self.name, self.path, entries, self.read)
                    raise CniError(TRY_AGAIN_LATER, shortage.of_bond(bonds[0].name) if device else shortage.of_pool(bonds))
                if not deadline.left():
                    os.close(self.lock_bond(busy, 0))  # raises, naming the holder
                sleep(_BUSY_POLL)

    def _lock_first_free(
        self,
        attachment: Attachment,
        bonds: "list[Bond]",
        unusable: "Collection[str]",
        deadline: Deadline,
        netns: "NetnsIdentity",
        requested: "Requested",
        delegate: "DelegateCall | None",
    ) -> "tuple[list[Entry], str, Lease | None]":
        """Lease a bond if one is free now; return also all leases, and the name of a free bond that is locked, or ""."""
        busy = ""
        pool_lock = self.lock(deadline.left())
        try:
            entries = self._entries_without(attachment)
            unavailable = {entry.bond for entry in entries}.union(unusable, self.quarantined())
            for bond in bonds:
                if bond.name in unavailable:
                    continue
                # A free bond may be locked by a release that has just erased its lease, by a delegate that outlived its ADD,
                # or by `up`.
                lock = self._try_bond(bond.name)
                if lock is None:
                    busy = busy or bond.name
                    continue
                # Again, under the bond's lock: a bond may have been quarantined since the listing, and that needs this lock.
                if files.exists(f"{self.path}/{QUARANTINE}/{bond.name}"):
                    os.close(lock)
                    continue
                record = LeaseRecord(self.name, bond, attachment, netns, requested, delegate)
                return entries, "", self._write_new(record, attachment, lock)
        finally:
            os.close(pool_lock)
        return entries, busy, None

    def _write_new(self, record: LeaseRecord, attachment: Attachment, lock: int) -> Lease:
        lease = Lease(self.name, self.path, Entry(record.bond.name, attachment.key, ADDING), record, lock)
        try:
            lease.write(durable=False)
        except CniError:
            lease.close()
            raise
        return lease

    def refuse_second(self, attachment: Attachment) -> None:
        """Refuse an attachment that has a bond of this pool or a pending IPAM DEL in it.

        :raises CniError: TRY_AGAIN_LATER, POOL_UNUSABLE as ``acquire``.
        """
        self._entries_without(attachment)

    def _entries_without(self, attachment: Attachment) -> list[Entry]:
        """Return every lease's entry; raise if one of them is the attachment's."""
        entries = self.entries()
        for entry in entries:
            if entry.key == attachment.key:
                raise CniError(*self._has_bond(attachment, entry))
        # After the listing of leases: a release turns a lease into a pending DEL by one rename. In the other order, a rename in
        # between would be missed in both places.
        if self.pending.holds(attachment.key):
            raise CniError(
                TRY_AGAIN_LATER, f"an earlier IPAM DEL of {attachment} is still pending in pool {self.name}; try again later"
            )
        return entries

    def _has_bond(self, attachment: Attachment, entry: Entry) -> tuple[int, str]:
        """Return the error's code and message for an attachment that has a bond."""
        message = f"{attachment} has the bond {entry.bond} of pool {self.name}"
        if entry.state == READY:
            return POOL_UNUSABLE, f"{message} already; DEL it first"
        if entry.state == ADDING:
            return TRY_AGAIN_LATER, f"{message} by an ADD that has not ended; try again later"
        return TRY_AGAIN_LATER, f"{message} still: it is {entry.state} until its VFs are in the host; try again later"

    def _of_device(self, device: str) -> "list[Bond]":
        for bond in self.bonds_of_this_boot():
            if device == bond.name or device.lower() in [port.address for port in bond.ports]:
                return [bond]
        raise CniError(
            INVALID_CONFIG,
            f"deviceID {device!r} is neither a bond of pool {self.name} nor the PCI address of one of its VFs; see "
            "`sriov-bondctl status`",
        )

    # -- existing leases

    def read(self, entry: Entry) -> LeaseRecord | None:
        """Read a lease's record without its lock, or return None when it was erased meanwhile.

        :raises CniError: POOL_UNUSABLE when it is damaged or of another version, naming the file.
        """
        return read_record(f"{self.leases}/{entry.file}")

    def take(self, entry: Entry, seconds: float = files.LOCK_SECONDS, reconstruct: bool = False) -> Lease | None:
        """Lock a lease and read it, or return None when it was erased meanwhile.

        :param reconstruct: take a damaged lease too, with a record made from the inventory.
        :raises CniError: TRY_AGAIN_LATER when another process has the bond locked for all of ``seconds``; what ``read`` raises.
        """
        lock = self.lock_bond(entry.bond, seconds)
        try:
            # Under the lock only: the state may have changed while we waited, and the bond may have a new owner.
            now = next((other for other in self.entries() if (other.bond, other.key) == (entry.bond, entry.key)), None)
            record = self._read_locked(now, reconstruct) if now else None
        except CniError:
            os.close(lock)
            raise
        if now is None or record is None:
            os.close(lock)
            return None
        return Lease(self.name, self.path, now, record, lock)

    def _read_locked(self, entry: Entry, reconstruct: bool) -> LeaseRecord | None:
        """Read a lease's record under its lock.

        A damaged record in state adding is one that a power cut stopped before it was durable. The kernel is not touched before
        that, so such a lease holds nothing and is erased.
        """
        try:
            return self.read(entry)
        except DamagedLeaseError as damaged:
            if entry.state == ADDING:
                files.unlink(f"{self.leases}/{entry.file}")
                return None
            if not reconstruct:
                raise
            made = self.inventory()
            bonds = made.bonds if made.of_this_boot else []
            bond = next((bond for bond in bonds if bond.name == entry.bond), Bond(entry.bond, "", []))
            record = LeaseRecord(self.name, bond)
            record.mac = bond.mac
            record.damage = damaged.msg
            return record
