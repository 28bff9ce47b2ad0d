"""Which process holds a file lock: for the error about a lock that was not available, and for `sriov-bondctl status`."""

import posix as os


def describe(inode: int) -> str:
    """Return a text for the process that holds a flock on a file, e.g. "process 17 (sriov-bond)".

    The kernel lists the process that took the lock. If that has ended, a process that inherited its descriptor holds it:
    an ADD that is killed leaves the bond's lock to its IPAM plugin.

    :param inode: the file's inode number.
    """
    pid = _taker(inode)
    if pid and not _text(f"/proc/{pid}/comm"):
        pid = _inheritor(inode)
    if not pid:
        return "another process"
    name = _text(f"/proc/{pid}/comm").strip()
    return f"process {pid} ({name})" if name else f"process {pid}"


def is_held(path: str) -> bool:
    """Return whether a process holds a flock on a file, without trying the lock, which others could find taken."""
    try:
        inode = os.stat(path).st_ino
    except OSError:
        return False
    return bool(_taker(inode))


def _taker(inode: int) -> str:
    """Return the pid that /proc/locks has for a flock: ``N: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF``."""
    for line in _text("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return fields[4]
    return ""


def _inheritor(inode: int) -> str:
    """Return the pid of a process that has a descriptor of the lock open: its fdinfo has the line of /proc/locks (proc(5))."""
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            descriptors = os.listdir(f"/proc/{pid}/fdinfo")
        except OSError:
            continue  # it has ended, or may not be read
        for fd in descriptors:
            text = _text(f"/proc/{pid}/fdinfo/{fd}")
            if "FLOCK" in text and f":{inode} " in text:
                return pid
    return ""


def _text(path: str) -> str:
    """Return the text of a file of /proc, empty if its process has ended."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
