"""Files of others that are replaced as a whole."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.oci.rewrite import rewrite


@pytest.mark.root
@pytest.mark.parametrize("durable", [True, False])
def test_owner_mode_and_link_stay(tmp_path: Path, durable: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    os.chown(target, 1, 2)  # it clears the bit that chmod sets
    target.chmod(0o4640)
    link.symlink_to(target)
    rewrite(str(link), "new \udcff", durable=durable)
    status = target.stat()
    assert (target.read_bytes(), link.is_symlink()) == (b"new \xff", True)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1, 2, 0o4640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_what_cannot_be_replaced_is_as_before(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        rewrite(str(path), "new", durable=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]
