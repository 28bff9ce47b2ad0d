"""Repairs: which are safe, and what they refuse. The lab runs those that need a kernel with VFs."""

import pytest

from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.errors import CniError
from tests.doctor.fake_host import PCI, PFS, FakeHost
from tests.support import ready


def test_up_is_safe_only_where_it_creates_no_vfs(fake: FakeHost) -> None:
    fix = repairs.up(fake.host(), "db")
    assert fix is not None
    assert (fix.text, fix.safe) == ("run `sriov-bondctl up db`", True)
    fake.write(f"{PCI}/{PFS[1]}/sriov_numvfs", "0\n")
    fix = repairs.up(fake.host(), "db")
    assert fix is not None
    assert not fix.safe
    assert repairs.up(fake.host(), "web") is None, "the host file has no such pool"


def test_a_leased_bonds_vf_is_not_moved(fake: FakeHost) -> None:
    ready(fake.pool, "c1")
    bond = fake.bonds()[0]
    fix = repairs.bring_home(fake.host(), "db", bond, bond.ports[0])
    assert not fix.safe
    with pytest.raises(CniError, match="bond cbond1 is leased by now"):
        fix.run()


@pytest.mark.root
def test_a_vf_that_no_namespace_has_is_said(fake: FakeHost) -> None:
    bond = fake.bonds()[0]
    with pytest.raises(CniError, match="no namespace was found that has VF11"):
        repairs.bring_home(fake.host(), "db", bond, bond.ports[0]).run()


def test_gc_is_safe_and_says_how_much_it_finished(fake: FakeHost) -> None:
    ready(fake.pool, "c1", boot_id="earlier")
    fix = repairs.gc(fake.host(), "db")
    assert fix.safe
    assert fix.run() == "finished 1 leases and pending DELs of pool db"


def test_a_plugin_keeps_its_other_permissions(fake: FakeHost) -> None:
    path = fake.root / "opt/cni/bin/sriov-bond"
    path.chmod(0o4640)
    repairs.make_executable(fake.host(), "/opt/cni/bin/sriov-bond", True).run()
    assert path.stat().st_mode & 0o7777 == 0o4755
