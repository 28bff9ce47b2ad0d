"""Run an IPAM plugin, the delegate: it gets the config's bytes and the environment unchanged, and its error is passed on."""

import posix as os  # os itself costs an ADD 4 million instructions
from _signal import SIGINT, SIGKILL, SIGPIPE, SIGXFSZ
from _stat import S_ISREG  # stat itself is Python, and costs an ADD 140,000 instructions
from errno import ETXTBSY
from select import POLLIN, POLLOUT, poll
from time import monotonic, sleep

from cni_sriov_bond import jsontext
from cni_sriov_bond.cni.process import leave
from cni_sriov_bond.errors import DELEGATE_FAILED, INVALID_CONFIG, TRY_AGAIN_LATER, CniError, DelegateError
from cni_sriov_bond.files import is_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

# The time limit of one run of a delegate; the call's deadline may be earlier.
SECONDS = 45.0
# How long to wait for an executable that is being written, as libcni does (pkg/invoke/raw_exec.go: "text file busy").
_BUSY_SECONDS = 5.0
_BUSY_POLL = 0.1
_PROGRAM_POLL = 0.005
_CANCEL_POLL = 0.1
_MAX_OUTPUT = 1 << 20
_CHUNK = 65536
_MAX_CODE = 0xFFFFFFFF  # Go reads a code into an unsigned int
_OURS = "sriov-bond-ipam"
_HEAD, _ELF_HEADER = 1024, 64


def find(name: str, cni_path: str) -> str:
    """Return the path of a delegate: the first regular file of that name in the directories of CNI_PATH.

    :raises CniError: INVALID_CONFIG when the name is a path or sriov-bond, or when there is no such file.
    """
    if "/" in name or name in (".", "..") or not is_path(name):
        raise CniError(INVALID_CONFIG, f"invalid plugin name {name!r} in ipam.type; write a name, not a path")
    if name == "sriov-bond":
        raise CniError(INVALID_CONFIG, "ipam.type is sriov-bond itself, which allocates no addresses; name an IPAM plugin")
    for directory in cni_path.split(":"):
        path = f"{directory}/{name}"
        try:
            if directory and S_ISREG(os.stat(path).st_mode):
                return path
        except OSError:
            continue
    raise CniError(INVALID_CONFIG, f"failed to find plugin {name!r} in path [{cni_path.replace(':', ' ')}]; install it there")


