"""A MAC that an ADD requests: who has it on the same VLAN, and whose own it is."""

from pathlib import Path

import pytest

from cni_sriov_bond import files
from cni_sriov_bond.errors import INVALID_CONFIG, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.lease import DRAINING, READY, RELEASING, Lease
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment, Requested
from cni_sriov_bond.ports import VfSettings
from tests.support import NETNS, lease, make_pool, names_of_leases

MAC, OTHER = "02:00:00:aa:bb:cc", "02:00:00:aa:bb:cd"


def add(pool: Pool, container_id: str, mac: str = "", vlan: int | None = 100, device: str = "") -> Lease:
    """Lease a bond as the ADD of a container does that requests a MAC, unlocked."""
    requested = Requested(vf=VfSettings(vlan=vlan), mac=mac)
    taken = acquire(pool, Attachment("net1", container_id, "eth0"), NETNS, requested, device=device)
    taken.close()
    return taken


def refusal(pool: Pool, mac: str = MAC, vlan: int | None = 100, device: str = "") -> CniError:
    with pytest.raises(CniError) as refused:
        add(pool, "c2", mac, vlan, device)
    return refused.value


@pytest.mark.parametrize("state", ["", READY, RELEASING, DRAINING])
@pytest.mark.parametrize("other_pool", [False, True])
def test_a_mac_that_a_lease_has_on_the_same_vlan_is_refused(tmp_path: Path, state: str, other_pool: bool) -> None:
    """In any pool and any state of that lease: its container may still use the MAC. The error names the container."""
    pool = make_pool(tmp_path)
    first = add(pool, "c1", MAC)
    if state:
        first.mark(state)
    failed = refusal(make_pool(tmp_path, "web") if other_pool else pool)
    assert failed.code == TRY_AGAIN_LATER
    assert failed.msg.startswith(f"the MAC {MAC} is in use on VLAN 100 by container c1 eth0 (bond cbond1 of pool db)")
    assert len(names_of_leases(pool)) == 1


def test_another_vlan_or_mac_or_none_is_leased(tmp_path: Path) -> None:
    """One MAC on two VLANs is two addresses."""
    pool = make_pool(tmp_path, size=4)
    add(pool, "c1", MAC)
    assert [add(pool, "c2", MAC, 200).entry.bond, add(pool, "c3", OTHER).entry.bond, add(pool, "c4").entry.bond] == [
        "cbond2",
        "cbond3",
        "cbond4",
    ]


def test_no_vlan_and_vlan_0_are_one_network(tmp_path: Path) -> None:
    pool = make_pool(tmp_path)
    add(pool, "c1", MAC, None)
    assert "on the untagged network by container c1 eth0" in refusal(pool, vlan=0).msg


def test_the_mac_of_any_port_counts(tmp_path: Path) -> None:
    """Also the derived MAC of a second port, and a bond's own MAC that was leased without a request."""
    pool = make_pool(tmp_path)
    lease(pool, "c1", mac="02:00:00:00:00:01", port_macs={"ffff:01:10.1": "02:00:00:00:00:01", "ffff:02:10.1": MAC}).close()
    assert "by container c1 eth0" in refusal(pool, vlan=None).msg
    assert "by container c1 eth0" in refusal(pool, "02:00:00:00:00:01", None).msg


def test_what_a_lease_of_an_earlier_boot_had_is_free(tmp_path: Path) -> None:
    """The reboot ended its container. A damaged record does not say a MAC, and must not refuse every ADD."""
    pool = make_pool(tmp_path)
    old = lease(pool, "c1", mac=MAC)
    old.record.boot_id = "earlier"
    old.write(durable=False)
    old.close()
    damaged = lease(pool, "c9")
    Path(pool.leases, damaged.entry.file).write_text("{")
    assert add(pool, "c2", MAC, None).entry.bond == "cbond3"


def test_a_bonds_own_mac_is_given_with_that_bond_only(tmp_path: Path) -> None:
    """A later ADD that requests no MAC gets that bond with its MAC, and looks at no other lease."""
    pool = make_pool(tmp_path, size=3)
    assert add(pool, "c1", "02:00:00:00:00:02").entry.bond == "cbond2"
    make_pool(tmp_path, "web", size=5)
    failed = refusal(pool, "02:00:00:00:00:05")
    assert (failed.code, "is the own MAC of bond cbond5 of pool web" in failed.msg) == (INVALID_CONFIG, True)
    assert "is the own MAC of bond cbond3 of pool db" in refusal(pool, "02:00:00:00:00:03", device="cbond1").msg
    add(pool, "c3", OTHER, device="cbond3")
    failed = refusal(pool, "02:00:00:00:00:03")
    assert failed.code == TRY_AGAIN_LATER
    assert "bond cbond3 of pool db, whose own MAC 02:00:00:00:00:03 is requested, is leased to c3 eth0" in failed.msg


def derived(mac: str, number: int = 2) -> str:
    """Return the MAC of a port where the ports of a bond have different MACs."""
    return inventory.stable_mac(f"sriov-bond {mac} port {number}")


@pytest.mark.parametrize("number", [1, 2])
def test_the_mac_of_a_free_bonds_port_is_given_with_that_bond_only(tmp_path: Path, number: int) -> None:
    """A later ADD in active-backup that requests no MAC gives it to a port; the first is such a port with a primary."""
    pool = make_pool(tmp_path, size=3)
    mac = derived("02:00:00:00:00:02", number)
    failed = refusal(pool, mac, device="cbond1")
    assert (failed.code, f"the MAC {mac} is the own MAC of a port of bond cbond2 of pool db" in failed.msg) == (
        INVALID_CONFIG,
        True,
    )
    assert add(pool, "c1", mac).entry.bond == "cbond2"
    failed = refusal(pool, mac, vlan=200)
    assert failed.code == TRY_AGAIN_LATER
    assert f"bond cbond2 of pool db, whose own MAC {mac} is requested, is leased to c1 eth0" in failed.msg


@pytest.mark.parametrize("recorded", [False, True])
def test_the_mac_that_a_port_gets_from_a_request_counts(tmp_path: Path, recorded: bool) -> None:
    """Whichever of the two comes first, and also before the first one has recorded the MACs of its ports."""
    pool = make_pool(tmp_path, size=3)
    first = add(pool, "c1", MAC)
    if recorded:
        macs = dict(zip((port.address for port in first.record.ports), (MAC, derived(MAC)), strict=True))
        first.record.mac, first.record.port_macs = MAC, macs
        first.write(durable=False)
    assert f"the MAC {derived(MAC)} is in use on VLAN 100 by container c1 eth0" in refusal(pool, derived(MAC)).msg
    add(pool, "c3", derived(OTHER))
    assert f"the MAC {derived(OTHER)} is in use on VLAN 100 by container c3 eth0" in refusal(pool, OTHER).msg


def test_the_record_keeps_the_requested_mac(tmp_path: Path) -> None:
    """From its first writing on, before the VFs are looked at: another ADD may read it at any time."""
    pool = make_pool(tmp_path)
    record = pool.read(add(pool, "c1", MAC).entry)
    assert record is not None
    assert (record.requested.mac, record.mac, record.boot_id) == (MAC, "", files.boot_id())
