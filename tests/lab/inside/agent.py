"""The lab's agent in the guest: serves requests of the host over a virtio-serial port.

Each line, in both directions, is one JSON object. The host numbers its requests; answers have the same number. A
request to run a program is answered by chunks of its output and then by its status. It imports little of the standard
library: each import takes a tenth of a second in an emulated guest.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Any

# How long to wait for output after the program has ended: a daemon that it started may hold the pipe for ever.
OUTPUT_SECONDS = 1.0


class Agent:
    def __init__(self, port: str) -> None:
        self.port = os.open(port, os.O_RDWR)
        self.lock = threading.Lock()
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def send(self, **answer: object) -> None:
        line = json.dumps(answer).encode() + b"\n"
        with self.lock:
            while line:
                line = line[os.write(self.port, line) :]

    def serve(self) -> None:
        """Answer until the host closes its end."""
        self.send(hello=os.uname().release)
        pending = b""
        while received := os.read(self.port, 65536):
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                request = json.loads(line)
                # Each in a thread: a request that hangs must not keep the next one waiting.
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()

    def answer(self, request: dict[str, Any]) -> None:
        try:
            getattr(self, "do_" + request["do"])(request)
        except Exception as error:
            self.send(id=request["id"], error=f"{type(error).__name__}: {error}")

    def do_run(self, request: dict[str, Any]) -> None:
        number = request["id"]
        process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=request["cwd"],
            env={**os.environ, **request["env"]},
            start_new_session=True,  # so that its children can be killed with it
        )
        self.running[number] = process
        pumps = [
            threading.Thread(target=self.pump, args=(number, name, stream), daemon=True)
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        pumps.append(threading.Thread(target=feed, args=(process.stdin, request["stdin"]), daemon=True))
        for pump in pumps:
            pump.start()
        try:
            status = process.wait(request["timeout"])
        except subprocess.TimeoutExpired:
            # Not waited for: a process in an uninterruptible sleep does not end even then.
            os.killpg(process.pid, signal.SIGKILL)
            status = None
        deadline = time.monotonic() + OUTPUT_SECONDS
        for pump in pumps:
            pump.join(max(0.0, deadline - time.monotonic()))
        del self.running[number]
        self.send(id=number, status=status)

    def pump(self, number: int, name: str, stream: IO[bytes]) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            self.send(id=number, stream=name, data=base64.b64encode(chunk).decode())

    def do_signal(self, request: dict[str, Any]) -> None:
        if process := self.running.get(request["process"]):
            os.killpg(process.pid, request["signal"])
        self.send(id=request["id"])

    def do_write(self, request: dict[str, Any]) -> None:
        os.makedirs(os.path.dirname(request["path"]), exist_ok=True)
        with open(request["path"], "wb") as file:
            file.write(base64.b64decode(request["data"]))
        os.chmod(request["path"], request["mode"])
        self.send(id=request["id"])

    def do_read(self, request: dict[str, Any]) -> None:
        with open(request["path"], "rb") as file:
            self.send(id=request["id"], data=base64.b64encode(file.read()).decode())

    def do_tree(self, request: dict[str, Any]) -> None:
        files = {}
        for folder, _, names in os.walk(request["path"]):
            for path in (os.path.join(folder, name) for name in names):
                try:
                    with open(path, "rb") as file:
                        files[path] = base64.b64encode(file.read()).decode()
                except FileNotFoundError:
                    pass  # removed since it was listed
                except OSError:
                    files[path] = ""  # a namespace, which exists but cannot be read
        self.send(id=request["id"], files=files)

    def do_baseline(self, request: dict[str, Any]) -> None:
        self.send(id=request["id"], before=outside_checker().baseline())

    def do_check(self, request: dict[str, Any]) -> None:
        self.send(id=request["id"], violations=outside_checker().Check(request["before"]).violations)


def outside_checker() -> Any:
    """Return the checker, in this process: a start of another one would cost each test a second."""
    root = os.path.abspath(f"{os.path.dirname(__file__)}/../../..")
    if root not in sys.path:
        sys.path.append(root)
    from tests.lab.inside import checker

    return checker


def feed(stream: IO[bytes], data: str) -> None:
    try:
        stream.write(base64.b64decode(data))
        stream.close()
    except BrokenPipeError:
        pass  # it ended without reading all of its input


Agent(sys.argv[1]).serve()
