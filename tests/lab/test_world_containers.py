"""Changes by administrators and by containers with NET_ADMIN, and namespaces that outlive their containers."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.lab.product import PEER, Product, look, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_a_vf_that_an_administrator_played_with(product: Product) -> None:
    """ADD repairs the VF that it leases; DEL restores the pool's name, and the MTU that it had."""
    mac = product.status()["bonds"][0]["mac"]
    product.guest.sh("""
        ip link set enp1s0 vf 0 mac 00:00:00:00:00:00
        ip link set VF11 address 02:00:00:00:00:99
        ip link set VF11 name oops
        ip link property add dev oops altname eth0 altname VF21x
        ip link add br7 type bridge
        ip link set oops mtu 1400 up master br7
        ip link set br7 up
    """)
    try:
        with product.attached(network(), "c1") as (answer,):
            assert answer.document["interfaces"][0]["mac"] == mac
            product.call("CHECK", {**network(), "prevResult": answer.document}, "c1", "/run/netns/c1").succeeded()
            assert product.pings("c1", PEER) == 3
        (link,) = product.guest.sh("ip -j link show VF11").json()
        assert (link["address"], link["mtu"], "altnames" in link, "UP" in link["flags"]) == (mac, 1400, False, False)
    finally:
        product.guest.sh("ip link del br7; ip link set VF11 mtu 1500")


# What a container with NET_ADMIN does, step by step, to a bond eth0 of VF11 and VF21.
MISCHIEF = {
    "names of other VFs": """
        ip -n c1 link set VF11 down
        ip -n c1 link set VF11 name VF12
        ip -n c1 link set VF21 down
        ip -n c1 link set VF21 name VF11
        ip -n c1 link set eth0 down
        ip -n c1 link set eth0 name VF21
    """,
    "altnames, MTU, MACs, promiscuous": """
        ip -n c1 link property add dev VF11 altname VF12 altname enp1s0
        ip -n c1 link property add dev VF21 altname VF13 altname lo0
        ip -n c1 link property add dev eth0 altname VF22
        ip -n c1 link set eth0 mtu 1300
        ip -n c1 link set eth0 address 02:00:00:00:00:99 || true
        ip -n c1 link set VF11 address 02:00:00:00:00:98 || true
        ip -n c1 link set VF11 promisc on allmulticast on
    """,
    "a bridge of its own, their names on others": """
        ip -n c1 link set VF11 nomaster
        ip -n c1 link set VF11 down
        ip -n c1 link set VF11 name x1
        ip -n c1 link property add dev lo altname VF11
        ip -n c1 link set VF21 down
        ip -n c1 link set VF21 name x2
        ip -n c1 link add VF21 type bridge
        ip -n c1 link set x1 up master VF21
        ip -n c1 link set VF21 up
    """,
    "no ports": "ip -n c1 link set VF11 nomaster; ip -n c1 link set VF21 nomaster; ip -n c1 link set VF11 up",
    "no bond but one of its own": """
        ip -n c1 link del eth0
        ip -n c1 link add mine type bond mode active-backup
        ip -n c1 link set VF21 down
        ip -n c1 link set VF21 master mine
        ip -n c1 link set mine up
    """,
    "VLANs and macvlans": """
        ip -n c1 link set VF21 nomaster
        ip -n c1 link add link eth0 name v5 type vlan id 5
        ip -n c1 link add link VF11 name v6 type vlan id 6
        ip -n c1 link add link VF21 name m1 type macvlan
        ip -n c1 link add link v6 name v7 type vlan id 7
        ip -n c1 link add link eth0 name m2 type macvlan
        for name in v5 v6 m1 v7 m2; do ip -n c1 link set $name up; done
    """,
}


