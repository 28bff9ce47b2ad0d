"""DEL in all its forms, and ADDs that fail: every VF is restored each time."""

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.product import STATE_DIR, Product, look, network

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_del_is_repeated_and_unknown_without_error(product: Product) -> None:
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        for _ in range(2):
            done = product.call("DEL", network(), "c1", path).succeeded()
            assert done.result.stdout == ""
    for container, where in (("never", ""), ("never", "/run/netns/nope"), ("never", "/etc/hostname")):
        product.call("DEL", network(), container, where).succeeded()


@pytest.mark.parametrize("where", ["", "/run/netns/c1", "/etc/hostname"])
def test_a_netns_deleted_without_del_loses_nothing(product: Product, where: str) -> None:
    """The kernel returns the VFs with the VLAN and the name that they had in the container; DEL needs no netns then."""
    with product.netns("c1") as (path,):
        product.call("ADD", network(mtu=1400), "c1", path).succeeded()
        product.guest.sh("ip -n c1 link set VF11 down; ip -n c1 link set VF11 name eth7; ip netns del c1")
        product.call("DEL", network(), "c1", where).succeeded()
        product.wait_free()


def test_a_container_that_lives_on_keeps_its_bond_until_it_is_gone(product: Product) -> None:
    """``nerdctl kill -s HUP`` sends DEL without a netns for a running container, which must keep its network."""
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        product.call("DEL", network(), "c1", "").succeeded()
        assert product.states().count("draining") == 1
        waiting = "cbond1: VF11 and VF21 not yet in the host; run `sriov-bondctl gc` when the container has ended"
        assert waiting in product.ctl("status").stdout
        assert product.pings("c1", "10.100.0.1") == 3
        product.guest.sh("ip netns del c1")
        product.wait_free("the next gc to finish the release")


def test_another_netns_at_the_old_path_is_not_touched(product: Product) -> None:
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        product.guest.sh("ip netns del c1; ip netns add c1; ip -n c1 link add eth0 type dummy")
        product.call("DEL", network(), "c1", path).succeeded()
        assert product.guest.run("ip -n c1 link show eth0").status == 0
        product.wait_free()


def test_a_host_name_taken_meanwhile_does_not_lose_the_vf(product: Product) -> None:
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        product.guest.sh("ip link add VF11 type dummy")
        product.call("DEL", network(), "c1", path).succeeded()
        assert product.all_free()
        product.guest.sh("ip link del VF11")
        product.ctl("up")


@pytest.fixture
def delegates(product: Product) -> "Iterator[Product]":
    """Install delegates that misbehave beside the real ones."""
    scripts = {
        "refuses": """echo '{"cniVersion":"1.0.0","code":11,"msg":"no address is free","details":"ask later"}'; exit 1""",
        "crashes": "echo something broke >&2; exit 3",
        "babbles": "echo this is no JSON",
        "empty": """echo '{"cniVersion":"1.0.0"}'""",
        "badroute": """echo '{"cniVersion":"1.0.0","ips":[{"address":"10.100.0.77/24"}],'"""
        """'"routes":[{"dst":"10.0.0.0/8","gw":"10.7.7.7"}]}'""",
    }
    for name, script in scripts.items():
        text = f"""#!/bin/sh\necho "$CNI_COMMAND" >> /run/{name}.calls\n[ "$CNI_COMMAND" = DEL ] && exit 0\n{script}\n"""
        product.guest.write(f"/opt/cni/bin/{name}", text, mode=0o755)
    yield product
    product.guest.sh("".join(f"rm -f /opt/cni/bin/{name} /run/{name}.calls\n" for name in scripts))


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("refuses", 11, "no address is free"),
        ("crashes", 102, "the IPAM plugin crashes failed with status 3 at ADD: something broke"),
        ("babbles", 6, "the IPAM plugin babbles returned no valid CNI result"),
        ("empty", 102, "returned missing IP config"),
        ("badroute", 7, "the gateway 10.7.7.7 is in no network of eth0, which has 10.100.0.77/24"),
    ],
)
def test_a_delegate_that_fails_undoes_everything_and_gets_its_del(delegates: Product, kind: str, code: int, words: str) -> None:
    with delegates.netns("c1") as (path,):
        delegates.call("ADD", network(ipam={"type": kind}), "c1", path).failed(code, words)
        assert delegates.guest.read(f"/run/{kind}.calls").split() == ["ADD", "DEL"]
        assert delegates.links("c1") == ["lo"]


