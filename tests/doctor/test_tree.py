"""Reading a tree: what is missing is empty."""

from pathlib import Path

import pytest

from cni_sriov_bond.doctor.tree import Tree


def test_a_tree_is_read_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(" 7 \n")
    (tmp_path / "b").write_bytes(b"\xff")
    (tmp_path / "to").symlink_to("../devices/0000:01:00.0")
    tree = Tree(f"{tmp_path}/")
    assert (tree.read("/a"), tree.number("/a"), tree.octets("/b")) == ("7", 7, b"\xff")
    assert (tree.link("/to"), tree.exists("/to")) == ("0000:01:00.0", True)
    assert tree.listed("/") == ["a", "b", "to"]
    tree.write("/a", "8")
    assert tree.number("/a") == 8


def test_what_is_missing_is_empty_and_is_not_created(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path))
    assert (tree.read("/x"), tree.number("/x"), tree.octets("/x"), tree.listed("/x"), tree.link("/x")) == (
        "",
        None,
        b"",
        [],
        "",
    )
    assert not tree.exists("/x")
    with pytest.raises(FileNotFoundError):
        tree.write("/x", "1")
    assert Tree().path("/etc") == "/etc"
