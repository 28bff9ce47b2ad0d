"""The record of what `up` changed."""

import json
from pathlib import Path

import pytest

from cni_sriov_bond.ctl.changes import FILE, Changes, SavedVf
from cni_sriov_bond.ports import Port
from tests.support import vf_state

VF = SavedVf(Port("0000:01:10.0", "eth5", "0000:01:00.0", 0), ("enp1s0v0",), True, vf_state())


def values(record: Changes) -> dict[str, object]:
    """Return all values of a record, in a form that can be compared."""
    return {**vars(record), "_directory": "", "vfs": {address: vf.to_json() for address, vf in record.vfs.items()}}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Changes(str(tmp_path))
    record.brought_up, record.made_vfs, record.numbers = {"0000:01:00.0"}, {"0000:02:00.0"}, {"0000:02:00.0": 3}
    record.directories, record.vfs = ["/run/x"], {VF.port.address: VF}
    record.save()
    read = Changes(str(tmp_path))
    assert values(read) == values(record)
    assert (read.vfs[VF.port.address].port.address, read.vfs[VF.port.address].altnames) == ("0000:01:10.0", ("enp1s0v0",))


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
        assert values(Changes(str(tmp_path))) == values(Changes(str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vfs", {VF.port.address: {"name": "eth5"}}),
        ("vfs", {VF.port.address: {**VF.to_json(), "state": None}}),
        ("vfs", {VF.port.address: []}),
        ("vfs", []),
        ("numbers", {"0000:01:00.0": "many"}),
        ("set_up", 5),
        ("directories", None),
    ],
)
def test_one_with_a_value_of_another_form_is_empty(tmp_path: Path, key: str, value: object) -> None:
    """All of it: a part would undo a part of what `up` did."""
    record = Changes(str(tmp_path))
    record.brought_up = {"0000:01:00.0"}
    record.save()
    document = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**document, key: value}))
    assert values(Changes(str(tmp_path))) == values(Changes(str(tmp_path / "none")))


def test_only_empty_directories_are_removed(tmp_path: Path) -> None:
    for name in ("a/b", "c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "c/file").touch()
    record = Changes(str(tmp_path))
    record.directories = [str(tmp_path / name) for name in ("a", "a/b", "c", "gone")]
    record.remove_directories()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
