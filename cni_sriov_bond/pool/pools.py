"""All pools below a state directory: which exist, and in which of them an attachment has its lease."""

from cni_sriov_bond import files
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import Lease
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment


def known(state_dir: str) -> list[str]:
    """Return the names of all pools that have an inventory, or leases or pending DELs without one."""
    pools = [Pool(state_dir, name) for name in inventory.directories(state_dir)]
    return [pool.name for pool in pools if inventory.exists(pool.path) or pool.is_used()]


def inventory_or_none(pool: Pool) -> Inventory | None:
    """Read the inventory of a pool, or return None where it is missing or damaged, so that ``up`` has to write it again.

    :raises CniError: IO_FAILURE when it cannot be read.
    """
    try:
        return pool.inventory()
    except CniError as unusable:
        if unusable.code != POOL_UNUSABLE:
            raise
        return None


def find(state_dir: str, attachment: Attachment, deadline: Deadline | None = None, *, read_only: bool = False) -> Lease | None:
    """Return an attachment's lease, locked, from any pool, because its config may name another pool by now.

    A damaged lease is returned too: its file's name holds the attachment's key.

    :param deadline: until when to wait for the bond's lock; ``files.LOCK_SECONDS`` from now if not given.
    :param read_only: change nothing, not even a lease that a power cut left unfinished.
    :raises CniError: TRY_AGAIN_LATER when another process has the bond locked for too long.
    """
    deadline = deadline or Deadline(files.LOCK_SECONDS)
    # Twice: a process of a version before 0.2 that still runs renames leases without locking their directory, so that one
    # listing may miss a lease. A DEL that misses it leaves its bond leased.
    key = attachment.key
    lease = _find(state_dir, key, deadline, read_only) or _find(state_dir, key, deadline, read_only)
    if lease is None and not read_only:
        for name in inventory.directories(state_dir):
            Pool(state_dir, name).drop_leftovers()
    return lease


def _find(state_dir: str, key: str, deadline: Deadline, read_only: bool) -> Lease | None:
    for name in inventory.directories(state_dir):
        pool = Pool(state_dir, name)
        for entry in pool.entries():
            if entry.key == key:
                with deadline.wait(f"the lock of bond {entry.bond}"):
                    lease = pool.take(entry, deadline.left(files.LOCK_SECONDS), reconstruct=True, read_only=read_only)
                if lease:
                    return lease
    return None


def make_directories(pool: Pool) -> None:
    """Create a pool's directories, for root alone.

    :raises CniError: IO_FAILURE.
    """
    parents = pool.state_dir.split("/")
    above = ["/".join(parents[:length]) for length in range(2, len(parents) + 1)]
    for path in (*above, pool.path, pool.leases, f"{pool.path}/bonds"):
        files.make_directory(path)
