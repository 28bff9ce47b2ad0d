"""Changes below the pool: reboots, recreated VFs, removed drivers and NICs, cables, and the order of NICs."""

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import POOL_FILE
from tests.lab.product import HOST_FILE, NICS, PEER, POOL, STATE_DIR, Product, look, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.lab import Lab

STATUS = {**network(ipam=None), "cniVersion": "1.1.0"}
NO_VFS = "".join(f"echo 0 > /sys/class/net/{nic}/device/sriov_numvfs\n" for nic in NICS)
VFS = "".join(f"echo 7 > /sys/class/net/{nic}/device/sriov_numvfs\n" for nic in NICS) + "udevadm settle\n"
# After a NIC was down, igbvf requires this ("Reload the VF driver to resume operations").
RELOAD = "modprobe -r igbvf; modprobe igbvf; udevadm settle; sriov-bondctl up"


def _ping(product: Product, container: str) -> None:
    """Check that a container reaches its peer, by either port."""
    wait_until(lambda: product.pings(container, PEER) == 3, f"{container} to reach {PEER}", 20)


def _reboot(product: Product) -> None:
    """Put the host into the state after a reboot: no container, no VF, and all boot ids in files are old."""
    made = json.loads(product.guest.read(POOL_FILE))
    product.guest.sh("for name in $(ls /run/netns | grep -vx world); do ip netns del $name; done\n" + NO_VFS)
    for nic in made["nics"]:
        if nic["brought_up"]:
            product.guest.sh(f"ip link set {nic['name']} down")
    for path, data in product.guest.tree(f"{STATE_DIR}/db").items():
        if path == POOL_FILE or "/leases/" in path:
            record = json.loads(data)
            product.guest.write(path, json.dumps({**record, "boot_id": "11111111-2222-3333-4444-555555555555"}), 0o600)


def test_after_a_reboot_leases_are_history(product: Product) -> None:
    """Before ``up``, ADD and STATUS say to run it, and DEL works; after it all bonds are free, and the DELs were sent."""
    with product.netns("c1", "c2") as paths:
        for container, path in zip(("c1", "c2"), paths, strict=True):
            product.call("ADD", network(), container, path).succeeded()
        _reboot(product)
        product.guest.sh("ip netns add c1")
        words = "pool db was made before this boot; run `sriov-bondctl up`"
        product.call("ADD", network(), "c3", paths[0]).failed(104, words)
        product.call("STATUS", STATUS, "", ifname="").failed(50, words)
        assert "provisioned before the last boot; run `sriov-bondctl up`" in product.ctl("status").stdout
        product.call("DEL", network(), "c1", "").succeeded()
        assert len(look(product.guest).leases) == 1
        product.ctl("up")
        assert product.all_free()


def test_vfs_made_anew_under_leases(product: Product) -> None:
    """CHECK names what is missing, DEL frees its bond, and ``up`` frees those whose containers have lost their VFs."""
    with product.netns("c1", "c2") as (path, other):
        answer = product.call("ADD", network(), "c1", path).succeeded()
        product.call("ADD", network(), "c2", other).succeeded()
        product.guest.sh(NO_VFS)
        checked = {**network(), "prevResult": answer.document}
        product.call("CHECK", checked, "c1", path).failed(
            104, "enp1s0 has no VF 0, which is VF11 of the pool; run `sriov-bondctl up`"
        )
        product.guest.sh(VFS)
        product.call("CHECK", checked, "c1", path).failed(
            103, "the VF 0000:01:10.0 is not a port of eth0", "has vlan 0, not 100"
        )
        product.call("DEL", network(), "c1", path).succeeded()
        assert product.guest.sh("ip -n c1 -br link").stdout.split()[0] == "lo"
        assert len(look(product.guest).leases) == 1
        product.ctl("up")
        assert product.all_free()
        product.call("DEL", network(), "c2", other).succeeded()


def test_vfs_that_up_makes_anew(product: Product) -> None:
    """All VFs were removed: ``up`` creates them, and leased bonds are free at once."""
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        product.guest.sh(NO_VFS)
        words = "VF12 (VF 1 at 0000:01:10.2) is not in the host: it is not on the PCI bus; run `sriov-bondctl up`"
        product.call("ADD", network(), "c2", path, ifname="eth1").failed(104, words)
        product.ctl("up")
        assert product.all_free()
        product.call("DEL", network(), "c1", path).succeeded()


