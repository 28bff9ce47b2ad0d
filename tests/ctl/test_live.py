"""Reading the live state: what a container has no bond for, what is gone, and that nothing of ours stays in a namespace."""

import os
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.ctl import live
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import NetnsIdentity
from tests.ctl.samples import bond
from tests.support import add_device, change_inventory, lease, make_pool, temporary_netns

pytestmark = pytest.mark.root
NIC = {"pci": "ffff:01:00.0", "name": "enp1s0", "number": 1, "made_vfs": True, "brought_up": False}


def read(state: Path, netns: NetnsIdentity, **record: Any) -> live.LiveBond:
    """Return a bond that is leased to a container in a namespace."""
    pool = make_pool(state, size=1)
    taken = lease(pool, netns=netns, **record)
    taken.save(READY)
    taken.close()
    [shown] = live.read(str(state), ["db"]).bonds
    return shown


def test_a_container_without_its_bond(tmp_path: Path) -> None:
    """It deleted it. No descriptor stays open, which would keep the namespace."""
    with temporary_netns() as netns:
        before = os.listdir("/proc/self/fd")
        shown = read(tmp_path, NetnsIdentity(netns.path, netns.netns.dev, netns.netns.ino))
        assert len(os.listdir("/proc/self/fd")) == len(before)
    assert (shown.link, shown.absence) == (None, "its container has no bond eth0")
    assert [(port.name, port.present, port.active) for port in shown.ports] == [("VF11", False, False), ("VF21", False, False)]


def test_a_namespace_that_is_gone_or_another_one(tmp_path: Path) -> None:
    assert read(tmp_path / "1", NetnsIdentity("/run/netns/gone", 4, 1)).absence == "the namespace of its container is gone"
    with temporary_netns() as netns:
        shown = read(tmp_path / "2", NetnsIdentity(netns.path, netns.netns.dev, netns.netns.ino + 1))
    assert shown.absence == "the namespace of its container is gone, and there is another at its path"


def test_a_lease_of_an_earlier_boot_is_not_looked_for(tmp_path: Path) -> None:
    with temporary_netns() as netns:
        identity = NetnsIdentity(netns.path, netns.netns.dev, netns.netns.ino)
        shown = read(tmp_path, identity, boot_id="earlier")
    assert shown.absence == "its container ran before the last boot"


def test_one_bad_pool_and_one_bad_lease_are_problems(tmp_path: Path) -> None:
    good, bad = make_pool(tmp_path, "good", 2), make_pool(tmp_path, "bad")
    Path(bad.path, "pool.json").write_text("{")
    for name in ("c1", "c2"):
        taken = lease(good, name)
        taken.save(READY)
        taken.close()
    Path(good.leases, taken.entry.file).write_text("{")
    snapshot = live.read(str(tmp_path), ["bad", "good"])
    assert [shown.attachment.container_id for shown in snapshot.bonds] == ["c1"]
    assert snapshot.sizes == {"good": 2}
    assert ["is damaged" in problem for problem in snapshot.problems] == [True, True]


def test_a_nic_is_read_in_the_host(tmp_path: Path, devices: Path) -> None:
    """`lo` in the place of a PF: it is up, and has counters. A NIC that is not there has none."""
    state = tmp_path / "state"
    add_device(devices, "ffff:01:00.0", "lo")
    change_inventory(make_pool(state), nics=[NIC, {**NIC, "pci": "ffff:02:00.0", "name": "enp2s0", "number": 2}])
    first, second = live.read_nics(str(state), "db")
    assert (first.name, first.present, first.number) == ("lo", True, 1)
    assert first.counters is not None
    assert second == live.LiveNic("db", "ffff:02:00.0", "enp2s0", 2)


def test_failovers_are_the_failures_of_all_ports() -> None:
    shown = bond()
    assert shown.failovers == 1
    assert [port.name for port in shown.active] == ["VF21"]
    assert shown.link
    assert shown.link.mode == "active-backup"
