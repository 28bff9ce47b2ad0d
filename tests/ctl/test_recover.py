"""What `sriov-bondctl gc` reports for leases that need no process of the plugin."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import eventlog, recover
from cni_sriov_bond.pool.lease import DRAINING, READY
from tests.support import REPOSITORY, context, lease, make_pool


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


@pytest.mark.root
def test_what_is_released_is_an_event(tmp_path: Path) -> None:
    """By `gc`, with the container whose call was interrupted, and by `release`, of a lease that nothing else is known of."""
    state = tmp_path / "state"
    pool = make_pool(state)
    command = [sys.executable, "-m", "cni_sriov_bond.ctl", "--state-dir", str(state)]
    lease(pool, "c1").close()
    subprocess.run([*command, "gc"], cwd=REPOSITORY, check=True, timeout=60)
    taken = lease(pool)
    taken.save(DRAINING)
    taken.close()
    Path(pool.leases, taken.entry.file).write_text("{")
    subprocess.run([*command, "release", "cbond1"], cwd=REPOSITORY, check=True, timeout=60)
    first, second = eventlog.read(str(state))
    for event in (first, second):
        assert (event.action, event.program, event.bond, event.error) == ("release", "sriov-bondctl", "cbond1", "")
    assert (first.container_id, first.network, first.steps[0][1]) == ("c1", "net1", "the lease was adding")
    assert second.container_id == ""
