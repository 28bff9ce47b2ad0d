"""Docker's description of a container, from dockerd's socket.

The package ``docker`` does the same by requests and urllib3, 5 MB and 168 ms of imports for two requests.
"""

import json
import re
import socket
from typing import Any

from cni_sriov_bond.ctl.text import shown
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError

SOCKET = "/run/docker.sock"
_SECONDS = 10.0
_LARGEST = 16 << 20
_OLDEST = (1, 24)  # of Docker 1.12
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def inspect(name: str, path: str = SOCKET) -> dict[str, Any] | None:
    """Return the container of a name or id, or None if Docker has none.

    :raises CniError: IO_FAILURE when Docker does not answer or is too old, INVALID_CONFIG when an id's beginning is that of
        several containers.
    """
    status, version = _get("/version", path)
    text = version.get("ApiVersion")
    numbers = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    if status != 200 or not numbers:
        raise CniError(IO_FAILURE, f"what listens on {path} is not Docker; name its socket by --docker-socket")
    if (int(numbers[1]), int(numbers[2])) < _OLDEST:
        raise CniError(IO_FAILURE, f"Docker on {path} has API {text}; 1.24 or newer (Docker 1.12) is needed")
    # The version is in the path, so that a newer Docker answers as this one did.
    status, container = _get(f"/v{text}/containers/{name}/json", path)
    if status == 404:
        return None
    message = str(container.get("message") or f"status {status}")
    if status == 400 and "multiple" in message.lower():
        raise CniError(INVALID_CONFIG, f"{name} is the beginning of several containers' ids; write more of it")
    if status != 200:
        raise CniError(IO_FAILURE, f"Docker does not describe the container {name}: {shown(message)}")
    return container


def _get(target: str, path: str) -> tuple[int, dict[str, Any]]:
    """Return status and document of a GET. After an answer to HTTP/1.0 the server closes the connection."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(path)
            connection.sendall(f"GET {target} HTTP/1.0\r\nHost: docker\r\nAccept: application/json\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
                if len(answer) > _LARGEST:
                    raise CniError(IO_FAILURE, f"Docker's answer on {path} is longer than {_LARGEST} bytes")
    except (FileNotFoundError, ConnectionRefusedError):
        raise CniError(
            IO_FAILURE, f"Docker is not running: nothing listens on {path}; start it, or use --docker-socket"
        ) from None
    except TimeoutError:
        raise CniError(IO_FAILURE, f"Docker does not answer on {path} within {_SECONDS:.0f} s") from None
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot ask Docker on {path}: {failed.strerror or failed}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not status or not isinstance(document, dict):
        raise CniError(IO_FAILURE, f"what listens on {path} is not Docker; name its socket by --docker-socket")
    return int(status[1]), document
