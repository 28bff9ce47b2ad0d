"""All pools of a state directory: an attachment's lease is found in any of them."""

from pathlib import Path

import pytest

from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.pool import inventory, pools
from cni_sriov_bond.pool.record import Attachment
from tests.support import ATTACHMENT, lease, make_pool


def test_a_lease_is_found_by_its_attachment_in_any_pool(tmp_path: Path) -> None:
    """The config may name another pool by now: the attachment alone finds its lease (D10)."""
    make_pool(tmp_path, "aa")
    lease(make_pool(tmp_path, "zz")).close()
    open_lease = pools.find(str(tmp_path), ATTACHMENT)
    assert open_lease is not None
    assert (open_lease.pool, str(open_lease)) == ("zz", "bond cbond1 of pool zz")
    open_lease.close()
    assert pools.find(str(tmp_path), Attachment("net1", "c2", "eth0")) is None


@pytest.mark.parametrize("state_dir", ["absent", "file", "empty"])
def test_a_missing_state_directory_has_no_leases(tmp_path: Path, state_dir: str) -> None:
    """No state directory, or a file in its place, has no leases and no pools, and is no error (D3, D11)."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert pools.find(str(tmp_path / state_dir), ATTACHMENT) is None
    assert inventory.names(str(tmp_path / state_dir)) == []


def test_directories_that_cannot_be_made_are_an_error_that_names_them(tmp_path: Path) -> None:
    """Provisioning below a file says which directory could not be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CniError, match=f"cannot create the directory {tmp_path}/file/state") as refused:
        make_pool(tmp_path / "file" / "state")
    assert refused.value.code == IO_FAILURE
