"""ADD, CHECK and DEL by the built executable and by cnitool, checked in the container and on the wire."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.product import PEER, PEER6, Answer, Product, answered_at_once, look, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.lab import Lab


@pytest.fixture
def conflist(product: Product) -> "Iterator[Product]":
    """Install the network db in the directory of the clients."""
    config = network()
    plugin = {key: value for key, value in config.items() if key not in ("cniVersion", "name")}
    text = json.dumps({"cniVersion": "1.0.0", "name": "db", "plugins": [plugin]})
    product.guest.write("/etc/cni/net.d/db.conflist", text)
    yield product
    product.guest.sh("rm /etc/cni/net.d/db.conflist")


def test_cnitool_adds_checks_and_deletes(conflist: Product) -> None:
    guest = conflist.guest
    with conflist.netns("box") as (path,):
        result = guest.sh(f"CNI_PATH=/opt/cni/bin cnitool add db {path}").json()
        guest.sh(f"CNI_PATH=/opt/cni/bin cnitool check db {path}")
        assert conflist.pings("box", PEER) == 3
        assert conflist.pings("box", PEER6) == 3
        guest.sh(f"CNI_PATH=/opt/cni/bin cnitool del db {path}; CNI_PATH=/opt/cni/bin cnitool del db {path}")
    (interface,) = result["interfaces"]
    assert (interface["name"], interface["sandbox"]) == ("eth0", path)
    assert [ip["interface"] for ip in result["ips"]] == [0, 0]


def test_the_container_has_a_bond_of_both_vfs_with_what_was_asked(product: Product) -> None:
    with product.attached(network(mtu=1400, mode="active-backup"), "c1") as (answer,):
        links = {link["ifname"]: link for link in product.guest.sh("ip -n c1 -d -j link").json()}
        (bond,) = (bond for bond in product.status()["bonds"] if bond["state"] == "ready")
        assert set(links) == {"lo", "eth0", *(port["name"] for port in bond["ports"])}
        assert links["eth0"]["linkinfo"]["info_kind"] == "bond"
        assert links["eth0"]["linkinfo"]["info_data"]["mode"] == "active-backup"
        for port in bond["ports"]:
            assert links[port["name"]]["master"] == "eth0"
            assert "UP" in links[port["name"]]["flags"]
        assert {link["mtu"] for name, link in links.items() if name != "lo"} == {1400}
        first, second = (links[port["name"]]["address"] for port in bond["ports"])
        assert first == bond["mac"] != second
        # The first port is active at the end of ADD; on a slow machine the link monitor may have changed that by now.
        assert answer.document["interfaces"][0]["mac"] == first
        assert links["eth0"]["address"] in (first, second)
        assert bond["lease"]["macs"] == [first, second]
        host = look(product.guest).links
        for port in bond["ports"]:
            assert host[port["pf"]]["vfs"][port["vf"]]["vlan_list"] == [{"vlan": 100}]
            assert port["pci"] not in host
        assert links["eth0"]["ifindex"] < min(links[port["name"]]["ifindex"] for port in bond["ports"])


def test_our_own_delegate_gives_the_addresses(product: Product) -> None:
    """Only ``type`` differs from host-local's config; the two can be used alternately."""
    ipam = {**network()["ipam"], "type": "sriov-bond-ipam"}
    with product.attached(network(ipam=ipam), "c1", "c2") as (first, second):
        assert product.pings("c1", PEER) == 3
        assert product.pings("c1", second.document["ips"][1]["address"].split("/")[0]) == 3
        with product.attached(network(), "c3") as (third,):
            allocated = [answer.document["ips"][0]["address"] for answer in (first, second, third)]
            assert len(set(allocated)) == 3


def test_its_vlan_is_reached_at_once_and_no_other(product: Product) -> None:
    """The first ping after ADD is answered; an address of VLAN 200 on the same bond gets no answer."""
    with product.attached(network(), "c1"):
        assert answered_at_once(product, "c1", PEER)
        assert answered_at_once(product, "c1", PEER6)
        product.guest.sh("ip -n c1 addr add 10.200.0.9/24 dev eth0")
        assert product.pings("c1", "10.200.0.1", count=2) == 0


