"""Attach a running container and detach it: by the command, with Docker as a server and plugins as programs."""

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cni_sriov_bond.ctl import attaching
from cni_sriov_bond.ctl.containers import Container
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci.request import Request
from tests.ctl.docker_server import ID, description, docker_server
from tests.measured import command
from tests.oci import fakes
from tests.support import REPOSITORY, make_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> "Iterator[fakes.Host]":
    with fakes.host(tmp_path) as created:
        created.network("db", ("first",))
        yield created


@pytest.fixture
def running() -> "Iterator[fakes.Container]":
    with fakes.container() as created:
        yield created


def of_docker(running: fakes.Container) -> Container:
    return Container(ID, "container db1 of Docker", running.path, running.pid)


def test_a_container_is_attached_and_detached(host: fakes.Host, running: fakes.Container) -> None:
    result = attaching.attach(Request("db", ifname="net1"), of_docker(running), host.site)
    assert result["interfaces"] == [{"name": "net1"}]
    attaching.attach(Request("db", ifname="net2"), of_docker(running), host.site)
    assert attaching.detach(ID, "net1", host.site) == ["net1"]
    assert attaching.detach(ID, "net1", host.site) == []
    assert attaching.detach(ID, "", host.site) == ["net2"]
    assert [(call.verb, call.ifname) for call in host.calls()] == [
        ("ADD", "net1"),
        ("ADD", "net2"),
        ("DEL", "net1"),
        ("DEL", "net2"),
    ]
    assert host.left() == []


def test_the_same_interface_twice_is_refused(host: fakes.Host, running: fakes.Container) -> None:
    attaching.attach(Request("db"), of_docker(running), host.site)
    with pytest.raises(CniError, match="attached already; detach it first, or choose another ifname"):
        attaching.attach(Request("db"), of_docker(running), host.site)
    assert [call.verb for call in host.calls()] == ["ADD"]


def test_an_empty_pool_is_told_at_once(host: fakes.Host, running: fakes.Container) -> None:
    """A hook waits for a bond, because nobody repeats its start; an operator can."""
    host.refuse("ADD", "first", 11, "all bonds are leased")
    began = time.monotonic()
    with pytest.raises(CniError, match="all bonds are leased"):
        attaching.attach(Request("db"), of_docker(running), host.site)
    assert time.monotonic() - began < 5
    assert [call.verb for call in host.calls()] == ["ADD", "DEL"]
    assert host.left() == []


def test_a_container_that_is_gone_is_found_by_its_record(host: fakes.Host, running: fakes.Container) -> None:
    """Neither Docker nor its container need be there."""
    attaching.attach(Request("db"), of_docker(running), host.site)
    of_pid = Container(f"pid-{running.pid}", "process", running.path, running.pid)
    attaching.attach(Request("db", ifname="net1"), of_pid, host.site)
    running.kill()
    for name, identifier in ((ID, ID), (ID[:12], ID), (str(running.pid), f"pid-{running.pid}"), (of_pid.id, of_pid.id)):
        assert attaching.attached(name, "/no/socket", host.site) == identifier
    for name in (ID[:7] + "x", "db1"):
        with pytest.raises(CniError, match="Docker is not running"):
            attaching.attached(name, "/no/socket", host.site)
    with docker_server(host.folder, {"/v1.41/containers/db1/json": [200, description(0, status="exited")]}) as socket:
        assert attaching.attached("db1", socket, host.site) == ID


def test_default_network(host: fakes.Host, tmp_path: Path) -> None:
    config, networks = tmp_path / "host.toml", str(host.networks)
    assert attaching.default_network(str(config), networks) == "db"
    (host.networks / "broken.conflist").write_text("{")
    (host.networks / "notes.txt").write_text('{"name": "x"}')
    assert attaching.default_network(str(config), networks) == "db"
    host.network("web", ("first",))
    with pytest.raises(CniError, match=r"name a network of .* by --network; there are db, web"):
        attaching.default_network(str(config), networks)
    config.write_text('[docker]\nnetwork = "web"\n')
    assert attaching.default_network(str(config), networks) == "web"
    with pytest.raises(CniError, match="by --network; there is none yet"):
        attaching.default_network(str(tmp_path / "none"), str(tmp_path / "none"))


# -- the commands


