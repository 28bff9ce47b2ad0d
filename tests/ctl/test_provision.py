"""``up`` and ``down`` where they refuse, over a tree of files like the kernel's; what they do is seen in the lab."""

import os
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import provision, removal, udevrules
from cni_sriov_bond.ctl.changes import Changes
from cni_sriov_bond.ctl.hostfile import PoolPlan
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.plugin import release
from cni_sriov_bond.pool import inventory, pool
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import DelegateCall
from cni_sriov_bond.ports import Bond
from tests.support import bond_entry, change_inventory, context, lease, make_pool, program, read_inventory

QUIET = context(float("inf"), "panic")
NICS = ("ffff:01:00.0", "ffff:02:00.0")


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two NICs without VFs, in a directory in the place of /sys/bus/pci/devices."""
    tree = tmp_path / "devices"
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tree))
    for place, pci in enumerate(NICS, 1):
        (tree / pci / f"net/enp{place}s0").mkdir(parents=True)
        for attribute, value in (("sriov_totalvfs", 7), ("sriov_numvfs", 0), ("sriov_offset", 128), ("sriov_stride", 2)):
            (tree / pci / attribute).write_text(f"{value}\n")
    return tree


def owned(db_pool: pool.Pool, made_vfs: bool = False) -> None:
    """Have the inventory of a pool say that the NICs are its."""
    nics = [
        {"pci": pci, "name": f"enp{place}s0", "number": place, "made_vfs": made_vfs, "brought_up": False}
        for place, pci in enumerate(NICS, 1)
    ]
    change_inventory(db_pool, nics=nics)


def refusal(state: Path, verb: str, name: str, selected: tuple[range, ...] = ()) -> str:
    with pytest.raises(CniError) as refused:
        if verb == "up":
            plan = PoolPlan(name, NICS, (1, 2), None, "VF{nic}{vf}", "cbond{n}", selected)
            provision.up(str(state), plan, QUIET, lambda stage, count, total: None)
        else:
            removal.down(str(state), name, QUIET)
    assert refused.value.code == POOL_UNUSABLE
    return refused.value.msg


def test_a_nic_of_another_pool_is_refused(tmp_path: Path, devices: Path) -> None:
    """Each pool would lease the other's VFs; a pool that was renamed in the host file must go under its old name first."""
    db_pool = make_pool(tmp_path, "db")
    owned(db_pool)
    words = refusal(tmp_path, "up", "web")
    assert "the NIC enp1s0 (ffff:01:00.0) of pool web is in pool db already; run `sriov-bondctl down db` first" in words
    assert (devices / NICS[0] / "sriov_numvfs").read_text() == "0\n"


def test_the_pool_of_an_earlier_boot_has_no_nics(tmp_path: Path, devices: Path) -> None:
    """They may be another pool's by now, which its `down` must not take the VFs from."""
    db_pool = make_pool(tmp_path, "db")
    owned(db_pool, made_vfs=True)
    change_inventory(db_pool, boot_id="another")
    (devices / NICS[0] / "sriov_numvfs").write_text("7\n")
    removal.down(str(tmp_path), "db", QUIET)
    assert (devices / NICS[0] / "sriov_numvfs").read_text() == "7\n"
    owned(make_pool(tmp_path, "db"))
    change_inventory(db_pool, boot_id="another")
    (devices / NICS[1] / "sriov_totalvfs").write_text("0\n")
    assert "enp2s0 offers 0" in refusal(tmp_path, "up", "web")


def test_a_pool_with_pending_ipam_dels_stays(tmp_path: Path, devices: Path) -> None:
    """The records of the DELs would be removed with it; once they are sent it can be removed."""
    db_pool = make_pool(tmp_path / "state", "db")
    program(tmp_path, "ipam", "exit 3")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
    taken = lease(db_pool, delegate=delegate)
    release.release(taken, QUIET, release.DEL)
    taken.close()
    assert "pool db cannot be removed while IPAM DELs are pending: 1; `sriov-bondctl gc db` sends them" in refusal(
        tmp_path / "state", "down", "db"
    )
    assert db_pool.bonds()
    program(tmp_path, "ipam", "exit 0")
    removal.down(str(tmp_path / "state"), "db", QUIET)
    assert not Path(db_pool.path).exists()


