"""``sriov-bondctl up``, ``down`` and ``status``."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.product import HOST_FILE, NICS, PEER, POOL, Product, look, network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.lab import Lab


@pytest.fixture
def bare(lab: "Lab", installed: Product) -> "Iterator[Product]":
    """Return the product on a host with no pool; what the test creates is removed."""
    for pool in installed.ctl("status", "--json").json()["pools"]:
        installed.ctl("down", pool["name"])
    lab.guest.sh("".join(f"ip link set {nic} down\n" for nic in NICS))
    yield installed
    installed.ctl("down")
    for nic in NICS:
        assert lab.guest.read(f"/sys/class/net/{nic}/device/sriov_numvfs") == "0\n"


def test_up_makes_named_pairs_with_one_mac_each_and_down_takes_them_away(bare: Product) -> None:
    before = look(bare.guest)
    bare.provision(3)
    pool = bare.status()
    assert [bond["name"] for bond in pool["bonds"]] == ["cbond1", "cbond2", "cbond3"]
    assert [port["name"] for bond in pool["bonds"] for port in bond["ports"]] == [
        "VF11",
        "VF21",
        "VF12",
        "VF22",
        "VF13",
        "VF23",
    ]
    links = look(bare.guest).links
    for bond in pool["bonds"]:
        for port in bond["ports"]:
            vf = links[port["pci"]]
            assert (vf["ifname"], vf["address"], vf["up"]) == (port["name"], bond["mac"], False)
            assert links[port["pf"]]["vfs"][port["vf"]]["address"] == bond["mac"]
            assert not vf.get("altnames")
        assert int(bond["mac"][:2], 16) & 3 == 2, "locally administered, unicast"
    assert len({bond["mac"] for bond in pool["bonds"]}) == 3
    bare.ctl("down")
    assert look(bare.guest) == before


def test_bonds_are_not_called_otherwise_under_a_lease(bare: Product) -> None:
    """A process that works on the lease has locked only the old name."""
    bare.provision(2)
    with bare.attached(network(ipam=None), "c1"):
        bare.guest.write(HOST_FILE, POOL.format(vfs=2) + 'bond_name = "db{n}"\n')
        said = bare.ctl("up", check=False)
        assert "the bonds of pool db cannot be named or paired differently while bonds are leased: cbond1 by" in said.stderr
    bare.ctl("up")
    assert [bond["name"] for bond in bare.status()["bonds"]] == ["db1", "db2"]


def test_up_twice_changes_nothing_and_macs_come_back_after_down(bare: Product) -> None:
    bare.provision(2)
    first = look(bare.guest)
    inventory = bare.guest.read("/var/lib/cni/sriov-bond/db/pool.json")
    again = bare.ctl("up")
    assert "nothing to change" in again.stdout
    assert look(bare.guest) == first
    bare.ctl("down")
    bare.ctl("up")
    assert bare.guest.read("/var/lib/cni/sriov-bond/db/pool.json") == inventory


def test_up_repairs_names_macs_and_altnames(bare: Product) -> None:
    bare.provision(1)
    first = look(bare.guest)
    bare.guest.sh("ip link set VF11 name oops; ip link property add dev oops altname container-eth0; ip link set oops up")
    bare.ctl("up")
    assert bare.guest.run("ip -br link show VF11").status == 0
    bare.guest.sh("ip link set VF11 down")
    assert look(bare.guest) == first


def test_a_nic_that_offers_fewer_is_refused_and_says_what_it_offers(bare: Product) -> None:
    bare.guest.write(HOST_FILE, POOL.format(vfs=63))
    refused = bare.ctl("up", check=False)
    assert refused.status == 1
    assert "asks for 63 VFs per NIC, but enp1s0 offers 7, enp2s0 offers 7" in refused.stderr
    assert bare.guest.read("/sys/class/net/enp1s0/device/sriov_numvfs") == "0\n"


def test_a_nic_that_is_none_is_refused_and_says_which_there_are(bare: Product) -> None:
    bare.guest.write(HOST_FILE, '[pools.db]\npfs = ["enp1s0", "eth7"]\n')
    refused = bare.ctl("up", check=False)
    assert refused.status == 1
    assert "there is no NIC eth7; NICs with SR-IOV here: enp1s0 (0000:01:00.0), enp2s0 (0000:02:00.0)" in refused.stderr
    bare.guest.write(HOST_FILE, '[pools.db]\npfs = ["enp1s0", "lo"]\n')
    assert bare.ctl("up", check=False).status == 1


def test_another_number_is_refused_while_vfs_are_used_by_somebody(bare: Product) -> None:
    bare.guest.sh("ip link set enp1s0 up; echo 2 > /sys/class/net/enp1s0/device/sriov_numvfs; udevadm settle")
    vf = bare.guest.sh("ls /sys/class/net/enp1s0/device/virtfn1/net").stdout.strip()
    bare.guest.sh(f"ip link set {vf} up")
    bare.guest.write(HOST_FILE, POOL.format(vfs=3))
    refused = bare.ctl("up", check=False)
    assert refused.status == 1
    assert "enp1s0 has 2 VFs, not 3" in refused.stderr
    assert f"{vf} (up)" in refused.stderr
    bare.guest.sh(f"ip link set {vf} down")
    bare.ctl("up")
    assert len(bare.states()) == 3
    bare.ctl("down")
    assert bare.guest.read("/sys/class/net/enp1s0/device/sriov_numvfs") == "2\n", "as many as before `up`"
    bare.guest.sh("echo 0 > /sys/class/net/enp1s0/device/sriov_numvfs; ip link set enp1s0 down")


def test_pci_addresses_name_nics_and_patterns_name_vfs_and_bonds(bare: Product) -> None:
    lines = ('pfs = ["0000:02:00.0", "0000:01:00.0"]', "vfs = 1", 'vf_name = "pool{nic}-{vf}"', 'bond_name = "b{n}"')
    bare.guest.write(HOST_FILE, "\n".join(("[pools.web]", *lines)))
    bare.ctl("up")
    (bond,) = bare.ctl("status", "--json", "web").json()["pools"][0]["bonds"]
    assert bond["name"] == "b1"
    assert [(port["name"], port["pf"]) for port in bond["ports"]] == [("pool1-1", "0000:02:00.0"), ("pool2-1", "0000:01:00.0")]


def test_nothing_is_taken_away_while_a_lease_lives(bare: Product) -> None:
    bare.provision(2)
    config = network(ipam=None)
    with bare.attached(config, "kept"):
        held = look(bare.guest)
        bare.guest.write(HOST_FILE, POOL.format(vfs=3))
        for command in ("down", "up"):
            refused = bare.ctl(command, check=False)
            assert refused.status == 1, command
            assert "while bonds are leased: cbond1 by container kept eth0 (ready)" in refused.stderr
        bare.guest.write(HOST_FILE, POOL.format(vfs=2))
        assert "nothing to change" in bare.ctl("up").stdout
        assert look(bare.guest) == held


def test_status_is_a_table_for_people(bare: Product) -> None:
    bare.provision(1)
    with bare.attached(network(), "c1"):
        table = bare.ctl("status").stdout
    assert "pool db: 0 of 1 bonds free" in table
    assert re.search(r"cbond1 +ready +NIC 1\+2 +VF11 VF21 +100 +10\.100\.0\.\d+/24 .* c1 +eth0 +db", table), table
    assert re.search(r"NIC 1 +enp1s0 +0000:01:00\.0 +up", table)


def test_udev_and_network_manager_are_kept_off(bare: Product) -> None:
    bare.provision(1)
    said = bare.guest.sh(
        "udevadm test-builtin net_setup_link /sys/class/net/VF11 2>&1; udevadm info /sys/class/net/VF11"
    ).stdout
    assert "10-sriov-bond-db.link" in said
    assert "NM_UNMANAGED=1" in said


@pytest.mark.parametrize("words", [["--help"], ["up", "--help"], ["status", "--help"]])
def test_help_says_what_a_command_does(installed: Product, words: list[str]) -> None:
    assert "usage: sriov-bondctl" in installed.ctl(*words).stdout


# What makes a NIC in use, by another program than us, and what takes it away again.
USERS = {
    "it has the address 192.0.2.7/24": ("ip addr add 192.0.2.7/24 dev enp1s0", "ip addr flush dev enp1s0 scope global"),
    "it has the route to 198.51.100.0/24": ("ip route add 198.51.100.0/24 dev enp1s0", "ip route del 198.51.100.0/24"),
    "v100 is on it": ("ip link add link enp1s0 name v100 type vlan id 100", "ip link del v100"),
    "it is a port of br7": ("ip link add br7 type bridge; ip link set enp1s0 master br7", "ip link del br7"),
    "mv0 in /run/netns/user is on it": (
        "ip netns add user; ip link add link enp1s0 name mv0 type macvlan; ip link set mv0 netns user",
        "ip netns del user",
    ),
}


@pytest.mark.parametrize("reason", USERS)
def test_a_nic_that_is_used_by_now_stays_up(bare: Product, reason: str) -> None:
    """`up` brought both NICs up; only the one that has no user is brought down."""
    bare.provision(1)
    begin, end = USERS[reason]
    bare.guest.sh(begin)
    try:
        assert f"enp1s0 stays up: {reason}" in bare.ctl("down").stderr
        shown = bare.guest.run(["ip", "-j", "link"], check=True).json()
        assert {link["ifname"]: "UP" in link["flags"] for link in shown if link["ifname"] in NICS} == {
            "enp1s0": True,
            "enp2s0": False,
        }
    finally:
        bare.guest.sh(f"{end}; ip link set enp1s0 down")


def test_vfs_that_were_there_become_what_they_were(bare: Product) -> None:
    """An administrator made and named them; the pool gave them other names and MACs."""
    guest = bare.guest
    guest.sh("""
