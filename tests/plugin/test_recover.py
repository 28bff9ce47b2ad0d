"""Recovery: interrupted calls, leases of containers that are gone, and pending IPAM DELs."""

import os
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.pool.lease import DRAINING, READY, RELEASING
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment, DelegateCall
from tests.support import ATTACHMENT, bond_entry, context, lease, make_pool, program, vf_state


def test_recovery_releases_interrupted_adds_and_no_others(tmp_path: Path) -> None:
    """The lease of an interrupted ADD is released; a ready one of this boot and a locked one are not."""
    pool = make_pool(tmp_path, size=3)
    lease(pool, "interrupted").close()
    ready = lease(pool, "ready")
    ready.save(READY)
    ready.close()
    busy = lease(pool, "busy")
    recover.recover(pool, recover.Unused(), context())
    busy.close()
    assert sorted(entry.bond for entry in pool.entries()) == ["cbond2", "cbond3"]


def test_after_a_reboot_a_lease_is_released_without_the_kernel(tmp_path: Path) -> None:
    """A lease of another boot is released from its record alone, and its delegate gets the DEL."""
    pool = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", f"env | grep ^CNI_ | sort > {tmp_path}/said; cat >> {tmp_path}/said")
    environ = {"CNI_COMMAND": "ADD", "CNI_PATH": str(tmp_path), "CNI_CONTAINERID": "c1"}
    delegate = DelegateCall("ipam", environ, '{"name":"\udcff"}')
    taken = lease(pool, delegate=delegate, before={"ffff:01:10.1": vf_state()}, mac="02:00:00:00:00:01")
    taken.record.boot_id = "another"
    taken.save(READY)
    taken.close()
    recover.recover(pool, recover.Unused(), context())
    assert pool.entries() == []
    said = (tmp_path / "said").read_bytes()
    assert said == f'CNI_COMMAND=DEL\nCNI_CONTAINERID=c1\nCNI_NETNS=\nCNI_PATH={tmp_path}\n{{"name":"'.encode() + b'\xff"}'


def test_a_killed_del_is_finished_and_one_that_runs_is_not(tmp_path: Path) -> None:
    """A lease that is releasing and unlocked was interrupted; a locked one is left alone without an error."""
    pool = make_pool(tmp_path, size=2)
    for name in ("killed", "busy"):
        taken = lease(pool, name)
        taken.mark(RELEASING)
        if name == "killed":
            taken.close()
    recover.recover(pool, recover.Interrupted(), context())
    assert [entry.bond for entry in pool.entries()] == ["cbond2"]
    taken.close()


def test_a_ready_lease_of_a_running_container_is_not_released(tmp_path: Path) -> None:
    """Its VFs are not in the host, so a container has them."""
    pool = make_pool(tmp_path, size=1)
    taken = lease(pool)
    taken.save(READY)
    taken.close()
    assert recover.recover(pool, recover.Unused(), context()) == []
    assert [entry.state for entry in pool.entries()] == [READY]


def test_recovery_does_not_wait_for_a_container_that_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ADD tries every bond that is draining, and must not wait for its VFs (A10)."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path / "pci"))
    pool = make_pool(tmp_path / "state", size=1)
    for port in bond_entry(1)["ports"]:
        (tmp_path / "pci" / port["pci"] / "net").mkdir(parents=True)  # there, with its device in another namespace
    taken = lease(pool, before={"x": vf_state()}, mac="02:00:00:00:00:01")
    taken.save(DRAINING)
    taken.close()
    start = monotonic()
    recover.recover(pool, recover.Interrupted(), context())
    assert monotonic() - start < 0.2
    assert [entry.state for entry in pool.entries()] == [DRAINING]


