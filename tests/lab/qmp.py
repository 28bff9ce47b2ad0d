"""The monitor protocol of QEMU, used to pull cables."""

import json
import threading
from typing import TYPE_CHECKING, Any

from tests.lab.errors import LabError

if TYPE_CHECKING:
    import socket


class Qmp:
    """One QMP connection; one command at a time."""

    def __init__(self, connection: "socket.socket", timeout: float = 10.0) -> None:
        connection.settimeout(timeout)
        self._file = connection.makefile("rwb")
        self._lock = threading.Lock()
        self._file.readline()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:
        """Run a QMP command and return what it returns."""
        with self._lock:
            self._file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            self._file.flush()
            while line := self._file.readline():
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise LabError(f"QEMU refused {command}: {answer['error']['desc']}")
                # Anything else is an event, which is ignored.
        raise LabError(f"QEMU ended during {command}")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()

    def set_link(self, device: str, *, up: bool) -> None:
        """Plug in or pull the cable of a NIC."""
        self.execute("set_link", name=device, up=up)
