"""A lease on disk: the record that a bond belongs to an attachment, and how far its life is.

A lease's state is a part of its file's name, so one rename changes it and one listing of the directory tells which
bonds are free, without opening 63 files.
"""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, CniError, DamagedLeaseError
from cni_sriov_bond.pool.record import LeaseRecord

PENDING = "pending"
ADDING, READY, RELEASING, DRAINING = "adding", "ready", "releasing", "draining"
# The order in which states count, should a crash leave two files of one lease.
STATES = (DRAINING, RELEASING, READY, ADDING)
# States that mean an interrupted ADD or DEL when the bond is unlocked. Recovery may then enter the container's namespace. It
# never may with draining: that DEL came without a namespace, and its container may go on living.
INTERRUPTED = (ADDING, RELEASING)


class Entry:
    """A lease's file name taken apart."""

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

    ``record`` is what is on disk once ``save`` has written it. ``lock`` is the descriptor of the bond's lock, -1 when closed.

    :param pool_path: the directory of the pool ``pool``.
    """

    __slots__ = ("_leases", "_pending", "entry", "lock", "pool", "record")

    def __init__(self, pool: str, pool_path: str, entry: Entry, record: LeaseRecord, lock: int) -> None:
        self.pool = pool
        self._leases = f"{pool_path}/leases"
        self._pending = f"{pool_path}/{PENDING}"
        self.entry = entry
        self.record = record
        self.lock = lock

    def __str__(self) -> str:
        return f"bond {self.entry.bond} of pool {self.pool}"

    def save(self, state: str) -> None:
        """Write the record and the state, durable when this returns.

        :raises CniError: IO_FAILURE, the file on disk being the old or the new one, never a part.
        """
        self.write()
        self.mark(state)
        files.sync(self._leases)

    def write(self, durable: bool = True) -> None:
        """Write the record alone.

        :raises CniError: IO_FAILURE, as above.
        """
        files.write(self._leases, self.entry.file, self.record.to_json(), durable)

    def mark(self, state: str) -> None:
        """Change the state. It need not be durable: after a boot a lease is released in whatever state it is.

        :raises CniError: IO_FAILURE.
        """
        if state == self.entry.state:
            return
        after = Entry(self.entry.bond, self.entry.key, state)
        self._rename(f"{self._leases}/{after.file}", f"mark the lease of {self} as {state}")
        self.entry = after

    def make_pending(self) -> None:
        """Free the bond while the delegate's DEL is still to be sent: one rename makes the lease a pending DEL.

        :raises CniError: IO_FAILURE.
        """
        files.make_directory(self._pending)
        self._rename(f"{self._pending}/{self.entry.key}", f"keep the pending IPAM DEL of {self}")
        drop_leftovers(self._leases, self.entry.bond)  # writers hold the bond's lock, so these were left by dead processes
        files.sync(self._pending)
        files.sync(self._pending.rpartition("/")[0])  # the directory may be new
        files.sync(self._leases)

    def erase(self) -> None:
        """Free the bond: the last step of a release.

        :raises CniError: IO_FAILURE when a file stays.
        """
        for state in reversed(STATES):  # a crash may have left two files, and the one that counts goes last
            files.unlink(f"{self._leases}/{Entry(self.entry.bond, self.entry.key, state).file}")
        drop_leftovers(self._leases, self.entry.bond)  # writers hold the bond's lock, so these were left by dead processes
        files.sync(self._leases)

    def close(self) -> None:
        """Unlock the bond, also where a daemon that the delegate left behind has the lock's descriptor still."""
        if self.lock >= 0:
            files.unlock(self.lock)
            self.lock = -1

    def _rename(self, to: str, what: str) -> None:
        try:
            os.rename(f"{self._leases}/{self.entry.file}", to)
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot {what}: {failed.strerror}") from None


def read_record(path: str) -> LeaseRecord | None:
    """Read a lease's record, or return None when its file is gone.

    :raises DamagedLeaseError: when it is not a whole record.
    :raises CniError: IO_FAILURE when it cannot be read, POOL_UNUSABLE when another version of ours wrote it.
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
    """Return the bond of a temporary file's name, or "" for any other file: a writer's begin with ``.BOND.``."""
    return file.split(".")[1] if file.startswith(".") else ""


def drop_leftovers(directory: str, bond: str) -> int:
    """Delete the temporary files of a bond whose lock the caller holds, and return how many there were.

    :raises CniError: IO_FAILURE when one stays.
    """
    names = [name for name in os.listdir(directory) if leftover_of(name) == bond]
    for name in names:
        files.unlink(f"{directory}/{name}")
    return len(names)
