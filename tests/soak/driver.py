"""One process that uses the pool as ADDs, DELs, GC and an operator do, a verb at random after another."""

import os
import random
import struct
from time import perf_counter, time
from typing import TYPE_CHECKING

from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import pool, pools, quarantine
from cni_sriov_bond.pool.lease import ADDING, DRAINING, READY, RELEASING
from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested

if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.pool.lease import Lease
    from tests.soak.referee import Referee
    from tests.soak.tally import Tally

# How often each verb is chosen.
WEIGHTS = {
    "add": 40,
    "delete": 32,
    "delete_late": 6,
    "collect": 6,
    "show": 6,
    "set_aside": 5,
    "bring_back": 6,
    "settle": 3,
    "leave": 1,
}
# Where the soak's own marks are kept in a record: the name of its lease, and the seconds that acquiring took.
NAME, TOOK = "SOAK_NAME", "SOAK_TOOK"
NETNS = NetnsIdentity("/none", 4, 1)


def delegate(name: str) -> DelegateCall:
    """Return what /bin/true needs to be a delegate: any process can then finish the work of another."""
    return DelegateCall("true", {"CNI_PATH": "/bin", NAME: name}, "{}")


def mark(lease: "Lease", name: str) -> str:
    """Return a mark of the soak in a lease's record, or ""."""
    call = lease.record.delegate
    return call.environ.get(name, "") if call else ""


class Left(Exception):  # noqa: N818 - it is no error
    """The driver goes, without closing anything."""


