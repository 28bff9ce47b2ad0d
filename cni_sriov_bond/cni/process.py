"""The process edge of our plugins: environment, standard streams and exit status, and nothing else has them.

VERSION and "about" are answered here, before anything else is imported: runtimes ask every plugin for its versions.
"""

import posix

from cni_sriov_bond import CNI_VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.errors import CniError

_MOST_STDIN = 1 << 20
_MOST_SHOWN = 4000  # characters of a message, and of its details


def _write(fd: int, text: str) -> None:
    data = _bytes(text)
    while data:
        data = data[posix.write(fd, data) :]


def serve(name: str, run: "Callable[[Call], None]") -> int:
    """Serve one call of one of our plugins as the CNI contract has it and return the exit status.

    :param run: runs the verb of a call that has passed the checks of ``parse_call``.
    """
    command = posix.environ.get(b"CNI_COMMAND", b"")
    if command == b"VERSION":
        versions = '","'.join(CNI_VERSIONS)
        return _say(1, f'{{"cniVersion":"{CNI_VERSIONS[-1]}","supportedVersions":["{versions}"]}}\n')
    if not command:
        return _say(2, f"CNI {name} plugin\nCNI protocol versions supported: {', '.join(CNI_VERSIONS)}\n")
    return _serve(name, run)


def child(run: "Callable[[], int]", environ: "dict[str, str]", streams: list[int]) -> "NoReturn":
    """Be a program of its own in a forked process: its environment, its standard streams, its exit status. Never returns.

    :param run: a program's ``main``.
    :param streams: the descriptors that become 0, 1, 2 and so on; all others are closed, as an exec would.
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


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def answer(text: str) -> None:
    """Write a result."""
    _write(1, text + "\n")


def _say(fd: int, text: str) -> int:
    """Write what is the whole answer, and give the exit status: 1 when nobody takes it."""
    try:
        _write(fd, text)
    except OSError:
        return 1
    return 0


def _serve(name: str, run: "Callable[[Call], None]") -> int:
    """Run a verb and report its failure, whatever it is, as one error document of the config's version."""
    from cni_sriov_bond.errors import DECODING_FAILURE, INTERNAL, IO_FAILURE, TRY_AGAIN_LATER, CniError

    version = CNI_VERSIONS[-1]  # of errors that come before the config's version is known
    try:
        _hold_streams()
        call = _read_call()
        version = call.version
        run(call)
    except CniError as failed:
        return _fail(failed, version)
    except OSError as failed:
        what = f"{failed.strerror}: {failed.filename}" if failed.filename else str(failed)
        return _fail(CniError(IO_FAILURE, f"the call stopped at an error of the system: {what}"), version)
    except KeyboardInterrupt:  # somebody at a shell; an ADD has undone what it did
        return _fail(CniError(TRY_AGAIN_LATER, "the call was interrupted"), version)
    except RecursionError:  # only documents are as deep as they like
        return _fail(CniError(DECODING_FAILURE, "error unmarshall network config: exceeded max depth"), version)
    except Exception as failed:
        place = f"{type(failed).__name__}: {failed}"
        return _fail(CniError(INTERNAL, f"{name} has a bug, please report it: {place}", _place(failed)), version)
    return 0


def _hold_streams() -> None:
    """Have something at the numbers of streams that are closed: a file of ours that got one would have errors written into it.

    What takes their place fails as a closed stream does, but for standard error, whose loss is no reason to fail.
    """
    for fd, flags in enumerate((posix.O_WRONLY, posix.O_RDONLY, posix.O_WRONLY)):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", flags | posix.O_CLOEXEC)  # gets the lowest number that is free


def _read_call() -> "Call":
    """Return what the runtime asks for, in its environment and on standard input."""
    from cni_sriov_bond.cni.call import parse_call

    environ = {
        key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for key, value in posix.environ.items()
        if key  # "=x" has no name, and a delegate could not be started with it
    }
    return parse_call(environ, _stdin)


def _stdin() -> bytes:
    from cni_sriov_bond.errors import DECODING_FAILURE, IO_FAILURE, CniError

    data = b""
    try:
        while part := posix.read(0, 65536):
            data += part
            if len(data) > _MOST_STDIN:
                raise CniError(DECODING_FAILURE, "the network config on standard input is larger than 1 MiB")
    except OSError as failed:
        raise CniError(IO_FAILURE, f"error reading from stdin: {failed.strerror}") from None
    return data


def _fail(error: "CniError", version: str) -> int:
    from cni_sriov_bond.cni.result import error as document

    msg, details = _shortened(error.msg), _shortened(error.details)
    if _say(1, document(error.code, msg, details, version) + "\n"):
        # libcni tells its caller what is on standard error if standard output is empty (pkg/invoke/raw_exec.go, pluginErr).
        _say(2, "; ".join(filter(None, (msg, details))) + "\n")
    return 1


def _shortened(text: str) -> str:
    """Cut what a config of a megabyte can make of a sentence: runtimes put all of it into their logs."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(text) - _MOST_SHOWN} more characters)"


def _place(failed: BaseException) -> str:
    """Give where a bug was met, innermost last, for whoever reports it."""
    places = []
    step = failed.__traceback__
    while step is not None:
        places.append(f"{step.tb_frame.f_code.co_name}:{step.tb_lineno}")
        step = step.tb_next
    return " > ".join(places)
