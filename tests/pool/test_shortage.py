"""What an ADD reports that finds no free bond."""

from pathlib import Path

import pytest

from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.record import Requested
from tests.support import ATTACHMENT, NETNS, lease, make_pool, names_of_leases, ready


def test_a_long_list_of_owners_is_cut(tmp_path: Path) -> None:
    """With many owners the message names some, counts the others, and cuts long container ids."""
    pool = make_pool(tmp_path, size=63)
    for number in range(63):
        lease(pool, f"{number:064}").close()
    with pytest.raises(CniError, match="and 60 more") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert len(refused.value.msg) < 300


def test_a_damaged_lease_does_not_hide_the_shortage(tmp_path: Path) -> None:
    """Its owner is not known, so it is only counted."""
    pool = make_pool(tmp_path, size=2)
    for container_id in ("c2", "c3"):
        ready(pool, container_id)
    Path(pool.leases, names_of_leases(pool)[0]).write_text("{")
    with pytest.raises(CniError, match=r"all 2 bonds are leased \(cbond2 by c3 eth0, and 1 more\)") as refused:
        acquire(pool, ATTACHMENT, NETNS, Requested())
    assert refused.value.code == TRY_AGAIN_LATER
