"""Our own delegate in a forked child gives what it gives as a program of its own, and costs one start less."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ipam.calls import environment, network
from tests.support import Answer, Plugin, contents, plugin_at

NAME = "sriov-bond-ipam"
BUILD_ID = bytes.fromhex("04000000 14000000 03000000") + b"GNU\0"  # the head of the ELF note of a SHA-1 build id
SHARED, EXECUTED = "forked", "executed"
ROUNDS = 30
VALID = "cni.dev/valid-attachments"
RANGES = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]
EXECS = ("strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none")
# Calls that the plugin only passes on, and calls that the delegate refuses: its words and code come back by the same way.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "DEL": ("DEL", {}),
    "DEL of a data directory that is none": ("DEL", {"ipam": {"dataDir": "here"}}),
    "DEL of a data directory of the wrong type": ("DEL", {"ipam": {"dataDir": 5}}),
    "GC": ("GC", {VALID: []}),
    "GC that keeps": ("GC", {VALID: [{"containerID": "c1", "ifname": "eth0"}]}),
}


@pytest.fixture(params=[SHARED, EXECUTED])
def way(request: pytest.FixtureRequest) -> str:
    """How the delegate is run."""
    found: str = request.param
    return found


def install(frozen: Path, directory: Path, way: str) -> Path:
    """Install our delegate into a directory; with another build id it is another build's, and so is executed."""
    built = frozen / "opt/cni/bin"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "_sriov-bond").symlink_to(built / "_sriov-bond")
    program = bytearray((built / NAME).read_bytes())
    if way == EXECUTED:
        program[program.index(BUILD_ID) + len(BUILD_ID)] ^= 0xFF
    (directory / NAME).write_bytes(program)
    (directory / NAME).chmod(0o755)
    return directory


def call(frozen: Path, tmp_path: Path, way: str, verb: str, changes: dict[str, Any], prefix: tuple[str, ...] = ()) -> Answer:
    """Call the plugin for a network that has addresses reserved for c1."""
    plugin = plugin_at(frozen, tmp_path)
    install(frozen, plugin.cni_path, way)
    value = network(tmp_path / "data", ranges=RANGES)
    program = plugin.cni_path / NAME
    subprocess.run([program], env=environment("ADD", "c1", "eth0", ""), input=json.dumps(value).encode(), check=True, stdout=-3)
    ipam = {**value["ipam"], "type": NAME, **changes.get("ipam", {})}
    stdin = plugin.config(**{"cniVersion": "1.1.0", **changes, "ipam": ipam})
    return plugin.run(verb, stdin, prefix, PATH=os.environ["PATH"])


@pytest.mark.parametrize("case", CASES)
def test_answers_are_equal(frozen: Path, tmp_path: Path, case: str) -> None:
    """Status, both streams and the files that are left are the same, whichever way the delegate ran."""
    verb, changes = CASES[case]
    seen = {}
    for way in (SHARED, EXECUTED):
        where = tmp_path / way
        where.mkdir()
        answer = call(frozen, where, way, verb, changes)
        left = {name: text for name, text in contents(where / "data").items() if "/state" not in name}
        seen[way] = (answer, sorted(left))
    assert seen[SHARED] == seen[EXECUTED]
    refused = "here" in str(changes) or "5" in str(changes)
    assert seen[SHARED][0].status == (1 if refused else 0)
    freed = "net1/10.1.0.2" not in seen[SHARED][1]
    assert freed == (not refused and case != "GC that keeps")


def test_it_is_run_in_a_child_or_executed(frozen: Path, tmp_path: Path, way: str) -> None:
    """Of our own build no second program is started; of another build it is the one that CNI_PATH has."""
    answer = call(frozen, tmp_path, way, "DEL", {}, EXECS)
    assert answer.status == 0
    assert answer.err.count("execve(") == (1 if way == SHARED else 2), answer.err


def test_it_is_not_taken_from_elsewhere(frozen: Path, tmp_path: Path) -> None:
    """A delegate of ours that CNI_PATH does not have is not found, though it is in this process already (I1)."""
    plugin = Plugin([str(frozen / "opt/cni/bin/sriov-bond")], tmp_path)
    stdin = plugin.config(ipam={"type": NAME, "subnet": "10.1.0.0/24", "dataDir": str(tmp_path)})
    assert "failed to find plugin 'sriov-bond-ipam'" in plugin.run("DEL", stdin).error(7)


@pytest.mark.measures
def test_what_it_saves(frozen: Path, tmp_path: Path) -> None:
    """Interleaved, so that a noisy machine is noisy for both; it must not be the slower way."""
    taken: dict[str, list[float]] = {SHARED: [], EXECUTED: []}
    plugins = {}
    for way in taken:
        (tmp_path / way).mkdir()
        plugins[way] = plugin_at(frozen, tmp_path / way)
        install(frozen, plugins[way].cni_path, way)
    ipam = {"type": NAME, "ranges": RANGES, "dataDir": str(tmp_path / "data")}
    for _ in range(ROUNDS):
        for way, plugin in plugins.items():
            began = time.perf_counter()
            assert plugin.run("DEL", plugin.config(ipam=ipam)).status == 0
            taken[way].append(time.perf_counter() - began)
    medians = {way: statistics.median(times) * 1000 for way, times in taken.items()}
    ratio = medians[SHARED] / medians[EXECUTED]
    print(f"\nDEL with our delegate: {medians[SHARED]:.1f} ms forked, {medians[EXECUTED]:.1f} ms executed, ratio {ratio:.2f}")
    assert ratio < 1
