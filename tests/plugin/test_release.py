"""A release works from the lease alone, whatever state the host is in."""

import os
import signal
from pathlib import Path

import pytest

from cni_sriov_bond.errors import IO_FAILURE
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.plugin import release
from cni_sriov_bond.pool.record import DelegateCall
from cni_sriov_bond.ports import Bond
from tests.support import bond_entry, context, inodes_of, lease, make_pool, program, vf_state


def test_a_lease_of_an_add_that_was_killed_early_is_erased(tmp_path: Path) -> None:
    """An ADD that was killed before it read the state of its VFs has changed nothing: its bond is freed."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool)
    outcome = release.release(taken, context(), release.DEL)
    taken.close()
    assert (outcome.free, outcome.problems, pool.entries()) == (True, [], [])


def test_a_delegate_that_fails_does_not_keep_the_bond(tmp_path: Path) -> None:
    """A delegate's failure at DEL is reported with its name and message, after our own release (D12)."""
    pool = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", "echo no space >&2; exit 3")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
    taken = lease(pool, delegate=delegate)
    outcome = release.release(taken, context(), release.DEL)
    taken.close()
    assert [problem.msg for problem in outcome.problems] == ["the IPAM plugin ipam failed with status 3 at DEL: no space"]
    assert (outcome.free, pool.entries()) == (True, [])


def test_a_daemon_of_a_delegate_does_not_keep_the_bond(tmp_path: Path) -> None:
    """It inherited the descriptor of the bond's lock, and the lock is released all the same (P6)."""
    pool = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", f"tail -f /dev/null >/dev/null 2>&1 & echo $! > {tmp_path}/pid")
    environ = {"CNI_PATH": str(tmp_path)}
    taken = lease(pool, delegate=DelegateCall("ipam", environ, "{}"))
    ours = os.stat(pool.path + "/bonds/cbond1").st_ino
    assert release.release(taken, context(), release.DEL).free
    taken.close()
    pid = int((tmp_path / "pid").read_text())
    try:
        assert ours in inodes_of(pid)
        os.close(pool.lock_bond("cbond1", 0))
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("state", "after"), [("adding", "adding"), ("ready", "draining"), ("releasing", "releasing")])
def test_an_unreadable_vf_does_not_count_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, after: str
) -> None:
    """The lease stays, and the error is reported; that of an interrupted ADD stays adding, so its namespace may be entered.

    The IPAM plugin gets no DEL, which would free addresses that the container may still use.
    """
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path))
    pool = make_pool(tmp_path / "state", size=1)
    bond = bond_entry(1)
    bond["ports"][0]["pci"] = "x" * 300  # too long for a file name: stat(2) fails with another error than ENOENT
    program(tmp_path, "ipam", f"touch {tmp_path}/asked")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
    taken = lease(pool, before={"x": vf_state()}, bond=Bond.from_json(bond), mac=bond["mac"], delegate=delegate)
    taken.save(state)
    outcome = release.release(taken, context(), release.DEL)
    taken.close()
    assert (outcome.free, outcome.in_host) == (False, False)
    assert [problem.code for problem in outcome.problems] == [IO_FAILURE]
    assert "File name too long" in outcome.problems[0].msg
    assert not (tmp_path / "asked").exists(), "the container may still use its addresses"
    assert [entry.state for entry in pool.entries()] == [after]
