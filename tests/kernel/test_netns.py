"""Namespaces are opened, told apart, entered and left; what is none is said to be none, and stops nobody."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.errors import INVALID_NETNS, IO_FAILURE, CniError
from cni_sriov_bond.kernel import netns
from tests.support import own_namespace, temporary_netns

pytestmark = pytest.mark.root

OWN = "/proc/self/ns/net"


def here() -> int:
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
def test_what_is_no_namespace_is_refused_and_not_found(tmp_path: Path, kind: str, words: str) -> None:
    """ADD gets an error that names the path and what it is (A4, contract 4, 42); DEL finds none (D5, D6)."""
    path = what_is_no_namespace(tmp_path)[kind]
    message = refusal(path)
    assert words in message
    assert f"CNI_NETNS {path!r}" in message
    assert netns.find(path) is None


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_what_is_no_path_is_not_found(path: str) -> None:
    """An empty path, one with a zero byte and one too long for the kernel are no namespace (D4)."""
    assert netns.find(path) is None


def test_our_own_namespace_is_refused() -> None:
    """The namespace that we run in is told to be it, whatever path leads there (A7)."""
    for path in (OWN, f"/proc/{os.getpid()}/ns/net", "/proc/thread-self/ns/net"):
        assert "is the namespace of the plugin itself" in refusal(path)


def test_refusing_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """Every way to be refused closes what it opened."""
    before = sorted(os.listdir("/proc/self/fd"))
    for path in (*what_is_no_namespace(tmp_path).values(), OWN):
        refusal(path)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_another_namespace_is_opened_and_known_again() -> None:
    """Device and inode tell a namespace: the same by two paths, different from ours and from another."""
    with temporary_netns() as one, temporary_netns() as other, own_namespace() as ours:
        found = netns.require(one.path)
        again = netns.find(one.path)
        assert again is not None
        assert (found.path, found.ino) == (one.path, os.stat(one.path).st_ino)
        assert found.same(one.netns)
        assert found.same(again)
        assert not found.same(other.netns)
        assert not found.same(ours)
        found.close()
        again.close()


def test_descriptors_are_not_inherited() -> None:
    """An open namespace would keep a container's alive in any process that we start."""
    with temporary_netns() as one, own_namespace() as ours:
        assert not os.get_inheritable(one.netns.fd)
        assert not os.get_inheritable(ours.fd)


def test_entering_changes_the_namespace_and_leaving_brings_back() -> None:
    """Inside the block we are there, after it here, also when blocks are nested."""
    home = here()
    with temporary_netns() as one, temporary_netns() as other:
        with netns.Entered(one.netns):
            assert here() == one.netns.ino
            with netns.Entered(other.netns):
                assert here() == other.netns.ino
            assert here() == one.netns.ino
        assert here() == home


def test_an_error_inside_brings_back_too() -> None:
    """The block may end as it likes: we are home, and nothing is left open."""
    home = here()
    with temporary_netns() as one:
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(KeyError), netns.Entered(one.netns):
            raise KeyError
        assert here() == home
        assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_temporary_namespace_is_new_and_not_entered() -> None:
    """It is another one than ours, and we stay where we are."""
    home = here()
    with netns.Temporary() as one:
        assert one.ino != home
        assert here() == home


def test_entering_what_is_none_says_why() -> None:
    """The kernel's reason for a failed change is in the error, and we are where we were."""
    home = here()
    none = netns.Netns("/dev/null", os.open("/dev/null", os.O_RDONLY))
    with pytest.raises(CniError, match=r"cannot change the network namespace \(setns\): Invalid argument") as refused:
        netns.Entered(none).__enter__()
    none.close()
    assert (refused.value.code, here()) == (IO_FAILURE, home)
