"""ADD and DEL are killed, or fail, at each of their system calls, and nothing leaks after a recovery."""

import json
import re

import pytest
from rich.console import Console

from tests.lab.inside.sweep import CASES, RECOVERIES
from tests.lab.kill_sweep import PASS_SECONDS, Outcome, turn
from tests.lab.machine import INSIDE
from tests.lab.product import PLUGIN, Product, network

# Points that every ADD and DEL has. They show that the tracer works.
REQUIRED = {
    "ADD": ("flock", "fsync", "rename", "setns", "NEWLINK", "SETLINK to netns", "SETLINK port of", "write stdout"),
    "DEL": ("flock", "fsync", "unlink", "setns", "DELLINK", "SETLINK to netns"),
}


# Calls that are no points: they read, wait, or change only their own process. Every call of our programs and delegates must be
# here or in tracer.c's table, so that no possible leak is missed.
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

# ioctl requests that only read, or set flags of a descriptor.
HARMLESS_REQUESTS = ("FIOCLEX", "FIONBIO", "NS_GET_NSTYPE", "SIOCGIF", "TCGETS", "TIOCGWINSZ")


@pytest.mark.parametrize("delegate", ["sriov-bond-ipam", "host-local"])
def test_every_call_is_a_point_or_known_to_be_harmless(product: Product, delegate: str) -> None:
    """The tracer misses no call of ADD, DEL or a delegate."""
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
    assert {"openat", "fsync", "sendto", "setns"} <= {name for name, _ in calls}, "strace works"
    assert sorted({name for name, _ in calls} - table - HARMLESS - {"ioctl"}) == []
    requests = {re.split("[,)]", rest)[1].strip() for name, rest in calls if name == "ioctl"}
    assert [request for request in requests if not request.startswith(HARMLESS_REQUESTS)] == []


@pytest.mark.timeout(PASS_SECONDS + 300)
def test_nothing_leaks_wherever_it_dies(swept: Outcome) -> None:
    """Every point of an undisturbed call was interrupted once, and the outside checker reported nothing.

    The sweep runs beside other tests of the lab (tests/lab/two_runs.py).
    """
    print(f"\nkill sweep from turn {turn()}")
    Console(width=160).print(swept.table())
    assert [(row["variant"], row["verb"], row["kind"]) for row in swept.rows] == list(CASES)
    for row in swept.rows:
        case = f"{row['variant']} {row['verb']} {row['kind']}"
        # The directory exists once a bond was in quarantine, which the sweep itself causes.
        assert set(row["all"]) - {"flock quarantine"} <= set(row["reached"]), case
        assert row["points"] == row["runs"] >= len(set(row["all"])) > 0, case
        assert set(row["recoveries"]) == set(RECOVERIES) or row["points"] < len(RECOVERIES), case
        if row["kind"] == "kill":
            for required in REQUIRED[row["verb"]]:
                assert any(point.startswith(required) for point in row["reached"]), f"{case}: {required}"
    assert swept.leaks == []