def test_the_vf_driver_goes_and_comes(product: Product) -> None:
    """ADD and STATUS report it; DEL succeeds, and the first call after the driver is loaded again does the rest."""
    with product.netns("c1", "c2") as (path, other):
        product.call("ADD", network(), "c1", path).succeeded()
        product.guest.sh("modprobe -r igbvf")
        try:
            words = (
                "VF12 (VF 1 at 0000:01:10.2) is not in the host: it has no driver; load the VF driver, or bind this VF to it"
            )
            product.call("ADD", network(), "c2", other).failed(104, words)
            product.call("STATUS", STATUS, "", ifname="").failed(50, "the VFs of its 6 free bonds are not in the host")
            answer = product.call("DEL", network(), "c1", path).succeeded()
            assert "bond cbond1 of pool db is releasing: VF11, VF21 not yet in the host" in answer.result.stderr
            assert product.states()[:2] == ["releasing", "broken"]
        finally:
            product.guest.sh("modprobe igbvf; udevadm settle; sriov-bondctl up")
        assert product.all_free()


def test_a_nic_goes_from_the_bus_and_comes_back(product: Product) -> None:
    """STATUS is 51, ADD names the NIC, DEL restores what exists, and ``up`` restores the pool."""
    guest = product.guest
    with product.netns("c1", "c2") as (path, other):
        product.call("ADD", network(), "c1", path).succeeded()
        product.call("ADD", network(), "c2", other).succeeded()
        guest.sh("echo 1 > /sys/bus/pci/devices/0000:01:00.0/remove", timeout=120)
        try:
            words = "the NIC at 0000:01:00.0 has no network device"
            product.call("STATUS", STATUS, "", ifname="").failed(51, words)
            product.call("ADD", network(), "c3", path, ifname="eth1").failed(104, words)
            assert "enp1s0  0000:01:00.0  missing" in product.ctl("status").stdout
            _ping(product, "c2")
            answer = product.call("DEL", network(), "c1", path).succeeded()
            assert "there is no VF at 0000:01:10.0 any more, so nothing of VF11 is restored" in answer.result.stderr
            assert product.states().count("ready") == 1
        finally:
            guest.sh("echo 1 > /sys/bus/pci/rescan; udevadm settle", timeout=120)
        product.ctl("up")
        product.call("DEL", network(), "c2", other).succeeded()
        assert product.all_free()


def test_an_add_while_a_nic_is_down_uses_the_other(product: Product) -> None:
    """The log names the NIC and the command; the pool is restored when it is up and the VF driver was reloaded."""
    product.guest.sh("ip link set enp1s0 down")
    try:
        for mode in ("active-backup", "balance-xor"):
            with product.attached(network(mode=mode), "c1") as (answer,):
                assert "cbond1 starts with one path down: enp1s0 is down; run `ip link set enp1s0 up`" in answer.result.stderr
                _ping(product, "c1")
    finally:
        product.guest.sh(f"ip link set enp1s0 up; {RELOAD}")


@pytest.mark.parametrize("mode", ["active-backup", "balance-xor"])
def test_an_add_without_a_cable_uses_the_other(lab: "Lab", product: Product, mode: str) -> None:
    """The VF keeps its carrier, so the bond monitors its path, which ADD verified by the other port."""
    lab.cable("A", plugged=False)
    try:
        wait_until(lambda: lab.guest.read("/sys/class/net/enp1s0/carrier") == "0\n", "enp1s0 to lose its carrier", 20)
        with product.attached(network(mode=mode), "c1") as (answer,):
            assert "cbond1 starts with one path down: enp1s0 has no carrier; look at its cable" in answer.result.stderr
            assert "no gateway answered" not in answer.result.stderr
            _ping(product, "c1")
            lab.cable("A", plugged=True)
            wait_until(lambda: _ports_up(product) == 2, "the other port to be back", 30)
    finally:
        lab.cable("A", plugged=True)


