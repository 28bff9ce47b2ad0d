"""Which container an operator names. Docker is a server on a unix socket, podman a program in PATH."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cni_sriov_bond.ctl import containers
from cni_sriov_bond.ctl.containers import Container
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from tests.ctl.docker_server import ID, description, docker_server
from tests.support import program, temporary_netns

if TYPE_CHECKING:
    from collections.abc import Iterator

INSPECT = "/v1.41/containers/db1/json"
OWN = f"/proc/{os.getpid()}/ns/net"


@pytest.fixture
def no_docker(tmp_path: Path) -> str:
    return str(tmp_path / "no.sock")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of PATH, without podman."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def podman(path: Path, *entries: object, errors: str = "", status: int = 0) -> None:
    body = f"""
        [ "$*" = "container inspect --format json db1" ] || exit 9
        echo '{json.dumps(entries)}'
        echo '{errors}' >&2
        exit {status}
        """
    program(path, "podman", body)


@contextlib.contextmanager
def process() -> "Iterator[int]":
    """A process in a network namespace of its own."""
    sleeping = subprocess.Popen(["/usr/bin/unshare", "--net", "/bin/sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    assert sleeping.stdout and sleeping.stdout.readline() == b"\n"
    try:
        yield sleeping.pid
    finally:
        sleeping.kill()
        sleeping.communicate()


def test_a_container_of_docker(path: Path, tmp_path: Path) -> None:
    with docker_server(tmp_path, {INSPECT: [200, description(7, "none")]}) as socket:
        found = containers.find("db1", socket)
    assert found == Container(ID, "container db1 of Docker", "/proc/7/ns/net", 7, "running", "none")


def test_a_name_is_looked_up_where_it_is_no_id(path: Path, tmp_path: Path, no_docker: str) -> None:
    """An engine is asked only for what the look-up does not know; without an engine its sentence stays."""

    def look_up(name: str) -> str:
        if name not in (ID, "cbond1"):
            raise CniError(INVALID_CONFIG, f"there is no {name}")
        return name

    assert containers.by_id_or_name(look_up, "cbond1", no_docker) == "cbond1"
    with docker_server(tmp_path, {INSPECT: [200, description(7, "none")]}) as socket:
        assert containers.by_id_or_name(look_up, "db1", socket) == ID
        with pytest.raises(CniError, match="there is no db2"):
            containers.by_id_or_name(look_up, "db2", socket)
    with pytest.raises(CniError, match="there is no db1"):
        containers.by_id_or_name(look_up, "db1", no_docker)


def test_a_container_of_podman_without_docker(path: Path, no_docker: str) -> None:
    podman(path, description(8))
    assert containers.find("db1", no_docker) == Container(ID, "container db1 of podman", "/proc/8/ns/net", 8, "running", "none")


def test_podman_is_asked_for_what_docker_has_not(path: Path, tmp_path: Path) -> None:
    podman(path, description(8))
    with docker_server(tmp_path, {}) as socket:
        assert containers.find("db1", socket).label == "container db1 of podman"


def test_without_any_engine_docker_is_missing(path: Path, no_docker: str) -> None:
    with pytest.raises(CniError, match="Docker is not running: nothing listens on "):
        containers.find("db1", no_docker)


def test_an_unknown_name_says_who_was_asked(path: Path, tmp_path: Path, no_docker: str) -> None:
    with docker_server(tmp_path, {}) as socket:
        with pytest.raises(CniError, match="Docker has no container db1; use its name or id, a process id, or a path"):
            containers.find("db1", socket)
        podman(path, errors="Error: no such container db1", status=125)
        with pytest.raises(CniError, match="Docker and podman have no container db1"):
            containers.find("db1", socket)
    with pytest.raises(CniError, match="podman has no container db1"):
        containers.find("db1", no_docker)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("echo 'Error: database is locked' >&2; exit 125", 'the container db1: "Error: database is locked"'),
        ("exit 1", 'the container db1: "no reason"'),
        ("echo nothing", '"no reason"'),
        ("echo '[]'", '"no reason"'),
        ("echo '[3]'", '"no reason"'),
        ("echo '[{}]'", "podman describes the container db1 in a form that is not known"),
    ],
)
def test_a_podman_that_fails_is_one_sentence(path: Path, no_docker: str, body: str, problem: str) -> None:
    program(path, "podman", body)
    with pytest.raises(CniError, match=problem):
        containers.find("db1", no_docker)


def test_a_podman_that_cannot_run_is_one_sentence(path: Path, no_docker: str) -> None:
    program(path, "podman", "", "/nowhere")
    with pytest.raises(CniError, match=r"podman does not describe the container db1: .*No such file"):
        containers.find("db1", no_docker)


@pytest.mark.root
def test_a_process_and_a_path(no_docker: str) -> None:
    with process() as pid:
        by_pid = containers.find(str(pid), no_docker)
        assert by_pid == Container(f"pid-{pid}", f"process {pid}", f"/proc/{pid}/ns/net", pid)
        containers.require_own_network(by_pid)
        by_path = containers.find(f"/proc/{pid}/ns/../ns/net", no_docker)
        assert by_path == Container("netns-net", f"the network namespace /proc/{pid}/ns/net", f"/proc/{pid}/ns/net", 0)
        containers.require_own_network(by_path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("4194303", "there is no process 4194303; for a container whose name is a number, use its id"),
        ("/nowhere/netns", "/nowhere/netns"),
        ("/proc/self/ns/mnt", "/proc/self/ns/mnt"),
        ("", '"" is not a container; use a name or id'),
        ("-x", '"-x" is not a container'),
        ("a b", '"a b" is not a container'),
        ("a\x1b[1m", r"is not a container"),
        ("\udc80", r"is not a container"),
    ],
)
def test_what_is_no_container(no_docker: str, name: str, problem: str) -> None:
    with pytest.raises(CniError, match=problem) as failed:
        containers.find(name, no_docker)
    assert failed.value.msg.isprintable()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"mode": "host"},
            "container db1 of Docker is in the host's network; start it with --network none, and attach it then",
        ),
        ({"mode": f"container:{ID}"}, "shares the network of container 4f4f4f4f4f4f; attach that one, and both have it"),
        ({"mode": "ns:/run/netns/x"}, "joined the network namespace /run/netns/x; attach that path"),
        ({"status": "exited", "pid": 0}, r"container db1 of Docker is not running \(it is exited\); start it first"),
        ({"status": "created", "pid": 0}, r"is not running \(it is created\)"),
        ({"pid": os.getpid()}, "container db1 of Docker is in the host's network, where VFs need no attaching"),
    ],
)
def test_a_container_without_a_network_of_its_own_is_refused(
    path: Path, tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with docker_server(tmp_path, {INSPECT: [200, description(**{"pid": 1, **changes})]}) as socket:  # type: ignore[arg-type]
        container = containers.find("db1", socket)
    with pytest.raises(CniError, match=problem):
        containers.require_own_network(container)


def test_a_paused_container_has_its_network(path: Path, tmp_path: Path) -> None:
    with docker_server(tmp_path, {INSPECT: [200, description(7, status="paused")]}) as socket:
        assert containers.find("db1", socket).netns == "/proc/7/ns/net"


@pytest.mark.root
def test_a_namespace_that_is_not_the_hosts_is_accepted() -> None:
    with temporary_netns() as netns:
        containers.require_own_network(Container("x", "x", netns.path, 0))
    with pytest.raises(CniError, match="x is in the host's network"):
        containers.require_own_network(Container("x", "x", OWN, 0))