def run(host: fakes.Host, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [
        *command("cni_sriov_bond.ctl"),
        "--state-dir",
        str(host.folder / "state"),
        "--config",
        str(host.folder / "host.toml"),
    ]
    return subprocess.run([*argv, *words], capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--vlan", "5000"), "--vlan: '5000' is not a VLAN; use 0 to 4094"),
        (("--ip", "10.0.0"), "--ip: '10.0.0' is not an address"),
        (("--mac", "x"), "--mac: 'x' is not a unicast MAC"),
        (("--ifname", "a/b"), "--ifname: 'a/b' is not a valid name for an interface"),
        (("--device", "../x"), "--device: '../x' is neither the name of a bond nor a PCI address"),
        (("--network", "a b"), "--network: 'a b' is not the name of a network"),
        (("--network", "nosuch"), "there is no network 'nosuch' in /etc/cni/net.d"),
        ((), "container db1 of Docker is not running (it is exited); start it first"),
    ],
)
def test_mistakes_of_attach_are_one_sentence(host: fakes.Host, words: tuple[str, ...], problem: str) -> None:
    status = ("exited", 0) if not words else ("running", 1)
    with fakes.container() as other:
        answer = description(other.pid if status[1] else 0, status=status[0])
        with docker_server(host.folder, {"/v1.41/containers/db1/json": [200, answer]}) as socket:
            network = () if "--network" in words else ("--network", "db")
            done = run(host, "attach", "db1", "--docker-socket", socket, *network, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert problem in done.stderr


def test_detach_of_a_container_without_attachments(host: fakes.Host) -> None:
    with docker_server(host.folder, {"/v1.41/containers/db1/json": [200, description(7)]}) as socket:
        done = run(host, "detach", "db1", "--docker-socket", socket)
        assert done.stderr == "sriov-bondctl: db1 has no interface that was attached; nothing was changed\n"
        done = run(host, "detach", "db1", "--docker-socket", socket, "--ifname", "net1")
        assert (done.returncode, done.stderr) == (
            1,
            "sriov-bondctl: db1 has no interface net1 that was attached; nothing was changed\n",
        )


def test_detach_prints_what_is_gone(host: fakes.Host, running: fakes.Container) -> None:
    assert attaching.site_of(str(host.folder / "state")).state_dir == host.site.state_dir
    attaching.attach(Request("db"), of_docker(running), host.site)
    attaching.attach(Request("db", ifname="net1"), of_docker(running), host.site)
    done = run(host, "detach", ID, "--ifname", "net1")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ID}: net1 detached\n", "")
    done = run(host, "detach", ID, "--json")
    assert json.loads(done.stdout) == {"container": ID, "detached": ["eth0"]}
    assert host.left() == []


def test_docker_config(host: fakes.Host, tmp_path: Path) -> None:
    make_pool(tmp_path / "state", "db", size=2)
    done = run(host, "docker", "config")
    assert json.loads(done.stdout)["node-generic-resources"] == ["sriov_bond=cbond1", "sriov_bond=cbond2"]
    file = tmp_path / "docker" / "daemon.json"
    done = run(host, "docker", "config", "--write", "--file", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{file}: written; restart dockerd now (systemctl restart docker)")
    assert json.loads(file.read_text())["default-runtime"] == "sriov-bond"
    done = run(host, "docker", "config", "--write", "--file", str(file))
    assert done.stdout == f"{file}: nothing to change\n"
    done = run(host, "docker", "config", "--write", "--file", str(file), "--json")
    assert json.loads(done.stdout) == {"file": str(file), "changed": False}
    make_pool(tmp_path / "state", "web", size=1)
    done = run(host, "docker", "config")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "or use --runtime-only; there are db, web" in done.stderr
    assert json.loads(run(host, "docker", "config", "web").stdout)["node-generic-resources"] == ["sriov_bond=cbond1"]
    assert "nosuch" in run(host, "docker", "config", "nosuch").stderr
    assert list(json.loads(run(host, "docker", "config", "--runtime-only").stdout)) == ["runtimes"]


def test_docker_config_notes_a_default_network_for_all_containers(host: fakes.Host, tmp_path: Path) -> None:
    make_pool(tmp_path / "state", "db", size=1)
    (tmp_path / "host.toml").write_text('[docker]\nnetwork = "db"\n')
    done = run(host, "docker", "config")
    assert done.returncode == 0 and "each gets a bond of that network" in done.stderr
    assert run(host, "docker", "config", "--runtime-only").stderr == ""
