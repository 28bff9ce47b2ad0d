"""Our plugin in chains with the reference plugins, run by cnitool."""

import contextlib
import json
from typing import TYPE_CHECKING, Any

from tests.lab.callers import PLUGINS, chain, conflist
from tests.lab.product import PEER, PEER6, SUBNET, Product, network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.guest import Result

NEW_MAC = "02:00:00:aa:bb:cc"
PORTS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]


class Chain:
    """A chain, run by cnitool for one container."""

    def __init__(self, product: Product, netns: str, capabilities: "Mapping[str, Any]") -> None:
        self._product = product
        self._netns = netns
        self._environ = {"CNI_PATH": PLUGINS, "CAP_ARGS": json.dumps(capabilities)}

    def tool(self, verb: str, *, check: bool = True) -> "Result":
        """Run cnitool."""
        return self._product.guest.run(["cnitool", verb, "db", self._netns], env=self._environ, check=check, timeout=90)

    def add(self) -> dict[str, Any]:
        """Add the container and check it; return the result."""
        result: dict[str, Any] = self.tool("add").json()
        self.tool("check")
        return result

    def links(self) -> dict[str, Any]:
        """Return the container's devices by their names."""
        return {link["ifname"]: link for link in self._product.inside("box", "ip -d -j link").json()}


@contextlib.contextmanager
def chained(
    product: Product,
    config: "Mapping[str, Any]",
    *,
    before: "tuple[Any, ...]" = (),
    behind: "tuple[Any, ...]" = (),
    **capabilities: Any,
) -> "Iterator[Chain]":
    """Install a chain and create a container for the duration of the block; its DEL must succeed."""
    with conflist(product, chain(config, before=before, behind=behind)), product.netns("box") as (path,):
        driven = Chain(product, path, capabilities)
        try:
            yield driven
        finally:
            driven.tool("del")


