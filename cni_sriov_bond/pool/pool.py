"""A pool of bonds in files with locks: its inventory, its locks, and the leases that are there. ``acquisition`` makes new ones.

On disk, below the state directory::

    POOL/pool.json                 the inventory: every bond and its ports; written by `sriov-bondctl up` alone
    POOL/lock                      flock, held to choose a bond and record it, never during kernel work or a delegate
    POOL/bonds/BOND                flock of one bond, held during all work on it; the file is empty and stays
    POOL/leases/BOND.KEY.STATE     one lease; KEY is a hash of the attachment, STATE is adding, ready, releasing or draining
    POOL/quarantine/BOND           why a bond is not leased
    POOL/pending/KEY               a released lease whose IPAM DEL is still to be sent
    POOL/pending/lock              flock, held while such DELs are sent

Locks are taken in this order: the pool's, the state directory's, then a bond's. A process that holds a bond's lock never waits
for the others, so they cannot deadlock. While the pool's lock is held a bond's is only tried, because its holder may run a
delegate for a minute. All pools share the lock of the state directory: each ADD holds it from its look for other leases of its
attachment, and of its MAC, until its own lease is on disk.

Lock files are not unlinked while the pool exists: a process that waits for an unlinked file would lock what no other sees.
"""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond import files
from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError, DamagedLeaseError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.lease import ADDING, ORDER, QUARANTINE, READY, STATES, Entry, Lease, drop_leftovers, leftover_of
from cni_sriov_bond.pool.lease import read_record as read_file
from cni_sriov_bond.pool.pending import PendingDels
from cni_sriov_bond.pool.record import LeaseRecord
from cni_sriov_bond.ports import Bond

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.pool.inventory import Inventory


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
        # In this order: a release turns a lease into a pending DEL.
        return any(entry.state != READY for entry in self.entries()) or bool(self.pending.listed())

    def drop_leftovers(self) -> int:
        """Delete the temporary files of killed writers and return their number; files of bonds that are locked stay."""
        count = 0
        for directory in (self.leases, f"{self.path}/{QUARANTINE}"):
            for bond in {leftover_of(file) for file in files.listed(directory)} - {""}:
                # A writer holds its bond's lock: without it the file of a running writer would be deleted.
                lock = self.try_bond(bond)
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
        lock = self.try_bond(name)
        # Listed under the lock: before it, another process could lease the bond between the listing and the lock.
        if lock is not None and any(entry.bond == name for entry in self.entries()):
            os.close(lock)
            return None
        return lock

    def try_bond(self, name: str) -> int | None:
        """Lock one bond and return the descriptor to close, or None if another process has it locked.

        :raises CniError: IO_FAILURE.
        """
        try:
            return self.lock_bond(name, 0)
        except CniError as busy:
            if busy.code != TRY_AGAIN_LATER:
                raise
            return None

    def read(self, entry: Entry) -> LeaseRecord | None:
        """Read a lease's record without its lock, or return None when it was erased meanwhile.

        :raises CniError: POOL_UNUSABLE when it is damaged or of another version, naming the file.
        """
        # Its state may have changed since it was listed. A state never goes back, so it is found by one pass in their order.
        for state in ORDER[ORDER.index(entry.state) :]:
            record = read_file(f"{self.leases}/{Entry(entry.bond, entry.key, state).file}")
            if record is not None:
                return record
        return None

    def take(
        self, entry: Entry, seconds: float = files.LOCK_SECONDS, reconstruct: bool = False, read_only: bool = False
    ) -> Lease | None:
        """Lock a lease and read it, or return None when it was erased meanwhile.

        :param reconstruct: take a damaged lease too, with a record made from the inventory.
        :param read_only: do not erase the lease of an ADD that a power cut stopped.
        :raises CniError: TRY_AGAIN_LATER when another process has the bond locked for all of ``seconds``; what ``read`` raises.
        """
        lock = self.lock_bond(entry.bond, seconds)
        try:
            # Under the lock only: the state may have changed while we waited, and the bond may have a new owner.
            now = next((other for other in self.entries() if (other.bond, other.key) == (entry.bond, entry.key)), None)
            record = self._read_locked(now, reconstruct, read_only) if now else None
        except CniError:
            os.close(lock)
            raise
        if now is None or record is None:
            os.close(lock)
            return None
        return Lease(self.name, self.path, now, record, lock)

    def _read_locked(self, entry: Entry, reconstruct: bool, read_only: bool) -> LeaseRecord | None:
        """Read a lease's record under its lock.

        A damaged record in state adding is one that a power cut stopped before it was durable. The kernel is not touched before
        that, so such a lease holds nothing and is erased.
        """
        try:
            return self.read(entry)
        except DamagedLeaseError as damaged:
            if entry.state == ADDING:
                if not read_only:
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
