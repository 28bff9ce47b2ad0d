"""One process that uses the pool as ADD, DEL, GC and an operator do, in random order."""

import os
import random
import struct
from time import perf_counter, time
from typing import TYPE_CHECKING

from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import pool, pools, quarantine
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.lease import ADDING, DRAINING, READY, RELEASING
from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested

if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.pool.lease import Lease
    from tests.soak.counters import Counters
    from tests.soak.ownership_oracle import OwnershipOracle

# How often each verb is chosen.
WEIGHTS = {
    "add": 40,
    "delete": 32,
    "delete_late": 6,
    "recover": 6,
    "show": 6,
    "begin_quarantine": 5,
    "end_quarantine": 6,
    "send_pending": 3,
    "abandon": 1,
}
# Environment variables of the recorded delegate that hold the soak's data: the lease's name, and the seconds of its acquire.
NAME, TOOK = "SOAK_NAME", "SOAK_TOOK"
NETNS = NetnsIdentity("/none", 4, 1)


def delegate(name: str) -> DelegateCall:
    """Return /bin/true as delegate, so that any process can finish the work of another."""
    return DelegateCall("true", {"CNI_PATH": "/bin", NAME: name}, "{}")


def mark(lease: "Lease", name: str) -> str:
    """Return the soak's data in a lease's record, or ""."""
    call = lease.record.delegate
    return call.environ.get(name, "") if call else ""


class Abandoned(Exception):  # noqa: N818 - it is no error
    """The driver ends without closing anything, as if killed."""


