"""Quarantined bonds are not leased."""

from pathlib import Path

import pytest

from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import quarantine
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.record import Attachment, Requested
from tests.support import ATTACHMENT, NETNS, lease, make_pool


def test_a_quarantined_bond_is_not_leased(tmp_path: Path) -> None:
    """It is passed over, and the error of an empty pool names it; after its quarantine it is leased again."""
    pool = make_pool(tmp_path, size=2)
    quarantine.add(pool.path, "cbond1", "VF11 is not in the host")
    assert quarantine.reasons(pool.path) == {"cbond1": "VF11 is not in the host"}
    lease(pool).close()
    with pytest.raises(CniError, match=r"1 of 2 bonds are leased .*, and cbond1 cannot be used") as refused:
        acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
    with pytest.raises(CniError, match="cannot be used: VF11 is not in the host"):
        acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested(), device="cbond1")
    quarantine.remove(pool.path, "cbond1")
    quarantine.remove(pool.path, "cbond1")
    taken = acquire(pool, Attachment("net1", "c2", "eth0"), NETNS, Requested())
    taken.close()
    assert taken.entry.bond == "cbond1"


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"reason":'])
def test_a_quarantine_whose_reason_is_lost_holds(tmp_path: Path, damage: str) -> None:
    """A bond that was quarantined for an unknown reason must not be leased."""
    pool = make_pool(tmp_path, size=1)
    quarantine.add(pool.path, "cbond1", "x")
    Path(pool.path, "quarantine", "cbond1").write_text(damage)
    assert "cannot be read" in quarantine.reasons(pool.path)["cbond1"]
    with pytest.raises(CniError):
        acquire(pool, ATTACHMENT, NETNS, Requested())