def test_two_containers_on_one_vlan_meet_and_on_two_do_not(product: Product) -> None:
    other = network(name="other", vlan=200, ipam={"type": "host-local", "ranges": [[{"subnet": "10.200.0.0/24"}]]})
    with product.attached(network(), "c1", "c2") as (first, second), product.attached(other, "c3"):
        theirs = [ip["address"].split("/")[0] for ip in second.document["ips"]]
        for address in theirs:
            assert product.pings("c1", address) == 3
        product.guest.sh("ip -n c3 addr add 10.100.0.99/24 dev eth0")
        assert product.pings("c3", theirs[0], count=2) == 0
        assert product.pings("c3", "10.200.0.1") == 3
        assert first.document["ips"] != second.document["ips"]


def test_addresses_are_announced(lab: "Lab", product: Product) -> None:
    """A peer receives a gratuitous ARP and an unsolicited neighbour advertisement of the addresses."""
    heard = lab.guest.spawn("ip netns exec world tcpdump -e -l -n -i br0.100 'arp or (icmp6 and ip6[40] == 136)'")
    wait_until(lambda: "listening on" in heard.stderr, "tcpdump to listen", 30)
    with product.attached(network(), "c1") as (answer,):
        mac = answer.document["interfaces"][0]["mac"]
        four, six = (ip["address"].split("/")[0] for ip in answer.document["ips"])
        assert product.pings("c1", PEER) == 3
    output = heard.stop().stdout
    for words in (f"{mac} > ff:ff:ff:ff:ff:ff, .* who-has {four} .*tell {four}", f"{mac} > 33:33:.* tgt is {six}"):
        assert re.search(words, output), output


