"""The directories of the hook."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci.site import CREATE_SECONDS, CREATE_TIMEOUT, UNDO_SECONDS, Site, beside, require_trusted


def test_directories_are_private(tmp_path: Path) -> None:
    site = beside(str(tmp_path / "lib/pools"))
    site.make_directories()
    site.make_directories()
    assert site.state_dir == f"{tmp_path}/lib/pools-oci"
    for path in (Path(site.state_dir), *Path(site.state_dir).iterdir()):
        assert path.stat().st_mode & 0o777 == 0o700


def test_the_runtime_waits_longer_than_the_hook_works() -> None:
    """So that the error is the hook's, and everything is undone."""
    assert CREATE_SECONDS + UNDO_SECONDS < CREATE_TIMEOUT


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CniError, match="cannot create the directory"):
        Site(str(tmp_path / "file/state")).make_directories()


@pytest.mark.parametrize(("mode", "trusted"), [(0o644, True), (0o755, True), (0o664, False), (0o602, False)])
def test_what_others_can_change_is_not_trusted(tmp_path: Path, mode: int, trusted: bool) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    if trusted:
        require_trusted(str(path), "the file")
    else:
        with pytest.raises(CniError, match=r"the file .*file can be changed by other users"):
            require_trusted(str(path), "the file")


def test_a_file_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 7, 7)
    with pytest.raises(CniError, match="belongs to user 7; run `chown root"):
        require_trusted(str(path), "the file")
