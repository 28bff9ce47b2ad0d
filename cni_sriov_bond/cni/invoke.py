"""Run an IPAM delegate as the contract has it: the untouched config, our environment, its own error passed on."""

import posix as os  # os itself costs an ADD 4 million instructions
from _signal import SIGINT, SIGKILL, SIGPIPE, SIGXFSZ
from _stat import S_ISREG
from errno import ETXTBSY
from select import POLLIN, POLLOUT, poll
from time import monotonic, sleep

from cni_sriov_bond import jsontext
from cni_sriov_bond.errors import DELEGATE_FAILED, INVALID_CONFIG, TRY_AGAIN_LATER, CniError, DelegateError
from cni_sriov_bond.files import is_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

# The longest that one delegate may take; the call's deadline may be nearer.
SECONDS = 45.0
# How long to wait for an executable that is being written, as libcni does (pkg/invoke/raw_exec.go: "text file busy").
_BUSY_SECONDS = 5.0
_BUSY_POLL = 0.1
_MOST_OUTPUT = 1 << 20
_CHUNK = 65536
_MOST_CODE = 0xFFFFFFFF  # runtimes read a code into an unsigned int
_OURS = "sriov-bond-ipam"
_HEAD, _ELF_HEADER = 1024, 64


def find(kind: str, cni_path: str) -> str:
    """Return the delegate's executable: the first regular file of that name in CNI_PATH, and nowhere else.

    :raises CniError: INVALID_CONFIG for a name that is a path or our own, or when there is none.
    """
    if "/" in kind or kind in (".", "..") or not is_path(kind):
        raise CniError(INVALID_CONFIG, f"invalid plugin name {kind!r} in ipam.type; give a name, not a path")
    if kind == "sriov-bond":
        raise CniError(INVALID_CONFIG, "ipam.type is sriov-bond itself, which gives no addresses; name an IPAM plugin")
    for directory in cni_path.split(":"):
        path = f"{directory}/{kind}"
        try:
            if directory and S_ISREG(os.stat(path).st_mode):
                return path
        except OSError:
            continue
    raise CniError(INVALID_CONFIG, f"failed to find plugin {kind!r} in path [{cni_path.replace(':', ' ')}]; install it there")


