"""What `sriov-bondctl gc` reports for leases that need no process of the plugin."""

import json
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import recover
from cni_sriov_bond.pool.lease import READY
from tests.support import context, lease, make_pool


@pytest.mark.parametrize("damage", ["{", ""], ids=["a part", "empty"])
def test_a_lease_that_cannot_be_read_is_reported_once(tmp_path: Path, damage: str) -> None:
    """Not again by the question whether its gateways answer by now."""
    pool = make_pool(tmp_path)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    Path(pool.leases, taken.entry.file).write_text(damage)
    findings = recover.gc(str(tmp_path), "db", context())
    assert [(finding.bond, finding.failed) for finding in findings] == [("cbond1", True)]


def test_a_lease_of_another_version_is_reported_once(tmp_path: Path) -> None:
    pool = make_pool(tmp_path)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    path = Path(pool.leases, taken.entry.file)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    [finding] = recover.gc(str(tmp_path), "db", context())
    assert finding.failed
    assert "is of version 2" in finding.message