class Driver:
    """A driver process.

    :param row: its number, for its seed and its counters.
    :param start: how many processes had this number before.
    """

    def __init__(
        self, target: pool.Pool, oracle: "OwnershipOracle", counters: "Counters", times: int, row: int, start: int, seed: int
    ) -> None:
        self._target = target
        self._names = [bond.name for bond in target.bonds()]
        self._oracle = oracle
        self._counters = counters
        self._times = times
        self._row = row
        self._name = f"{seed}/{row}/{start}"
        self._random = random.Random(self._name)
        self._adds = 0
        self._mine: list[str] = []  # containers of this process's own ADDs; any process may have released them

    def run(self) -> None:
        """Do verbs until the load is done, or until this process abandons its work at random."""
        verbs: dict[str, Callable[[], None]] = {name: getattr(self, name) for name in WEIGHTS}
        while not self._counters.stopped:
            [verb] = self._random.choices(list(verbs), list(WEIGHTS.values()))
            try:
                verbs[verb]()
            except Abandoned:
                self._count("abandoned")
                return
            except CniError as failed:
                self._oracle.fault(f"{verb} of {self._name} failed with {failed.code}: {failed.msg}")
                return  # the kernel releases its locks

    def _count(self, name: str) -> None:
        self._counters.add(self._row, name)

    # -- the verbs

    def add(self) -> None:
        """Lease a bond for a random container, which may have one already."""
        container = f"c{self._random.randrange(3 * len(self._names))}"
        attachment = Attachment("soak", container, "eth0")
        began = perf_counter()
        self._send_pending(attachment.key, 20.0)  # as ADD does: an old DEL sent later would free the new address
        self._adds += 1
        name = f"{self._name}/{self._adds}"
        try:
            lease = acquire(self._target, attachment, NETNS, Requested(), delegate(name))
        except CniError as refused:
            self._refused(refused)
            return
        bond = lease.entry.bond
        self._oracle.begin_work(bond)
        self._oracle.own(bond, attachment.key, name)
        if attachment.key in self._target.pending.listed():
            self._oracle.fault(f"{attachment} has {bond}, and has a pending DEL that would free its address")
        lease.save(ADDING)
        if self._random.random() < 0.1:
            self._release(lease)  # the ADD fails and is undone
            return
        if self._random.random() < 0.02:
            raise Abandoned
        if lease.record.delegate:
            lease.record.delegate.environ[TOOK] = str(perf_counter() - began)
        lease.save(READY)
        self._close(lease)
        self._mine = [*self._mine[-20:], container]
        self._count("acquired")

    def _refused(self, refused: CniError) -> None:
        if refused.code == TRY_AGAIN_LATER and "is empty" in refused.msg:
            self._count("empty")
        elif refused.code in (POOL_UNUSABLE, TRY_AGAIN_LATER) and any(
            phrase in refused.msg for phrase in (" has the bond ", " is still pending")
        ):
            self._count("refused")
        else:
            raise refused

    def delete(self) -> None:
        """Release what this or another process leased."""
        ours = self._mine and self._random.random() < 0.7
        container = self._random.choice(self._mine) if ours else f"c{self._random.randrange(3 * len(self._names))}"
        self._delete(container)

    def _delete(self, container: str) -> bool:
        began = perf_counter()
        lease = pools.find(self._target.state_dir, Attachment("soak", container, "eth0"))
        if lease is None:
            return False
        self._begin(lease)
        took = mark(lease, TOOK)
        if took and lease.entry.state == READY and self._random.random() < 0.05:
            lease.mark(DRAINING)  # as if its VFs were not in the host yet
            self._close(lease)
            return True
        self._release(lease)
        self._count("released")
        if took:
            self._count("cycles")
            os.write(self._times, struct.pack("d", float(took) + perf_counter() - began))
        return True

    def delete_late(self) -> None:
        """Repeat DELs. If the bond has a new owner, it keeps it; the oracle checks that."""
        for container in self._random.sample(self._mine, min(2, len(self._mine))):
            self._delete(container)
            self._count("late")

    def recover(self) -> None:
        """Release interrupted leases and some others at random, except those that another process has locked."""
        for entry in self._target.entries():
            unused = entry.state != READY or self._random.random() < 0.05
            if not unused:
                continue
            try:
                lease = self._target.take(entry, seconds=0, reconstruct=True)
            except CniError as busy:
                if busy.code != TRY_AGAIN_LATER:
                    raise
                self._count("busy")
                continue
            if lease is None:
                continue
            self._begin(lease)
            if lease.entry.state == READY and entry.state != READY:
                self._close(lease)  # its ADD finished in the meantime
                continue
            self._release(lease)
            self._count("recovered")
            if mark(lease, TOOK):
                self._count("cycles")
        self._target.drop_leftovers()

    def show(self) -> None:
        """Read everything, as `sriov-bondctl status` does."""
        for entry in self._target.entries():
            self._target.read(entry)  # raises an error if the record is damaged
        quarantine.reasons(self._target.path)
        for key in self._target.pending.listed():
            self._target.pending.read(key)
        self._count("listed")

    def begin_quarantine(self) -> None:
        """Quarantine a free bond."""
        name = self._random.choice(self._names)
        if len(self._target.quarantined()) > len(self._names) // 3:
            return
        lock = self._target.lock_free_bond(name)
        if lock is None:
            return
        self._oracle.begin_work(name)
        quarantine.add(self._target.path, name, f"quarantined by {self._name} at {time():.3f}")
        self._oracle.begin_quarantine(name)
        self._oracle.end_work(name)
        os.close(lock)
        self._count("quarantined")

    def end_quarantine(self) -> None:
        """Remove all bonds from quarantine."""
        for name in self._target.quarantined():
            lock = self._target.lock_bond(name)
            self._oracle.begin_work(name)
            self._oracle.end_quarantine(name)
            quarantine.remove(self._target.path, name)
            self._oracle.end_work(name)
            os.close(lock)

    def send_pending(self) -> None:
        """Send the pending IPAM DELs, unless another process is sending."""
        self._send_pending("", 0)

    def _send_pending(self, key: str, seconds: float) -> None:
        keys = [pending for pending in self._target.pending.listed() if key in ("", pending)]
        if not keys:
            return
        try:
            lock = self._target.pending.lock(seconds)
        except CniError:
            if key:
                raise
            return
        for pending in keys:
            if self._target.pending.read(pending) is not None:
                self._target.pending.remove(pending)
                self._count("pending sent")
        os.close(lock)

    def abandon(self) -> None:
        """Lock a lease and end, so that the kernel releases the lock."""
        entries = self._target.entries()
        if entries:
            try:
                lease = self._target.take(self._random.choice(entries), seconds=0)
            except CniError as busy:
                if busy.code != TRY_AGAIN_LATER:
                    raise
                return
            if lease is not None:
                self._begin(lease)
                lease.mark(RELEASING)
        raise Abandoned

    # -- parts of the verbs

    def _begin(self, lease: "Lease") -> None:
        self._oracle.begin_work(lease.entry.bond)
        if lease.record.damage:
            self._oracle.fault(f"a record is damaged: {lease.record.damage}")
            return
        self._oracle.check_owner(lease.entry.bond, mark(lease, NAME), lease.entry.state)

    def _release(self, lease: "Lease") -> None:
        if self._random.random() < 0.7:
            lease.mark(RELEASING)
        self._oracle.release(lease.entry.bond, lease.entry.key, mark(lease, NAME))
        if self._random.random() < 0.1:
            lease.make_pending()
        else:
            lease.erase()
        self._close(lease)

    def _close(self, lease: "Lease") -> None:
        self._oracle.end_work(lease.entry.bond)
        lease.close()
