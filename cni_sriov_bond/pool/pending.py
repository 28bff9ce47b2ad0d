"""Pending IPAM DELs: the bond is free again, but the delegate could not be run or failed.

Each is the file of the released lease, renamed to the attachment's key, so it holds all that the DEL needs. While it exists
the addresses may still be reserved. A process that sends a DEL holds the queue's lock. An ADD first sends the pending DEL of
its own attachment, because a DEL that came after the ADD would free the new address.
"""

from cni_sriov_bond import files
from cni_sriov_bond.pool.lease import PENDING, read_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.pool.record import LeaseRecord

_LOCK = "lock"
# Versions before 0.2 used the name "owed"; what they left there is sent from there.
_DIRECTORIES = (PENDING, "owed")


class PendingDels:
    """The queue of one pool. Creating the value reads nothing.

    :param pool_path: the pool's directory.
    """

    __slots__ = ("_path",)

    def __init__(self, pool_path: str) -> None:
        self._path = pool_path

    def listed(self) -> list[str]:
        """Return the keys of the attachments that have a pending DEL.

        :raises CniError: IO_FAILURE when they cannot be listed.
        """
        names = {name for directory in _DIRECTORIES for name in files.listed(f"{self._path}/{directory}")}
        return sorted(names - {_LOCK})

    def holds(self, key: str) -> bool:
        """Return whether an attachment has a pending DEL.

        :raises CniError: IO_FAILURE when that cannot be read.
        """
        return any(files.exists(f"{self._path}/{directory}/{key}") for directory in _DIRECTORIES)

    def lock(self, seconds: float) -> int:
        """Lock the queue and return the descriptor to close.

        :raises CniError: TRY_AGAIN_LATER naming the holder, after ``seconds``.
        """
        files.make_directory(f"{self._path}/{PENDING}")
        return files.locked(f"{self._path}/{PENDING}/{_LOCK}", "the list of pending IPAM DELs", seconds)

    def read(self, key: str) -> "LeaseRecord | None":
        """Read the released lease, or return None when the DEL has been sent.

        :raises CniError: POOL_UNUSABLE when it is damaged, naming the file; IO_FAILURE.
        """
        for directory in _DIRECTORIES:
            record = read_record(f"{self._path}/{directory}/{key}")
            if record is not None:
                return record
        return None

    def remove(self, key: str) -> None:
        """Remove a DEL that has been sent; one that was removed already is no error.

        :raises CniError: IO_FAILURE.
        """
        for directory in _DIRECTORIES:
            files.unlink(f"{self._path}/{directory}/{key}")
