"""What a release does when there is little to go by."""

import contextlib
import os
import signal
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from cni_sriov_bond.errors import IO_FAILURE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.pool import pool
from cni_sriov_bond.pool.lease import DRAINING, READY, RELEASING
from cni_sriov_bond.pool.record import Attachment, DelegateCall
from cni_sriov_bond.ports import Bond
from tests.support import bond_entry, context, lease, make_pool, program, vf_state


def test_a_lease_whose_owner_died_before_it_touched_anything_is_freed(tmp_path: Path) -> None:
    """An ADD killed between choosing a bond and reading its VFs has nothing to undo: its bond is free again."""
    where = make_pool(tmp_path, size=1)
    taken = lease(
        where,
    )
    outcome = release.release(taken, context(), release.DEL)
    taken.close()
    assert (outcome.free, outcome.problems, where.entries()) == (True, [], [])


def test_reclaim_frees_what_died_and_leaves_what_lives(tmp_path: Path) -> None:
    """An unfinished ADD is freed; a finished one of this boot, and one that is being worked on, are not."""
    where = make_pool(tmp_path, size=3)
    lease(where, "dead").close()
    ready = lease(where, "ready")
    ready.save(READY)
    ready.close()
    busy = lease(where, "busy")
    recover.recover(where, recover.Unused(), context())
    busy.close()
    assert sorted(entry.bond for entry in where.entries()) == ["cbond2", "cbond3"]


def test_after_a_reboot_a_lease_is_history(tmp_path: Path) -> None:
    """A lease of another boot is freed without a look at the kernel, and its delegate is told with what was recorded."""
    where = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", f"env | grep ^CNI_ | sort > {tmp_path}/said; cat >> {tmp_path}/said")
    environ = {"CNI_COMMAND": "ADD", "CNI_PATH": str(tmp_path), "CNI_CONTAINERID": "c1"}
    delegate = DelegateCall("ipam", environ, '{"name":"\udcff"}')
    taken = lease(where, delegate=delegate, before={"ffff:01:10.1": vf_state()}, mac="02:00:00:00:00:01")
    taken.record.boot_id = "another"
    taken.save(READY)
    taken.close()
    recover.recover(where, recover.Unused(), context())
    assert where.entries() == []
    said = (tmp_path / "said").read_bytes()
    assert said == f'CNI_COMMAND=DEL\nCNI_CONTAINERID=c1\nCNI_NETNS=\nCNI_PATH={tmp_path}\n{{"name":"'.encode() + b'\xff"}'


def test_a_delegate_that_fails_does_not_keep_the_bond(tmp_path: Path) -> None:
    """A delegate's failure at DEL is told with its name and words, after our own release is finished (D12)."""
    where = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", "echo no space >&2; exit 3")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
    taken = lease(where, delegate=delegate)
    outcome = release.release(taken, context(), release.DEL)
    taken.close()
    assert [problem.msg for problem in outcome.problems] == ["the IPAM plugin ipam failed with status 3 at DEL: no space"]
    assert (outcome.free, where.entries()) == (True, [])