@pytest.mark.parametrize("gone", [False, True], ids=["DEL", "no DEL until its end"])
def test_a_container_with_net_admin_at_its_worst(product: Product, gone: bool) -> None:
    """In every case its VFs are restored in the host; after DEL no device in the container is on top of a VF."""
    config = network(ipam=None, linkMonitor="mii")
    before = look(product.guest)
    for what, commands in MISCHIEF.items():
        with product.netns("c1") as (path,):
            product.call("ADD", config, "c1", path).succeeded()
            product.guest.sh(commands)
            if gone:
                product.guest.sh("ip netns del c1")
            product.call("DEL", config, "c1", "" if gone else path).succeeded()
            if gone:
                product.wait_free(f"the release to be finished after: {what}")
            else:
                left = product.guest.sh("ip -n c1 -j link").json()
                assert [link["ifname"] for link in left if "@" in link["ifname"] or "link" in link] == [], what
        after = look(product.guest)
        assert not {"VF11", "VF21"} & set(after.promiscuous), what
        assert after == before, f"{what}: {[name for name in after.links if after.links[name] != before.links.get(name)]}"


@contextlib.contextmanager
def _nested(product: Product) -> "Iterator[None]":
    """Run a process of container c1 in a nested namespace that has VF11."""
    process = product.guest.spawn("exec ip netns exec c1 unshare --net sh -c 'echo $$ > /run/nested; exec sleep 300'")
    try:
        wait_until(lambda: product.guest.run("test -s /run/nested").status == 0, "the nested namespace")
        product.guest.sh("ip -n c1 link set VF11 nomaster; ip -n c1 link set VF11 netns $(cat /run/nested)")
        yield
    finally:
        process.stop()
        product.guest.sh("rm -f /run/nested")


@pytest.mark.parametrize(("gone", "state"), [(False, "releasing"), (True, "draining")])
def test_a_vf_in_a_nested_namespace(product: Product, gone: bool, state: str) -> None:
    """DEL succeeds, the bond is not leased while its VF is missing, and the next call after the process has ended frees it."""
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        with _nested(product):
            if gone:
                product.guest.sh("ip netns del c1")
            answer = product.call("DEL", network(), "c1", "" if gone else path).succeeded()
            assert f"bond cbond1 of pool db is {state}: VF11 not yet in the host" in answer.result.stderr
            assert product.states()[0] == state
            assert "cbond1 of c1 eth0: waits for VF11 to return to the host" in product.ctl("gc").stdout
            with product.attached(network(ipam=None), "c2"):
                assert product.states()[:2] == [state, "ready"]
        product.wait_free("the release to be finished by gc")


def test_a_macvlan_that_outlives_its_container(product: Product) -> None:
    """On a VF, but in another namespace, it cannot be seen: the ADD that fails quarantines the bond; the next gets another."""
    config = network(ipam=None, linkMonitor="mii")
    with product.netns("c1", "c2", "nest") as (path, other, _):
        product.call("ADD", config, "c1", path).succeeded()
        product.guest.sh("""
            ip -n c1 link set VF21 nomaster
            ip -n c1 link add link VF21 name m1 type macvlan
            ip -n c1 link set m1 netns nest
        """)
        product.call("DEL", config, "c1", path).succeeded()
        said = "cannot add VF21 to the bond eth0"
        product.call("ADD", config, "c2", other).failed(100, said, "Device or resource busy")
        first = product.status()["bonds"][0]
        assert (first["state"], said in first["problem"]) == ("quarantined", True)
        product.call("ADD", config, "c2", other).succeeded()
        product.call("DEL", config, "c2", other).succeeded()
        product.guest.sh("ip netns del nest")
        wait_until(lambda: product.guest.run("ip netns list").stdout.count("nest") == 0, "the macvlan's end")
        product.ctl("release", "cbond1")
        with product.attached(config, "c3"):
            assert product.states()[0] == "ready"


