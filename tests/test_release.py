"""What a release does when there is little to go by."""

from pathlib import Path
from time import monotonic

from cni_sriov_bond import debts, leases, reclaim, release
from cni_sriov_bond.log import Log
from tests.support import lease, make_pool, program


def test_a_lease_whose_owner_died_before_it_touched_anything_is_freed(tmp_path: Path) -> None:
    """An ADD killed between choosing a bond and reading its VFs has nothing to undo: its bond is free again."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where, netns={"path": "/run/netns/c1", "id": [4, 1]}, asked={})
    outcome = release.release(taken, Log())
    taken.close()
    assert (outcome.free, outcome.problems, where.entries()) == (True, [], [])


def test_reclaim_frees_what_died_and_leaves_what_lives(tmp_path: Path) -> None:
    """An unfinished ADD is freed; a finished one of this boot, and one that is being worked on, are not."""
    where = make_pool(tmp_path, size=3)
    lease(where, "dead", asked={}).close()
    ready = lease(where, "ready", asked={})
    ready.save(leases.READY)
    ready.close()
    busy = lease(where, "busy", asked={})
    reclaim.reclaim(where, Log(level="error"))
    busy.close()
    assert sorted(entry.bond for entry in where.entries()) == ["cbond2", "cbond3"]


def test_after_a_reboot_a_lease_is_history(tmp_path: Path) -> None:
    """A lease of another boot is freed without a look at the kernel, and its delegate is told with what was recorded."""
    where = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", f"env | grep ^CNI_ | sort > {tmp_path}/said; cat >> {tmp_path}/said")
    environ = {"CNI_COMMAND": "ADD", "CNI_PATH": str(tmp_path), "CNI_CONTAINERID": "c1"}
    delegate = {"type": "ipam", "environ": environ, "config": '{"name":"\udcff"}'}
    taken = lease(where, delegate=delegate, before={"ffff:01:10.1": {}})
    taken.record["boot_id"] = "another"
    taken.save(leases.READY)
    taken.close()
    reclaim.reclaim(where, Log())
    assert where.entries() == []
    said = (tmp_path / "said").read_bytes()
    assert said == f'CNI_COMMAND=DEL\nCNI_CONTAINERID=c1\nCNI_PATH={tmp_path}\n{{"name":"'.encode() + b'\xff"}'


def test_a_delegate_that_fails_does_not_keep_the_bond(tmp_path: Path) -> None:
    """A delegate's failure at DEL is told with its name and words, after our own release is finished (D12)."""
    where = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", "echo no space >&2; exit 3")
    delegate = {"type": "ipam", "environ": {"CNI_PATH": str(tmp_path)}, "config": "{}"}
    taken = lease(where, delegate=delegate)
    outcome = release.release(taken, Log())
    taken.close()
    assert [problem.msg for problem in outcome.problems] == ["the IPAM plugin ipam failed with status 3 at DEL: no space"]
    assert (outcome.free, where.entries()) == (True, [])


def test_a_delegate_that_hangs_does_not_keep_others_from_being_told(tmp_path: Path) -> None:
    """All that is owed gets one time, shared; what was not told stays owed."""
    where = make_pool(tmp_path / "state", size=2)
    program(tmp_path, "hangs", "exec sleep 60")
    program(tmp_path, "works", f"cat > {tmp_path}/said")
    for container_id, kind in (("c1", "hangs"), ("c2", "works")):
        delegate = {"type": kind, "environ": {"CNI_PATH": str(tmp_path)}, "config": container_id}
        taken = lease(where, container_id, delegate=delegate)
        taken.owe()
        taken.close()
    began = monotonic()
    found = {one.holder: one.state for one in reclaim.settle(where, Log(level="panic"), seconds=7)}
    assert monotonic() - began < 10
    assert found == {"c1 eth0": reclaim.FAILED, "c2 eth0": reclaim.DONE}
    assert (tmp_path / "said").read_text() == "c2"
    assert debts.keys(where.path) == [leases.Attachment("net1", "c1", "eth0").key]
