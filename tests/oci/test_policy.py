"""The table [docker] of the host file."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import policy
from cni_sriov_bond.oci.policy import Policy


def host_file(directory: Path, text: str) -> str:
    file = directory / "sriov-bond.toml"
    file.write_text(text)
    file.chmod(0o644)
    return str(file)


def test_without_file_or_table_it_is_the_default(tmp_path: Path) -> None:
    assert policy.read(str(tmp_path / "none.toml")) == Policy("network", "", None, "")
    assert policy.read(host_file(tmp_path, 'pools.db = {pfs = ["a", "b"]}\n')) == Policy()


def test_every_key_is_read(tmp_path: Path) -> None:
    text = '[docker]\nenvironment = "all"\nnetwork = "db"\nnetworks = ["web"]\nruntime = "/usr/bin/crun"\n'
    read = policy.read(host_file(tmp_path, text))
    assert read == Policy("all", "db", ("web",), "/usr/bin/crun")
    assert [read.allows(name) for name in ("db", "web", "admin")] == [True, True, False]


INVALID: list[tuple[Any, str]] = [
    ({"environment": "some"}, "docker.environment must be one of network, all, none"),
    ({"network": 3}, "docker.network must be a string"),
    ({"network": "../x"}, "docker: '../x' is not the name of a network"),
    ({"networks": "db"}, "docker.networks must be a list"),
    ({"networks": ["a b"]}, "docker: 'a b' is not the name of a network"),
    ({"runtime": 3}, "docker.runtime must be a string"),
    ({"runtime": "bin/runc"}, "docker.runtime must be the path or the name of an OCI runtime, not 'bin/runc'"),
    ({"runtime": "/x/"}, "docker.runtime must be the path or the name"),
    ({"runtime": ""}, "docker.runtime must be the path or the name"),
    ({"enviroment": "all"}, "docker.enviroment is not a known key; allowed: environment, network, networks, runtime"),
    ("db", "docker must be an object"),
]


@pytest.mark.parametrize(("table", "problem"), INVALID)
def test_every_mistake_is_an_error_here_and_for_the_library(table: object, problem: str) -> None:
    with pytest.raises(CniError) as failed:
        policy.from_document({"docker": table}, "/etc/cni/sriov-bond.toml")
    assert failed.value.msg.startswith(f"the host file /etc/cni/sriov-bond.toml: {problem}")
    assert list(jsonschema.Draft202012Validator(policy.DOCKER).iter_errors(table)) != []


@pytest.mark.parametrize(
    ("text", "problem"), [("[docker\n", "is not valid TOML: "), ("docker = 1\n", ": docker must be an object")]
)
def test_an_unreadable_file_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(CniError, match=problem):
        policy.read(host_file(tmp_path, text))
    (tmp_path / "sriov-bond.toml").write_bytes(b"\xff")
    with pytest.raises(CniError, match="is not UTF-8"):
        policy.read(str(tmp_path / "sriov-bond.toml"))
    with pytest.raises(CniError, match="cannot read the host file"):
        policy.read(str(tmp_path))


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = host_file(tmp_path, "")
    Path(path).chmod(0o666)
    with pytest.raises(CniError, match="can be written by others than root; run: chown root:root, chmod 644"):
        policy.read(path)