for nic in enp1s0 enp2s0; do
    ip link set $nic up
    echo 2 > /sys/class/net/$nic/device/sriov_numvfs
done
udevadm settle
n=0
for vf in /sys/class/net/enp[12]s0/device/virtfn*/net/*; do
    vf=${vf##*/}; n=$((n + 1))
    ip link set $vf down address 02:ad:00:00:00:0$n name mine$n
    ip link property add dev mine$n altname my-own-vf-number-$n
done
""")
    before = look(guest)
    bare.provision(2)
    assert [bond["name"] for bond in bare.status()["bonds"]] == ["cbond1", "cbond2"]
    with bare.attached(network(ipam=None), "c1"):
        pass
    bare.ctl("down")
    guest.sh("udevadm settle")
    assert look(guest) == before
    guest.sh("".join(f"echo 0 > /sys/class/net/{nic}/device/sriov_numvfs; ip link set {nic} down\n" for nic in NICS))


def test_vfs_without_a_driver_are_told_at_once(bare: Product) -> None:
    """With sriov_drivers_autoprobe 0 `up` waited over half a minute for each NIC, and a bind by hand gives ENODEV."""
    autoprobe = "/sys/class/net/enp2s0/device/sriov_drivers_autoprobe"
    bare.guest.sh(f"echo 0 > {autoprobe}")
    try:
        bare.guest.write(HOST_FILE, POOL.format(vfs=2))
        refused = bare.ctl("up", check=False)
        assert refused.seconds < 15
        assert "sriov_drivers_autoprobe of enp2s0 is 0, so its VFs would get no driver; run `echo 1 > " in refused.stderr
        # VFs that somebody created in that state: the cure that is named works, for one VF after the other.
        bare.guest.sh(
            "for nic in enp1s0 enp2s0; do ip link set $nic up; echo 2 > /sys/class/net/$nic/device/sriov_numvfs; done"
        )
        refused = bare.ctl("up", check=False)
        assert refused.seconds < 15
        assert "its PF's sriov_drivers_autoprobe is 0, so it gets none: run `echo 1 > " in refused.stderr
        (cure,) = re.findall(r"run `(echo [^`]*)`", refused.stderr)
        bare.guest.sh(cure)
        bare.ctl("up")
        assert bare.states() == ["free", "free"]
        with bare.attached(network(ipam=None), "c1"), bare.attached(network(), "c2"):
            assert bare.pings("c2", PEER) == 3, "by the VF that `up` has bound"
    finally:
        bare.ctl("down", check=False)
        bare.guest.sh("".join(f"echo 0 > /sys/class/net/{nic}/device/sriov_numvfs; ip link set {nic} down\n" for nic in NICS))
        bare.guest.sh(f"echo 1 > {autoprobe}")
