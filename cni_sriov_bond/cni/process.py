"""The process of a plugin: environment, standard streams, exit status. No other module of a plugin uses them.

VERSION, and a call without a command, are answered before other modules are imported: runtimes send VERSION to every plugin.
"""

import posix

from cni_sriov_bond import CNI_VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.errors import CniError

_MAX_STDIN = 1 << 20
_MAX_SHOWN = 4000  # characters of a message, and of its details
_reporters: "list[Callable[[CniError], object]]" = []  # the last one reports the error of ``end``


def _write(fd: int, text: str) -> None:
    data = _bytes(text)
    while data:
        data = data[posix.write(fd, data) :]


def serve(name: str, run: "Callable[[Call], None]") -> int:
    """Run one call of a plugin, write its answer or error, and return the exit status.

    :param name: the name of the plugin, for messages.
    :param run: runs the verb of a call that has passed the checks of ``parse_call``.
    """
    command = posix.environ.get(b"CNI_COMMAND", b"")
    if command == b"VERSION":
        versions = '","'.join(CNI_VERSIONS)
        return _print(1, f'{{"cniVersion":"{CNI_VERSIONS[-1]}","supportedVersions":["{versions}"]}}\n')
    if not command:
        return _print(2, f"CNI {name} plugin\nCNI protocol versions supported: {', '.join(CNI_VERSIONS)}\n")
    return _serve(name, run)


def child(run: "Callable[[], int]", environ: "dict[str, str]", streams: list[int]) -> "NoReturn":
    """Run another program's ``main`` in this forked process, and end the process with its exit status.

    :param run: the program's ``main``.
    :param environ: replaces the environment.
    :param streams: the descriptors that become 0, 1, 2 and so on; all others are closed, as exec would close them.
    """
    status = 1
    try:
        for number, fd in enumerate(streams):
            posix.dup2(fd, number)
        posix.closerange(len(streams), 1 << 16)
        posix.environ.clear()
        posix.environ.update({_bytes(name): _bytes(value) for name, value in environ.items()})
        status = run()
    finally:
        posix._exit(status)


def leave(status: int = 1) -> "NoReturn":
    """End this process at once. Nothing is undone or flushed."""
    posix._exit(status)


def report_with(report: "Callable[[CniError], object]") -> None:
    """Set how ``end`` reports its error: a plugin writes a document, sriov-bondctl a line."""
    _reporters.append(report)


def end(error: "CniError") -> "NoReturn":
    """Report an error and end this process at once. No ``finally`` and no undo runs: where it is now, they would do harm."""
    try:
        for report in _reporters[-1:]:
            report(error)
    finally:
        leave()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def answer(text: str) -> None:
    """Write a result to standard output."""
    _write(1, text + "\n")


def _print(fd: int, text: str) -> int:
    """Write the complete answer and return the exit status: 1 when it cannot be written."""
    try:
        _write(fd, text)
    except OSError:
        return 1
    return 0


def _serve(name: str, run: "Callable[[Call], None]") -> int:
    """Run a verb; any failure becomes one error document of the config's version."""
    from cni_sriov_bond.errors import DECODING_FAILURE, INTERNAL, IO_FAILURE, TRY_AGAIN_LATER, CniError

    version = CNI_VERSIONS[-1]  # for errors before the config's version is known
    report_with(lambda failed: _fail(failed, version))
    try:
        hold_streams()
        call = _read_call()
        version = call.version
        run(call)
    except CniError as failed:
        return _fail(failed, version)
    except OSError as failed:
        reason = f"{failed.strerror}: {failed.filename}" if failed.filename else str(failed)
        return _fail(CniError(IO_FAILURE, f"system error: {reason}"), version)
    except KeyboardInterrupt:  # Ctrl-C at a shell; an ADD has already been undone
        return _fail(CniError(TRY_AGAIN_LATER, "the call was interrupted"), version)
    except RecursionError:  # only a deeply nested document can cause it
        return _fail(CniError(DECODING_FAILURE, "error unmarshall network config: exceeded max depth"), version)
    except Exception as failed:
        reason = f"{type(failed).__name__}: {failed}"
        return _fail(CniError(INTERNAL, f"{name} has a bug, please report it: {reason}", _trace(failed)), version)
    return 0


def hold_streams() -> None:
    """Open /dev/null in place of closed standard streams.

    Else a lock or lease file would get the number of a closed stream, and errors would be written into it. Input is opened for
    writing and output for reading, so that using them still fails; only writing to standard error succeeds.
    """
    for fd, flags in enumerate((posix.O_WRONLY, posix.O_RDONLY, posix.O_WRONLY)):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", flags | posix.O_CLOEXEC)  # gets the lowest free number


def _read_call() -> "Call":
    """Return the call that environment and standard input describe."""
    from cni_sriov_bond.cni.call import parse_call

    environ = {
        key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for key, value in posix.environ.items()
        if key  # posix_spawn refuses an entry "=x", so a delegate could not be started with it
    }
    return parse_call(environ, _stdin)


def _stdin() -> bytes:
    from cni_sriov_bond.errors import DECODING_FAILURE, IO_FAILURE, CniError

    data = b""
    try:
        while part := posix.read(0, 65536):
            data += part
            if len(data) > _MAX_STDIN:
                raise CniError(DECODING_FAILURE, "the network config on standard input is larger than 1 MiB")
    except OSError as failed:
        raise CniError(IO_FAILURE, f"error reading from stdin: {failed.strerror}") from None
    return data


def _fail(error: "CniError", version: str) -> int:
    from cni_sriov_bond.cni.result import error as document

    msg, details = _shortened(error.msg), _shortened(error.details)
    if _print(1, document(error.code, msg, details, version) + "\n"):
        # If standard output is empty, libcni reports standard error instead (pkg/invoke/raw_exec.go, pluginErr).
        _print(2, "; ".join(filter(None, (msg, details))) + "\n")
    return 1


def _shortened(text: str) -> str:
    """Return a text cut to a length for logs: a message may quote a config of a megabyte."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text) - _MAX_SHOWN} more characters)"


def _trace(failed: BaseException) -> str:
    """Return function and line of each frame of a traceback, innermost last, for a bug report."""
    frames = []
    step = failed.__traceback__
    while step is not None:
        frames.append(f"{step.tb_frame.f_code.co_name}:{step.tb_lineno}")
        step = step.tb_next
    return " > ".join(frames)