class Delegates:
    """How this process runs delegates.

    :param environ: the environment of this process.
    :param own: the entry of sriov-bond-ipam, if it is built into this process. It is called in a forked child, with the
        environment and the descriptors of the standard streams. All other delegates are executed.
    :param kind: what delegates are called in errors.
    :param cancelled: returns why a running delegate must be killed, or "". It is called every ``_CANCEL_POLL`` seconds.
    :param forward: gets the standard error of each delegate; by default it is written to that of this process.
    """

    __slots__ = ("_cancelled", "_environ", "_forward", "_kind", "_own")

    def __init__(
        self,
        environ: "Mapping[str, str]",
        own: "Callable[[dict[str, str], list[int]], NoReturn] | None" = None,
        kind: str = "IPAM plugin",
        cancelled: "Callable[[], str] | None" = None,
        forward: "Callable[[bytes], None] | None" = None,
    ) -> None:
        self._environ = environ
        self._own = own
        self._kind = kind
        self._cancelled = cancelled
        self._forward = forward or _to_standard_error

    def environment_for_replay(self, recorded: "Mapping[str, str]", netns: str) -> dict[str, str]:
        """Return the environment for a later call for an attachment, from the CNI_* variables of its ADD.

        CNI_PATH has the directories of this call before those of the ADD: the plugin directory of a runtime may move.

        :param recorded: the CNI_* variables of the ADD. A lease keeps no others.
        :param netns: the path of the attachment's namespace, or "" if it may be gone: the path may lead to another one.
        """
        others = {name: value for name, value in self._environ.items() if not name.startswith("CNI_")}
        paths = f"{self._environ.get('CNI_PATH', '')}:{recorded.get('CNI_PATH', '')}".split(":")
        return {**others, **recorded, "CNI_PATH": ":".join(dict.fromkeys(filter(None, paths))), "CNI_NETNS": netns}

    def run(
        self,
        executable: str,
        command: str,
        environ: "Mapping[str, str]",
        config: bytes,
        seconds: float = SECONDS,
        lock: int = -1,
    ) -> str:
        """Run a delegate for one verb and return its standard output.

        :param environ: the environment of the call; only CNI_COMMAND is replaced.
        :param config: the bytes of the network config, unchanged.
        :param seconds: the time limit.
        :param lock: the descriptor of a lock that the delegate inherits. If this process is killed, the bond stays locked until
            the delegate ends; else another process could free the bond while the delegate still allocates for it.
        :raises DelegateError: when the delegate returned an error document; with its code and message.
        :raises CniError: DELEGATE_FAILED or TRY_AGAIN_LATER when it failed otherwise.
        """
        name = f"{self._kind} {executable.rpartition('/')[2]}"
        start = self._fork if self._own is not None and _is_ours(executable) else _spawn
        variables = {**environ, "CNI_COMMAND": command}
        pid, stdin, stdout, stderr = _start(start, executable, variables, lock, min(seconds, _BUSY_SECONDS), self._kind)
        exchange = _Exchange(pid, stdin, config, stdout, stderr)
        finished = False
        try:
            finished = exchange.until(monotonic() + seconds, self._cancelled)
        finally:
            if not finished:  # also after an exception, e.g. KeyboardInterrupt
                os.kill(pid, SIGKILL)
            exchange.close()
            _, status = os.waitpid(pid, 0)
        if exchange.errors:
            self._forward(exchange.errors)
        if not finished:
            if exchange.cancelled:
                raise CniError(TRY_AGAIN_LATER, f"the {name} was killed at {command}: {exchange.cancelled}")
            if exchange.size > _MAX_OUTPUT:
                raise CniError(DELEGATE_FAILED, f"the {name} printed more than 1 MiB at {command} and was killed")
            reason = f"did not answer within {seconds:.0f} s"
            raise CniError(TRY_AGAIN_LATER, f"the {name} {reason} at {command} and was killed")
        text = exchange.output.decode("utf-8", "replace")
        if status:
            raise _failure(name, command, os.waitstatus_to_exitcode(status), text, exchange.errors)
        return text

    def _fork(self, executable: str, environ: "dict[str, str]", streams: list[int]) -> int:
        """Run sriov-bond-ipam in a forked child, which saves the start of an interpreter.

        The child uses the same protocol as an executed delegate, and a crash ends only the child.
        """
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0 and self._own:
                self._own(environ, streams)
            return pid
        finally:
            # Also after an exception, e.g. KeyboardInterrupt between the fork and the entry's first line: the child has the
            # stack of our ADD, and would undo it a second time.
            if os.getpid() != parent:
                leave()


def _to_standard_error(data: bytes) -> None:
    try:
        os.write(2, data)
    except OSError:
        pass  # a closed standard error must not fail the call


def _start(
    start: "Callable[[str, dict[str, str], list[int]], int]",
    executable: str,
    environ: "dict[str, str]",
    lock: int,
    busy_seconds: float,
    kind: str,
) -> tuple[int, int, int, int]:
    """Start a process on three pipes and return its pid and our ends of the pipes.

    :param start: forks or spawns, and returns the pid.
    :param busy_seconds: how long to wait while the executable is open for writing.
    :param kind: what the process is, for the error.
    """
    deadline = monotonic() + busy_seconds
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    mine = [pipes[0][1], pipes[1][0], pipes[2][0]]
    # The lock becomes descriptor 3 of the delegate, which stays open until the delegate ends.
    streams = [*theirs, lock] if lock >= 0 else theirs
    try:
        while True:
            try:
                pid = start(executable, environ, streams)
                break
            except OSError as busy:
                if busy.errno != ETXTBSY or monotonic() > deadline:
                    raise
            sleep(_BUSY_POLL)
    except OSError as failed:
        for fd in mine:
            os.close(fd)
        raise CniError(DELEGATE_FAILED, f"cannot run the {kind} {executable}: {failed.strerror}") from None
    finally:
        for fd in theirs:
            os.close(fd)
    return pid, mine[0], mine[1], mine[2]