class Delegates:
    """How this process runs other plugins.

    :param environ: the environment of the process, which a lease does not keep.
    :param own: our own delegate's entry, where it is built into this process: called in a forked child with an environment
        and the descriptors of its standard streams. Every other delegate is executed.
    """

    __slots__ = ("_environ", "_own")

    def __init__(
        self, environ: "Mapping[str, str]", own: "Callable[[dict[str, str], list[int]], NoReturn] | None" = None
    ) -> None:
        self._environ = environ
        self._own = own

    def environment_for_replay(self, recorded: "Mapping[str, str]", netns: str) -> dict[str, str]:
        """Return the environment for another call about an attachment, from the CNI_* variables of its ADD.

        Plugins are sought where our caller has them, then where they were then: a runtime's plugin directory may move.

        :param netns: the path of the attachment's namespace, or "" if it is not known to be there: another may have the path.
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
        """Run a delegate for one verb and return what it printed.

        :param environ: our own environment as the runtime gave it; only CNI_COMMAND is replaced.
        :param config: the network config's untouched bytes.
        :param seconds: how long it may take.
        :param lock: the descriptor of a lock that the delegate keeps until its end: should we be killed, no other process
            touches what is locked while the delegate still works.
        :raises DelegateError: with the delegate's own code and message when it returned them.
        :raises CniError: DELEGATE_FAILED or TRY_AGAIN_LATER when it did not.
        """
        name = executable.rpartition("/")[2]
        start = self._fork if self._own is not None and _is_ours(executable) else _spawn
        pid, to, out, err = _start(start, executable, {**environ, "CNI_COMMAND": command}, lock, min(seconds, _BUSY_SECONDS))
        talk = _Talk(pid, to, config, out, err)
        finished = False
        try:
            finished = talk.until(monotonic() + seconds)
        finally:
            if not finished:  # also when we were interrupted
                os.kill(pid, SIGKILL)
            talk.close()
            _, status = os.waitpid(pid, 0)
        if talk.errors:
            try:
                os.write(2, talk.errors)
            except OSError:
                pass  # a closed standard error is no reason to lose a container's network
        if not finished:
            if talk.size > _MOST_OUTPUT:
                raise CniError(DELEGATE_FAILED, f"the IPAM plugin {name} printed more than 1 MiB at {command} and was killed")
            reason = f"did not answer within {seconds:.0f} s"
            raise CniError(TRY_AGAIN_LATER, f"the IPAM plugin {name} {reason} at {command} and was killed")
        text = talk.output.decode("utf-8", "replace")
        if status:
            raise _failure(name, command, os.waitstatus_to_exitcode(status), text, talk.errors)
        return text

    def _fork(self, executable: str, environ: "dict[str, str]", streams: list[int]) -> int:
        """Run our own delegate in a child of this process, which saves the start of an interpreter.

        The child speaks the same protocol as a program of its own, and a crash in it ends the child alone.
        """
        pid = os.fork()
        if pid == 0 and self._own:
            self._own(environ, streams)
        return pid


def _start(
    start: "Callable[[str, dict[str, str], list[int]], int]",
    executable: str,
    environ: "dict[str, str]",
    lock: int,
    busy_seconds: float,
) -> tuple[int, int, int, int]:
    """Start a process on three pipes and return its pid and our ends of them.

    :param busy_seconds: how long to wait for an executable that is being written.
    """
    deadline = monotonic() + busy_seconds
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    mine = [pipes[0][1], pipes[1][0], pipes[2][0]]
    # The lock is a fourth stream of the delegate: its copy is closed by nothing but its end.
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
        raise CniError(DELEGATE_FAILED, f"cannot run the IPAM plugin {executable}: {failed.strerror}") from None
    finally:
        for fd in theirs:
            os.close(fd)
    return pid, mine[0], mine[1], mine[2]


def _spawn(executable: str, environ: "dict[str, str]", streams: list[int]) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    # Python ignores the first two, and an undo the third; what is ignored stays so over exec.
    default = (SIGPIPE, SIGXFSZ, SIGINT)
    return os.posix_spawn(executable, [executable], environ, file_actions=actions, setsigdef=default)


def _is_ours(executable: str) -> bool:
    """Return whether an executable is the delegate of our own build.

    All programs of a build are one bootloader with different archives behind it. So all near its head is equal, the linker's
    build id among it, but for the ELF header, which says where the archive begins.
    """
    return executable.endswith(f"/{_OURS}") and _head(executable) == _head("/proc/self/exe")


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return path.encode("utf-8", "surrogateescape")  # equal to no other
    try:
        return os.pread(fd, _HEAD - _ELF_HEADER, _ELF_HEADER)
    finally:
        os.close(fd)


class _Talk:
    """Write a process's input while its output is read: either alone would block once a pipe is full.

    It ends with the process, not with its pipes: a daemon that the process left behind may hold those open for ever.
    """

    def __init__(self, pid: int, to: int, data: bytes, out: int, err: int) -> None:
        self._to = to
        self._data = memoryview(data)
        self._parts: dict[int, list[bytes]] = {out: [], err: []}
        self._out, self._err = out, err
        self._exit = os.pidfd_open(pid)
        self._open = {to, out, err, self._exit}
        self._poll = poll()
        for fd in self._open:
            self._poll.register(fd, POLLOUT if fd == to else POLLIN)
            os.set_blocking(fd, False)
        self.size = 0

    @property
    def output(self) -> bytes:
        return b"".join(self._parts[self._out])

    @property
    def errors(self) -> bytes:
        return b"".join(self._parts[self._err])

    def until(self, deadline: float) -> bool:
        """Exchange data until the process has ended and all it printed is read; return whether that was before the deadline."""
        while (left := deadline - monotonic()) > 0 and self.size <= _MOST_OUTPUT:
            ready = {fd for fd, _ in self._poll.poll(left * 1000)}
            if self._to in ready:
                self._feed()
            for fd in ready & self._parts.keys():
                self._read(fd)
            if ready == {self._exit}:
                return True
        return False

    def close(self) -> None:
        for fd in list(self._open):
            self._end(fd)

    def _feed(self) -> None:
        try:
            self._data = self._data[os.write(self._to, self._data[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._data = self._data[:0]  # the delegate closed its input unread, which is allowed
        if not self._data:
            self._end(self._to)

    def _read(self, fd: int) -> None:
        data = os.read(fd, _CHUNK)
        self.size += len(data)
        self._parts[fd].append(data)
        if not data:
            self._end(fd)

    def _end(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._open.discard(fd)
        os.close(fd)


def _failure(name: str, command: str, status: int, text: str, errors: bytes) -> CniError:
    """Return the error of a delegate that failed: its own if it returned one, with our message if it has no message."""
    how = f"died of signal {-status}" if status < 0 else f"failed with status {status}"
    last = (errors.decode("utf-8", "replace").strip() or text.strip())[-400:]
    message = f"the IPAM plugin {name} {how} at {command}" + (f": {last}" if last else "")
    try:
        document = jsontext.loads(text)
    except ValueError:
        document = None
    code = document.get("code") if isinstance(document, dict) else None
    if not isinstance(document, dict) or type(code) is not int or not 0 < code <= _MOST_CODE:
        return CniError(DELEGATE_FAILED, message)
    msg, details = document.get("msg"), document.get("details")
    if not isinstance(msg, str) or not msg.strip():
        msg = message
    return DelegateError(code, msg, details if isinstance(details, str) else "")
