"""What a container finds inside: IPv6, router advertisements of its VLAN, names that are taken, and routes that are odd."""

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

from tests.lab.machine import INSIDE
from tests.lab.product import PEER, PEER6, SUBNET, SUBNET6, Product, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUR = {"type": "host-local", "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}]]}
PREFIX = "fd00:77::"
NO_DRIVER = "modprobe -r bonding; echo /bin/false >/proc/sys/kernel/modprobe"


def ours(**keys: Any) -> dict[str, Any]:
    """Return a network with our own IPAM plugin, whose routes may have a scope."""
    ipam = {"type": "sriov-bond-ipam", "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}]], **keys}
    return network(cniVersion="1.1.0", ipam=ipam)


def addresses(product: Product, name: str) -> dict[str, list[str]]:
    """Return the IPv6 addresses of each device of a namespace, the link-local ones too."""
    devices = product.guest.sh(f"ip -n {name} -6 -j addr").json()
    return {device["ifname"]: [info["local"] for info in device["addr_info"]] for device in devices if device}


def took(product: Product, name: str) -> tuple[bool, bool]:
    """Return whether a container has an address of the advertised prefix, and a default route of IPv6."""
    address = any(ip.startswith("fd00:77:") for ips in addresses(product, name).values() for ip in ips)
    return address, bool(product.guest.sh(f"ip -n {name} -6 -j route show default").json())


def advertise(product: Product, *takers: str) -> None:
    """Send advertisements from the world to VLAN 100 until each of the takers has an address from one."""

    def done() -> bool:
        product.guest.sh(f"ip netns exec world python3 {INSIDE}/advertise.py br0.100 {PREFIX}")
        return all(took(product, name)[0] for name in takers)

    wait_until(done, f"{', '.join(takers)} to take an advertisement", 30)


@contextlib.contextmanager
def namespace_without_ipv6(product: Product) -> "Iterator[str]":
    """Return the path of a namespace as a container without a network has it: IPv6 off, the loopback up."""
    with product.netns("c1") as (path,):
        product.inside("c1", "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1")
        assert product.inside("c1", "ping -c 1 -W 2 ::1", check=False).status != 0
        yield path


def test_ipv6_is_enabled_with_an_ipv6_address(product: Product) -> None:
    """On the bond and on the loopback; with IPv4 alone the namespace stays as it is."""
    with namespace_without_ipv6(product) as path:
        for ipam, expected in ((FOUR, 1), (network()["ipam"], 0)):
            product.call("ADD", network(ipam=ipam), "c1", path).succeeded()
            for device in ("lo", "eth0"):
                shown = product.inside("c1", f"sysctl -n net.ipv6.conf.{device}.disable_ipv6").stdout.strip()
                assert int(shown) == expected, device
            if not expected:
                product.inside("c1", "ping -c 1 -W 2 ::1")
                assert product.pings("c1", PEER6) == 3
            product.call("DEL", network(ipam=ipam), "c1", path).succeeded()


def test_router_advertisements_are_taken_only_where_they_are_asked_for(product: Product) -> None:
    """c1 has IPv4 addresses, c2 the same and the key, c3 no addresses, and c4 none and the key; all hear the same router."""
    configs = {
        "c1": network(ipam=FOUR),
        "c2": network(ipam=FOUR, acceptRA=True),
        "c3": network(ipam=None),
        "c4": network(ipam=None, acceptRA=False),
    }
    with product.netns(*configs) as paths:
        try:
            for (name, config), path in zip(configs.items(), paths, strict=True):
                product.call("ADD", config, name, path).succeeded()
            advertise(product, "c2", "c3")
            expected = {"c1": (False, False), "c2": (True, True), "c3": (True, True), "c4": (False, False)}
            assert {name: took(product, name) for name in configs} == expected
            for name in configs:
                ports = {device: ips for device, ips in addresses(product, name).items() if device not in ("lo", "eth0")}
                assert not any(ports.values()), "a port of a bond has no addresses"
        finally:
            for (name, config), path in zip(configs.items(), paths, strict=True):
                product.call("DEL", config, name, path).succeeded()


def test_advertisements_enable_ipv6_where_it_is_off(product: Product) -> None:
    """The key says that the container shall take them."""
    config = network(ipam=FOUR, acceptRA=True)
    with namespace_without_ipv6(product) as path:
        product.call("ADD", config, "c1", path).succeeded()
        advertise(product, "c1")
        assert took(product, "c1") == (True, True)
        product.call("DEL", config, "c1", path).succeeded()


def test_a_container_has_devices_with_the_names_of_its_vfs(product: Product) -> None:
    """They stay, the VFs get free names, and the bond works. It is restored by DEL, and after the end of the namespace."""
    config = network()
    names = [port["name"] for port in product.status()["bonds"][0]["ports"]]
    for ends in (False, True):
        with product.netns("c1") as (path,):
            for name in names:
                product.guest.sh(f"ip -n c1 link add {name} type dummy")
            answer = product.call("ADD", config, "c1", path).succeeded()
            links = {link["ifname"]: link for link in product.guest.sh("ip -n c1 -d -j link").json()}
            assert [links[name]["linkinfo"]["info_kind"] for name in names] == ["dummy", "dummy"]
            ports = [name for name, link in links.items() if link.get("master") == "eth0"]
            assert len(ports) == 2
            assert all(re.fullmatch("vf[0-9]", name) for name in ports), ports
            assert product.pings("c1", PEER) == 3
            product.call("CHECK", {**config, "prevResult": answer.document}, "c1", path).succeeded()
            if not ends:
                product.call("DEL", config, "c1", path).succeeded()
        if ends:
            product.wait_home(1)
            product.call("DEL", config, "c1").succeeded()
        assert product.all_free()


def test_the_interface_has_the_name_of_one_of_its_vfs(product: Product) -> None:
    """The bond is there before its ports."""
    name = product.status()["bonds"][0]["ports"][0]["name"]
    with product.netns("c1") as (path,):
        product.call("ADD", network(), "c1", path, ifname=name).succeeded()
        assert product.guest.sh(f"ip -n c1 -d -j link show {name}").json()[0]["linkinfo"]["info_kind"] == "bond"
        assert product.pings("c1", PEER) == 3
        product.call("DEL", network(), "c1", path, ifname=name).succeeded()


def test_names_that_no_device_can_have_are_refused(product: Product) -> None:
    """Before a bond is leased; the kernel refuses them, which is tried too."""
    with product.netns("c1") as (path,):
        for name in ("all", "default", "bonding_masters"):
            assert product.guest.sh(f"ip -n c1 link add {name} type bond", check=False).status != 0
            product.call("ADD", network(), "c1", path, ifname=name).failed(4, f"the interface name {name} is reserved")
            product.call("DEL", network(), "c1", path, ifname=name).succeeded()
        assert product.links("c1") == ["lo"]


def test_a_route_with_scope_link_needs_no_gateway(product: Product) -> None:
    """It is on the link; other routes have the gateway of the address, or one that such a route leads to."""
    routes = [{"dst": "10.8.0.0/16", "gw": "10.9.0.1"}, {"dst": "10.9.0.0/16", "scope": 253}, {"dst": "0.0.0.0/0"}]
    config = ours(routes=routes)
    with product.attached(config, "c1") as (answer,):
        shown = {route["dst"]: route for route in product.guest.sh("ip -n c1 -j route").json()}
        gateways = {dst: shown[dst].get("gateway") for dst in ("10.9.0.0/16", "10.8.0.0/16", "default")}
        assert gateways == {"10.9.0.0/16": None, "10.8.0.0/16": "10.9.0.1", "default": PEER}
        assert shown["10.9.0.0/16"]["scope"] == "link"
        product.call("CHECK", {**config, "prevResult": answer.document}, "c1", "/run/netns/c1").succeeded()


def test_what_the_kernel_would_refuse_is_said_in_words(product: Product) -> None:
    """Each names the cause; everything is undone, which the fixture checks."""
    script = '#!/bin/sh\necho \'{"cniVersion":"1.0.0","ips":[{"address":"fd00:100::88/64"}]}\'\n'
    product.guest.write("/opt/cni/bin/six", script, mode=0o755)
    both = {"type": "host-local", "ranges": [[{"subnet": SUBNET}], [{"subnet": SUBNET6}]]}
    cases: list[tuple[dict[str, Any], str]] = [
        (
            ours(routes=[{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]),
            "the gateway 10.9.0.1 is in no network of eth0, which has 10.100",
        ),
        (ours(routes=[{"dst": "10.9.0.0/16", "gw": PEER, "scope": 253}]), f"has the gateway {PEER} and scope 253"),
        (network(mtu=1000, ipam=both), f"mtu 1000 is too small for {SUBNET6}: IPv6 needs 1280"),
        (network(mtu=1000, ipam={"type": "six"}), "eth0 has the MTU 1000, with which it cannot have fd00:100::88/64"),
    ]
    try:
        with product.netns("c1") as (path,):
            for config, words in cases:
                product.call("ADD", config, "c1", path).failed(7, words)
                assert product.links("c1") == ["lo"], words
                assert product.all_free(), words
    finally:
        product.guest.sh("rm -f /opt/cni/bin/six")


def test_a_kernel_without_the_bonding_driver(product: Product) -> None:
    """Nothing is moved; with the driver the same call succeeds."""
    with product.netns("c1") as (path,):
        loader = product.guest.sh("cat /proc/sys/kernel/modprobe").stdout.strip()
        product.guest.sh(NO_DRIVER)
        try:
            message = "cannot create the bond eth0: the kernel has no bonding driver; run `modprobe bonding max_bonds=0`"
            product.call("ADD", network(), "c1", path).failed(104, message)
            assert product.links("c1") == ["lo"]
        finally:
            product.guest.sh(f"echo {loader} >/proc/sys/kernel/modprobe; modprobe bonding max_bonds=0")
        product.call("ADD", network(), "c1", path).succeeded()
        product.call("DEL", network(), "c1", path).succeeded()


def test_a_config_of_bond_cni_and_sriov_cni_works(product: Product) -> None:
    """With all of their keys, as docs/moving.md says; the log says what is not needed."""
    moved = {
        "mode": "active-backup", "failOverMac": 1, "miimon": "100", "mtu": 1500, "linksInContainer": True,
        "links": [{"name": "net1"}, {"name": "net2"}], "allSlavesActive": 1, "vlanQoS": 0, "vlanProto": "802.1q",
        "spoofchk": "on", "trust": "off", "min_tx_rate": 0, "max_tx_rate": 0, "link_state": "auto",
    }  # fmt: skip
    config = network(**moved)
    with product.attached(config, "c1") as (answer,):
        [link] = json.loads(product.guest.sh("ip -n c1 -d -j link show eth0").stdout)
        data = link["linkinfo"]["info_data"]
        assert (data["mode"], data["fail_over_mac"], data["miimon"]) == ("active-backup", "active", 100)
        assert data["all_slaves_active"] == 1
        assert product.pings("c1", PEER) == 3
        for key in ("links", "linksInContainer"):
            assert f"the key '{key}' is not needed: the pool has the VFs; it is ignored" in answer.result.stderr
