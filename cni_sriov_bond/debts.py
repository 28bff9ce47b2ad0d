"""Delegates that have still to be told: leases whose bonds are free again, but whose delegate's DEL failed.

Each is the lease's file, renamed to the attachment's key, so that it holds all that the DEL needs. While one is there its
addresses may be reserved still. Who tells a delegate holds the lock, and so does an ADD of the same attachment, whose new
address a late DEL would free.
"""

from cni_sriov_bond import leases, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def keys(pool_path: str) -> list[str]:
    """Give the keys of the attachments for which a delegate has still to be told.

    :raises CniError: IO_FAILURE when they cannot be listed.
    """
    return [key for key in store.listed(f"{pool_path}/{leases.OWED}") if key != "lock"]


def lock(pool_path: str, seconds: float) -> int:
    """Lock a pool's debts and give the descriptor to close.

    :raises CniError: TRY_AGAIN_LATER naming who holds it, after ``seconds``.
    """
    return store.locked(f"{pool_path}/{leases.OWED}/lock", "the list of delegates that have still to be told", seconds)


def read(pool_path: str, key: str) -> "dict[str, Any] | None":
    """Read the lease that a debt was, or give None when it is settled.

    :raises CniError: POOL_UNUSABLE when it is damaged, naming the file.
    """
    return leases.whole(f"{pool_path}/{leases.OWED}/{key}")


def settle(pool_path: str, key: str) -> None:
    """Drop a debt; one that is gone is no error.

    :raises CniError: IO_FAILURE.
    """
    store.unlink(f"{pool_path}/{leases.OWED}/{key}")
