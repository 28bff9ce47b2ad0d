"""The deadline of a call holds, whatever it waits for."""

import os
from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.cni.call import Call
from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.network import config
from cni_sriov_bond.plugin import acquire, gc, recover
from cni_sriov_bond.plugin.delete import delete
from cni_sriov_bond.pool.lease import DRAINING, READY
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import DelegateCall
from tests.support import context, holder, lease, make_pool, program, temporary_netns, vf_state


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool in which everything that a call waits for is slow: VFs that do not return, and delegates that hang."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path / "pci"))
    pool = make_pool(tmp_path / "state", size=4)
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "hangs", "exec sleep 600")
    call = DelegateCall("hangs", {"CNI_PATH": str(tmp_path / "bin")}, "{}")
    for number in (1, 2):  # DELs that are pending, one of them the attachment's own
        pending = lease(pool, f"c{number}", delegate=call, addresses=["10.0.0.1/24"])
        pending.make_pending()
        pending.close()
    return pool


def network(pool: Pool, **keys: object) -> config.Network:
    value = {"name": "net1", "type": "sriov-bond", "pool": "db", "stateDir": pool.state_dir, **keys}
    return config.parse_network(b"{}", value, "1.1.0")


def call(tmp_path: Path, verb: str, container_id: str, netns: str = "") -> Call:
    environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container_id, "CNI_IFNAME": "eth0", "CNI_NETNS": netns}
    environ |= {"CNI_PATH": str(tmp_path / "bin"), "PATH": os.environ["PATH"]}
    return Call(environ, b"{}", {}, "1.1.0")


@pytest.mark.root
def test_an_add_with_everything_slow_is_answered_in_time(slow: Pool, tmp_path: Path) -> None:
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


def test_a_del_with_everything_slow_is_answered_in_time(slow: Pool, tmp_path: Path) -> None:
    """Its VFs do not return, and then its delegate hangs: the bond stays leased, and the error names what was slow."""
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


def test_a_gc_with_everything_slow_is_answered_in_time(slow: Pool, tmp_path: Path) -> None:
    """Time is kept for the delegate's own GC, though pending DELs and releases hang."""
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


def test_recovery_leaves_pending_dels_that_it_has_no_time_for(slow: Pool) -> None:
    """A pending DEL that was not sent stays pending."""
    assert recover.send_pending_dels(slow, context(0.0, level="panic")) == []
    assert len(slow.pending.listed()) == 2
