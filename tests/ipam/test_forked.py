"""sriov-bond runs our IPAM plugin in a forked child: same answers as when it is executed, and one start less."""

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
FORKED, EXECUTED = "forked", "executed"
ROUNDS = 30
VALID = "cni.dev/valid-attachments"
RANGES = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]
EXECS = ("strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none")
# Calls that the plugin forwards, and calls that the IPAM plugin refuses: message and code must be the same.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "DEL": ("DEL", {}),
    "DEL of a relative data directory": ("DEL", {"ipam": {"dataDir": "here"}}),
    "DEL of a data directory of the wrong type": ("DEL", {"ipam": {"dataDir": 5}}),
    "GC": ("GC", {VALID: []}),
    "GC that keeps": ("GC", {VALID: [{"containerID": "c1", "ifname": "eth0"}]}),
}


@pytest.fixture(params=[FORKED, EXECUTED])
def method(request: pytest.FixtureRequest) -> str:
    """How the IPAM plugin is run."""
    param: str = request.param
    return param


def install(frozen: Path, directory: Path, method: str) -> Path:
    """Install our IPAM plugin into a directory. One with another build id is of another build, so it is executed."""
    built = frozen / "opt/cni/bin"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "_sriov-bond").symlink_to(built / "_sriov-bond")
    program = bytearray((built / NAME).read_bytes())
    if method == EXECUTED:
        program[program.index(BUILD_ID) + len(BUILD_ID)] ^= 0xFF
    (directory / NAME).write_bytes(program)
    (directory / NAME).chmod(0o755)
    return directory


def call(frozen: Path, tmp_path: Path, method: str, verb: str, changes: dict[str, Any], prefix: tuple[str, ...] = ()) -> Answer:
    """Call sriov-bond for a network that has addresses reserved for c1."""
    plugin = plugin_at(frozen, tmp_path)
    install(frozen, plugin.cni_path, method)
    value = network(tmp_path / "data", ranges=RANGES)
    program = plugin.cni_path / NAME
    subprocess.run([program], env=environment("ADD", "c1", "eth0", ""), input=json.dumps(value).encode(), check=True, stdout=-3)
    ipam = {**value["ipam"], "type": NAME, **changes.get("ipam", {})}
    stdin = plugin.config(**{"cniVersion": "1.1.0", **changes, "ipam": ipam})
    return plugin.run(verb, stdin, prefix, PATH=os.environ["PATH"])


@pytest.mark.parametrize("case", CASES)
def test_answers_are_equal(frozen: Path, tmp_path: Path, case: str) -> None:
    """Exit status, both streams and the remaining files are the same, whichever way the IPAM plugin runs."""
    verb, changes = CASES[case]
    outcomes = {}
    for method in (FORKED, EXECUTED):
        directory = tmp_path / method
        directory.mkdir()
        answer = call(frozen, directory, method, verb, changes)
        files = {name: text for name, text in contents(directory / "data").items() if "/state" not in name}
        outcomes[method] = (answer, sorted(files))
    assert outcomes[FORKED] == outcomes[EXECUTED]
    refused = "here" in str(changes) or "5" in str(changes)
    assert outcomes[FORKED][0].status == (1 if refused else 0)
    freed = "net1/10.1.0.2" not in outcomes[FORKED][1]
    assert freed == (not refused and case != "GC that keeps")


def test_it_is_run_in_a_child_or_executed(frozen: Path, tmp_path: Path, method: str) -> None:
    """Of the same build no second program is started; of another build the one in CNI_PATH is."""
    answer = call(frozen, tmp_path, method, "DEL", {}, EXECS)
    assert answer.status == 0
    assert answer.err.count("execve(") == (1 if method == FORKED else 2), answer.err


def test_it_is_run_only_if_cni_path_has_it(frozen: Path, tmp_path: Path) -> None:
    """Without it in CNI_PATH the call fails, though its code is in this process already (I1)."""
    plugin = Plugin([str(frozen / "opt/cni/bin/sriov-bond")], tmp_path)
    stdin = plugin.config(ipam={"type": NAME, "subnet": "10.1.0.0/24", "dataDir": str(tmp_path)})
    assert "failed to find plugin 'sriov-bond-ipam'" in plugin.run("DEL", stdin).error(7)


@pytest.mark.measures
def test_what_it_saves(frozen: Path, tmp_path: Path) -> None:
    """Interleaved, so that other load hits both; forking must not be slower."""
    taken: dict[str, list[float]] = {FORKED: [], EXECUTED: []}
    plugins = {}
    for method in taken:
        (tmp_path / method).mkdir()
        plugins[method] = plugin_at(frozen, tmp_path / method)
        install(frozen, plugins[method].cni_path, method)
    ipam = {"type": NAME, "ranges": RANGES, "dataDir": str(tmp_path / "data")}
    for _ in range(ROUNDS):
        for method, plugin in plugins.items():
            began = time.perf_counter()
            assert plugin.run("DEL", plugin.config(ipam=ipam)).status == 0
            taken[method].append(time.perf_counter() - began)
    medians = {method: statistics.median(times) * 1000 for method, times in taken.items()}
    ratio = medians[FORKED] / medians[EXECUTED]
    print(
        f"\nDEL with our IPAM plugin: {medians[FORKED]:.1f} ms forked, {medians[EXECUTED]:.1f} ms executed, ratio {ratio:.2f}"
    )
    assert ratio < 1