def test_namespaces_that_outlive_their_containers(product: Product) -> None:
    """By a process or a bind mount: DEL leaves the leases draining, and each kind of call finishes them afterwards."""
    names = ("c1", "c2", "c3", "c4")
    config = network(linkMonitor="mii")
    with product.netns(*names, "c9") as paths:
        for container, path in zip(names, paths, strict=False):
            product.call("ADD", config, container, path).succeeded()
        keep = [product.guest.spawn(f"exec ip netns exec {name} sleep 300") for name in names[1:]]
        product.guest.sh("touch /run/kept; mount --bind /run/netns/c1 /run/kept")
        inside = "; ".join(f'test -n "$(ip netns pids {name})"' for name in names[1:])
        wait_until(lambda: product.guest.run(f"set -e; {inside}").status == 0, "the processes to be inside")
        product.guest.sh("\n".join(f"ip netns del {name}" for name in names))
        with ThreadPoolExecutor() as pool:  # each DEL waits two seconds for its VFs
            for answer in pool.map(lambda number: product.call("DEL", config, names[number], paths[number]), range(4)):
                answer.succeeded()
        assert product.states()[:4] == ["draining"] * 4
        assert product.status()["bonds"][0]["lease"]["ips"] != [], "the addresses are kept with it"
        looks: dict[str, Callable[[], object]] = {
            "ADD": lambda: product.call("ADD", network(ipam=None), "c9", paths[-1]).succeeded(),
            "up": lambda: product.ctl("up"),
            "sriov-bondctl gc": lambda: product.ctl("gc"),
            "GC": lambda: product.gc(config, []).succeeded(),
        }
        for number, (what, happens) in enumerate(looks.items(), 1):
            if number == 1:
                product.guest.sh("umount /run/kept; rm /run/kept")
            else:
                keep[number - 2].stop()
            product.wait_home(number)
            assert product.states().count("draining") == 5 - number, "a question changes nothing"
            happens()
            left = [path for path in look(product.guest).leases if path.endswith("draining")]
            assert len(left) == 4 - number, what
        product.call("DEL", network(ipam=None), "c9", paths[-1]).succeeded()
        assert product.all_free()


def test_a_path_that_is_another_containers_by_now(product: Product) -> None:
    """A late DEL of the old container uses its lease: the new container at the same path keeps bond, addresses and traffic."""
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        product.guest.sh("ip netns del c1; ip netns add c1; ip -n c1 link set lo up")
        answer = product.call("ADD", network(), "c2", path).succeeded()
        product.call("DEL", network(), "c1", path).succeeded()
        product.call("CHECK", {**network(), "prevResult": answer.document}, "c2", path).succeeded()
        assert product.pings("c1", PEER) == 3
        wait_until(
            lambda: product.ctl("gc", check=False).status == 0 and product.states().count("free") == 6,
            "the old container's bond to be free",
            20,
        )
        product.call("DEL", network(), "c1", path).succeeded()
        assert product.pings("c1", PEER) == 3
        product.call("DEL", network(), "c2", path).succeeded()


def test_the_host_name_of_a_vf_is_taken_when_it_comes_home(product: Product) -> None:
    """The VF gets a free name and remains usable; its own name is restored by the next container's DEL, or by ``up``."""
    taken = "ip link add VF11 type dummy; ip link add other type dummy; ip link property add dev other altname VF21"
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path).succeeded()
        product.guest.sh(f"{taken}; ip netns del c1")
        product.call("DEL", network(), "c1", "").succeeded()
        product.wait_free("the bond to be free")
        names = [port["device"] for port in product.status()["bonds"][0]["ports"]]
        assert names, "they are there"
        assert not {"VF11", "VF21"} & set(names)
        with product.attached(network(), "c2"):
            assert product.status()["bonds"][0]["lease"]["container_id"] == "c2"
            assert product.pings("c2", PEER) == 3
            product.guest.sh("ip link del VF11; ip link del other")
        assert [port["device"] for port in product.status()["bonds"][0]["ports"]] == ["VF11", "VF21"]
