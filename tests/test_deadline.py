"""One deadline for a call: what is waited for at many places takes no longer than it."""

import os
from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond import deadline
from cni_sriov_bond.cni.call import Call
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.network import config
from cni_sriov_bond.plugin import acquire, gc, recover
from cni_sriov_bond.plugin.delete import delete
from cni_sriov_bond.pool import pool
from cni_sriov_bond.pool.lease import DRAINING, READY
from cni_sriov_bond.pool.record import DelegateCall
from tests.support import context, lease, make_pool, program, temporary_netns, vf_state
from tests.test_pool import holder

# What runtimes give, in seconds (sources: cni_sriov_bond/deadline.py).
CRIO_DEL, KUBELET_ADD = 60, 240


def test_every_verb_ends_before_its_runtime_gives_up() -> None:
    """A runtime that gives up kills us: the undo would not be finished, and its sentence would not name what was slow."""
    assert deadline.SECONDS["ADD"] < KUBELET_ADD
    assert all(deadline.SECONDS[verb] < CRIO_DEL for verb in ("DEL", "CHECK", "GC", "STATUS"))
    assert 0 < deadline.UNDO_SECONDS < deadline.SECONDS["ADD"] / 2


def test_a_part_never_outlives_the_whole() -> None:
    """Parts are cut to what is left, and what is kept for later is not lent."""
    whole = Deadline(10)
    assert 9 < whole.part(60).left() <= 10
    assert 1 < whole.part(2).left() <= 2
    assert 6 < whole.keeping(3).left() <= 7
    assert whole.keeping(30).left() == 0
    assert whole.left(4) == 4
    assert Deadline(0).left() == 0


def test_only_long_waits_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts share what was waited for; what took less than a second is not worth a word."""
    whole = Deadline(10)
    with whole.part(1).wait("a short one"):
        pass
    assert whole.waits() == ""
    now = monotonic()
    times = iter((now, now + 3))
    monkeypatch.setattr(deadline, "monotonic", lambda: next(times))
    with whole.wait("a long one"):
        pass
    assert whole.waits() == "waited for a long one (3 s)"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pool.Pool:
    """A pool in which every place that a call waits at is slow: VFs that do not return, and delegates that hang."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path / "pci"))
    where = make_pool(tmp_path / "state", size=4)
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "hangs", "exec sleep 600")
    call = DelegateCall("hangs", {"CNI_PATH": str(tmp_path / "bin")}, "{}")
    for number in (1, 2):  # DELs that are pending, one of them the attachment's own
        pending = lease(where, f"c{number}", delegate=call, addresses=["10.0.0.1/24"])
        pending.make_pending()
        pending.close()
    return where


def network(where: pool.Pool, **keys: object) -> config.Network:
    value = {"name": "net1", "type": "sriov-bond", "pool": "db", "stateDir": where.state_dir, **keys}
    return config.parse_network(b"{}", value, "1.1.0")


def call(tmp_path: Path, verb: str, container_id: str, netns: str = "") -> Call:
    environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container_id, "CNI_IFNAME": "eth0", "CNI_NETNS": netns}
    environ |= {"CNI_PATH": str(tmp_path / "bin"), "PATH": os.environ["PATH"]}
    return Call(environ, b"{}", {}, "1.1.0")


@pytest.mark.root
def test_an_add_with_everything_slow_is_answered_in_time(slow: pool.Pool, tmp_path: Path) -> None:
    """Pending DELs hang, a release of an interrupted ADD hangs, and the pool's lock is held."""
    delegate = DelegateCall("hangs", {"CNI_PATH": str(tmp_path / "bin")}, "{}")
    lease(slow, "dead", delegate=delegate).close()
    means = context(8.0, level="panic")
    began = monotonic()
    with holder(f"{slow.path}/lock") as pid, temporary_netns() as container:
        asked = call(tmp_path, "ADD", "c9", container.path)
        with pytest.raises(CniError, match=f"pool db is in use by process {pid} ") as refused:
            acquire.acquire(asked, network(slow, ipam={"type": "hangs"}), container.netns, means)
    assert monotonic() - began < 9.5
    assert refused.value.code == TRY_AGAIN_LATER
    assert "the IPAM plugin hangs at DEL (" in means.deadline.waits()


def test_a_del_with_everything_slow_is_answered_in_time(slow: pool.Pool, tmp_path: Path) -> None:
    """Its VFs do not return, and then its delegate hangs: the bond stays leased, and the sentence names what was slow."""
    for port in slow.bonds()[0].ports:
        (tmp_path / "pci" / port.address / "net").mkdir(parents=True)  # there, with its device in another namespace
    delegate = DelegateCall("hangs", {"CNI_PATH": str(tmp_path / "bin")}, "{}")
    taken = lease(slow, "c5", delegate=delegate, before={"x": vf_state()}, mac="02:00:00:00:00:01")
    taken.save(READY)
    taken.close()
    means = context(6.0, level="panic")
    began = monotonic()
    delete(call(tmp_path, "DEL", "c5"), network(slow, ipam={"type": "hangs"}), means)
    assert [entry.state for entry in slow.entries()] == [DRAINING]
    assert "VF11 and VF21 to return to the host (2 s)" in means.deadline.waits()
    # And of one whose VFs are there: the delegate has what is left.
    with pytest.raises(CniError, match="hangs did not answer within 4 s at DEL and was killed") as refused:
        delete(call(tmp_path, "DEL", "c1"), network(slow), means)
    assert monotonic() - began < 7.5
    assert "hangs" in refused.value.msg


def test_a_gc_with_everything_slow_is_answered_in_time(slow: pool.Pool, tmp_path: Path) -> None:
    """The delegate's own GC has its time kept, though pending DELs and releases hang."""
    delegate = DelegateCall("hangs", {"CNI_PATH": str(tmp_path / "bin")}, "{}")
    taken = lease(slow, "c5", delegate=delegate)
    taken.save(READY)
    taken.close()
    program(tmp_path / "bin", "works", f"cat > {tmp_path}/input")
    means = context(gc._FORWARD_SECONDS + 7.0, level="panic")
    began = monotonic()
    listed: dict[str, list[str]] = {"cni.dev/valid-attachments": []}
    with pytest.raises(CniError, match="hangs did not answer"):
        gc.gc(call(tmp_path, "GC", ""), network(slow, ipam={"type": "works"}, **listed), means)
    assert monotonic() - began < 9
    assert (tmp_path / "input").exists()
    assert slow.entries() == []
    assert len(slow.pending.listed()) == 3


def test_recovery_leaves_what_it_has_no_time_for(slow: pool.Pool) -> None:
    """A pending DEL that was not sent stays pending."""
    assert recover.send_pending_dels(slow, context(0.0, level="panic")) == []
    assert len(slow.pending.listed()) == 2