def test_a_vf_that_somebody_else_has_is_not_pulled_out(tmp_path: Path, devices: Path) -> None:
    """A virtual machine that has one by vfio would hold the kernel, and the pool's lock, until its end."""
    db_pool = make_pool(tmp_path, "db", 1)
    owned(db_pool, made_vfs=True)
    vf = bond_entry(1)["ports"][0]["pci"]
    (devices / vf).mkdir()
    (devices / vf / "driver").symlink_to("../../../bus/pci/drivers/vfio-pci")
    (devices / NICS[0] / "virtfn0").symlink_to(f"../{vf}")
    (devices / NICS[0] / "sriov_numvfs").write_text("1\n")
    assert f"the VF at {vf} of enp1s0 is in use: its driver vfio-pci creates no network device" in refusal(
        tmp_path, "down", "db"
    )
    assert db_pool.bonds_of_this_boot()


def test_a_nic_that_is_gone_does_not_keep_its_pool(tmp_path: Path, devices: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its VFs are gone with it; those of the other are removed."""
    db_pool = make_pool(tmp_path, "db")
    owned(db_pool, made_vfs=True)
    os.rename(devices / NICS[1], devices / "ffff:03:00.0")
    (devices / NICS[0] / "sriov_numvfs").write_text("0\n")
    removal.down(str(tmp_path), "db", context())
    assert "nothing of enp2s0 is removed: the NIC ffff:02:00.0 has no network device" in capfd.readouterr().err
    assert not Path(db_pool.path).exists()


def test_a_down_that_died_can_be_repeated(tmp_path: Path, devices: Path) -> None:
    """What it had to do is kept, and until then nobody is given a bond of the pool."""
    db_pool = make_pool(tmp_path, "db")
    owned(db_pool)
    change_inventory(db_pool, leaving=True)
    with pytest.raises(
        CniError, match="the removal of pool db was interrupted; run `sriov-bondctl down db` again, or `up`"
    ) as refused:
        lease(db_pool)
    assert refused.value.code == POOL_UNUSABLE
    removal.down(str(tmp_path), "db", QUIET)
    assert not Path(db_pool.path).exists()


def test_a_vf_is_known_by_its_place_on_the_nic(devices: Path) -> None:
    """With another number of VFs the same address may be another VF, whose VLAN would be set on the wrong one."""
    port = Bond.from_json(bond_entry(1)).ports[0]
    (devices / NICS[0] / "virtfn0").symlink_to(f"../{port.address}")
    assert sysfs.is_vf(port)
    (devices / NICS[0] / "virtfn0").unlink()
    (devices / NICS[0] / "virtfn0").symlink_to("../ffff:01:10.7")
    assert not sysfs.is_vf(port)


def test_vfs_are_not_replaced_under_a_lease(tmp_path: Path, devices: Path) -> None:
    """Another number of VFs would remove those of the container, and the refusal changes no NIC."""
    db_pool = make_pool(tmp_path, "db")
    owned(db_pool)
    taken = lease(db_pool)
    taken.save(READY)
    try:
        (devices / NICS[0] / "sriov_numvfs").write_text("0\n")
        (devices / NICS[1] / "sriov_numvfs").write_text("3\n")
        words = "enp2s0 has 3 VFs, not 7; they cannot be replaced while bonds are leased: cbond1 by container c1 eth0 (ready)"
        assert words in refusal(tmp_path, "up", "db")
        assert [(devices / pci / "sriov_numvfs").read_text() for pci in NICS] == ["0\n", "3\n"]
    finally:
        taken.close()


def test_an_inventory_without_its_parts_is_one_of_another_version(tmp_path: Path, devices: Path) -> None:
    """What `down` has to undo cannot be known then; the answer is a sentence, and `up` writes it anew."""
    db_pool = make_pool(tmp_path, "db")
    change_inventory(db_pool, nics=[{"pci": NICS[0]}])
    assert f"the inventory {db_pool.path}/pool.json is not one of this version; run `sriov-bondctl up`" in refusal(
        tmp_path, "down", "db"
    )


def test_an_inventory_is_written_as_it_was_read(tmp_path: Path) -> None:
    """The file's form stays, so that an earlier version of ours reads it too."""
    db_pool = make_pool(tmp_path, "db")
    owned(db_pool, made_vfs=True)
    for more in ({}, {"leaving": True}):
        change_inventory(db_pool, **more)
        document = read_inventory(db_pool)
        inventory.write(db_pool.path, db_pool.inventory())
        assert read_inventory(db_pool) == document


def test_vfs_that_would_get_no_driver_are_not_created(tmp_path: Path, devices: Path) -> None:
    """Without this `up` waited for their devices for minutes, and a bind by hand gives ENODEV."""
    (devices / NICS[1] / "sriov_drivers_autoprobe").write_text("0\n")
    words = refusal(tmp_path, "up", "db")
    assert "sriov_drivers_autoprobe of enp2s0 is 0, so its VFs would get no driver; run `echo 1 > " in words
    assert f"{devices}/{NICS[1]}/sriov_drivers_autoprobe` and `sriov-bondctl up` again" in words
    assert [(devices / pci / "sriov_numvfs").read_text() for pci in NICS] == ["0\n", "0\n"]


def test_shared_vfs_are_never_replaced(tmp_path: Path, devices: Path) -> None:
    """Nobody uses them, as far as can be seen; but they are not the pool's alone. A NIC with more than enough is no problem."""
    (devices / NICS[0] / "sriov_numvfs").write_text("2\n")
    words = refusal(tmp_path, "up", "db", selected=(range(4),))
    assert "enp1s0 has 2 VFs, and pool db needs VFs up to number 3; its VFs are shared, so they are not replaced" in words
    assert (devices / NICS[0] / "sriov_numvfs").read_text() == "2\n"
    assert "asks for 9 VFs per NIC, but enp1s0 offers 7" in refusal(tmp_path, "up", "db", selected=(range(9),))


@pytest.mark.parametrize("others", [0, 1])
def test_down_leaves_the_vfs_of_others(tmp_path: Path, devices: Path, others: int, capfd: pytest.CaptureFixture[str]) -> None:
    """VFs can only be removed all at once. Where `up` created some that are not the pool's, they may be in use by now."""
    db_pool = make_pool(tmp_path, "db", 1)
    owned(db_pool, made_vfs=True)
    (devices / NICS[0] / "virtfn0").symlink_to(f"../{bond_entry(1)['ports'][0]['pci']}")
    (devices / NICS[0] / "virtfn1").symlink_to("../ffff:01:17.7")
    (devices / NICS[0] / "sriov_numvfs").write_text(f"{1 + others}\n")
    removal.down(str(tmp_path), "db", context())
    assert (devices / NICS[0] / "sriov_numvfs").read_text() == ("2\n" if others else "0")
    assert ("the VFs of enp1s0 stay, because some of them are not of pool db" in capfd.readouterr().err) == bool(others)
    assert not Path(db_pool.path).exists()


def test_directories_of_rules_go_with_the_pool(tmp_path: Path, devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that `up` created, and only while they are empty."""
    for name in ("run/systemd/network", "run/udev/rules.d"):
        monkeypatch.setattr(udevrules, "_LINK_DIR" if "network" in name else "_RULES_DIR", str(tmp_path / name))
    db_pool = make_pool(tmp_path / "state", "db")
    owned(db_pool)
    record = Changes(db_pool.path)
    record.directories = udevrules.directories_to_create()
    assert [path.removeprefix(str(tmp_path)) for path in record.directories] == [
        "/run",
        "/run/systemd",
        "/run/systemd/network",
        "/run/udev",
        "/run/udev/rules.d",
    ]
    record.save()
    udevrules.write("db", ["0000:01:10.0"])
    (tmp_path / "run/systemd/other").touch()
    removal.down(str(tmp_path / "state"), "db", QUIET)
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "run").rglob("*")) == [
        "run/systemd",
        "run/systemd/other",
    ]


def test_a_number_of_vfs_that_up_replaced_comes_back(tmp_path: Path, devices: Path) -> None:
    """The NIC had three VFs when `up` made it seven."""
    db_pool = make_pool(tmp_path, "db", 1)
    owned(db_pool, made_vfs=True)
    record = Changes(db_pool.path)
    record.numbers = {NICS[0]: 3}
    record.save()
    (devices / NICS[0] / "virtfn2").symlink_to("../ffff:01:10.4")
    removal.down(str(tmp_path), "db", QUIET)
    assert [(devices / pci / "sriov_numvfs").read_text() for pci in NICS] == ["3", "0\n"]


def test_a_nic_that_cannot_work_is_refused_by_name(tmp_path: Path, devices: Path) -> None:
    """InfiniBand has no VLANs for VFs, and two partitions of one port are one cable; nothing is changed."""
    (devices / NICS[1] / "net/enp2s0/type").write_text("32\n")
    assert "the NIC enp2s0 (ffff:02:00.0) cannot be used: enp2s0 is InfiniBand" in refusal(tmp_path, "up", "db")
    (devices / NICS[1] / "net/enp2s0/type").write_text("1\n")
    for pci, name in zip(NICS, ("enp1s0", "enp2s0"), strict=True):
        (devices / pci / "net" / name / "phys_port_id").write_text("0011aabb\n")
    words = refusal(tmp_path, "up", "db")
    assert "the NIC enp1s0 (ffff:01:00.0) cannot be used: it is on the same port as ffff:02:00.0" in words
    assert [(devices / pci / "sriov_numvfs").read_text() for pci in NICS] == ["0\n", "0\n"]