def test_routes_and_gateway_are_as_the_delegate_says(product: Product) -> None:
    ipam = {**network()["ipam"], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.100.0.2"}, {"dst": "::/0"}]}
    with product.attached(network(ipam=ipam), "c1") as (answer,):
        routes = {route["dst"]: route for route in product.guest.sh("ip -n c1 -j route").json()}
        assert routes["default"]["gateway"] == PEER
        assert routes["10.9.0.0/16"]["gateway"] == "10.100.0.2"
        six = {route["dst"]: route for route in product.guest.sh("ip -n c1 -6 -j route").json()}
        assert six["default"]["gateway"] == PEER6
        assert {route["dst"] for route in answer.document["routes"]} == {"0.0.0.0/0", "10.9.0.0/16", "::/0"}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1"])
def test_old_versions_have_results_of_their_form(product: Product, version: str) -> None:
    """ADD and DEL of the plugin and its delegate host-local, both with the config's version (V2, R1, R2)."""
    with product.attached(network(cniVersion=version), "c1") as (answer,):
        assert product.pings("c1", PEER) == 3
        document = answer.document
        if version in ("0.1.0", "0.2.0"):
            for family, subnet, gateway in (("ip4", "10.100.0.", PEER), ("ip6", "fd00:100::", PEER6)):
                address = document[family].pop("ip")
                assert address.startswith(subnet) and address.endswith("/24" if family == "ip4" else "/64")
                assert document[family] == {"gateway": gateway}
            assert sorted(document) == ["cniVersion", "dns", "ip4", "ip6"]
            assert (document["cniVersion"], document["dns"]) == (version, {})
            return
        four, six = (ip.pop("address") for ip in document["ips"])
        assert four.startswith("10.100.0.") and four.endswith("/24")
        assert six.startswith("fd00:100::") and six.endswith("/64")
        (bond,) = (bond for bond in product.status()["bonds"] if bond["state"] == "ready")
        assert document == {
            "cniVersion": version,
            "interfaces": [{"name": "eth0", "mac": bond["mac"], "sandbox": "/run/netns/c1", "vlan": 100}],
            "ips": [
                {"version": "4", "gateway": PEER, "interface": 0},
                {"version": "6", "gateway": PEER6, "interface": 0},
            ],
        }


def test_without_a_delegate_the_bond_has_no_address(product: Product) -> None:
    with product.attached(network(ipam=None, vlan=None), "c1") as (answer,):
        assert "ips" not in answer.document
        assert "vlan" not in answer.document["interfaces"][0]
        product.guest.sh("ip -n c1 addr add 10.100.0.77/24 dev eth0")
        assert product.pings("c1", PEER, count=2) == 0, "untagged, it is on no VLAN of the world"


def test_the_config_may_give_the_mac(product: Product) -> None:
    with product.attached(network(mac="02:00:00:aa:bb:cc"), "c1") as (answer,):
        assert answer.document["interfaces"][0]["mac"] == "02:00:00:aa:bb:cc"
        links = product.guest.sh("ip -n c1 -j link").json()
        assert [link["address"] for link in links if link["ifname"] != "lo"] == ["02:00:00:aa:bb:cc"] * 3
        assert product.pings("c1", PEER) == 3


def test_the_bond_has_the_requested_mac_whichever_port_has_carrier_first(product: Product) -> None:
    """In active-backup it is that of the preferred port. Of six ADDs at once some see the other port's carrier first."""
    names = [f"c{number}" for number in range(6)]
    primaries = {name: "B" if name == "c5" else None for name in names}
    configs = {
        name: network(mode="active-backup", linkMonitor="mii", mac=f"02:00:00:aa:bb:{name}", primary=primaries[name])
        for name in names
    }
    with product.netns(*names), ThreadPoolExecutor(len(names)) as at_once:

        def call(command: str, **more: Any) -> list[Answer]:
            calls = [(command, {**configs[name], **more.get(name, {})}, name, f"/run/netns/{name}") for name in names]
            return list(at_once.map(lambda each: product.call(*each).succeeded(), calls))

        results = dict(zip(names, call("ADD"), strict=True))
        try:
            assert {name: answer.document["interfaces"][0]["mac"][-2:] for name, answer in results.items()} == dict(
                zip(names, names, strict=True)
            )
            call("CHECK", **{name: {"prevResult": answer.document} for name, answer in results.items()})
            leased = {bond["lease"]["container_id"]: bond for bond in product.status()["bonds"] if bond["state"] == "ready"}
            for name in names:
                shown = product.guest.sh(f"ip -n {name} -d -j link show eth0").json()[0]
                number = 1 if primaries[name] else 0
                assert shown["linkinfo"]["info_data"]["active_slave"] == leased[name]["ports"][number]["name"]
                assert shown["address"] == leased[name]["lease"]["macs"][number] == f"02:00:00:aa:bb:{name}"
        finally:
            call("DEL")


def test_a_port_without_a_path_does_not_become_active(lab: "Lab", product: Product) -> None:
    """The result has the MAC of the other port, which is reached."""
    carrier = "/sys/class/net/enp1s0/carrier"
    with lab.pulled("A"):
        wait_until(lambda: product.guest.read(carrier) == "0\n", "enp1s0 without carrier", 20)
        with product.attached(network(mode="active-backup", linkMonitor="mii"), "c1") as (answer,):
            (bond,) = (bond for bond in product.status()["bonds"] if bond["state"] == "ready")
            mac = answer.document["interfaces"][0]["mac"]
            shown = product.guest.sh("ip -n c1 -d -j link show eth0").json()[0]
            assert (shown["address"], shown["linkinfo"]["info_data"]["active_slave"]) == (mac, bond["ports"][1]["name"])
            assert mac == bond["lease"]["macs"][1] != bond["mac"]
            assert product.pings("c1", PEER) == 3
    wait_until(lambda: product.guest.read(carrier) == "1\n", "enp1s0 with carrier", 20)


# Each must be reported beside the earlier ones. A bond that is down loses its routes, so that is the last.
SPOIL = {
    "port missing": ("ip -n c1 link set {port1} nomaster", "the VF {pci1} is not a port of eth0"),
    "port extra": (
        "ip -n c1 link add extra type dummy; ip -n c1 link set extra master eth0",
        "extra is a port of eth0 and should not be",
    ),
    "port from another VF": (
        "ip link set enp1s0 vf 6 trust on; ip link set VF17 netns c1; ip -n c1 link set VF17 master eth0",
        "VF17 is a port of eth0 and should not be",
    ),
    "port down": ("ip -n c1 link set {port2} down", "the port {port2} is down"),
    "option": ("ip -n c1 link set eth0 type bond xmit_hash_policy layer2", "xmit_hash_policy layer2, not layer3+4"),
    "VLAN at NIC 2": ("ip link set enp2s0 vf {vf} vlan 101", "VF {vf} of enp2s0 has vlan 101, not 100"),
    "QoS at NIC 1": ("ip link set enp1s0 vf {vf} vlan 100 qos 3", "VF {vf} of enp1s0 has vlan_qos 3, not 0"),
    "MAC at NIC 1": ("ip link set enp1s0 vf {vf} mac 02:00:00:00:00:77", "has mac 02:00:00:00:00:77"),
    "spoof check": ("ip link set enp1s0 vf {vf} spoofchk off", "VF {vf} of enp1s0 has spoofchk 0, not 1"),
    "trust": ("ip link set enp2s0 vf {vf} trust on", "VF {vf} of enp2s0 has trust 1, not 0"),
    "route": ("ip -n c1 route del 10.9.0.0/16", "the container has no route to 10.9.0.0/16"),
    "address": ("ip -n c1 addr del {ip} dev eth0", "eth0 does not have the address {ip}"),
    "MAC of the bond": ("ip -n c1 link set eth0 address 02:00:00:00:00:78", "eth0 has the MAC 02:00:00:00:00:78, not {mac}"),
    "MTU": ("ip -n c1 link set eth0 mtu 1300", "eth0 has the MTU 1300, not 1500"),
    "down": ("ip -n c1 link set eth0 down", "eth0 is down"),
    "mode": (
        "ip -n c1 link set {port2} nomaster; ip -n c1 link set extra nomaster; ip -n c1 link set VF17 nomaster\n"
        "ip -n c1 link set eth0 type bond mode broadcast",
        "eth0 has mode broadcast, not balance-xor",
    ),
}


def test_check_passes_right_after_add_and_names_everything_that_differs(product: Product) -> None:
    ipam = {**network()["ipam"], "routes": [{"dst": "10.9.0.0/16", "gw": "10.100.0.2"}]}
    with product.attached(network(ipam=ipam), "c1") as (answer,):
        config = {**network(ipam=ipam), "prevResult": answer.document}
        product.call("CHECK", config, "c1", "/run/netns/c1").succeeded()
        (bond,) = (bond for bond in product.status()["bonds"] if bond["state"] == "ready")
        names: dict[str, Any] = {
            "port1": bond["ports"][0]["name"],
            "port2": bond["ports"][1]["name"],
            "pci1": bond["ports"][0]["pci"],
            "vf": bond["ports"][0]["vf"],
            "ip": answer.document["ips"][0]["address"],
            "mac": answer.document["interfaces"][0]["mac"],
        }
        for what, (spoil, says) in SPOIL.items():
            product.guest.sh(spoil.format(**names))
            checked = product.call("CHECK", config, "c1", "/run/netns/c1")
            assert checked.status != 0, f"{what} was not noticed"
            checked.failed(103, says.format(**names))
        product.guest.sh("ip -n c1 link set VF17 down; ip -n c1 link set VF17 netns 1; ip link set enp1s0 vf 6 trust off")


def test_check_notices_a_bond_that_is_gone_or_another_device(product: Product) -> None:
    with product.attached(network(), "c1") as (answer,):
        config = {**network(), "prevResult": answer.document}
        product.guest.sh("ip -n c1 link del eth0")
        product.call("CHECK", config, "c1", "/run/netns/c1").failed(103, "the bond eth0 is gone")
        product.guest.sh("ip -n c1 link add eth0 type dummy")
        product.call("CHECK", config, "c1", "/run/netns/c1").failed(103, "eth0 is a dummy, not a bond")


def test_no_pf_is_ever_promiscuous(lab: "Lab", product: Product) -> None:
    lab.guest.sh("dmesg -C")
    with product.attached(network(), "c1"):
        product.pings("c1", PEER)
        assert not {"enp1s0", "enp2s0"} & set(look(lab.guest).promiscuous)
    messages = lab.guest.sh("dmesg").stdout
    assert "enp1s0: entered promiscuous" not in messages
    assert "enp2s0: entered promiscuous" not in messages
