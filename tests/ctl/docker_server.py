"""Start a dockerd of tests/ctl/fake_docker.py."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = [200, {"ApiVersion": "1.41", "Version": "20.10.24+dfsg1"}]
ID = "4f" * 32


def description(pid: int, mode: str = "none", status: str = "running", identifier: str = ID) -> dict[str, Any]:
    """Return a container as Docker and podman describe it."""
    state = {"Status": status, "Running": status in ("running", "paused"), "Paused": status == "paused", "Pid": pid}
    return {"Id": identifier, "Name": "/db1", "State": state, "HostConfig": {"NetworkMode": mode, "Runtime": "runc"}}


@contextlib.contextmanager
def docker_server(directory: Path, answers: "dict[str, Any]") -> "Iterator[str]":
    """Run it for the duration of the block; the socket's path is returned.

    :param answers: status and document, or text, by the path of a request; that of /version is there.
    """
    socket, file = directory / "docker.sock", directory / "answers.json"
    file.write_text(json.dumps({"/version": VERSION, **answers}))
    command = [sys.executable, str(Path(__file__).with_name("fake_docker.py")), str(socket), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"listening\n"
            yield str(socket)
        finally:
            process.kill()
            socket.unlink(missing_ok=True)