def run_program(path: str, *arguments: str, seconds: float) -> int | None:
    """Run a program of the system without input, output and our environment, and return its exit status.

    :param seconds: the time limit, after which it is killed.
    :return: None when it cannot be started or was killed.
    """
    actions = [(os.POSIX_SPAWN_OPEN, stream, "/dev/null", os.O_RDWR, 0) for stream in (0, 1, 2)]
    try:
        pid = os.posix_spawn(path, [path, *arguments], {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, file_actions=actions)
    except (OSError, ValueError):
        return None
    deadline = monotonic() + seconds
    ended, status = os.waitpid(pid, os.WNOHANG)
    while not ended:
        if monotonic() > deadline:
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
            return None
        sleep(_PROGRAM_POLL)
        ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if status & 0x7F == 0 else None


def _spawn(executable: str, environ: "dict[str, str]", streams: list[int]) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    # Python ignores the first two signals, and an undo the third. An ignored signal stays ignored after exec.
    default = (SIGPIPE, SIGXFSZ, SIGINT)
    return os.posix_spawn(executable, [executable], environ, file_actions=actions, setsigdef=default)


def _is_ours(executable: str) -> bool:
    """Return whether an executable is sriov-bond-ipam of the same build as this process.

    All programs of a build are the same bootloader, followed by different archives. Their first bytes, with the linker's build
    id, are equal, except for the ELF header, which has the position of the archive.
    """
    return executable.endswith(f"/{_OURS}") and _head(executable) == _head("/proc/self/exe")


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return path.encode("utf-8", "surrogateescape")  # differs from the content of any file
    try:
        return os.pread(fd, _HEAD - _ELF_HEADER, _ELF_HEADER)
    finally:
        os.close(fd)


class _Exchange:
    """Write a process's input and read its output at the same time: either alone would block once a pipe is full.

    It ends when the process ends, not when the pipes close: a daemon that the process started may hold them open for ever.
    """

    def __init__(self, pid: int, stdin: int, data: bytes, stdout: int, stderr: int) -> None:
        self._stdin = stdin
        self._data = memoryview(data)
        self._parts: dict[int, list[bytes]] = {stdout: [], stderr: []}
        self._stdout, self._stderr = stdout, stderr
        self._exit = os.pidfd_open(pid)
        self._open = {stdin, stdout, stderr, self._exit}
        self._poll = poll()
        for fd in self._open:
            self._poll.register(fd, POLLOUT if fd == stdin else POLLIN)
            os.set_blocking(fd, False)
        self.size = 0
        self.cancelled = ""

    @property
    def output(self) -> bytes:
        return b"".join(self._parts[self._stdout])

    @property
    def errors(self) -> bytes:
        return b"".join(self._parts[self._stderr])

    def until(self, deadline: float, cancelled: "Callable[[], str] | None" = None) -> bool:
        """Exchange data until the process has ended and its output is read; return whether that was before the deadline.

        :param cancelled: returns why to stop earlier, or "".
        """
        while (seconds := deadline - monotonic()) > 0 and self.size <= _MAX_OUTPUT:
            if cancelled is not None:
                self.cancelled = cancelled()
                if self.cancelled:
                    return False
                seconds = min(seconds, _CANCEL_POLL)
            ready = {fd for fd, _ in self._poll.poll(seconds * 1000)}
            if self._stdin in ready:
                self._feed()
            for fd in ready & self._parts.keys():
                self._read(fd)
            if ready == {self._exit}:  # no output is left in the pipes
                return True
        return False

    def close(self) -> None:
        for fd in list(self._open):
            self._close(fd)

    def _feed(self) -> None:
        try:
            self._data = self._data[os.write(self._stdin, self._data[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._data = self._data[:0]  # the delegate closed its input unread, which is allowed
        if not self._data:
            self._close(self._stdin)

    def _read(self, fd: int) -> None:
        data = os.read(fd, _CHUNK)
        self.size += len(data)
        self._parts[fd].append(data)
        if not data:
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._open.discard(fd)
        os.close(fd)


def _failure(name: str, command: str, status: int, text: str, errors: bytes) -> CniError:
    """Return the error of a delegate that failed: the one that it returned, with a message of ours if that has none.

    :param name: what it is and its name, e.g. "IPAM plugin host-local".
    """
    end = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
    output = (errors.decode("utf-8", "replace").strip() or text.strip())[-400:]
    message = f"the {name} {end} at {command}" + (f": {output}" if output else "")
    try:
        document = jsontext.loads(text)
    except ValueError:
        document = None
    code = document.get("code") if isinstance(document, dict) else None
    if not isinstance(document, dict) or type(code) is not int or not 0 < code <= _MAX_CODE:
        return CniError(DELEGATE_FAILED, message)
    msg, details = document.get("msg"), document.get("details")
    if not isinstance(msg, str) or not msg.strip():
        msg = message
    return DelegateError(code, msg, details if isinstance(details, str) else "")
