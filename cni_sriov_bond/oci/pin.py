"""Pins: bind mounts that keep a container's network namespace after its processes have ended.

At createRuntime only ``/proc/PID/ns/net`` names the namespace, and at poststop the process is gone. The pin is the CNI_NETNS of
all calls, so that a DEL finds the bond in it whatever the runtime has done with the namespace in between.
"""

import os
from errno import EINVAL, ENOENT

from cni_sriov_bond.cni.process import leave
from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.kernel import netns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MS_BIND, _MNT_DETACH, _UMOUNT_NOFOLLOW = 4096, 2, 8  # mount(2), umount2(2)
_CLONE_NEWNS = 0x00020000
_INIT_MOUNTS = "/proc/1/ns/mnt"
_MOST_LAYERS = 16


def create(path: str, source: netns.Netns) -> None:
    """Pin an open namespace at a path; its directory exists. A pin of the same namespace is left as it is.

    :raises CniError: IO_FAILURE when the kernel refuses.
    """
    pinned = netns.find(path)
    if pinned is not None:
        is_same = pinned.same(source)
        pinned.close()
        if is_same:
            return
        remove(path)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o400))
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot create {path}: {failed.strerror}") from None
    _raise(_in_host_mounts(lambda: _mount(f"/proc/self/fd/{source.fd}", path)), f"cannot pin the namespace at {path}")


def holds(path: str, identity: "netns.Identity") -> bool:
    """Return whether a path leads to a namespace: the pin is there, and it is of that namespace."""
    pinned = netns.find(path)
    if pinned is None:
        return False
    try:
        return pinned.same(identity)
    finally:
        pinned.close()


def remove(path: str) -> None:
    """Remove a pin with its file, if it exists. Without processes the kernel then ends the namespace.

    :raises CniError: IO_FAILURE when the kernel refuses.
    """
    if not os.path.lexists(path):
        return
    message = f"cannot remove the pin {path}"
    for _ in range(_MOST_LAYERS):  # a process that was killed between two steps may have mounted twice
        errno = _in_host_mounts(lambda: _unmount(path))
        if errno in (EINVAL, ENOENT):  # nothing is mounted there (any more)
            break
        _raise(errno, message)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as failed:
        raise CniError(IO_FAILURE, f"{message}: {failed.strerror}") from None


def _mount(source: str, target: str) -> int:
    return _call("mount", source.encode(), os.fsencode(target), None, _MS_BIND, None)


def _unmount(path: str) -> int:
    """Unmount the uppermost mount at a path; EINVAL if nothing is mounted there."""
    return _call("umount2", os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW)


def _call(function: str, *arguments: object) -> int:
    """Call a function of the C library and return its errno, or 0."""
    import ctypes  # late: its 2 ms are for hooks of containers of ours

    return 0 if ctypes.CDLL(None, use_errno=True)[function](*arguments) == 0 else ctypes.get_errno()


def _raise(errno: int, message: str) -> None:
    if errno:
        raise CniError(IO_FAILURE, f"{message}: {os.strerror(errno)}; does it run as root of the host?")


def _in_host_mounts(change: "Callable[[], int]") -> int:
    """Make a change in the mount namespace of the host's init, and return its errno, or 0.

    A service of systemd may have mounts of its own (PrivateMounts, ProtectSystem). A pin there would be seen by none of the
    others, and an unmount would leave the pin.
    """
    try:
        own, of_host = os.stat("/proc/self/ns/mnt"), os.stat(_INIT_MOUNTS)
        elsewhere = (own.st_dev, own.st_ino) != (of_host.st_dev, of_host.st_ino)
    except OSError:
        elsewhere = False  # init is not visible: without root, who alone may mount
    return _in_child(change) if elsewhere else change()


def _in_child(change: "Callable[[], int]") -> int:
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            fd = os.open(_INIT_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
            status = _call("setns", fd, _CLONE_NEWNS) or change()
        finally:
            leave(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
