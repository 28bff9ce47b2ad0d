"""``sriov-bondctl doctor`` on real NICs: nothing fails on a sound host, ten faults are named, and repaired."""

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.conftest import changes
from tests.lab.dockerd import plugins_where_installed
from tests.lab.product import PEER, STATE_DIR, Product, look, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORKS = "/etc/cni/net.d"
RANGE = {"subnet": "10.100.0.0/24", "rangeStart": "10.100.0.200", "gateway": PEER}


def conflist(**keys: Any) -> str:
    """Return a network file with one plugin."""
    plugin = network(**{"ipam": {"type": "sriov-bond-ipam", "ranges": [[RANGE]]}, **keys})
    return json.dumps({"cniVersion": plugin.pop("cniVersion"), "name": plugin.pop("name"), "plugins": [plugin]})


# A network whose gateway does not exist.
LONELY = conflist(
    name="lonely", vlan=333, ipam={"type": "host-local", "ranges": [[{"subnet": "10.33.0.0/24", "gateway": "10.33.0.1"}]]}
)


@pytest.fixture
def host(product: Product) -> "Iterator[Product]":
    """Return the product with a network file, as an operator has it; afterwards all network files are as before."""
    before = product.guest.tree(NETWORKS)
    product.guest.sh(f"mkdir -p {NETWORKS}")
    product.guest.write(f"{NETWORKS}/10-sound.conflist", conflist(name="sound"))
    with plugins_where_installed(product):
        yield product
    product.guest.sh(f"rm -rf {NETWORKS}; mkdir -p {NETWORKS}")
    for path, data in before.items():
        product.guest.write(path, data)


def test_nothing_fails_on_a_sound_host_and_nothing_is_changed(host: Product) -> None:
    before = look(host.guest)
    text = host.ctl("doctor", check=False)
    assert (text.status, re.findall(r"^ +FAIL.*", text.stdout, re.MULTILINE)) == (0, []), text.stdout
    assert f"gateway {PEER} of network sound answers on VLAN 100 on enp1s0 and enp2s0" in text.stdout
    assert text.seconds < 20, "a few seconds, on an emulated processor"
    assert changes(before, look(host.guest)) == []


def test_a_gateway_that_only_one_nic_reaches_is_named_with_the_other(host: Product) -> None:
    """Both NICs have carrier, and what is behind the second NIC's switch is cut off."""
    host.guest.sh("ip -n world link set portB down")
    try:
        result = host.ctl("doctor", "--json", check=False)
    finally:
        host.guest.sh("ip -n world link set portB up")
    assert "Traceback" not in result.stderr
    failures = [one for one in result.json()["findings"] if one["result"] == "failure"]
    assert [(one["check"], one["object"]) for one in failures] == [("gateway", PEER)]
    assert failures[0]["sentence"].endswith("answers on VLAN 100 on enp1s0, but not on enp2s0")
    assert result.status == 3


def test_a_doctor_that_is_killed_while_it_asks_leaves_what_gc_restores(host: Product) -> None:
    host.guest.write(f"{NETWORKS}/40-lonely.conflist", LONELY)  # so that it waits for an answer that never comes
    before = look(host.guest)
    process = host.guest.spawn(["sriov-bondctl", "doctor"], timeout=60)
    wait_until(lambda: bool(host.guest.tree(f"{STATE_DIR}/db/leases")), "a bond to be leased for the question", 30)
    process.signal(signal.SIGKILL)
    process.wait()
    assert len(look(host.guest).leases) == 1
    host.wait_free()
    assert changes(before, look(host.guest)) == []


# What is broken, and what doctor then says of it, in its own words.
FAULTS = {
    "NIC down": "FAIL  nic-up          enp2s0 is down; run `ip link set enp2s0 up`",
    "autoprobe": "FAIL  nic-autoprobe   sriov_drivers_autoprobe of enp1s0 is 0",
    "VF astray": "FAIL  vf-place        VF17 is in another network namespace, though cbond7 is not leased",
    "no such pool": "FAIL  network-pool    network lost names pool web, which does not exist",
    "not executable": "FAIL  plugin          /opt/cni/bin/sriov-bond-ipam is not executable, which network sound needs",
    "no container": "FAIL  lease           cbond1 is leased by container gone eth0, which is gone",
    "pending DEL": "FAIL  pending-del     the DEL of 10.100.0",
    "same MAC": "FAIL  vf-mac          VF14 and VF15 and VF25 have one MAC",
    "MTU": "FAIL  network-mtu     network jumbo has the MTU 9000, and enp1s0 only 1500",
    "silent": "FAIL  gateway         gateway 10.33.0.1 of network lonely does not answer on VLAN 333",
}
BREAK = """
ip link set enp2s0 down
echo 0 > /sys/class/net/enp1s0/device/sriov_drivers_autoprobe
ip netns add astray
ip link set VF17 netns astray
chmod a-x /opt/cni/bin/sriov-bond-ipam
ip link set enp1s0 vf 3 mac $(cat /sys/class/net/VF15/address)
ip link set VF14 up; sleep 1; ip link set VF14 down
"""
MEND = """
ip netns del astray
chmod a+x /opt/cni/bin/sriov-bond-ipam
ip link set enp2s0 up
echo 1 > /sys/class/net/enp1s0/device/sriov_drivers_autoprobe
"""


def leave_lease_and_pending_del(product: Product) -> None:
    """Leave a lease whose container is gone without a DEL, and a DEL that its IPAM plugin was not there for."""
    with product.netns("gone", "owing") as (gone, owing):
        product.call("ADD", network(ipam=None), "gone", gone).succeeded()
        product.call("ADD", network(), "owing", owing).succeeded()
        product.guest.sh("mv /opt/cni/bin/host-local /tmp/host-local")
        assert product.call("DEL", network(), "owing", owing).status != 0
        product.guest.sh("mv /tmp/host-local /opt/cni/bin/host-local")
    product.wait_home(1)


def test_ten_faults_are_named_and_repaired(host: Product) -> None:
    leave_lease_and_pending_del(host)
    host.guest.write(f"{NETWORKS}/20-lost.conflist", conflist(name="lost", pool="web"))
    host.guest.write(f"{NETWORKS}/30-jumbo.conflist", conflist(name="jumbo", mtu=9000, ipam=None))
    host.guest.write(f"{NETWORKS}/40-lonely.conflist", LONELY)
    host.guest.sh(BREAK)
    try:
        broken = host.ctl("doctor", check=False)
        unnamed = {fault: words for fault, words in FAULTS.items() if words not in broken.stdout}
        assert unnamed == {}, broken.stdout
        assert broken.status == 3
        # What only the operator can know: the network files.
        host.guest.sh(f"rm {NETWORKS}/20-* {NETWORKS}/30-* {NETWORKS}/40-*")
        repaired = host.ctl("doctor", "--fix", "--yes", "--json", check=False)
        document = repaired.json()
        assert [one for one in document["repairs"] if not one["done"]] == []
        assert len(document["repairs"]) >= 6
        assert [one for one in document["findings"] if one["result"] == "failure"] == []
        assert repaired.status == 0
        assert host.all_free()
    finally:
        host.guest.run(MEND)
