"""The guest as a test sees it: run commands, in the foreground and the background, and read and write files."""

import base64
import itertools
import json
import queue
import shlex
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.errors import CommandDeadlineError, CommandFailedError, LabError, LostGuestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.lab.machine import Machine

# An emulated guest boots in 25 s on two idle cores, and in 80 s on two busy ones.
BOOT_DEADLINE = 240.0
# No use of the lab takes this long; an older guest was forgotten.
GUEST_DEADLINE = 7200.0
COMMAND_DEADLINE = 60.0
# Seconds after the agent's deadline at which the host gives up the guest.
GRACE = 15.0


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended."""

    command: str
    status: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> Any:
        """Return the parsed JSON output of the command."""
        return json.loads(self.stdout)

    def output(self) -> tuple[tuple[str, str], ...]:
        """Return both outputs, with names."""
        return ("standard error", self.stderr), ("standard output", self.stdout)


@dataclass
class _Request:
    """A request that the agent has not finished answering."""

    answers: "queue.SimpleQueue[dict[str, Any] | None]" = field(default_factory=queue.SimpleQueue)
    output: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    listener: "Callable[[str, bytes], None] | None" = None


class Process:
    """A command that runs in the background of the guest."""

    def __init__(self, guest: "Guest", number: int, request: _Request, command: str, timeout: float) -> None:
        self.command = command
        self._guest = guest
        self._number = number
        self._request = request
        self._timeout = timeout
        self._began = time.monotonic()
        self._result: Result | None = None

    @property
    def stdout(self) -> str:
        """Return its standard output until now."""
        return self._request.output["stdout"].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Return its standard error until now."""
        return self._request.output["stderr"].decode(errors="replace")

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to it and its children, if it has not ended."""
        self._guest.ask("signal", process=self._number, signal=int(number))

    def wait(self, timeout: float | None = None, *, check: bool = False) -> Result:
        """Wait for its end; kill it after ``timeout`` seconds, or at the deadline that it was started with."""
        if self._result is None:
            self._result = self._finish(timeout)
        if check and self._result.status != 0:
            raise CommandFailedError(self._result)
        return self._result

    def stop(self, timeout: float = 20.0) -> Result:
        """End it with SIGTERM, and with SIGKILL after ``timeout``; return its result."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except CommandDeadlineError as error:
            return error.result

    def _finish(self, timeout: float | None) -> Result:
        has_timeout = timeout is not None
        seconds_left = timeout if timeout is not None else self._began + self._timeout + GRACE - time.monotonic()
        try:
            answer = self._guest.await_answer(self._request, self.command, seconds_left, lose=not has_timeout)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            self._guest.await_answer(self._request, self.command, GRACE)
            answer = {"status": None}
        seconds = time.monotonic() - self._began
        status = answer["status"]
        result = Result(self.command, -1 if status is None else status, self.stdout, self.stderr, seconds)
        if status is None:
            self._result = result
            raise CommandDeadlineError(result, timeout if timeout is not None else self._timeout)
        return result


