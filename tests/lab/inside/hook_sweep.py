"""Kill sriov-bond-hook at every system call that changes something; `sriov-bondctl gc` then leaves nothing of it.

usage: python3 -m tests.lab.inside.hook_sweep TRACER [--every N]

Run in the guest, on a pool of its own, with the tracer of the kill sweep. A point is as in sweep.py, without those after a call
that only locks: what is on disk and in the kernel is then the same as at the point before. At each point a createRuntime is
killed, and its container too, as the runtime kills it; or a poststop of a container that has ended. Then `sriov-bondctl gc`
must succeed, and the outside checker, the hook's state directory and the mounts must show nothing.
With --every, only each N-th point.

Standard output has one JSON object a line: each leak, and a row for each verb.
"""

import json
import os
import signal
import sys
import time

from tests.lab.inside import checker, sweep

HOOK = "/usr/local/sbin/sriov-bond-hook"
STATE = "/var/lib/cni/sriov-bond-oci"
NETWORKS = "/run/hook-sweep"
NEVER = 1 << 20
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Container:
    """A process in a network namespace of its own, as a runtime's init before its program is executed."""

    def __init__(self) -> None:
        ready, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            sweep.libc("unshare", sweep.CLONE_NEWNET)
            os.write(write, b".")
            signal.pause()
        os.close(write)
        os.read(ready, 1)
        os.close(ready)

    def kill(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class HookSweep:
    """The sweep, with its pool and network."""

    def __init__(self, tracer: str, every: int) -> None:
        self.tracer = tracer
        self.every = every
        self.pool = sweep.Sweep(tracer, everything=False, turn=0)
        self.leaks = 0
        os.makedirs(NETWORKS, mode=0o755, exist_ok=True)
        plugin = {key: value for key, value in sweep.VARIANTS["own"].items() if key not in ("name", "cniVersion")}
        with open(f"{NETWORKS}/db.conflist", "w", encoding="utf-8") as file:
            json.dump({"cniVersion": "1.0.0", "name": "db", "plugins": [plugin]}, file)

    def begin(self, verb: str, container: Container, point: int) -> sweep.Traced:
        """Start a hook that is killed at a point."""
        state = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": container.pid, "bundle": "/"}
        if verb == "poststop":
            state = {"ociVersion": "1.0.2", "id": "c1", "status": "stopped", "bundle": "/"}
        arguments = ("--network", "db") if verb == "createRuntime" else ()
        program = (HOOK, verb, "--network-dir", NETWORKS, *arguments)
        return sweep.Traced(self.tracer, f"main:{point}:kill", ENVIRONMENT, json.dumps(state).encode(), program)

    def run(self, verb: str, point: int) -> tuple[sweep.Call, list[str]]:
        """Kill a hook at a point, and return how it ended and the names of its points."""
        container = Container()
        try:
            if verb == "poststop":
                attached = self.begin("createRuntime", container, NEVER)
                done = attached.main()
                attached.all()
                if done.status:
                    raise RuntimeError(f"a container could not be attached: {done}")
                container.kill()
            traced = self.begin(verb, container, point)
            call = traced.main()
        finally:
            if verb == "createRuntime":
                container.kill()
        traced.all()
        return call, [name for role, _, name in traced.points if role == "main"]

    def problems(self) -> list[str]:
        """Return what is left after `sriov-bondctl gc`."""
        done = self.pool.control("gc")
        lines = [f"gc failed: {done}"] if done.status else []
        lines += checker.Check(self.pool.baseline, {"leases": [], "netns": []}).violations
        lines += [f"{folder}/{name}" for folder, _, names in os.walk(STATE) for name in names]
        with open("/proc/self/mounts", encoding="utf-8") as file:
            lines += [f"mounted: {line.split()[1]}" for line in file if STATE in line]
        return lines

    def case(self, verb: str) -> None:
        """Kill a verb at each of its points."""
        began = time.monotonic()
        call, names = self.run(verb, NEVER)
        if call.status:
            raise RuntimeError(f"{verb} failed without interruption: {call}")
        problems = self.problems()
        points = [number for number in range(2, len(names) + 1) if not names[number - 2].startswith("flock")]
        for number in points[:: self.every]:
            call, reached = self.run(verb, number)
            if not os.WIFSIGNALED(call.status):
                problems += [f"it was not killed: {call}"]
            problems += self.problems()
            if problems:
                self.leaks += 1
                sweep.emit(event="leak", case=verb, point=number, call=reached[-1], lines=problems)
                self.pool.repair()
                problems = []
        seconds = round(time.monotonic() - began, 1)
        sweep.emit(event="row", verb=verb, points=len(points), runs=len(points[:: self.every]), all=names, seconds=seconds)

    def close(self) -> None:
        """Remove pool and network."""
        self.pool.close()
        os.unlink(f"{NETWORKS}/db.conflist")


def main(argv: list[str]) -> int:
    tracer, *options = argv
    every = int(options[1]) if options[:1] == ["--every"] else 1
    sweep.libc("prctl", sweep.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    hooks = HookSweep(tracer, every)
    for verb in ("createRuntime", "poststop"):
        hooks.case(verb)
    hooks.close()
    return 1 if hooks.leaks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
