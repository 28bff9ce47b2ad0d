"""A lease on disk: the record that a bond belongs to an attachment, and its state.

The state is a part of the file's name. So one rename changes it, and one listing of the directory shows which bonds are
leased and in which state, without opening 63 files.
"""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, CniError, DamagedLeaseError
from cni_sriov_bond.pool.record import LeaseRecord

# Directories beside the leases: pending IPAM DELs, and quarantined bonds.
PENDING, QUARANTINE = "pending", "quarantine"
ADDING, READY, RELEASING, DRAINING = "adding", "ready", "releasing", "draining"
# Precedence where a crash left two files of one lease: the state that is nearest to the end of the lease counts.
STATES = (DRAINING, RELEASING, READY, ADDING)
# The order in which a lease takes its states; it may pass over some, but never goes back.
ORDER = (ADDING, READY, DRAINING, RELEASING)
# States that mean an interrupted ADD or DEL if the bond is unlocked. Recovery may then enter the container's namespace. In
# state draining it never may: that DEL came without a namespace, and the container may still run.
INTERRUPTED = (ADDING, RELEASING)


class Entry:
    """The parts of a lease's file name."""

    __slots__ = ("bond", "key", "state")

    def __init__(self, bond: str, key: str, state: str) -> None:
        self.bond = bond
        self.key = key
        self.state = state

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.bond}.{self.key}.{self.state}"


class Lease:
    """A locked lease. Close it to unlock the bond.

    A change of ``record`` is on disk after ``save``. ``lock`` is the descriptor of the bond's lock, -1 when closed.

    :param pool_path: the directory of the pool ``pool``.
    """

    __slots__ = ("_leases", "_pending", "entry", "lock", "pool", "pool_path", "record")

    def __init__(self, pool: str, pool_path: str, entry: Entry, record: LeaseRecord, lock: int) -> None:
        self.pool = pool
        self.pool_path = pool_path
        self._leases = f"{pool_path}/leases"
        self._pending = f"{pool_path}/{PENDING}"
        self.entry = entry
        self.record = record
        self.lock = lock

    def __str__(self) -> str:
        return f"bond {self.entry.bond} of pool {self.pool}"

    def save(self, state: str) -> None:
        """Write the record and the state, durable when this returns.

        :raises CniError: IO_FAILURE; the file on disk is then the old or the new one, never a part of one.
        """
        self.write()
        self.mark(state)
        files.sync(self._leases)

    def write(self, durable: bool = True) -> None:
        """Write the record alone.

        :raises CniError: IO_FAILURE; the file on disk is then the old one.
        """
        files.write(self._leases, self.entry.file, self.record.to_json(), durable)

    def mark(self, state: str) -> None:
        """Change the state. It need not be durable: after a reboot every lease is released, whatever its state.

        :raises CniError: IO_FAILURE.
        """
        if state == self.entry.state:
            return
        after = Entry(self.entry.bond, self.entry.key, state)
        self._rename(f"{self._leases}/{after.file}", f"mark the lease of {self} as {state}")
        self.entry = after

    def make_pending(self) -> None:
        """Free the bond while the delegate's DEL is pending: one rename turns the lease into a pending DEL.

        A process that is killed before or after the rename leaves exactly one of the two, so the DEL is never lost.

        :raises CniError: IO_FAILURE.
        """
        files.make_directory(self._pending)
        self._rename(f"{self._pending}/{self.entry.key}", f"keep the pending IPAM DEL of {self}")
        drop_leftovers(self._leases, self.entry.bond)  # writers hold the bond's lock, so these were left by killed processes
        files.sync(self._pending)
        files.sync(self.pool_path)  # the directory may be new
        files.sync(self._leases)

    def erase(self) -> None:
        """Free the bond. It is the last step of a release: after it, nothing on disk shows that anything is left to do.

        :raises CniError: IO_FAILURE when a file stays.
        """
        # A crash may have left two files. The one that takes precedence goes last: else an older state would count again.
        for state in reversed(STATES):
            files.unlink(f"{self._leases}/{Entry(self.entry.bond, self.entry.key, state).file}")
        drop_leftovers(self._leases, self.entry.bond)  # writers hold the bond's lock, so these were left by killed processes
        files.sync(self._leases)

    def close(self) -> None:
        """Unlock the bond, even if a daemon that the delegate started still has the lock's descriptor."""
        if self.lock >= 0:
            files.unlock(self.lock)
            self.lock = -1

    def _rename(self, path: str, purpose: str) -> None:
        try:
            files.rename(self._leases, f"{self._leases}/{self.entry.file}", path)
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot {purpose}: {failed.strerror}") from None


def read_record(path: str) -> LeaseRecord | None:
    """Read a lease's record, or return None when there is no such file.

    :raises DamagedLeaseError: when it is not a complete record.
    :raises CniError: IO_FAILURE when it cannot be read, POOL_UNUSABLE when it is of another version.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise DamagedLeaseError(path, "it is a directory; remove it") from None
    except UnicodeDecodeError as damage:
        raise DamagedLeaseError(path, str(damage)) from None
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read the lease {path}: {failed.strerror}") from None
    return LeaseRecord.from_json(text, path)


def leftover_of(file: str) -> str:
    """Return the bond that a temporary file belongs to, or "" for any other file: their names begin with ``.BOND.``."""
    return file.split(".")[1] if file.startswith(".") else ""


def drop_leftovers(directory: str, bond: str) -> int:
    """Delete the temporary files of a bond whose lock the caller holds, and return how many there were.

    :raises CniError: IO_FAILURE when a file stays.
    """
    names = [name for name in os.listdir(directory) if leftover_of(name) == bond]
    for name in names:
        files.unlink(f"{directory}/{name}")
    return len(names)
