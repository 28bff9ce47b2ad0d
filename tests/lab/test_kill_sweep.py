"""ADD and DEL are killed, and fail, at each of their system calls, and nothing leaks: one way back after each, in turn."""

import json
import re

import pytest
from rich.console import Console

from tests.lab.inside.sweep import CASES, WAYS
from tests.lab.kill_sweep import PASS_SECONDS, Outcome, turn
from tests.lab.machine import INSIDE
from tests.lab.product import PLUGIN, Product, network

# What an ADD and a DEL cannot do without: that the tracer sees it shows that it sees.
SEEN = {
    "ADD": ("flock", "fsync", "rename", "setns", "NEWLINK", "SETLINK to netns", "SETLINK port of", "write stdout"),
    "DEL": ("flock", "fsync", "unlink", "setns", "DELLINK", "SETLINK to netns"),
}


# Calls that are no points: they look, wait, or change nothing but the process that makes them. What a program of ours or a
# delegate does must be here or in tracer.c's table, or a way to leak may go untried.
HARMLESS = set(
    re.findall(
        r"\w+",
        """
        access arch_prctl bind brk capget clock_gettime clock_nanosleep close close_range connect dup dup2 dup3 epoll_create1
        epoll_ctl epoll_pwait eventfd2 exit exit_group faccessat2 fadvise64 fcntl fstat futex getcwd getdents64 getegid geteuid
        getgid getpid getppid getrandom getresgid getresuid getrlimit getsockname getsockopt gettid getuid getxattr lseek lstat
        madvise mincore mmap mprotect mremap munmap nanosleep newfstatat pidfd_open pipe2 poll ppoll prctl pread64 prlimit64
        read readlink readlinkat recvfrom recvmsg restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn
        sched_getaffinity sched_yield select set_robust_list set_tid_address setsockopt shutdown sigaltstack socket stat statfs
        statx sysinfo tgkill umask uname wait4 waitid
        """,
    )
)

# ioctl can do anything; these requests ask, or set how a descriptor is read.
HARMLESS_REQUESTS = ("FIOCLEX", "FIONBIO", "NS_GET_NSTYPE", "SIOCGIF", "TCGETS", "TIOCGWINSZ")


@pytest.mark.parametrize("delegate", ["sriov-bond-ipam", "host-local"])
def test_every_call_is_a_point_or_known_to_be_harmless(product: Product, delegate: str) -> None:
    """Nothing that ADD, DEL or a delegate does goes by the tracer unseen."""
    table = set(re.findall(r"\bSYS_(\w+)", (INSIDE / "tracer.c").read_text().partition("CALLS[] = {")[2].partition("};")[0]))
    config = network(ipam={**network()["ipam"], "type": delegate})
    product.guest.write("/run/config.json", json.dumps(config))
    calls: list[tuple[str, str]] = []
    with product.netns("c1") as (path,):
        environ = f"CNI_CONTAINERID=c1 CNI_NETNS={path} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin"
        for verb in ("ADD", "DEL"):
            command = f"strace -f -o /run/{verb}.calls {PLUGIN} < /run/config.json"
            product.guest.run(f"{environ} CNI_COMMAND={verb} {command}", check=True, timeout=120)
            calls += re.findall(r"^\d+ +(\w+)\((.*)", product.guest.read(f"/run/{verb}.calls"), re.MULTILINE)
    assert {"openat", "fsync", "sendto", "setns"} <= {name for name, _ in calls}, "strace sees it"
    assert sorted({name for name, _ in calls} - table - HARMLESS - {"ioctl"}) == []
    requests = {re.split("[,)]", rest)[1].strip() for name, rest in calls if name == "ioctl"}
    assert [request for request in requests if not request.startswith(HARMLESS_REQUESTS)] == []


@pytest.mark.timeout(PASS_SECONDS + 300)
def test_nothing_leaks_wherever_it_dies(swept: Outcome) -> None:
    """Every point of an undisturbed call was met in one that died there, and the outside checker had nothing to say.

    The sweep began with the tests before this one (tests/conftest.py), in a guest of its own.
    """
    print(f"\nkill sweep from turn {turn()}")
    Console(width=160).print(swept.table())
    assert [(row["variant"], row["verb"], row["kind"]) for row in swept.rows] == list(CASES)
    for row in swept.rows:
        case = f"{row['variant']} {row['verb']} {row['kind']}"
        assert set(row["all"]) <= set(row["met"]), case
        assert row["points"] == row["runs"] >= len(set(row["all"])) > 0, case
        assert set(row["ways"]) == set(WAYS) or row["points"] < len(WAYS), case
        if row["kind"] == "kill":
            missing = [seen for seen in SEEN[row["verb"]] if not any(point.startswith(seen) for point in row["met"])]
            assert missing == [], case
    assert swept.leaks == []