def _ports_up(product: Product) -> int:
    links = product.guest.sh("ip -n c1 -d -j link show master eth0").json()
    return sum(link["linkinfo"]["info_slave_data"]["mii_status"] == "UP" for link in links)


def _unbind(product: Product, pci: str) -> None:
    product.guest.sh(f"echo {pci} > /sys/bus/pci/devices/{pci}/driver/unbind")


def _bind(product: Product, pci: str) -> None:
    product.guest.sh(f"echo {pci} > /sys/bus/pci/drivers/igbvf/bind; udevadm settle")


def test_a_bond_without_a_vf_is_set_aside_until_it_is_whole(product: Product) -> None:
    """ADD leases another and logs it, status shows the reason, and ``release`` reports what is missing or ends it."""
    port = product.status()["bonds"][0]["ports"][0]
    reason = f"VF11 (VF 0 at {port['pci']}) is not in the host: it has no driver; load the VF driver, or bind this VF to it"
    config = network(ipam=None, linkMonitor="mii")
    _unbind(product, port["pci"])
    try:
        with product.attached(config, "c1") as (answer,):
            assert f"cbond1 of pool db is passed over: {reason}" in answer.result.stderr
            first, second = product.status()["bonds"][:2]
            assert (first["state"], first["problem"], second["state"]) == ("quarantined", reason, "ready")
            assert "cbond1  quarantined" in product.ctl("status").stdout
            with product.attached(config, "c2") as (answer,):
                assert "passed over" not in answer.result.stderr, "it is not tried again"
        refused = product.ctl("release", "cbond1", check=False)
        assert refused.status == 1
        assert f"bond cbond1 of pool db cannot be used yet: VF11 at {port['pci']} is not in the host" in refused.stderr
    finally:
        _bind(product, port["pci"])
    assert product.states()[0] == "quarantined"
    product.guest.sh("ip link set enp1s0 vf 0 vlan 77 trust on")
    assert "bond cbond1 of pool db: it is out of quarantine" in product.ctl("release", "cbond1").stdout
    assert product.all_free()


def test_up_with_a_vf_missing_makes_the_rest(product: Product) -> None:
    """``up`` quarantines that bond with the reason, and ends that, with default settings, when it is run again.

    It binds a VF that is only unbound. One that is kept for another driver stays without (driver_override, sysfs-bus-pci).
    """
    pci = product.status()["bonds"][2]["ports"][1]["pci"]
    override = f"/sys/bus/pci/devices/{pci}/driver_override"
    _unbind(product, pci)
    product.ctl("up")
    assert product.all_free()
    product.guest.sh(f"echo none > {override}")
    _unbind(product, pci)
    try:
        said = product.ctl("up")
        assert f"bond cbond3 is in quarantine: VF23 (the VF at {pci}) is not in the host: it has no driver" in said.stderr
        assert product.states().count("free") == 6
    finally:
        product.guest.sh(f"echo > {override}")
        _bind(product, pci)
    product.guest.sh("ip link set enp2s0 vf 2 vlan 77 trust on")
    product.ctl("up")
    assert product.all_free()


def test_the_nics_in_another_order(product: Product) -> None:
    """The bonds follow the order in the host file: a change is refused while leased, and else the VFs are paired again."""
    config = network(ipam=None)
    first = product.status()["bonds"][0]
    try:
        product.guest.write(HOST_FILE, POOL.format(vfs='"max"').replace('"enp1s0", "enp2s0"', '"enp2s0", "enp1s0"'))
        with product.attached(config, "c1"):
            held = look(product.guest)
            refused = product.ctl("up", check=False)
            assert refused.status == 1
            assert "the NICs of pool db cannot be changed while bonds are leased: cbond1 by container c1 eth0" in refused.stderr
            assert look(product.guest) == held
        product.ctl("up")
        turned = product.status()["bonds"][0]
        assert [port["pci"] for port in turned["ports"]] == [port["pci"] for port in reversed(first["ports"])]
        assert [port["device"] for port in turned["ports"]] == ["VF11", "VF21"]
        with product.attached(network(), "c1"):
            _ping(product, "c1")
    finally:
        product.provision()