def test_tuning_behind_us_changes_the_mac(product: Product) -> None:
    """Possible if the VFs are trusted. Our CHECK uses the chain's result, and DEL restores the MACs."""
    tuning = {"type": "tuning", "mac": NEW_MAC, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
    with chained(product, network(trust="on"), behind=(tuning,)) as chain:
        (interface,) = chain.add()["interfaces"]
        assert interface["mac"] == NEW_MAC
        assert chain.links()["eth0"]["address"] == NEW_MAC
        assert product.inside("box", "cat /proc/sys/net/ipv4/conf/eth0/arp_filter").stdout == "1\n"
        assert product.pings("box", PEER) == 3
        product.inside("box", "ip link set eth0 address 02:00:00:00:00:78")
        assert f"eth0 has the MAC 02:00:00:00:00:78, not {NEW_MAC}" in chain.tool("check", check=False).stderr


def test_tuning_behind_us_cannot_change_the_mac_of_untrusted_vfs(product: Product) -> None:
    """igb refuses it, which tuning's error does not explain; use the key ``mac`` of the network."""
    with chained(product, network(), behind=({"type": "tuning", "mac": NEW_MAC},)) as chain:
        answer = chain.tool("add", check=False)
        assert answer.status != 0
        assert 'plugin type="tuning" failed (add)' in answer.stderr
        assert "cannot assign requested address" in answer.stderr


def test_tuning_behind_us_must_leave_the_mtu_to_us(product: Product) -> None:
    """tuning does not change the MTU in the result, so our CHECK fails; use our key ``mtu``."""
    with chained(product, network(), behind=({"type": "tuning", "mtu": 1400},)) as chain:
        chain.tool("add")
        assert "eth0 has the MTU 1400, not 1500" in chain.tool("check", check=False).stderr


def test_portmap_and_firewall_behind_us(product: Product) -> None:
    """They find our addresses by interface name and sandbox, and remove their rules at DEL."""
    behind = ({"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall", "backend": "iptables"})
    # One family only: each rule starts a process.
    ipam = {"type": "host-local", "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}]]}
    with chained(product, network(ipam=ipam), behind=behind, portMappings=PORTS) as chain:
        (ip,) = chain.add()["ips"]
        address = ip["address"].split("/")[0]
        rules = product.guest.sh("iptables-save").stdout
        assert f"-j DNAT --to-destination {address}:80" in rules
        assert f"-A CNI-FORWARD -s {address}/32 -j ACCEPT" in rules
        assert product.pings("box", PEER) == 3
    assert address not in product.guest.sh("iptables-save").stdout


def test_sbr_behind_us_moves_our_routes(product: Product) -> None:
    """Into a routing table for each address; our CHECK finds them there."""
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    with chained(product, network(ipam={**network()["ipam"], "routes": routes}), behind=({"type": "sbr"},)) as chain:
        sources = [ip["address"].split("/")[0] for ip in chain.add()["ips"]]
        assert product.inside("box", "ip -4 route show default").stdout == ""
        assert f"default via {PEER} dev eth0" in product.inside("box", "ip -4 route show table 100").stdout
        for source, peer in zip(sources, (PEER, PEER6), strict=True):
            assert product.pings("box", f"-I {source} {peer}") == 3


def test_bandwidth_behind_us_is_refused_and_nothing_leaks(product: Product) -> None:
    """It shapes the host end of a veth pair, which a VF does not have; use ``max_tx_rate``."""
    bandwidth = {
        "type": "bandwidth",
        "ingressRate": 1000000,
        "ingressBurst": 1000000,
        "egressRate": 1000000,
        "egressBurst": 1000000,
    }
    with chained(product, network(), behind=(bandwidth,)) as chain:
        answer = chain.tool("add", check=False)
        assert answer.status != 0
        assert 'plugin type="bandwidth" failed (add): container interface eth0 has no veth peer' in answer.stderr
        assert product.states().count("ready") == 1, "libcni takes nothing back; the runtime's DEL does"
        chain.tool("del")
        assert product.all_free()
        assert list(chain.links()) == ["lo"]


def test_behind_loopback_our_interface_is_appended(product: Product) -> None:
    """Our addresses refer to the second interface then; DEL runs ours before loopback."""
    with chained(product, network(cniVersion="0.4.0"), before=({"type": "loopback"},)) as chain:
        result = chain.add()
        assert [interface["name"] for interface in result["interfaces"]] == ["lo", "eth0"]
        of = {ip["address"].partition("/")[0]: result["interfaces"][ip["interface"]]["name"] for ip in result["ips"]}
        assert sorted(of.values()) == ["eth0", "eth0", "lo", "lo"]
        assert of["127.0.0.1"] == "lo"
        assert product.pings("box", PEER) == 3
        chain.tool("del")
        assert list(chain.links()) == ["lo"]
        assert "UP" not in chain.links()["lo"]["flags"]


def test_behind_bridge_we_refuse_the_name_and_it_is_taken_back(product: Product) -> None:
    """All plugins of a chain get the same interface name, which bridge uses; with another name its interfaces come first."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]}
    bridge = {"type": "bridge", "bridge": "br77", "ipam": ipam}
    try:
        with chained(product, network(), before=(bridge,)) as chain:
            refused = chain.tool("add", check=False)
            assert refused.status != 0
            assert "has a device eth0 already" in refused.stderr
            assert product.all_free()
        with conflist(product, {"cniVersion": "1.0.0", "name": "db", "plugins": [bridge]}), product.netns("box") as (path,):
            first = Chain(product, path, {})
            before = first.tool("add").json()
            config = network(prevResult=before)
            answer = product.call("ADD", config, "box", path, "net1").succeeded().document
            assert [interface["name"] for interface in answer["interfaces"]][-2:] == ["eth0", "net1"]
            assert [ip["interface"] for ip in answer["ips"]] == [2, 3, 3]
            assert answer["interfaces"][:3] == before["interfaces"]
            assert product.pings("box", PEER) == 3
            after = {**config, "prevResult": answer}
            product.call("CHECK", after, "box", path, "net1").succeeded()
            product.call("DEL", after, "box", path, "net1").succeeded()
            assert list(first.links()) == ["lo", "eth0"]
            first.tool("del")
    finally:
        product.guest.sh("ip link del br77")