def test_settings_that_the_nic_refuses_undo_everything(product: Product) -> None:
    with product.netns("c1") as (path,):
        refused = {
            "rates above the link's": (network(max_tx_rate=100000), 100, "set the rates 0 to 100000 Mbit/s on VF 0"),
            "a VLAN protocol": (network(vlanProto="802.1ad"), 100, "protocol 0x88a8"),
            "a link state": (
                network(link_state="disable"),
                100,
                "the driver igb does not have this for VFs: remove link_state",
            ),
            "a minimum rate": (network(min_tx_rate=10), 100, "the driver igb does not have this for VFs: remove min_tx_rate"),
            "an MTU above the PF's": (network(mtu=9000), 7, "the MTU 9000 is above the 1500 of enp1s0"),
        }
        for what, (config, code, words) in refused.items():
            before = look(product.guest)
            product.call("ADD", config, "c1", path).failed(code, words)
            assert look(product.guest) == before, what
            assert product.links("c1") == ["lo"]


def test_a_name_that_is_taken_is_refused_before_anything_is_touched(product: Product) -> None:
    with product.netns("c1") as (path,):
        product.guest.sh("ip -n c1 link add eth0 type dummy")
        product.call("ADD", network(), "c1", path).failed(101, "has a device eth0 already")
        assert product.links("c1") == ["lo", "eth0"]


def test_a_second_add_leaves_the_first_intact(product: Product) -> None:
    with product.attached(network(), "c1"):
        product.call("ADD", network(), "c1", "/run/netns/c1").failed(101, "has a device eth0 already")
        assert product.pings("c1", "10.100.0.1") == 3
        with product.netns("c2") as (path,):
            product.call("ADD", network(), "c1", path).failed(104, "container c1 interface eth0 of network 'db' has the bond")


def test_a_netns_that_is_none_is_refused(product: Product) -> None:
    before = look(product.guest)
    for path, words in (
        ("/etc/hostname", "is not a network namespace"),
        ("/run/netns/nope", "does not exist"),
        ("/proc/self/ns/net", "is the namespace of the plugin itself"),
    ):
        product.call("ADD", network(), "c1", path).failed(8, words)
    assert look(product.guest) == before


def test_an_unwritable_state_directory_is_named(product: Product) -> None:
    leases = f"{STATE_DIR}/db/leases"
    with product.netns("c1") as (path,):
        product.guest.sh(f"mount --bind {leases} {leases}; mount -o remount,bind,ro {leases}")
        try:
            product.call("ADD", network(), "c1", path).failed(5, f"cannot write {leases}/cbond1.", "Read-only file system")
        finally:
            product.guest.sh(f"umount {leases}")


@pytest.mark.parametrize("nobody", [">&-", "| true"])
def test_an_answer_that_nobody_reads_is_undone(product: Product, nobody: str) -> None:
    """Standard output was never open, or its reader has ended."""
    config = "/run/answer.json"
    product.guest.write(config, json.dumps(network()))
    with product.netns("c1") as (path,):
        environ = f"CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_NETNS={path} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin"
        said = product.guest.run(f"{environ} /opt/cni/bin/sriov-bond < {config} {nobody}; echo status ${{PIPESTATUS[0]}}")
        assert said.stdout == "status 1\n"
        assert product.links("c1") == ["lo"]


def test_a_bond_that_lost_a_vf_does_not_stop_the_others(product: Product) -> None:
    product.guest.sh("ip netns add thief; ip link set VF11 netns thief")
    try:
        with product.attached(network(ipam=None), "c1") as (answer,):
            assert "cbond1 of pool db is passed over: VF11 (VF 0 at 0000:01:10.0) is not in the host" in answer.result.stderr
            assert product.states()[:2] == ["quarantined", "ready"]
            refused = product.ctl("release", "cbond1", check=False)
            assert (refused.status, "VF11 at 0000:01:10.0 is not in the host" in refused.stderr) == (1, True)
    finally:
        product.guest.sh("ip -n thief link set VF11 netns 1; ip netns del thief")
    assert product.ctl("release", "db/cbond1").stdout == "bond cbond1 of pool db: it is out of quarantine\n"
    assert product.states()[0] == "free"
