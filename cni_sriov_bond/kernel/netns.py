"""A network namespace as a value: open, check, compare, enter and leave."""

import posix as os  # os itself costs an ADD 4 million instructions
from _signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask
from errno import EIO, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR, EPERM
from fcntl import ioctl

from cni_sriov_bond.cni import process
from cni_sriov_bond.errors import INVALID_NETNS, IO_FAILURE, CniError
from cni_sriov_bond.kernel.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Identity(Protocol):
        """What identifies a namespace: an open one, or the record of one."""

        @property
        def dev(self) -> int:
            """The device of its file."""

        @property
        def ino(self) -> int:
            """The inode of its file."""


_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
_OWN = "/proc/self/ns/net"
# Failures to open a path that do not mean that there is no namespace.
_CANNOT_OPEN = (EIO, EMFILE, ENFILE, ENOMEM)


class Netns:
    """An open namespace. Device and inode identify it while it exists; the kernel reuses the inodes of deleted ones."""

    __slots__ = ("dev", "fd", "ino", "path")

    def __init__(self, path: str, fd: int) -> None:
        status = os.fstat(fd)
        self.path = path
        self.fd = fd
        self.dev = status.st_dev
        self.ino = status.st_ino

    def same(self, other: "Identity") -> bool:
        """Return whether two values are the same namespace: this one, and another one or what a lease recorded of it."""
        return (self.dev, self.ino) == (other.dev, other.ino)

    def close(self) -> None:
        """Close the file descriptor."""
        os.close(self.fd)


def own() -> Netns:
    """Return the namespace that this process runs in."""
    return Netns(_OWN, os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC))


def find(path: str) -> Netns | None:
    """Return the namespace at a path, or None if there is none: the path does not exist, or is a file of another kind.

    After ``docker rm -f`` an ordinary file remains at the path for a while.

    :raises CniError: IO_FAILURE when the path cannot be opened, which does not mean that there is none.
    """
    if not path:
        return None
    try:
        # O_NONBLOCK: without it, opening a FIFO waits for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as failed:
        if failed.errno in _CANNOT_OPEN:
            raise CniError(IO_FAILURE, f"cannot open the namespace {path!r}: {failed.strerror}") from None
        return None
    except ValueError:
        return None
    try:
        if ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET:
            return Netns(path, fd)
    except OSError:
        pass  # ENOTTY: not a namespace
    os.close(fd)
    return None


def require(path: str) -> Netns:
    """Return the namespace at a path.

    :raises CniError: INVALID_NETNS when there is none, it is not a network namespace, or this process runs in it.
    """
    netns = find(path)
    if netns is None:
        try:
            os.stat(path)
        except OSError as missing:
            if missing.errno in (ENOENT, ENOTDIR):
                raise CniError(INVALID_NETNS, f"CNI_NETNS {path!r} does not exist; start the container first") from None
            raise CniError(INVALID_NETNS, f"cannot open CNI_NETNS {path!r}: {missing.strerror}") from None
        except ValueError:
            raise CniError(INVALID_NETNS, f"CNI_NETNS {path!r} is not a path") from None
        raise CniError(INVALID_NETNS, f"CNI_NETNS {path!r} is not a network namespace")
    current = own()
    is_own = current.same(netns)
    current.close()
    if is_own:
        netns.close()
        raise CniError(INVALID_NETNS, f"CNI_NETNS {path!r} is the namespace of the plugin itself; pass the container's")
    return netns


def open_netlink(namespace: Netns) -> Netlink:
    """Return a netlink socket of a container's namespace."""
    with Entered(namespace):
        return Netlink(f"the container's namespace {namespace.path}")


class Entered:
    """``with Entered(netns):`` runs the block in a namespace, and returns to the present one however the block ends.

    If it cannot return, the process ends: in the container's namespace it would take the container's devices for the host's.
    SIGINT waits until the end of the block, because KeyboardInterrupt could come between the return and what precedes it.

    setns() moves the calling thread only. The plugin has no other thread.
    """

    __slots__ = ("_previous", "_signals", "_target")

    def __init__(self, target: Netns) -> None:
        self._target = target

    def __enter__(self) -> Netns:
        self._signals = pthread_sigmask(SIG_BLOCK, (SIGINT,))
        try:
            self._previous = own()
            try:
                _setns(self._target)
            except BaseException:
                self._previous.close()
                raise
        except BaseException:
            pthread_sigmask(SIG_SETMASK, self._signals)
            raise
        return self._target

    def __exit__(self, *_: object) -> None:
        _return_to(self._previous, self._target.path)
        pthread_sigmask(SIG_SETMASK, self._signals)


class Temporary:
    """``with Temporary() as netns:`` creates a namespace without a name or a process; the block runs in the present one.

    The file descriptor keeps it. If the process is killed, the kernel deletes the namespace and moves the NICs in it to
    the initial namespace (net/core/dev.c, default_device_exit_net).
    """

    __slots__ = ("_netns",)

    def __enter__(self) -> Netns:
        signals = pthread_sigmask(SIG_BLOCK, (SIGINT,))
        try:
            previous = own()
            try:
                _call("unshare", _CLONE_NEWNET)
            except BaseException:
                previous.close()
                raise
            try:
                self._netns = own()
            finally:
                _return_to(previous, "a temporary namespace")
        finally:
            pthread_sigmask(SIG_SETMASK, signals)
        return self._netns

    def __exit__(self, *_: object) -> None:
        self._netns.close()


def _return_to(previous: Netns, place: str) -> None:
    """Return to the namespace that was left, and close it; end the process if that fails.

    :param place: where it is now, for the error.
    """
    reason = "it was interrupted"
    try:
        _setns(previous)
        reason = ""
    except CniError as failed:
        reason = failed.msg
        raise
    finally:
        if reason:
            message = f"the process ended, because it cannot leave the network namespace {place}: {reason}"
            process.end(CniError(IO_FAILURE, f"{message}; DEL the container, or run `sriov-bondctl gc`"))
    previous.close()


def _setns(target: Netns) -> None:
    _call("setns", target.fd, _CLONE_NEWNET)


def _call(function: str, *arguments: int) -> None:
    """Call a function of the C library.

    ``os.setns`` came with Python 3.12. ``_ctypes`` alone makes the call without the 2 ms that importing ``ctypes``
    costs, but does not return errno, so a failed call is repeated through ``ctypes`` to get the reason.
    """
    import _ctypes  # late: its 700,000 instructions are for calls that enter a namespace

    library: Any = _ctypes
    address = library.dlsym(library.dlopen(None, 2), function)
    if library.call_function(address, arguments) == 0:
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True)[function](*arguments) != 0:
        errno = ctypes.get_errno()
        hint = "; run as root" if errno == EPERM else ""
        raise CniError(IO_FAILURE, f"cannot change the network namespace ({function}): {os.strerror(errno)}{hint}")
