"""The hooks as functions: what they refuse, and a poststop whose DEL fails or is slow."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import hook
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.state import State
from cni_sriov_bond.oci.stop import Stop
from tests.measured import command
from tests.oci.fakes import ROOTLESS, Container, Host

STOPPED = State("c1", "stopped", 0, "/b", {})
SHARED = "start the container with --network none"


def create(host: Host, state: State, *, checked: bool = True) -> None:
    hook.create(state, Request("db"), host.site, Stop(20), checked=checked)


def state_of(container: Container, bundle: str = "/") -> State:
    return State("c1", "creating", container.pid, bundle, {})


def test_a_poststop_that_fails_is_pending_and_is_no_failure(host: Host, container: Container) -> None:
    """runc would skip the hooks after it, and nobody would repeat it."""
    host.network()
    create(host, state_of(container))
    host.refuse("DEL", "first", 7, "stuck")
    hook.poststop(STOPPED, host.site)
    [record] = host.store.of_container("c1")
    assert host.store.is_pending(record)
    host.obey("DEL", "first")
    hook.poststop(STOPPED, host.site)
    assert host.left() == []


def test_a_slow_poststop_ends_in_time(host: Host, container: Container) -> None:
    """The pending DEL is on disk before it is begun."""
    host.network(plugins=("first",))
    create(host, state_of(container))
    host.on("DEL", "first", f"ls {host.site.directory('pending')} >{host.folder}/seen; exec sleep 30\n")
    began = time.monotonic()
    hook.poststop(STOPPED, host.site)
    assert time.monotonic() - began < 5
    assert (host.folder / "seen").read_text()
    assert len(os.listdir(host.site.directory("pending"))) == 1
    host.obey("DEL", "first")
    hook.poststop(STOPPED, host.site)


def test_a_poststop_of_a_container_that_another_process_works_on_is_left_to_it(
    host: Host, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of this poststop nothing is lost: the record is there, and the container's process is gone."""
    monkeypatch.setattr(hook, "_LOCK_SECONDS", 0.1)
    host.network()
    create(host, state_of(container))
    with host.store.locked("c1", 1):
        hook.poststop(STOPPED, host.site)
    assert host.sequence() == ["ADD first", "ADD second"]
    assert len(host.store.of_container("c1")) == 1
    hook.poststop(STOPPED, host.site)


def test_a_container_in_the_host_s_namespace_is_refused(host: Host) -> None:
    host.network()
    with pytest.raises(CniError, match=f"uses the host's network.*{SHARED}"):
        create(host, State("c1", "creating", os.getpid(), "/b", {}))


def test_a_process_that_is_gone_is_an_error(host: Host, container: Container) -> None:
    host.network()
    container.kill()
    with pytest.raises(CniError, match=r"has no network namespace; has it ended\?"):
        create(host, state_of(container))
    assert host.left() == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [{"type": "network", "path": "/run/netns/cni-1"}],
            "the container's network namespace /run/netns/cni-1 is an engine's",
        ),
        ([{"type": "pid"}, {"type": "network"}], ""),
        ([{"type": "pid"}], ""),  # of the runtime's own namespace; that it is not the host's has been seen before
    ],
)
def test_a_namespace_with_a_path_is_refused(
    host: Host, container: Container, entries: list[dict[str, str]], words: str
) -> None:
    host.network()
    (host.folder / "config.json").write_text(json.dumps({"linux": {"namespaces": entries}}))
    state = state_of(container, str(host.folder))
    if words:
        with pytest.raises(CniError, match=words):
            create(host, state, checked=False)
        assert host.left() == []
    else:
        create(host, state, checked=False)
        hook.poststop(STOPPED, host.site)


def test_without_config_json_a_namespace_with_other_processes_is_refused(
    host: Host, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some releases of crun pass "/" as bundle, and a hook may be run elsewhere."""
    monkeypatch.chdir(tmp_path)
    host.network()
    other = subprocess.Popen(["nsenter", f"--net={container.path}", "sleep", "100"])
    try:
        time.sleep(0.3)
        with pytest.raises(CniError, match=f"shares the network namespace of process {other.pid}; {SHARED}"):
            create(host, state_of(container), checked=False)
    finally:
        other.kill()
        other.wait()
    create(host, state_of(container), checked=False)
    hook.poststop(STOPPED, host.site)


def test_a_rootless_engine_is_refused(host: Host, container: Container) -> None:
    host.network()
    (host.folder / "state").write_text(json.dumps(container.state()))
    line = " ".join(f"'{word}'" for word in [*command("cni_sriov_bond.oci"), "createRuntime", "--network", "db"])
    done = subprocess.run(
        [*ROOTLESS, "sh", "-c", f"exec {line} <{host.folder}/state"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "a rootless engine cannot move the host's VFs" in done.stderr


def test_an_interface_that_the_engine_made_is_told_with_the_remedy(host: Host, container: Container) -> None:
    """A bridge network of Docker has an eth0 of its own."""
    host.network(plugins=("first",))
    host.refuse("ADD", "first", 101, "the container has a device eth0 already")
    with pytest.raises(
        CniError, match="has a device eth0 already; start the container with --network none, or request another"
    ):
        create(host, state_of(container))
    assert host.left() == []
