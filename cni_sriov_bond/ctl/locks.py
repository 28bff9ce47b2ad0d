"""The locks of ``up`` and ``down`` as context managers."""

import contextlib
import os
from collections.abc import Iterator

from cni_sriov_bond import files
from cni_sriov_bond.pool.pool import Pool


def provisioning(pool: Pool) -> "contextlib.AbstractContextManager[None]":
    """Hold the lock that keeps a second ``up`` or ``down`` of the pool out; no ADD or DEL waits for it.

    :raises CniError: TRY_AGAIN_LATER while another process has it.
    """
    return closing(files.locked(f"{pool.path}/provision.lock", f"the provisioning of pool {pool.name}", seconds=0))


@contextlib.contextmanager
def closing(lock: int) -> Iterator[None]:
    """Release a lock at the end of the block."""
    try:
        yield
    finally:
        os.close(lock)