class Guest:
    """A booted guest. Any number of threads may use it at once."""

    def __init__(self, machine: "Machine", *, boot_deadline: float = BOOT_DEADLINE, deadline: float = GUEST_DEADLINE) -> None:
        """Wait until the guest has booted; ``deadline`` seconds later it is ended in any case."""
        self.machine = machine
        self.lost: str | None = None
        self.kernel = ""
        self._numbers = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._lock = threading.Lock()
        self._hello = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._hello.wait(boot_deadline):
            self.lose(f"it did not boot within {boot_deadline:g} s")
        self._check_there()
        self._end_of_time = threading.Timer(deadline, self.lose, ["its deadline has passed"])
        self._end_of_time.daemon = True
        self._end_of_time.start()

    def run(
        self,
        command: "str | Sequence[str]",
        *,
        env: "Mapping[str, str] | None" = None,
        stdin: str | bytes = b"",
        cwd: str = "/",
        timeout: float = COMMAND_DEADLINE,
        check: bool = False,
        listener: "Callable[[str, bytes], None] | None" = None,
    ) -> Result:
        """Run a command until it ends: a list as it is, a string by bash.

        :param listener: called with the name of the stream and each piece of output.
        :raises CommandDeadlineError: when it has not ended in time.
        :raises CommandFailedError: with ``check``, when its exit status is not 0.
        """
        process = self.spawn(command, env=env, stdin=stdin, cwd=cwd, timeout=timeout, listener=listener)
        return process.wait(check=check)

    def sh(self, script: str, **options: Any) -> Result:
        """Run a bash script that stops at its first failing command, which is an error.

        One script is faster than many commands: each round trip takes tens of milliseconds in an emulated guest.
        """
        return self.run(["bash", "-euo", "pipefail", "-c", script], **{"check": True, **options})

    def spawn(
        self,
        command: "str | Sequence[str]",
        *,
        env: "Mapping[str, str] | None" = None,
        stdin: str | bytes = b"",
        cwd: str = "/",
        timeout: float = GUEST_DEADLINE,
        listener: "Callable[[str, bytes], None] | None" = None,
    ) -> Process:
        """Start a command in the background."""
        argv = ["bash", "-c", command] if isinstance(command, str) else list(command)
        data = base64.b64encode(stdin.encode() if isinstance(stdin, str) else stdin).decode()
        request = _Request(listener=listener)
        number = self._send(request, "run", argv=argv, env=dict(env or {}), stdin=data, cwd=cwd, timeout=timeout)
        return Process(self, number, request, command if isinstance(command, str) else shlex.join(command), timeout)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file, and create its directories if they are missing."""
        data = content.encode() if isinstance(content, str) else content
        self.ask("write", path=path, data=base64.b64encode(data).decode(), mode=mode)

    def read(self, path: str) -> str:
        """Return the content of a file."""
        return base64.b64decode(self.ask("read", path=path)["data"]).decode()

    def tree(self, path: str) -> dict[str, bytes]:
        """Return the content of every file below a directory, without starting a process in the guest."""
        files = self.ask("tree", path=path)["files"]
        return {name: base64.b64decode(data) for name, data in files.items()}

    def ask(self, request_name: str, **details: object) -> dict[str, Any]:
        """Send a request to the agent that it answers at once; return the answer."""
        request = _Request()
        self._send(request, request_name, **details)
        return self.await_answer(request, request_name, GRACE)

    def await_answer(self, request: _Request, request_name: str, timeout: float, *, lose: bool = True) -> dict[str, Any]:
        """Return the last answer to a request. If there is none in time, the guest is lost.

        :param lose: False raises TimeoutError instead.
        """
        try:
            answer = request.answers.get(timeout=max(0.0, timeout))
        except queue.Empty:
            if not lose:
                raise TimeoutError from None
            self.lose(f"it does not answer any more (request: {request_name})")
            answer = None
        if answer is None:
            raise LostGuestError(self.lost or "its agent ended")
        if "error" in answer:
            raise LabError(f"{request_name}: {answer['error']}")
        return answer

    def lose(self, reason: str) -> None:
        """Mark the guest as lost: end its machine; everything that waits, and every later request, fails with this reason."""
        with self._lock:
            if self.lost is None:
                self.lost = f"{reason}; {self.machine.console_tail()}"
            waiting = list(self._requests.values())
            self._requests.clear()
        self.machine.kill(keep_console=True)
        for request in waiting:
            request.answers.put(None)
        self._hello.set()

    def close(self) -> None:
        """End the guest."""
        self._end_of_time.cancel()
        with self._lock:
            lost, self.lost = self.lost, self.lost or "it was shut down"
        self.machine.kill(keep_console=lost is not None)

    def _check_there(self) -> None:
        if self.lost is not None:
            raise LostGuestError(self.lost)

    def _send(self, request: _Request, request_name: str, **details: object) -> int:
        with self._lock:
            self._check_there()
            number = next(self._numbers)
            self._requests[number] = request
            line = json.dumps({"id": number, "do": request_name, **details}).encode() + b"\n"
            try:
                self.machine.channels.agent.sendall(line)
            except OSError:
                # The listening thread sees the end too, and reports the reason.
                request.answers.put(None)
        return number

    def _listen(self) -> None:
        try:
            with self.machine.channels.agent.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError) as error:
            self.lose(f"its agent sent an invalid line ({error})")
        if self.lost is None:
            reason = "its agent ended" if self._hello.is_set() else "it ended before it had booted"
            self.lose(f"{reason} ({self.machine.how_it_ended()})")

    def _take(self, answer: dict[str, Any]) -> None:
        if "hello" in answer:
            self.kernel = answer["hello"]
            self._hello.set()
            return
        number = answer["id"]
        request = self._requests.get(number)
        if request is None:
            return
        if "stream" in answer:
            data = base64.b64decode(answer["data"])
            request.output[answer["stream"]] += data
            if request.listener:
                request.listener(answer["stream"], data)
            return
        with self._lock:
            self._requests.pop(number, None)
        request.answers.put(answer)
