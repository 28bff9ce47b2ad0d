"""The processes of the load: starts them, kills and stops some at random, and starts others in their place.

It alone, and what it forks, loads the product; which one, is a matter of PYTHONPATH, so that a spoiled copy can be tried.
"""

import argparse
import json
import os
import random
import signal
import sys
from pathlib import Path
from time import monotonic

from cni_sriov_bond import files
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import inventory, pool, pools, quarantine
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import PENDING, Lease
from cni_sriov_bond.pool.record import Attachment, NetnsIdentity, Requested
from cni_sriov_bond.ports import Bond
from tests.soak.driver import Driver
from tests.soak.referee import Referee
from tests.soak.tally import Tally

NAME = "db"


def main(argv: list[str]) -> int:
    """Make the pool, or load it, or give all of it back; print what came of it as JSON."""
    parser = argparse.ArgumentParser(prog="herd")
    parser.add_argument("command", choices=("make", "load", "finish"))
    parser.add_argument("state", type=Path, help="the state directory")
    parser.add_argument("referee", type=Path, help="the referee's directory")
    parser.add_argument("--bonds", type=int, default=7)
    parser.add_argument("--drivers", type=int, default=12)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--kills", type=float, default=20.0, help="how many processes are killed a second")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    where = pool.Pool(str(asked.state), NAME)
    if asked.command == "make":
        make(where, asked.bonds)
    elif asked.command == "load":
        print(json.dumps(Herd(where, asked).load()))
    else:
        print(json.dumps(finish(where)))
    return 0


def make(where: pool.Pool, size: int) -> None:
    """Make a pool over NICs that no machine has."""
    pools.make_directories(where)
    files.make_directory(f"{where.path}/{PENDING}")
    bonds = [
        {
            "name": f"cbond{number}",
            "mac": f"02:00:00:00:00:{number:02x}",
            "ports": [
                {"pci": f"ffff:0{nic}:10.{number}", "name": f"VF{nic}{number}", "pf": f"ffff:0{nic}:00.0", "vf": number - 1}
                for nic in (1, 2)
            ],
        }
        for number in range(1, size + 1)
    ]
    made = Inventory(NAME, files.boot_id(), [], [Bond.from_json(bond) for bond in bonds])
    inventory.write(where.path, made)


class Herd:
    """All drivers that live."""

    def __init__(self, where: pool.Pool, asked: argparse.Namespace) -> None:
        self._where = where
        self._asked = asked
        self._random = random.Random(asked.seed)
        self._tally = Tally(asked.referee / "tally", asked.drivers)
        self._times = os.open(asked.referee / "times", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._living: dict[int, int] = {}
        self._lives = [0] * asked.drivers
        self._killed = self._stopped = 0

    def load(self) -> dict[str, int]:
        """Keep the drivers at work until the cycles are done, or the word to stop comes."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for row in range(self._asked.drivers):
            self._start(row)
        ends = monotonic() + self._asked.seconds
        while not self._tally.stopped:
            if self._tally.total("cycles") >= self._asked.cycles or monotonic() > ends:
                self._tally.stop()
            self._pause(self._random.expovariate(self._asked.kills))
            self._hurt()
        deadline = monotonic() + 1.0
        while self._living:
            self._pause(0.01)
            for pid in self._living if monotonic() > deadline else ():
                os.kill(pid, signal.SIGKILL)
        return {"killed": self._killed, "stopped": self._stopped, "processes": sum(self._lives)}

    def _hurt(self) -> None:
        """Stop a driver where it is, so that others overtake it; then it goes on, or never."""
        if not self._living:
            return
        pid = self._random.choice(sorted(self._living))  # not reaped, so its number is nobody else's
        os.kill(pid, signal.SIGSTOP)
        self._stopped += 1
        self._pause(self._random.expovariate(200))
        if pid not in self._living:
            return  # it had ended before it could be stopped
        if self._random.random() < 0.7:
            os.kill(pid, signal.SIGKILL)
            self._killed += 1
        else:
            os.kill(pid, signal.SIGCONT)

    def _pause(self, seconds: float) -> None:
        """Let the drivers work, starting others for those that end."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if signal.sigtimedwait({signal.SIGCHLD}, left):
                self._reap()
        self._reap()

    def _reap(self) -> None:
        while self._living:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            row = self._living.pop(pid)
            if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
                Referee(str(self._asked.referee)).fault(f"the driver {row} ended with {os.waitstatus_to_exitcode(status)}")
                self._tally.stop()
            if not self._tally.stopped:
                self._start(row)

    def _start(self, row: int) -> None:
        life, self._lives[row] = self._lives[row], self._lives[row] + 1
        pid = os.fork()
        if pid:
            self._living[pid] = row
            return
        status = 1
        try:
            referee = Referee(str(self._asked.referee))
            Driver(self._where, referee, self._tally, self._times, row, life, self._asked.seed).live()
            status = 0
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)


def finish(where: pool.Pool) -> dict[str, list[str]]:
    """Give everything back as GC, DEL and an operator would, and say which bonds the pool then has to give."""
    context = Context(Log(), Deadline(600), Delegates(os.environ))
    for name in where.quarantined():
        quarantine.remove(where.path, name)
    found = recover.recover(where, recover.Unused(), context)
    for entry in where.entries():
        lease = where.take(entry, seconds=0)
        if lease is not None:
            release.release(lease, context, release.DEL).raise_any()
            lease.close()
    found += recover.send_pending_dels(where, context)
    given: list[Lease] = []
    try:
        while True:
            attachment = Attachment("soak", f"last{len(given)}", "eth0")
            given.append(where.acquire(attachment, NetnsIdentity("/none", 4, 1), Requested()))
    except CniError as refused:
        if refused.code != TRY_AGAIN_LATER:
            raise
    for lease in given:
        lease.erase()
        lease.close()
    failed = [f"{finding.bond}: {finding.message}" for finding in found if finding.state != recover.DONE]
    return {"given": [lease.entry.bond for lease in given], "failed": failed}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
