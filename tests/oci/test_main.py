"""The hook as a process, as runtimes run it: with their states, their kills, and fake plugins."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cni_sriov_bond.oci import unfinished
from tests.oci.fakes import Container, Host, wait

ADDED = ["ADD first", "ADD second"]
DELETED = ["DEL second", "DEL first"]
DB = ("--network", "db")


def test_it_attaches_at_create_and_detaches_at_poststop(host: Host, container: Container) -> None:
    """Also when process and namespace's path are gone by then: the pin is CNI_NETNS."""
    host.network()
    done = host.hook("createRuntime", container.state(), *DB, "--ifname", "net0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    add = host.calls()[0]
    assert (add.netns, add.ifname) == (host.store.pin("c1"), "net0")
    inode = os.stat(container.path).st_ino
    container.kill()
    assert os.stat(add.netns).st_ino == inode
    done = host.hook("poststop", {"ociVersion": "1.0.2", "id": "c1", "status": "stopped", "bundle": "/b"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert host.sequence() == ADDED + DELETED
    assert {call.netns for call in host.calls()} == {add.netns}
    assert host.calls()[2].config["prevResult"]["dns"] == {"domain": "second"}
    assert host.left() == []


@pytest.mark.parametrize("state", [{"pid": 0}, {"pid": 1 << 22}, {}], ids=["crun", "youki", "runc"])
def test_a_poststop_of_a_container_that_it_does_not_know_succeeds(host: Host, state: dict[str, int]) -> None:
    done = host.hook("poststop", {"id": "other", "status": "stopped", **state})
    assert (done.returncode, done.stderr, host.left()) == (0, "", [])


def test_the_last_plugin_of_a_chain_fails(host: Host, container: Container) -> None:
    """All are deleted in reverse order, and one line says which failed, without the words that Docker takes for its own."""
    host.network()
    host.refuse("ADD", "second", 999, "permission denied:\nno such file or directory")
    done = host.hook("createRuntime", container.state(), *DB)
    assert done.returncode == 1
    assert done.stderr == "sriov-bond: createRuntime: network db, plugin second: not permitted: does not exist\n"
    assert host.sequence() == ADDED + DELETED
    assert host.left() == []
    assert host.hook("poststop", {"id": "c1"}).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--network", "nope"), "there is no network 'nope' in"),
        ((*DB, "--ifname", "a/b"), "'a/b' is not a valid name"),
        ((*DB, "--deadline", "soon"), "--deadline must be 0 to 3600 seconds, not 'soon'"),
        ((*DB, "--deadline"), "--deadline needs a value"),
        (("--vlan", "7"), "no network is named"),
        (("--colour", "7"), "--colour"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(
    host: Host, container: Container, arguments: tuple[str, ...], words: str
) -> None:
    host.network()
    done = host.hook("createRuntime", container.state(), *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) <= 401
    assert (host.sequence(), host.left()) == ([], [])


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"id": "../x"}', b'{"id": "c1", "pid": "7"}', b"x" * (1 << 21)])
def test_a_state_that_is_none_is_refused(host: Host, state: bytes) -> None:
    done = subprocess.run(host.command("createRuntime", *DB), input=state, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"standard input" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_usage_and_version(host: Host) -> None:
    for arguments, status in (([], 2), (["create"], 2), (["--help"], 0), (["--version"], 0)):
        done = subprocess.run([sys.executable, "-m", "cni_sriov_bond.oci", *arguments], capture_output=True, check=False)
        assert done.returncode == status
        assert b"sriov-bond-hook" in (done.stderr if status else done.stdout)


def test_a_container_asks_by_annotations(host: Host, container: Container) -> None:
    """As podman and CRI-O pass them; a container without ours starts without a network of ours."""
    host.network()
    bundle = host.folder / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps({"linux": {"namespaces": [{"type": "network"}]}}))
    asked = {"sriov-bond.network": "db", "sriov-bond.vlan": "7", "sriov-bond.mac": "02:00:00:00:00:07", "other": "x"}
    state = container.state(bundle=str(bundle), annotations={"other": "x"})
    assert host.hook("createRuntime", state).returncode == 0
    assert host.sequence() == []
    assert host.hook("createRuntime", {**state, "annotations": asked}).returncode == 0
    assert host.calls()[0].args == "IgnoreUnknown=1;MAC=02:00:00:00:00:07;VLAN=7"


def test_annotations_name_only_networks_of_the_host_file(host: Host, container: Container) -> None:
    """Authors of pods set annotations."""
    host.network()
    (host.folder / "host.toml").write_text('[docker]\nnetworks = ["other"]\n')
    done = host.hook("createRuntime", container.state(annotations={"sriov-bond.network": "db"}))
    assert done.returncode == 1
    assert "is not in networks" in done.stderr


def start(host: Host, container: Container, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a createRuntime that stays in the ADD of the second plugin; its standard error is a file."""
    host.on("ADD", "second", f"echo $$ >{host.folder}/in; mv {host.folder}/in {host.folder}/busy; exec sleep 60\n")
    (host.folder / "state").write_text(json.dumps(container.state()))
    with (host.folder / "state").open("rb") as state, (host.folder / "errors").open("wb") as errors:
        process = subprocess.Popen(host.command("createRuntime", *DB, *arguments), stdin=state, stderr=errors)
    wait((host.folder / "busy").exists)
    return process


def errors(host: Host) -> str:
    """Return what a hook that was started wrote to standard error."""
    return (host.folder / "errors").read_text()


def plugin_runs(host: Host) -> bool:
    """Return whether the plugin that ``start`` left in its ADD runs."""
    return Path(f"/proc/{(host.folder / 'busy').read_text().strip()}/exe").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_undoes_everything(host: Host, container: Container, number: signal.Signals) -> None:
    host.network()
    process = start(host, container)
    process.send_signal(number)
    assert process.wait(10) == 1
    assert f"the hook received {number.name}" in errors(host)
    assert not plugin_runs(host)
    assert host.sequence() == ADDED + DELETED
    assert host.left() == []


def test_the_end_of_the_runtime_undoes_everything(host: Host, container: Container) -> None:
    """It is killed while the hook runs: nobody waits for the hook, reads its output, or runs poststop."""
    host.network()
    (host.folder / "state").write_text(json.dumps(container.state()))
    host.on("ADD", "second", f"touch {host.folder}/busy; exec sleep 60\n")
    line = " ".join(f"'{word}'" for word in host.command("createRuntime", *DB))
    runtime = subprocess.Popen(["sh", "-c", f"{line} <{host.folder}/state; true"], stderr=subprocess.PIPE)
    wait((host.folder / "busy").exists)
    runtime.kill()
    assert runtime.stderr
    runtime.stderr.close()
    runtime.wait()
    wait(lambda: host.left() == [])
    assert host.sequence() == ADDED + DELETED


def test_the_end_of_the_container_undoes_everything(host: Host, container: Container) -> None:
    host.network()
    process = start(host, container)
    container.kill()
    assert process.wait(10) == 1
    assert f"the container's first process {container.pid} has ended" in errors(host)
    assert host.left() == []


def test_a_slow_plugin_is_ended_at_the_deadline(host: Host, container: Container) -> None:
    host.network()
    began = time.monotonic()
    process = start(host, container, "--deadline", "2")
    assert process.wait(15) == 1
    assert time.monotonic() - began < 8
    assert "plugin second did not answer within" in errors(host)
    assert not plugin_runs(host)
    assert host.left() == []


def test_a_killed_hook_is_finished_by_gc(host: Host, container: Container) -> None:
    host.network()
    process = start(host, container)
    process.kill()
    process.wait()
    assert host.left() != []
    [finding] = unfinished.finish(host.site)
    assert (finding.container_id, finding.ifname, finding.state) == ("c1", "eth0", "done")
    assert "its start was interrupted" in finding.message
    assert host.sequence() == ADDED + DELETED
    assert host.left() == []
    assert unfinished.finish(host.site) == []


def test_a_plugin_that_leaves_a_process_behind_does_not_keep_the_hook(host: Host, container: Container) -> None:
    """runc reads the hook's output until its pipes close: nothing that a plugin leaves may have them."""
    host.network()
    host.on("ADD", "second", f"sleep 30 & echo $! >{host.folder}/behind\n")
    began = time.monotonic()
    assert host.hook("createRuntime", container.state(), *DB).returncode == 0  # reads stdout and stderr to their end
    assert time.monotonic() - began < 10
    os.kill(int((host.folder / "behind").read_text()), signal.SIGKILL)


def test_closed_streams_do_not_stop_it(host: Host, container: Container) -> None:
    host.network()
    (host.folder / "state").write_text(json.dumps(container.state()))
    line = " ".join(f"'{word}'" for word in host.command("createRuntime", *DB))
    assert subprocess.run(["sh", "-c", f"{line} <{host.folder}/state >&- 2>&-"], check=False).returncode == 0
    assert host.sequence() == ADDED