@pytest.fixture
def owing(tmp_path: Path) -> pool.Pool:
    """A pool that has a bond back whose delegate failed at DEL."""
    where = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", "echo no space >&2; exit 3")
    environ = {"CNI_PATH": str(tmp_path), "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    delegate = DelegateCall("ipam", environ, '{"name":"net1"}')
    taken = lease(where, delegate=delegate, addresses=["10.0.0.1/24"])
    release.release(taken, context(), release.DEL)
    taken.close()
    return where


WHO = Attachment("net1", "c1", "eth0")


def test_a_delegate_that_failed_is_told_later_what_it_was_not(owing: pool.Pool, tmp_path: Path) -> None:
    """The bond is free, and what is owed stays until the delegate takes it: then it gets the DEL as it was (5, 16)."""
    assert owing.pending.listed() == [WHO.key]
    [found] = recover.send_pending_dels(owing, context())
    assert (found.state, found.owner) == (recover.FAILED, "c1 eth0")
    assert owing.pending.listed() == [WHO.key]
    program(tmp_path, "ipam", f"env | grep ^CNI_C | sort > {tmp_path}/said; cat >> {tmp_path}/said")
    [found] = recover.send_pending_dels(owing, context())
    assert (found.state, owing.pending.listed()) == (recover.DONE, [])
    assert (tmp_path / "said").read_text() == 'CNI_COMMAND=DEL\nCNI_CONTAINERID=c1\n{"name":"net1"}'
    assert recover.send_pending_dels(owing, context()) == []


def test_who_tells_a_delegate_is_alone(owing: pool.Pool) -> None:
    """Two at once would tell it twice, and the second might free what has been given again meanwhile."""
    held = owing.pending.lock(0)
    assert recover.send_pending_dels(owing, context()) == []
    os.close(held)


def test_a_delegate_that_is_told_later_keeps_the_lock(owing: pool.Pool, tmp_path: Path) -> None:
    """Killed meanwhile, we leave one that may free the address yet: until its end nobody adds that attachment."""
    program(tmp_path, "ipam", f"readlink /proc/$$/fd/3 >{tmp_path}/held")
    recover.send_pending_dels(owing, context())
    assert (tmp_path / "held").read_text() == f"{owing.path}/pending/lock\n"


def test_delegates_that_hang_are_waited_for_once(tmp_path: Path) -> None:
    """Not for each of 63 dead containers: the others are told later, and their bonds are free."""
    where = make_pool(tmp_path / "state", size=6)
    program(tmp_path, "ipam", f"echo >>{tmp_path}/asked; exec sleep 60")
    for number in range(6):
        delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
        lease(where, f"c{number}", delegate=delegate).close()
    start = monotonic()
    found = recover.recover(where, recover.Unused(), context(3.1))
    assert monotonic() - start < 6
    assert (len(found), where.entries(), len(where.pending.listed())) == (6, [], 6)
    assert (tmp_path / "asked").read_text() == "\n"


def test_a_new_add_of_the_same_attachment_settles_first(owing: pool.Pool, tmp_path: Path) -> None:
    """Else the late DEL would free the address that it is about to get."""
    with pytest.raises(CniError, match=r"an earlier IPAM DEL of .* is still pending") as refused:
        recover.require_no_pending_del(owing, WHO, context())
    assert refused.value.code == TRY_AGAIN_LATER
    recover.require_no_pending_del(owing, Attachment("net1", "c2", "eth0"), context())  # another's is no reason to stop
    program(tmp_path, "ipam", "exit 0")
    recover.require_no_pending_del(owing, WHO, context())
    assert owing.pending.listed() == []


def test_an_add_that_died_before_its_answer_does_not_stop_the_next(tmp_path: Path) -> None:
    """A delegate that refuses its DEL for ever, by its arguments, may never have been asked: the next ADD will show it."""
    where = make_pool(tmp_path / "state", size=2)
    program(tmp_path, "ipam", """echo '{"code":4,"msg":"no such argument"}'; exit 1""")
    records: dict[str, dict[str, Any]] = {"c1": {}, "c2": {"addresses": ["10.0.0.1/24"]}}
    for container_id, record in records.items():
        delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
        taken = lease(where, container_id, delegate=delegate, **record)
        release.release(taken, context(), release.DEL)
        taken.close()
    recover.require_no_pending_del(where, WHO, context())
    other = Attachment("net1", "c2", "eth0")
    with pytest.raises(CniError, match="no such argument"):
        recover.require_no_pending_del(where, other, context())
    assert where.pending.listed() == [other.key]


def test_a_debt_that_cannot_be_read_is_told_and_kept(owing: pool.Pool) -> None:
    """An operator may look at it and remove it; it keeps nobody else from settling."""
    Path(owing.path, "pending", WHO.key).write_text("{")
    [found] = recover.send_pending_dels(owing, context())
    assert (found.state, "is damaged" in found.message) == (recover.FAILED, True)


def test_a_dead_del_is_finished_and_one_that_runs_is_not(tmp_path: Path) -> None:
    """A lease that says releasing belongs to nobody once its lock is free; what is worked on is no failure."""
    where = make_pool(tmp_path, size=2)
    for name in ("dead", "busy"):
        taken = lease(where, name)
        taken.mark(RELEASING)
        if name == "dead":
            taken.close()
    recover.recover(where, recover.Interrupted(), context())
    assert [entry.bond for entry in where.entries()] == ["cbond2"]
    taken.close()


def test_a_ready_lease_of_a_living_container_is_never_finished(tmp_path: Path) -> None:
    """Its VFs are not in the host; without a kernel to ask that is all that is known."""
    where = make_pool(tmp_path, size=1)
    taken = lease(where)
    taken.save(READY)
    taken.close()
    assert recover.recover(where, recover.Unused(), context()) == []
    assert [entry.state for entry in where.entries()] == [READY]


def test_a_delegate_that_hangs_does_not_keep_others_from_being_told(tmp_path: Path) -> None:
    """All that is owed gets one time, shared; what was not told stays owed."""
    where = make_pool(tmp_path / "state", size=2)
    program(tmp_path, "hangs", "exec sleep 60")
    program(tmp_path, "works", f"cat > {tmp_path}/said")
    for container_id, kind in (("c1", "hangs"), ("c2", "works")):
        delegate = DelegateCall(kind, {"CNI_PATH": str(tmp_path)}, container_id)
        taken = lease(where, container_id, delegate=delegate)
        taken.make_pending()
        taken.close()
    began = monotonic()
    found = {finding.owner: finding.state for finding in recover.send_pending_dels(where, context(7))}
    assert monotonic() - began < 10
    assert found == {"c1 eth0": recover.FAILED, "c2 eth0": recover.DONE}
    assert (tmp_path / "said").read_text() == "c2"
    assert where.pending.listed() == [Attachment("net1", "c1", "eth0").key]


def test_whoever_comes_by_does_not_wait_for_a_container_that_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ADD looks at every bond that is draining: one whose VFs are not home costs it nothing (A10)."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path / "pci"))
    where = make_pool(tmp_path / "state", size=1)
    for port in bond_entry(1)["ports"]:
        (tmp_path / "pci" / port["pci"] / "net").mkdir(parents=True)  # there, with its device in another namespace
    taken = lease(where, before={"x": vf_state()}, mac="02:00:00:00:00:01")
    taken.save(DRAINING)
    taken.close()
    start = monotonic()
    recover.recover(where, recover.Interrupted(), context())
    assert monotonic() - start < 0.2
    assert [entry.state for entry in where.entries()] == [DRAINING]


def open_files(pid: int) -> set[int]:
    """Return the inodes of a process's open files; a program that is just being started closes some meanwhile."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.stat(f"/proc/{pid}/fd/{fd}").st_ino)
    return inodes


def test_a_daemon_that_a_delegate_leaves_behind_does_not_keep_the_bond(tmp_path: Path) -> None:
    """It has the lock's descriptor, for who started it gave it away; the lock is given up all the same (P6)."""
    where = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", f"tail -f /dev/null >/dev/null 2>&1 & echo $! > {tmp_path}/pid")
    environ = {"CNI_PATH": str(tmp_path)}
    taken = lease(where, delegate=DelegateCall("ipam", environ, "{}"))
    ours = os.stat(where.path + "/bonds/cbond1").st_ino
    assert release.release(taken, context(), release.DEL).free
    taken.close()
    pid = int((tmp_path / "pid").read_text())
    try:
        assert ours in open_files(pid)
        os.close(where.lock_bond("cbond1", 0))
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("state", "after"), [("adding", "adding"), ("ready", "draining"), ("releasing", "releasing")])
def test_what_cannot_be_looked_at_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, after: str
) -> None:
    """The lease stays, told with what failed; one of an ADD that died stays its, so that its namespace may be entered."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path))
    where = make_pool(tmp_path / "state", size=1)
    bond = bond_entry(1)
    bond["ports"][0]["pci"] = "x" * 300  # no file can be called so, and stat(2) says so instead of that it is not there
    taken = lease(where, before={"x": vf_state()}, bond=Bond.from_json(bond), mac=bond["mac"])
    taken.save(state)
    outcome = release.release(taken, context(), release.DEL)
    taken.close()
    assert [problem.code for problem in outcome.problems] == [IO_FAILURE]
    assert "File name too long" in outcome.problems[0].msg
    assert [entry.state for entry in where.entries()] == [after]