class Driver:
    """A process's life.

    :param row: its number, for its seed and its counts.
    :param life: how many processes of this number there were before.
    """

    def __init__(
        self, where: pool.Pool, referee: "Referee", tally: "Tally", times: int, row: int, life: int, seed: int
    ) -> None:
        self._where = where
        self._names = [bond.name for bond in where.bonds()]
        self._referee = referee
        self._tally = tally
        self._times = times
        self._row = row
        self._life = f"{seed}/{row}/{life}"
        self._random = random.Random(self._life)
        self._made = 0
        self._mine: list[str] = []  # attachments of this process's own ADDs, given back by anybody meanwhile

    def live(self) -> None:
        """Do verbs until the load is done, or until chance has it that this process leaves."""
        verbs: dict[str, Callable[[], None]] = {name: getattr(self, name) for name in WEIGHTS}
        while not self._tally.stopped:
            [verb] = self._random.choices(list(verbs), list(WEIGHTS.values()))
            try:
                verbs[verb]()
            except Left:
                self._count("left")
                return
            except CniError as failed:
                self._referee.fault(f"{verb} of {self._life} failed with {failed.code}: {failed.msg}")
                return  # what it holds goes with it

    def _count(self, what: str) -> None:
        self._tally.add(self._row, what)

    # -- the verbs

    def add(self) -> None:
        """Lease a bond for any container, who may have one."""
        container = f"c{self._random.randrange(3 * len(self._names))}"
        who = Attachment("soak", container, "eth0")
        began = perf_counter()
        self._settle(who.key, 20.0)  # as an ADD does: a late DEL of its delegate would free the new address
        self._made += 1
        name = f"{self._life}/{self._made}"
        try:
            lease = self._where.acquire(who, NETNS, Requested(), delegate(name))
        except CniError as refused:
            self._refused(refused)
            return
        bond = lease.entry.bond
        self._referee.begin_work(bond)
        self._referee.own(bond, who.key, name)
        if who.key in self._where.pending.listed():
            self._referee.fault(f"{who} has {bond}, and is owed a DEL that would free its address")
        lease.save(ADDING)
        if self._random.random() < 0.1:
            self._give_back(lease)  # the ADD fails and is undone
            return
        if self._random.random() < 0.02:
            raise Left
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
            words in refused.msg for words in (" has the bond ", " is still pending")
        ):
            self._count("refused")
        else:
            raise refused

    def delete(self) -> None:
        """Give back what this process or another one leased."""
        ours = self._mine and self._random.random() < 0.7
        container = self._random.choice(self._mine) if ours else f"c{self._random.randrange(3 * len(self._names))}"
        self._delete(container)

    def _delete(self, container: str) -> bool:
        began = perf_counter()
        lease = pools.find(self._where.state_dir, Attachment("soak", container, "eth0"))
        if lease is None:
            return False
        self._begin(lease)
        took = mark(lease, TOOK)
        if took and self._random.random() < 0.05:
            lease.mark(DRAINING)  # its VFs are not home
            self._close(lease)
            return True
        self._give_back(lease)
        self._count("given back")
        if took:
            self._count("cycles")
            os.write(self._times, struct.pack("d", float(took) + perf_counter() - began))
        return True

    def delete_late(self) -> None:
        """DEL again what is given back: whoever has the bond by now keeps it, which the referee sees."""
        for container in self._random.sample(self._mine, min(2, len(self._mine))):
            self._delete(container)
            self._count("late")

    def collect(self) -> None:
        """Finish what died, and what chance says is over, leaving alone what somebody works on."""
        for entry in self._where.entries():
            over = entry.state != READY or self._random.random() < 0.05
            if not over:
                continue
            try:
                lease = self._where.take(entry, seconds=0, reconstruct=True)
            except CniError as busy:
                if busy.code != TRY_AGAIN_LATER:
                    raise
                self._count("found busy")
                continue
            if lease is None:
                continue
            self._begin(lease)
            if lease.entry.state == READY and entry.state != READY:
                self._close(lease)  # its ADD finished meanwhile
                continue
            self._give_back(lease)
            self._count("died")
            if mark(lease, TOOK):
                self._count("cycles")
        self._where.drop_leftovers()

    def show(self) -> None:
        """Read everything, as `status` does."""
        for entry in self._where.entries():
            self._where.read(entry)  # raises for a damaged one
        quarantine.reasons(self._where.path)
        for key in self._where.pending.listed():
            self._where.pending.read(key)
        self._count("listed")

    def set_aside(self) -> None:
        """Put a bond that is free into quarantine."""
        name = self._random.choice(self._names)
        if len(self._where.quarantined()) > len(self._names) // 3:
            return
        held = self._where.lock_free_bond(name)
        if held is None:
            return
        self._referee.begin_work(name)
        quarantine.add(self._where.path, name, f"set aside by {self._life} at {time():.3f}")
        self._referee.begin_aside(name)
        self._referee.end_work(name)
        os.close(held)
        self._count("set aside")

    def bring_back(self) -> None:
        """Let bonds out of quarantine."""
        for name in self._where.quarantined():
            held = self._where.lock_bond(name)
            self._referee.begin_work(name)
            self._referee.end_aside(name)
            quarantine.remove(self._where.path, name)
            self._referee.end_work(name)
            os.close(held)

    def settle(self) -> None:
        """Tell the delegates what they could not be told, unless another process is at it."""
        self._settle("", 0)

    def _settle(self, key: str, seconds: float) -> None:
        owed = [one for one in self._where.pending.listed() if key in ("", one)]
        if not owed:
            return
        try:
            lock = self._where.pending.lock(seconds)
        except CniError:
            if key:
                raise
            return
        for one in owed:
            if self._where.pending.read(one) is not None:
                self._where.pending.remove(one)
                self._count("settled")
        os.close(lock)

    def leave(self) -> None:
        """Take something and end, so that the kernel is the one that closes it."""
        entries = self._where.entries()
        if entries:
            try:
                lease = self._where.take(self._random.choice(entries), seconds=0)
            except CniError as busy:
                if busy.code != TRY_AGAIN_LATER:
                    raise
                return
            if lease is not None:
                self._begin(lease)
                lease.mark(RELEASING)
        raise Left

    # -- what they share

    def _begin(self, lease: "Lease") -> None:
        self._referee.begin_work(lease.entry.bond)
        if lease.record.damage:
            self._referee.fault(f"a record is damaged: {lease.record.damage}")
            return
        self._referee.found(lease.entry.bond, mark(lease, NAME), lease.entry.state)

    def _give_back(self, lease: "Lease") -> None:
        if self._random.random() < 0.7:
            lease.mark(RELEASING)
        self._referee.disown(lease.entry.bond, lease.entry.key, mark(lease, NAME))
        if self._random.random() < 0.1:
            lease.make_pending()
        else:
            lease.erase()
        self._close(lease)

    def _close(self, lease: "Lease") -> None:
        self._referee.end_work(lease.entry.bond)
        lease.close()
