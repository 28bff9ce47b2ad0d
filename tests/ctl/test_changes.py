"""The record of what `up` changed."""

import json
from pathlib import Path

from cni_sriov_bond.ctl.changes import FILE, Changes


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Changes(str(tmp_path))
    record.brought_up, record.made_vfs, record.numbers = {"0000:01:00.0"}, {"0000:02:00.0"}, {"0000:02:00.0": 3}
    record.directories, record.vfs = ["/run/x"], {"0000:01:10.0": {"name": "eth5"}}
    record.save()
    assert vars(Changes(str(tmp_path))) == vars(record)


def test_that_of_another_boot_is_empty(tmp_path: Path) -> None:
    """After a boot nothing of it is there, and its addresses may be other devices."""
    record = Changes(str(tmp_path))
    record.brought_up = {"0000:01:00.0"}
    record.save()
    document = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**document, "boot_id": "another"}))
    assert Changes(str(tmp_path)).brought_up == set()


def test_a_damaged_one_is_empty(tmp_path: Path) -> None:
    """`down` then does without it, as for a pool of an older version."""
    for content in (b"", b"{", b"[]", b"\xff", b"5"):
        (tmp_path / FILE).write_bytes(content)
        assert vars(Changes(str(tmp_path))) == vars(Changes(str(tmp_path / "none"))) | {"_directory": str(tmp_path)}


def test_only_empty_directories_are_removed(tmp_path: Path) -> None:
    for name in ("a/b", "c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c/file").touch()
    record = Changes(str(tmp_path))
    record.directories = [str(tmp_path / name) for name in ("a", "a/b", "c", "gone")]
    record.remove_directories()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
