"""The state of a pool as a value, from a state directory and a tree in place of /sys/bus/pci/devices."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cni_sriov_bond.ctl import status
from cni_sriov_bond.ctl.status import BROKEN, FREE, QUARANTINED
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.pool import quarantine
from cni_sriov_bond.pool.lease import ADDING, DRAINING, READY, RELEASING, Lease
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import DelegateCall, NetnsIdentity, Requested
from cni_sriov_bond.ports import VfSettings
from tests.support import add_device, change_inventory, contents, holder, lease, make_pool, vf_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_sriov_bond.ports import Port

MAC = "02:00:00:00:00:01"
DELEGATE = DelegateCall("none", {}, "{}")


@pytest.fixture
def db_pool(devices: Path, tmp_path: Path) -> Pool:
    """A pool of two bonds; ``add_vfs`` puts VFs into the host."""
    return make_pool(tmp_path / "state", size=2)


def add_vfs(devices: Path, ports: "Iterable[Port]") -> None:
    for port in ports:
        add_device(devices, port.address, port.name, "igbvf")


def take_away(devices: Path, port: "Port") -> None:
    """Have a VF in another network namespace: its directory of network devices is there and empty."""
    (devices / port.address / "net" / port.name).rmdir()


def bonds_of(pool: Pool) -> list[status.BondStatus]:
    """Return the bonds as `status` has them, which changes nothing."""
    before = contents(Path(pool.state_dir))
    bonds = status.collect(pool.state_dir, pool.name).bonds
    assert contents(Path(pool.state_dir)) == before
    return bonds


def add_in_progress(pool: Pool, devices: Path) -> Lease:
    """Lease the first bond as an ADD that is about to move its VFs."""
    leased = lease(pool, "c1", before={"x": vf_state()}, mac=MAC)
    add_vfs(devices, leased.record.ports)
    return leased


def test_a_free_bond_has_its_ports_by_their_present_names(devices: Path, db_pool: Pool) -> None:
    first, second = db_pool.bonds()
    add_vfs(devices, (*first.ports, *second.ports))
    device = devices / second.ports[1].address / "net"
    (device / second.ports[1].name).rename(device / "eth7")
    pool = status.collect(db_pool.state_dir, "db")
    assert (pool.name, pool.this_boot, pool.pending, pool.nics) == ("db", True, 0, [])
    assert [(bond.name, bond.mac, bond.state, bond.problem, bond.waiting, bond.lease) for bond in pool.bonds] == [
        (name, mac, FREE, "", "", None) for name, mac in (("cbond1", first.mac), ("cbond2", second.mac))
    ]
    assert [[port.device for port in bond.ports] for bond in pool.bonds] == [["VF11", "VF21"], ["VF12", "eth7"]]
    port = second.ports[0]
    assert pool.to_json()["bonds"][1]["ports"][0] == {
        "pci": port.address, "name": port.name, "pf": port.pf_address, "vf": port.vf_index, "device": "VF12",
        "active": None, "link": None,
    }  # fmt: skip


def test_a_pool_of_an_earlier_boot_says_so(db_pool: Pool) -> None:
    change_inventory(db_pool, boot_id="earlier")
    assert status.collect(db_pool.state_dir, "db").this_boot is False


def test_a_pool_that_is_not_provisioned_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CniError, match=r"pool .web. is not provisioned"):
        status.collect(str(tmp_path), "web")


def test_a_free_bond_without_its_vfs_is_broken(devices: Path, db_pool: Pool) -> None:
    """The reason is that of the first VF that is missing."""
    first, second = db_pool.bonds()
    add_vfs(devices, first.ports[:1])
    add_vfs(devices, second.ports)
    broken, free = bonds_of(db_pool)
    assert (broken.state, free.state) == (BROKEN, FREE)
    assert broken.problem == (
        "VF21 is not in the host, though the bond is not leased: it is not on the PCI bus; run `sriov-bondctl up`"
    )
    assert broken.to_json()["problem"] == broken.problem
    assert sorted(free.to_json()) == ["mac", "name", "ports", "state"]


def test_a_leased_bond_names_its_container(devices: Path, db_pool: Pool) -> None:
    """With the addresses and MACs that its record has; the container has the VFs."""
    leased = add_in_progress(db_pool, devices)
    ports = leased.record.ports
    leased.record.netns = NetnsIdentity(f"/proc/{os.getpid()}/ns/net", 4, 1)
    leased.record.requested = Requested(vf=VfSettings(vlan=100))
    leased.record.port_macs = {ports[0].address: MAC}
    leased.record.addresses = ["10.0.0.5/24"]
    leased.save(READY)
    leased.close()
    for port in ports:
        take_away(devices, port)
    bond = bonds_of(db_pool)[0]
    assert (bond.state, bond.problem, bond.waiting) == (READY, "", "")
    assert bond.lease is not None
    assert bond.to_json()["lease"] == {
        "network": "net1", "container_id": "c1", "ifname": "eth0", "netns": f"/proc/{os.getpid()}/ns/net",
        "ips": ["10.0.0.5/24"], "vlan": 100, "macs": [MAC, ""], "created": leased.record.created, "this_boot": True,
    }  # fmt: skip


def test_a_call_that_runs_is_not_waited_for(devices: Path, db_pool: Pool) -> None:
    """Its lock tells it from one that was interrupted, also of another process."""
    leased = add_in_progress(db_pool, devices)
    assert (bonds_of(db_pool)[0].state, bonds_of(db_pool)[0].waiting) == (ADDING, "")
    leased.close()
    interrupted = "its ADD or DEL was interrupted; run `sriov-bondctl gc` to finish it"
    assert bonds_of(db_pool)[0].waiting == interrupted
    with holder(f"{db_pool.path}/bonds/cbond1"):
        assert bonds_of(db_pool)[0].waiting == ""


@pytest.mark.parametrize(
    ("state", "away", "waiting"),
    [
        (READY, 0, "no container has it any more; run `sriov-bondctl gc` to release it"),
        (READY, 1, ""),
        (RELEASING, 1, "its ADD or DEL was interrupted; run `sriov-bondctl gc` to finish it"),
        (DRAINING, 2, "VF11 and VF21 not yet in the host; run `sriov-bondctl gc` when the container has ended"),
        (DRAINING, 1, "VF11 not yet in the host; run `sriov-bondctl gc` when the container has ended"),
        (DRAINING, 0, "it is to be released; run `sriov-bondctl gc` to finish it"),
    ],
)
def test_what_a_lease_waits_for_depends_on_where_its_vfs_are(
    devices: Path, db_pool: Pool, state: str, away: int, waiting: str
) -> None:
    """A ready lease whose VFs are all in the host has no container."""
    leased = add_in_progress(db_pool, devices)
    leased.save(state)
    leased.close()
    for port in leased.record.ports[:away]:
        take_away(devices, port)
    bond = bonds_of(db_pool)[0]
    assert (bond.state, bond.waiting) == (state, waiting)


def test_after_a_reboot_no_vf_of_a_lease_is_waited_for(devices: Path, db_pool: Pool) -> None:
    leased = add_in_progress(db_pool, devices)
    leased.record.boot_id = "earlier"
    leased.save(DRAINING)
    leased.close()
    for port in leased.record.ports:
        take_away(devices, port)
    bond = bonds_of(db_pool)[0]
    assert bond.waiting == "it is to be released; run `sriov-bondctl gc` to finish it"
    assert bond.lease is not None and not bond.lease.this_boot


def test_a_damaged_lease_and_a_quarantine_name_the_command(devices: Path, db_pool: Pool) -> None:
    leased = lease(db_pool)
    leased.close()
    Path(db_pool.leases, leased.entry.file).write_text("{")
    quarantine.add(db_pool.path, "cbond2", "VF12 is lost")
    damaged, quarantined = bonds_of(db_pool)
    assert (damaged.state, "is damaged" in damaged.problem, damaged.lease) == (ADDING, True, None)
    assert (quarantined.state, quarantined.problem) == (QUARANTINED, "VF12 is lost")
    assert [damaged.waiting, quarantined.waiting] == [
        "run `sriov-bondctl gc` to release it once its VFs are in the host",
        "run `sriov-bondctl release db/cbond2` once its VFs can be used",
    ]


def test_a_lease_of_a_newer_version_is_a_problem_and_not_damage(db_pool: Pool) -> None:
    leased = lease(db_pool)
    leased.close()
    Path(db_pool.leases, leased.entry.file).write_text('{"version": 99}')
    bond = bonds_of(db_pool)[0]
    assert "is of version 99" in bond.problem
    assert (bond.waiting, bond.lease) == ("", None)


def test_pending_ipam_dels_are_counted(db_pool: Pool) -> None:
    leased = lease(db_pool, delegate=DELEGATE)
    leased.make_pending()
    leased.close()
    pool = status.collect(db_pool.state_dir, "db")
    assert (pool.pending, pool.to_json()["pending"], pool.bonds[0].state) == (1, 1, BROKEN)
