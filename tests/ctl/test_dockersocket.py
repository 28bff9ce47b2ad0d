"""Docker's description of a container, from a server on a unix socket."""

import socket
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import dockersocket
from cni_sriov_bond.errors import CniError
from tests.ctl.docker_server import description, docker_server

PATH = "/v1.41/containers/db1/json"


def test_a_container_is_described(tmp_path: Path) -> None:
    with docker_server(tmp_path, {PATH: [200, description(7)]}) as path:
        assert dockersocket.inspect("db1", path) == description(7)
        assert dockersocket.inspect("other", path) is None


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"/version": [200, {"ApiVersion": "1.20"}]}, r"has API 1.20; 1.24 or newer \(Docker 1.12\) is needed"),
        ({"/version": [200, {"ApiVersion": "new"}]}, "what listens on .* is not Docker; name its socket by --docker-socket"),
        ({"/version": [404, {}]}, "is not Docker"),
        ({"/version": [200, []]}, "is not Docker"),
        ({"/version": "SSH-2.0-OpenSSH_9.2\r\n"}, "is not Docker"),
        ({"/version": ""}, "is not Docker"),
        ({PATH: "HTTP/1.0 200 OK\r\n\r\n{"}, "is not Docker"),
        (
            {PATH: [400, {"message": "Multiple IDs found with provided prefix: db1"}]},
            "beginning of several containers' ids; write",
        ),
        ({PATH: [500, {"message": "disk\nbroken"}]}, r'does not describe the container db1: "disk\\nbroken"'),
        ({PATH: [503, {}]}, 'db1: "status 503"'),
    ],
)
def test_other_answers_are_one_sentence(tmp_path: Path, answers: dict[str, object], problem: str) -> None:
    with docker_server(tmp_path, answers) as path, pytest.raises(CniError, match=problem) as failed:
        dockersocket.inspect("db1", path)
    assert failed.value.msg.isprintable()


def test_a_socket_that_nobody_listens_on(tmp_path: Path) -> None:
    path = str(tmp_path / "docker.sock")
    with pytest.raises(CniError, match=r"Docker is not running: nothing listens on .*; start it, or use --docker-socket"):
        dockersocket.inspect("db1", path)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    with pytest.raises(CniError, match="Docker is not running"):
        dockersocket.inspect("db1", path)
    with pytest.raises(CniError, match="cannot ask Docker on /x"):
        dockersocket.inspect("db1", "/x" * 200)
