"""The preparation of a container, as a process that sriov-bond-runtime executes."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import prepare
from cni_sriov_bond.oci.policy import Policy
from tests.oci.fakes import ROOTLESS
from tests.oci.launcher import Launcher, compile_launcher, container, hooks_of

HOOK = "/usr/local/sbin/sriov-bond-hook"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_launcher(tmp_path_factory.mktemp("launcher"))


@pytest.fixture
def launcher(compiled: Path, tmp_path: Path) -> Launcher:
    return Launcher(compiled, tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def prepared(config: Path, document: dict[str, Any], allowed: Policy) -> list[str]:
    """Return the request in the arguments of our hook, or nothing if config.json was not written."""
    config.write_text(json.dumps(document))
    before = config.stat()
    prepare.add_hooks(str(config), HOOK, allowed)
    if config.stat() == before:
        return []
    [created] = hooks_of(config)["createRuntime"]
    arguments: list[str] = created["args"][2:]
    return arguments


def test_annotations_and_environment_become_arguments(config: Path) -> None:
    document = container("SRIOV_BOND_NETWORK=web", "SRIOV_BOND_VLAN=7") | {"annotations": {"sriov-bond.network": "db"}}
    assert prepared(config, document, Policy()) == ["--network", "db", "--vlan", "7"]


@pytest.mark.parametrize("environment", [(), ("SRIOV_BOND_NETWORK=",), ("X=sriov-bond.network",)])
def test_nothing_is_written_for_a_container_that_requests_nothing(config: Path, environment: tuple[str, ...]) -> None:
    assert prepared(config, container(*environment), Policy()) == []


def test_default_network_is_for_containers_with_a_namespace_of_their_own(config: Path) -> None:
    default = Policy(network="db")
    assert prepared(config, container(), default) == ["--network", "db"]
    assert prepared(config, {**container(), "linux": {"namespaces": []}}, default) == []
    joined = [{"type": "network", "path": "/run/netns/cni-1"}]
    assert prepared(config, {**container(), "linux": {"namespaces": joined}}, default) == []


def test_a_request_in_the_hosts_network_is_refused(config: Path) -> None:
    document = {**container("SRIOV_BOND_NETWORK=db"), "linux": {"namespaces": [{"type": "pid"}]}}
    with pytest.raises(CniError, match=r"the container requests the network db, but it is in the host's network"):
        prepared(config, document, Policy())


def test_swarm_beside_a_forged_variable(config: Path) -> None:
    """The service's own variable comes first, the manager's last."""
    forged = "DOCKER_RESOURCE_SRIOV_BOND=cbond7"
    document = container(forged, "SRIOV_BOND_NETWORK=db", "DOCKER_RESOURCE_SRIOV_BOND=cbond2")
    assert prepared(config, document, Policy()) == ["--network", "db", "--device", "cbond2"]


# -- as a process

HOSTILE = {
    "not allowed": (
        "SRIOV_BOND_IP=10.0.0.1",
        "the container's environment has SRIOV_BOND_IP, but may choose only network and VLAN",
    ),
    "path": ("SRIOV_BOND_NETWORK=../../etc/passwd", "SRIOV_BOND_NETWORK: '../../etc/passwd' is not the name of a network"),
    "line end": ("SRIOV_BOND_VLAN=1\nX", "SRIOV_BOND_VLAN: '1\\nX' is not a VLAN; use 0 to 4094"),
    "long": (f"SRIOV_BOND_NETWORK={'x' * 1_000_000}", "is not the name of a network"),
    "Docker's phrase": ("SRIOV_BOND_VLAN=no such file or directory", "is not a VLAN"),
    "option": ("SRIOV_BOND_NETWORK=--help", "SRIOV_BOND_NETWORK: '--help' is not the name of a network"),
}


@pytest.mark.parametrize(("variable", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_environment_is_one_line_in_the_log(launcher: Launcher, variable: str, problem: str) -> None:
    config = launcher.config("SRIOV_BOND_NETWORK=db", variable)
    before = config.read_bytes()
    done = launcher.run("--log", launcher.log, "--log-format", "json", "create", "--bundle", launcher.bundle, "X")
    assert (done.status, done.runtime, done.err.count("\n")) == (1, None, 1)
    [error] = launcher.errors()
    assert error == done.err.strip()
    assert problem in error and error.startswith("sriov-bond: ") and len(error) <= 400
    assert "no such file or directory" not in error
    assert config.read_bytes() == before
    assert os.listdir(launcher.bundle) == ["config.json"]


def test_environment_of_the_container_is_not_the_hooks(launcher: Launcher) -> None:
    config = launcher.config("SRIOV_BOND_NETWORK=db", "LD_PRELOAD=/evil.so", "PATH=/evil")
    done = launcher.run("create", "X")
    assert done.runtime and "LD_PRELOAD" not in done.runtime["environment"]
    for stage in ("createRuntime", "poststop"):
        assert "evil" not in json.dumps(hooks_of(config)[stage])


BROKEN = {
    "config": (
        lambda launcher: (launcher.bundle / "config.json").write_text("{ SRIOV_BOND"),
        "/config.json is not valid JSON: ",
    ),
    "read-only": (lambda launcher: _read_only(launcher), "cannot add hooks to the container's "),
    "host file": (lambda launcher: launcher.configure("[docker\n"), " is not valid TOML: "),
    "policy": (
        lambda launcher: launcher.configure('[docker]\nenvironment = "x"\n'),
        "docker.environment must be one of network, all",
    ),
}


def _read_only(launcher: Launcher) -> None:
    """Let a runtime, which root runs, find a directory in which it can create no file: its own temporary one exists."""
    (launcher.bin / "sriov-bond-hook").write_text(
        (launcher.bin / "sriov-bond-hook").read_text().replace("exec ", "mkdir config.json.sriov-bond.$$; exec ")
    )


@pytest.mark.parametrize(("damage", "problem"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_is_broken_is_one_line_in_the_log(launcher: Launcher, damage: Any, problem: str, log_format: str) -> None:
    launcher.config("SRIOV_BOND_NETWORK=db")
    damage(launcher)
    done = launcher.run("--log", launcher.log, "--log-format", log_format, "create", "--bundle", launcher.bundle, "X")
    assert (done.status, done.runtime, done.err.count("\n")) == (1, None, 1)
    assert problem in done.err
    if log_format == "json":
        assert launcher.errors() == [done.err.strip()]
    else:
        assert f"level=error msg={json.dumps(done.err.strip())}\n" in launcher.log.read_text()


def test_without_a_log_standard_error_has_it(launcher: Launcher) -> None:
    launcher.config("SRIOV_BOND_VLAN=5")
    for log in ([], ["--log", "/nowhere/log"]):
        done = launcher.run(*log, "create", "X")
        assert done.status == 1
        assert done.err.startswith("sriov-bond: no network is named beside SRIOV_BOND_VLAN; set SRIOV_BOND_NETWORK")


def test_a_runtime_that_cannot_be_executed_is_an_error(launcher: Launcher) -> None:
    (launcher.runtimes / "runc").write_text("#!/nowhere\n")
    launcher.config("SRIOV_BOND_NETWORK=db")
    done = launcher.run("--log", launcher.log, "--log-format", "json", "create", "X")
    [error] = launcher.errors()
    assert "cannot execute the runtime" in error and "no such file or directory" not in error.lower()
    assert done.status == 1


def test_a_second_start_of_the_same_bundle_changes_nothing(launcher: Launcher) -> None:
    config = launcher.config("SRIOV_BOND_NETWORK=db")
    launcher.run("create", "X")
    before = config.stat()
    done = launcher.run("restore", "X")
    assert done.runtime and config.stat() == before
    assert stat.S_IMODE(before.st_mode) == 0o644


@pytest.mark.root
def test_a_request_of_a_rootless_engine_is_refused(launcher: Launcher) -> None:
    """A rootless engine runs in a user namespace of its own."""
    launcher.config("SRIOV_BOND_NETWORK=db")
    done = launcher.run("create", "X", prefix=ROOTLESS)
    assert (done.status, done.runtime) == (1, None)
    assert "the container requests the network db, but its engine is rootless: " in done.err
    launcher.config()
    launcher.configure('[docker]\nnetwork = "db"\n')
    done = launcher.run("create", "X", prefix=ROOTLESS)
    assert done.runtime, "a container that did not request it is started without it"
