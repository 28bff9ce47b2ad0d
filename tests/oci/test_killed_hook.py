"""The built hook is killed at each of its system calls that change something; `gc` then leaves nothing of it.

Here with fake plugins, which note what they hold. tests/lab/test_hook.py has some of it with the real ones.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from cni_sriov_bond.oci import unfinished
from tests.lab import downloads
from tests.oci import fakes
from tests.oci.fakes import Host

NEVER = 1 << 20
HOOK = "usr/local/sbin/sriov-bond-hook"
# Calls that each verb makes. They show that the tracer works.
REQUIRED = {"createRuntime": {"mount", "fsync", "rename", "fork"}, "poststop": {"umount", "rename", "unlink", "fork"}}


class Sweep:
    """A host whose hook runs under the tracer of the kill sweep."""

    def __init__(self, host: Host, hook: Path, tracer: Path) -> None:
        self.host = host
        site = host.site
        self._options = ["--state-dir", site.state_dir, "--network-dir", site.network_dir, "--cni-path", site.cni_path]
        self._hook = hook
        self._tracer = tracer
        host.network()
        for plugin in ("first", "second"):
            host.on("ADD", plugin, f"touch {host.folder}/held.{plugin}\n")
            host.on("DEL", plugin, f"rm -f {host.folder}/held.{plugin}\n")

    def run(self, verb: str, state: dict[str, object], point: int) -> tuple[int, list[str]]:
        """Run a hook that is killed at a point, and return its wait status and its points: call and detail of each."""
        request = ["--network", "db"] if verb == "createRuntime" else []
        (self.host.folder / "state").write_text(json.dumps(state))
        read, write = os.pipe()
        with (self.host.folder / "state").open("rb") as stdin, os.fdopen(read, "rb") as report:
            command = [str(self._tracer), str(write), f"main:{point}:kill", str(self._hook), verb, *self._options, *request]
            tracer = subprocess.Popen(command, stdin=stdin, pass_fds=[write])
            os.close(write)
            lines = report.read().decode(errors="replace").splitlines()
        assert tracer.wait() == 0
        points = [line.split(" ", 3)[3] for line in lines if line.startswith("point main ")]
        [status] = [int(line.split()[1]) for line in lines if line.startswith("main ")]
        return status, points

    def attempt(self, verb: str, point: int) -> tuple[int, list[str]]:
        """Kill a createRuntime with its container, or the poststop of a container that has ended."""
        with fakes.container() as container:
            if verb == "createRuntime":
                return self.run(verb, container.state(), point)
            status, _ = self.run("createRuntime", container.state(), NEVER)
            assert status == 0
        return self.run(verb, {"id": "c1", "status": "stopped"}, point)

    def left(self) -> list[str]:
        """Return what is left after `gc`."""
        host = self.host
        failed = [finding.message for finding in unfinished.finish(host.site) if finding.failed]
        held = [path.name for path in host.folder.glob("held.*")]
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(host.folder) in line]
        return failed + held + mounts + host.left()


@pytest.mark.parametrize("verb", REQUIRED)
def test_nothing_is_left_of_a_killed_hook(host: Host, frozen: Path, verb: str) -> None:
    sweep = Sweep(host, frozen / HOOK, downloads.tracer())
    status, points = sweep.attempt(verb, NEVER)
    assert status == 0
    assert REQUIRED[verb] <= {point.split()[0] for point in points}
    sweep.left()
    problems = []
    count = len(sweep.attempt(verb, NEVER)[1])  # less than in the first run, which created directories
    assert sweep.left() == []
    for point in range(1, count + 1):
        status, reached = sweep.attempt(verb, point)
        assert os.WIFSIGNALED(status)
        if left := sweep.left():
            problems.append(f"killed at {reached[-1]}: {left}")
    assert problems == []
