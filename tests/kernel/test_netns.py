"""Namespaces are opened, compared, entered and left; a path that is not a namespace is refused without waiting."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cni_sriov_bond.errors import INVALID_NETNS, IO_FAILURE, CniError
from cni_sriov_bond.kernel import netns
from tests.support import REPOSITORY, own_namespace, temporary_netns

pytestmark = pytest.mark.root

OWN = "/proc/self/ns/net"


def current() -> int:
    return os.stat(OWN).st_ino


def refusal(path: str) -> str:
    with pytest.raises(CniError) as refused:
        netns.require(path)
    assert refused.value.code == INVALID_NETNS
    return refused.value.msg


def what_is_no_namespace(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    paths = {name: str(tmp_path / name) for name in ("file", "directory", "fifo", "dangling", "loop", "missing")}
    return {**paths, "below a file": f"{tmp_path}/file/x", "other kind": "/proc/self/ns/uts", "device": "/dev/null"}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("file", "is not a network namespace"),
        ("directory", "is not a network namespace"),
        ("fifo", "is not a network namespace"),
        ("other kind", "is not a network namespace"),
        ("device", "is not a network namespace"),
        ("dangling", "does not exist"),
        ("missing", "does not exist"),
        ("below a file", "does not exist"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_namespace_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    """The error of an ADD names the path and the reason (A4, contract 4, 42); a DEL gets None (D5, D6)."""
    path = what_is_no_namespace(tmp_path)[kind]
    message = refusal(path)
    assert words in message
    assert f"CNI_NETNS {path!r}" in message
    assert netns.find(path) is None


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_what_is_no_path_is_none(path: str) -> None:
    """An empty path, one with a zero byte and one that is too long for the kernel are no namespace (D4)."""
    assert netns.find(path) is None


def test_our_own_namespace_is_refused() -> None:
    """The namespace of this process is refused by any path (A7)."""
    for path in (OWN, f"/proc/{os.getpid()}/ns/net", "/proc/thread-self/ns/net"):
        assert "is the namespace of the plugin itself" in refusal(path)


def test_refusing_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """Every refusal closes what it opened."""
    before = sorted(os.listdir("/proc/self/fd"))
    for path in (*what_is_no_namespace(tmp_path).values(), OWN):
        refusal(path)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_another_namespace_is_opened_and_identified() -> None:
    """Device and inode identify a namespace: the same by two paths, and different from two others."""
    with temporary_netns() as first, temporary_netns() as other, own_namespace() as ours:
        opened = netns.require(first.path)
        again = netns.find(first.path)
        assert again is not None
        assert (opened.path, opened.ino) == (first.path, os.stat(first.path).st_ino)
        assert opened.same(first.netns)
        assert opened.same(again)
        assert not opened.same(other.netns)
        assert not opened.same(ours)
        opened.close()
        again.close()


def test_descriptors_are_not_inherited() -> None:
    """A process that inherited one would keep the container's namespace in existence."""
    with temporary_netns() as first, own_namespace() as ours:
        assert not os.get_inheritable(first.netns.fd)
        assert not os.get_inheritable(ours.fd)


def test_entering_changes_the_namespace_and_leaving_restores_it() -> None:
    """The block runs in the namespace, also when blocks are nested; after it the previous one is current."""
    before_entering = current()
    with temporary_netns() as first, temporary_netns() as other:
        with netns.Entered(first.netns):
            assert current() == first.netns.ino
            with netns.Entered(other.netns):
                assert current() == other.netns.ino
            assert current() == first.netns.ino
        assert current() == before_entering


def test_an_exception_in_the_block_restores_it_too() -> None:
    """After an exception too the previous namespace is current, and no descriptor is left open."""
    before_entering = current()
    with temporary_netns() as first:
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(KeyError), netns.Entered(first.netns):
            raise KeyError
        assert current() == before_entering
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_temporary_namespace_is_new_and_not_entered() -> None:
    """It is a new one, and the current one does not change."""
    before_entering = current()
    with netns.Temporary() as created:
        assert created.ino != before_entering
        assert current() == before_entering


def test_entering_what_is_no_namespace_is_reported() -> None:
    """The error has the kernel's reason, and the current namespace does not change."""
    before_entering = current()
    none = netns.Netns("/dev/null", os.open("/dev/null", os.O_RDONLY))
    with pytest.raises(CniError, match=r"cannot change the network namespace \(setns\): Invalid argument") as refused:
        netns.Entered(none).__enter__()
    none.close()
    assert (refused.value.code, current()) == (IO_FAILURE, before_entering)


# Enters a namespace, in which it must not stay, and says what it did after the block.
ENTER = """
import sys
from cni_sriov_bond.cni import process
from cni_sriov_bond.kernel import netns
process.report_with(lambda error: print(error.msg, flush=True))
try:
    if sys.argv[1] == "entered":
        with netns.Entered(netns.find(sys.argv[2])):
            print("inside", flush=True)
    else:
        with netns.Temporary():
            print("not reached", flush=True)
except BaseException as failed:
    print("went on", repr(failed), flush=True)
finally:
    print("cleaned up", flush=True)
"""


@pytest.mark.parametrize(
    ("way", "successes", "place"), [("entered", "1", "{path}"), ("temporary", "0", "a temporary namespace")]
)
def test_a_process_that_cannot_return_ends(shim: Path, way: str, successes: str, place: str) -> None:
    """With one error, and without running a handler or a ``finally``: there they would take the container for the host."""
    with temporary_netns() as first:
        environ = {**os.environ, "LD_PRELOAD": str(shim), "SHIM_SETNS": successes}
        argv = [sys.executable, "-c", ENTER, way, first.path]
        done = subprocess.run(argv, env=environ, cwd=REPOSITORY, text=True, stdout=-1, stderr=-2, check=False, timeout=60)
        place = place.format(path=first.path)
    *before, error = done.stdout.splitlines()
    assert (done.returncode, before) == (1, ["inside"] if way == "entered" else [])
    reason = "cannot change the network namespace (setns): Cannot allocate memory"
    assert error == (
        f"the process ended, because it cannot leave the network namespace {place}: {reason}; DEL the container, or run "
        "`sriov-bondctl gc`"
    )


def test_an_interrupt_waits_until_the_namespace_is_left() -> None:
    """Between the return and what precedes it, KeyboardInterrupt would leave the process in the container's namespace."""
    before_entering = current()
    with temporary_netns() as first:
        visited = 0
        with pytest.raises(KeyboardInterrupt), netns.Entered(first.netns):
            signal.raise_signal(signal.SIGINT)  # to this thread; pytest may have others
            visited = current()
        assert (visited, current()) == (first.netns.ino, before_entering)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
