"""Pins of real namespaces."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import pin
from tests.oci import fakes


def test_a_pin_keeps_a_namespace(tmp_path: Path) -> None:
    path = str(tmp_path / "pin")
    with fakes.container() as container:
        namespace = container.open()
        pin.create(path, namespace)
        pin.create(path, namespace)  # again, as after a hook that was killed
        namespace.close()
    assert pin.holds(path, namespace)
    pin.remove(path)
    pin.remove(path)
    assert not pin.holds(path, namespace)
    assert not os.path.lexists(path)


def test_a_pin_of_another_namespace_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "pin")
    with fakes.container() as first, fakes.container() as second:
        one, two = first.open(), second.open()
        pin.create(path, one)
        pin.create(path, two)
        assert pin.holds(path, two)
        assert not pin.holds(path, one)
        one.close()
        two.close()
    pin.remove(path)


def test_a_file_of_before_a_reboot_is_no_pin(tmp_path: Path) -> None:
    """The mount is gone after a reboot, but its file is not."""
    path = tmp_path / "pin"
    path.touch()
    own = netns.own()
    assert not pin.holds(str(path), own)
    own.close()
    pin.remove(str(path))
    assert not path.exists()


def test_two_mounts_on_each_other_are_both_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "pin")
    with fakes.container() as container:
        namespace = container.open()
        pin.create(path, namespace)
        assert pin._mount(container.path, path) == 0
        pin.remove(path)
        namespace.close()
    assert not os.path.lexists(path)


def test_a_pin_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    own = netns.own()
    with pytest.raises(CniError, match=r"cannot create .*missing/pin"):
        pin.create(str(tmp_path / "missing/pin"), own)
    own.close()


def test_a_child_mounts_in_the_mounts_of_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a process with mounts of its own: a child enters the other namespace, and its errno is returned."""
    monkeypatch.setattr(pin, "_INIT_MOUNTS", "/proc/self/ns/mnt")
    assert pin._in_child(lambda: 0) == 0
    assert pin._in_child(lambda: 17) == 17
    monkeypatch.setattr(pin, "_INIT_MOUNTS", str(tmp_path))
    assert pin._in_child(lambda: 0) != 0
