"""The processes of the load: start them, kill or stop some at random, and start new ones in their place.

Only this process and its children import the product. PYTHONPATH decides which copy, so that a mutated one can be run.
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
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import PENDING, Lease
from cni_sriov_bond.pool.record import Attachment, NetnsIdentity, Requested
from cni_sriov_bond.ports import Bond
from tests.soak.counters import Counters
from tests.soak.driver import Driver
from tests.soak.ownership_oracle import OwnershipOracle

NAME = "db"


def main(argv: list[str]) -> int:
    """Create the pool, run the load, or release everything; print the result as JSON."""
    parser = argparse.ArgumentParser(prog="workload")
    parser.add_argument("command", choices=("make", "load", "finish"))
    parser.add_argument("state", type=Path, help="the state directory")
    parser.add_argument("oracle", type=Path, help="the ownership oracle's directory")
    parser.add_argument("--bonds", type=int, default=7)
    parser.add_argument("--drivers", type=int, default=12)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--kills", type=float, default=20.0, help="how many processes are killed a second")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    target = pool.Pool(str(options.state), NAME)
    if options.command == "make":
        make(target, options.bonds)
    elif options.command == "load":
        print(json.dumps(Workload(target, options).load()))
    else:
        print(json.dumps(finish(target)))
    return 0


def make(target: pool.Pool, size: int) -> None:
    """Create a pool over NICs that no machine has."""
    pools.make_directories(target)
    files.make_directory(f"{target.path}/{PENDING}")
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
    inventory.write(target.path, Inventory(NAME, files.boot_id(), [], [Bond.from_json(bond) for bond in bonds]))


class Workload:
    """All running drivers."""

    def __init__(self, target: pool.Pool, options: argparse.Namespace) -> None:
        self._target = target
        self._options = options
        self._random = random.Random(options.seed)
        self._counters = Counters(options.oracle / "counters", options.drivers)
        self._times = os.open(options.oracle / "times", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._rows: dict[int, int] = {}  # by process id
        self._starts = [0] * options.drivers
        self._killed = self._stopped = 0

    def load(self) -> dict[str, int]:
        """Keep the drivers running until the cycles are done or a stop is requested."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for row in range(self._options.drivers):
            self._start(row)
        ends = monotonic() + self._options.seconds
        while not self._counters.stopped:
            if self._counters.total("cycles") >= self._options.cycles or monotonic() > ends:
                self._counters.stop()
            self._pause(self._random.expovariate(self._options.kills))
            self._interrupt()
        deadline = monotonic() + 1.0
        while self._rows:
            self._pause(0.01)
            for pid in self._rows if monotonic() > deadline else ():
                os.kill(pid, signal.SIGKILL)
        return {"killed": self._killed, "stopped": self._stopped, "processes": sum(self._starts)}

    def _interrupt(self) -> None:
        """Stop a driver where it is, so that others overtake it; then continue or kill it."""
        if not self._rows:
            return
        pid = self._random.choice(sorted(self._rows))  # not reaped yet, so its id cannot be reused
        os.kill(pid, signal.SIGSTOP)
        self._stopped += 1
        self._pause(self._random.expovariate(200))
        if pid not in self._rows:
            return  # it had ended before it could be stopped
        if self._random.random() < 0.7:
            os.kill(pid, signal.SIGKILL)
            self._killed += 1
        else:
            os.kill(pid, signal.SIGCONT)

    def _pause(self, seconds: float) -> None:
        """Wait, and start a new driver for each that ends."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if signal.sigtimedwait({signal.SIGCHLD}, left):
                self._reap()
        self._reap()

    def _reap(self) -> None:
        while self._rows:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            row = self._rows.pop(pid)
            if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
                OwnershipOracle(str(self._options.oracle)).fault(
                    f"the driver {row} ended with {os.waitstatus_to_exitcode(status)}"
                )
                self._counters.stop()
            if not self._counters.stopped:
                self._start(row)

    def _start(self, row: int) -> None:
        start, self._starts[row] = self._starts[row], self._starts[row] + 1
        pid = os.fork()
        if pid:
            self._rows[pid] = row
            return
        status = 1
        try:
            oracle = OwnershipOracle(str(self._options.oracle))
            Driver(self._target, oracle, self._counters, self._times, row, start, self._options.seed).run()
            status = 0
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)


def finish(target: pool.Pool) -> dict[str, list[str]]:
    """Release everything as GC, DEL and an operator would; return the bonds that can be leased then, and failures."""
    context = Context(Log(), Deadline(600), Delegates(os.environ))
    for name in target.quarantined():
        quarantine.remove(target.path, name)
    findings = recover.recover(target, recover.Unused(), context)
    for entry in target.entries():
        lease = target.take(entry, seconds=0)
        if lease is not None:
            release.release(lease, context, release.DEL).raise_any()
            lease.close()
    findings += recover.send_pending_dels(target, context)
    leases: list[Lease] = []
    try:
        while True:
            attachment = Attachment("soak", f"last{len(leases)}", "eth0")
            leases.append(acquire(target, attachment, NetnsIdentity("/none", 4, 1), Requested()))
    except CniError as refused:
        if refused.code != TRY_AGAIN_LATER:
            raise
    for lease in leases:
        lease.erase()
        lease.close()
    failed = [f"{finding.bond}: {finding.message}" for finding in findings if finding.state != recover.DONE]
    return {"leased": [lease.entry.bond for lease in leases], "failed": failed}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
