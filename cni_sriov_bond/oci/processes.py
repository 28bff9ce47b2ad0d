"""Processes as /proc shows them: whether one still runs, and which are in a network namespace."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.kernel.netns import Identity

_ENDED = ("Z", "X", "x")


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot, or 0 if it has ended. With the pid it identifies a process.

    A zombie has ended: its runtime has not waited for it yet (proc_pid_stat(5), fields 3 and 22).
    """
    if pid <= 0:
        return 0
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in _ENDED else int(fields[19])


def in_namespace(netns: "Identity") -> list[int]:
    """Return the pids of the processes in a network namespace, without those that end meanwhile."""
    pids = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                status = os.stat(f"/proc/{name}/ns/net")
            except OSError:
                continue  # it has ended, or is a zombie
            if (status.st_dev, status.st_ino) == (netns.dev, netns.ino):
                pids.append(int(name))
    return pids


def is_rootless() -> bool:
    """Return whether this process is in a user namespace that is not the host's own (user_namespaces(7), uid_map)."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError:
        return False  # a kernel without user namespaces