@pytest.fixture
def pending_pool(tmp_path: Path) -> Pool:
    """A pool with a free bond and a pending DEL, because the delegate failed."""
    pool = make_pool(tmp_path / "state", size=1)
    program(tmp_path, "ipam", "echo no space >&2; exit 3")
    environ = {"CNI_PATH": str(tmp_path), "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    delegate = DelegateCall("ipam", environ, '{"name":"net1"}')
    taken = lease(pool, delegate=delegate, addresses=["10.0.0.1/24"])
    release.release(taken, context(), release.DEL)
    taken.close()
    return pool


def test_a_del_that_failed_is_sent_later(pending_pool: Pool, tmp_path: Path) -> None:
    """The bond is free, and the DEL stays pending until the delegate accepts it, with what the lease recorded (5, 16)."""
    assert pending_pool.pending.listed() == [ATTACHMENT.key]
    [finding] = recover.send_pending_dels(pending_pool, context())
    assert (finding.state, finding.owner) == (recover.FAILED, "c1 eth0")
    assert pending_pool.pending.listed() == [ATTACHMENT.key]
    program(tmp_path, "ipam", f"env | grep ^CNI_C | sort > {tmp_path}/said; cat >> {tmp_path}/said")
    [finding] = recover.send_pending_dels(pending_pool, context())
    assert (finding.state, pending_pool.pending.listed()) == (recover.DONE, [])
    assert (tmp_path / "said").read_text() == 'CNI_COMMAND=DEL\nCNI_CONTAINERID=c1\n{"name":"net1"}'
    assert recover.send_pending_dels(pending_pool, context()) == []


def test_only_one_process_sends_pending_dels(pending_pool: Pool) -> None:
    """Two processes would send it twice, and the second DEL could free an address that was allocated again."""
    lock = pending_pool.pending.lock(0)
    assert recover.send_pending_dels(pending_pool, context()) == []
    os.close(lock)


def test_a_delegate_inherits_the_lock_of_the_queue(pending_pool: Pool, tmp_path: Path) -> None:
    """If we are killed, the delegate may still free the address: until it ends, no ADD of that attachment starts."""
    program(tmp_path, "ipam", f"readlink /proc/$$/fd/3 >{tmp_path}/held")
    recover.send_pending_dels(pending_pool, context())
    assert (tmp_path / "held").read_text() == f"{pending_pool.path}/pending/lock\n"


def test_delegates_that_hang_are_waited_for_once(tmp_path: Path) -> None:
    """Not once for each of 63 containers: the other DELs stay pending, and the bonds are free."""
    pool = make_pool(tmp_path / "state", size=6)
    program(tmp_path, "ipam", f"echo >>{tmp_path}/asked; exec sleep 60")
    for number in range(6):
        delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
        lease(pool, f"c{number}", delegate=delegate).close()
    start = monotonic()
    findings = recover.recover(pool, recover.Unused(), context(3.1))
    assert monotonic() - start < 6
    assert (len(findings), pool.entries(), len(pool.pending.listed())) == (6, [], 6)
    assert (tmp_path / "asked").read_text() == "\n"


def test_an_add_sends_its_own_pending_del_first(pending_pool: Pool, tmp_path: Path) -> None:
    """A DEL after the ADD would free the new address."""
    with pytest.raises(CniError, match=r"an earlier IPAM DEL of .* is still pending") as refused:
        recover.require_no_pending_del(pending_pool, ATTACHMENT, context())
    assert refused.value.code == TRY_AGAIN_LATER
    recover.require_no_pending_del(pending_pool, Attachment("net1", "c2", "eth0"), context())  # another's is no reason to stop
    program(tmp_path, "ipam", "exit 0")
    recover.require_no_pending_del(pending_pool, ATTACHMENT, context())
    assert pending_pool.pending.listed() == []


def test_a_pending_del_without_addresses_does_not_stop_an_add(tmp_path: Path) -> None:
    """A DEL that fails for ever must not refuse every ADD. If an address was allocated, the delegate refuses the ADD."""
    pool = make_pool(tmp_path / "state", size=2)
    program(tmp_path, "ipam", """echo '{"code":4,"msg":"no such argument"}'; exit 1""")
    records: dict[str, dict[str, Any]] = {"c1": {}, "c2": {"addresses": ["10.0.0.1/24"]}}
    for container_id, record in records.items():
        delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
        taken = lease(pool, container_id, delegate=delegate, **record)
        release.release(taken, context(), release.DEL)
        taken.close()
    recover.require_no_pending_del(pool, ATTACHMENT, context())
    other = Attachment("net1", "c2", "eth0")
    with pytest.raises(CniError, match="no such argument"):
        recover.require_no_pending_del(pool, other, context())
    assert pool.pending.listed() == [other.key]


def test_an_unreadable_pending_del_is_reported_and_kept(pending_pool: Pool) -> None:
    """An operator can read and remove it; it does not stop other DELs."""
    Path(pending_pool.path, "pending", ATTACHMENT.key).write_text("{")
    [finding] = recover.send_pending_dels(pending_pool, context())
    assert (finding.state, "is damaged" in finding.message) == (recover.FAILED, True)


def test_a_delegate_that_hangs_does_not_stop_the_dels_of_others(tmp_path: Path) -> None:
    """All pending DELs share one time; a DEL that failed stays pending."""
    pool = make_pool(tmp_path / "state", size=2)
    program(tmp_path, "hangs", "exec sleep 60")
    program(tmp_path, "works", f"cat > {tmp_path}/said")
    for container_id, kind in (("c1", "hangs"), ("c2", "works")):
        delegate = DelegateCall(kind, {"CNI_PATH": str(tmp_path)}, container_id)
        taken = lease(pool, container_id, delegate=delegate)
        taken.make_pending()
        taken.close()
    began = monotonic()
    states = {finding.owner: finding.state for finding in recover.send_pending_dels(pool, context(7))}
    assert monotonic() - began < 10
    assert states == {"c1 eth0": recover.FAILED, "c2 eth0": recover.DONE}
    assert (tmp_path / "said").read_text() == "c2"
    assert pool.pending.listed() == [Attachment("net1", "c1", "eth0").key]
