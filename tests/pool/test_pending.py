"""The queue of pending IPAM DELs: released leases whose delegates have not been sent their DEL yet."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import DelegateCall
from tests.support import ATTACHMENT, holder, lease, make_pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """A pool with the pending DEL of one attachment."""
    made = make_pool(tmp_path, size=1)
    taken = lease(made, delegate=DelegateCall("ipam", {"CNI_PATH": "/none"}, "{}"), addresses=["10.0.0.1/24"])
    taken.make_pending()
    taken.close()
    return made


def test_a_pending_del_has_what_the_lease_had(pool: Pool) -> None:
    """The bond is free, and the DEL can be sent from the record alone."""
    assert pool.entries() == []
    assert pool.pending.listed() == [ATTACHMENT.key]
    assert (pool.pending.holds(ATTACHMENT.key), pool.pending.holds("other")) == (True, False)
    assert pool.is_used() and pool.has_unfinished()
    record = pool.pending.read(ATTACHMENT.key)
    assert record is not None and record.delegate
    assert (record.delegate.kind, record.addresses, record.owner) == ("ipam", ["10.0.0.1/24"], "c1 eth0")


def test_a_pending_del_is_removed_once(pool: Pool) -> None:
    """Another process may have sent it in the meantime: no record, and no error."""
    for _ in range(2):
        pool.pending.remove(ATTACHMENT.key)
        assert (pool.pending.listed(), pool.pending.read(ATTACHMENT.key)) == ([], None)
    assert not pool.is_used() and not pool.has_unfinished()


def test_pending_dels_of_an_older_version_are_read(pool: Pool) -> None:
    """Version 0.1 left them in a directory of another name: they are sent after an upgrade, and then removed there."""
    os.rename(f"{pool.path}/pending", f"{pool.path}/owed")
    assert pool.pending.listed() == [ATTACHMENT.key]
    assert pool.pending.holds(ATTACHMENT.key)
    record = pool.pending.read(ATTACHMENT.key)
    assert record is not None and record.owner == "c1 eth0"
    pool.pending.remove(ATTACHMENT.key)
    assert os.listdir(f"{pool.path}/owed") == []


def test_a_damaged_pending_del_is_named(pool: Pool) -> None:
    path = Path(pool.path, "pending", ATTACHMENT.key)
    path.write_text("{")
    with pytest.raises(CniError, match=f"{path} is damaged") as refused:
        pool.pending.read(ATTACHMENT.key)
    assert (refused.value.code, pool.pending.listed()) == (POOL_UNUSABLE, [ATTACHMENT.key])


def test_the_lock_of_the_queue_names_its_holder(pool: Pool) -> None:
    """The lock's file is not a pending DEL."""
    os.close(pool.pending.lock(0))
    assert pool.pending.listed() == [ATTACHMENT.key]
    with (
        holder(f"{pool.path}/pending/lock") as pid,
        pytest.raises(CniError, match=f"the list of pending IPAM DELs is in use by process {pid} ") as refused,
    ):
        pool.pending.lock(0)
    assert refused.value.code == TRY_AGAIN_LATER
