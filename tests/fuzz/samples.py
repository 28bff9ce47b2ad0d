"""Valid calls, which hostile calls are generated from."""

import json
import random
from pathlib import Path
from typing import Any

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.ipam import schema as delegate
from cni_sriov_bond.network.schema import NETWORK

SAMPLES = Path(__file__).resolve().parents[2] / "conf"
STATE, DATA, BIN = "/run/fuzz/state", "/run/fuzz/data", "/run/fuzz/bin"
BOX = "/run/netns/box"
VALID = "cni.dev/valid-attachments"
MODES: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "active-backup", "primary": "A", "primary_reselect": "better", "failOverMac": "active", "num_grat_arp": 3},
    {
        "mode": "active-backup",
        "arp_interval": 200,
        "arp_ip_target": ["10.1.0.1"],
        "ns_ip6_target": ["fd00::1"],
        "arp_validate": 3,
    },
    {"mode": "balance-xor", "xmitHashPolicy": "layer2", "allSlavesActive": 1, "links": [{"name": "net1"}], "acceptRA": True},
    {"mode": 2, "xmit_hash_policy": "layer2+3", "miimon": "100", "updelay": 200, "downdelay": 300, "peer_notif_delay": 100},
    {"mode": "802.3ad", "lacp_rate": "fast", "lacp_active": "on", "ad_select": 1, "ad_user_port_key": 7, "min_links": 1},
    {"mode": "balance-tlb", "tlb_dynamic_lb": 0, "lp_interval": 5},
    {"mode": "balance-rr", "packets_per_slave": 0, "resend_igmp": 3, "all_slaves_active": 1, "use_carrier": 1},
)
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"vlan": 100, "vlanAllowed": [100, "101-199"], "vlanQoS": 3, "vlanProto": "802.1q", "spoofchk": "on", "trust": "off"},
    {"vlan": 0, "mac": "02:11:22:33:44:55", "mtu": 1500, "link_state": "auto", "min_tx_rate": 0, "max_tx_rate": 100},
    {"deviceID": "cbond2", "linkMonitor": "arp", "logLevel": "debug", "logFile": "/run/fuzz/log"},
    {
        "dns": {"nameservers": ["10.0.0.1"], "search": ["x"]},
        "runtimeConfig": {"mac": "02:00:00:00:00:07", "deviceID": "cbond1"},
    },
    {
        "vlan": 100,
        "vlanAllowed": ["1-4094"],
        "args": {"cni": {"vlan": 120, "mac": "02:00:00:00:00:09", "deviceID": "ffff:01:10.1"}},
    },
)
ADDRESSES: tuple[dict[str, Any], ...] = (
    {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.20", "gateway": "10.1.0.254"},
    {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64", "exclude": ["fd00:1::/120", "fd00:1::1:0"]}]]},
    {
        "ranges": [[{"subnet": "10.1.0.0/29"}, {"subnet": "10.2.0.0/29", "gateway": "10.2.0.6"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
    {"subnet": "10.1.0.4/30"},
    {"subnet": "10.1.0.8/31"},
    {
        "subnets": [
            {"subnet": "10.100.0.0/24", "vlan": 100, "routes": [{"dst": "10.0.0.0/8", "gw": "10.100.0.9", "mtu": 1400}]},
            {"subnet": "fd00:100::/64", "vlan": 100},
            {"subnet": "10.0.0.0/24"},
            {"subnet": "10.120.0.0/24", "vlan": 120, "exclude": ["10.120.0.0/25"]},
        ],
        "routes": [{"dst": "::/0", "priority": 5, "table": 7, "scope": 0, "advmss": 1400}],
        "resolvConf": "/run/fuzz/resolv.conf",
    },
)
CHOICES: tuple[dict[str, Any], ...] = (
    {},
    {"runtimeConfig": {"ips": ["10.1.0.12", "fd00:1::50/64"], "ipRanges": [[{"subnet": "10.77.0.0/24"}]]}},
    {"args": {"cni": {"ips": ["10.1.0.5/24"]}}},
    {"type": "sriov-bond", "vlan": 100, "vlanAllowed": [120], "args": {"cni": {"vlan": 120}}},
)
ARGS = (
    b"", b"", b"", b"IgnoreUnknown=1;K8S_POD_NAME=x", b"IgnoreUnknown=1;MAC=02:00:00:00:00:03", b"VLAN=120", b"IP=10.1.0.15",
    b"IP=fd00:1::99;IgnoreUnknown=true", b"MAC=02:00:00:00:00:05;VLAN=101",
)  # fmt: skip


def files() -> list[dict[str, Any]]:
    """Return the config of every plugin in conf/, with name and version of its list added, as a runtime does."""
    plugins = []
    for path in sorted(SAMPLES.glob("*.conflist")):
        value = json.loads(path.read_text("utf-8"))
        plugins += [{**plugin, "name": value["name"], "cniVersion": value["cniVersion"]} for plugin in value["plugins"]]
    return plugins


FILES = files()


def result(version: str, ifname: str = "eth0", netns: str = BOX) -> dict[str, Any]:
    """Return a result of ADD in the format of a version."""
    if version in ("0.1.0", "0.2.0"):
        return {
            "cniVersion": version,
            "ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
            "ip6": {"ip": "fd00:1::5/64"},
            "dns": {"nameservers": ["10.1.0.1"]},
        }
    with_family = {"version": "4"} if version < "1" else {}
    return {
        "cniVersion": version,
        "interfaces": [
            {"name": ifname, "mac": "02:00:00:00:00:01", "sandbox": netns, "mtu": 1500, "vlan": 100},
            {"name": "veth1"},
        ],
        "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 0, **with_family}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "priority": 3}],
        "dns": {"nameservers": ["10.1.0.1"], "search": ["example"]},
    }


def network(dice: random.Random, ipam: str) -> dict[str, Any]:
    """Return a valid config of the plugin.

    :param ipam: the delegate's name, or "" for none.
    """
    if dice.random() < 0.3:
        value: dict[str, Any] = json.loads(json.dumps(dice.choice(FILES)))
        value["stateDir"] = STATE
    else:
        value = {"cniVersion": "1.0.0", "name": "net1", "type": "sriov-bond", "pool": "db", "stateDir": STATE}
        value.update(json.loads(json.dumps({**dice.choice(MODES), **dice.choice(SETTINGS)})))
    value.pop("ipam", None)
    if ipam:
        value["ipam"] = {"type": ipam, **json.loads(json.dumps(dice.choice(ADDRESSES))), "dataDir": DATA}
    return value


def addresses(dice: random.Random) -> dict[str, Any]:
    """Return a valid config of our IPAM plugin."""
    value: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net1", "type": "macvlan"}
    value["ipam"] = {"type": "sriov-bond-ipam", "dataDir": DATA, **dice.choice(ADDRESSES)}
    config: dict[str, Any] = json.loads(json.dumps({**value, **dice.choice(CHOICES)}))
    return config


def version(dice: random.Random, verb: str) -> str:
    """Return a version, mostly one that has the verb."""
    if verb in ("GC", "STATUS") and dice.random() < 0.9:
        return "1.1.0"
    return dice.choice(VERSIONS[4:] if verb == "CHECK" and dice.random() < 0.9 else VERSIONS)


def of_schema(dice: random.Random, part: dict[str, Any]) -> Any:
    """Return a value that a schema accepts, often at a bound."""
    if "enum" in part:
        return dice.choice(part["enum"])
    if "minimum" in part:
        return dice.choice((part["minimum"], part["maximum"], dice.randint(part["minimum"], part["maximum"])))
    if part.get("type") == "array":
        return [of_schema(dice, part.get("items", {})) for _ in range(dice.randint(part.get("minItems", 1), 3))]
    if part.get("type") == "object":
        return {}
    by_format: dict[str, str] = {
        "ip": "10.1.0.7",
        "cidr": "10.1.0.0/24",
        "mac": "02:00:00:00:00:0a",
        "ipv4": "10.1.0.1",
        "ipv6": "fd00::9",
    }
    return by_format.get(part.get("format", ""), dice.choice(("db", "A", "10.1.0.3", "/run/fuzz/new")))


def beside_schema(dice: random.Random, part: dict[str, Any]) -> Any:
    """Return a value that a schema just rejects."""
    if "minimum" in part:
        return dice.choice((part["minimum"] - 1, part["maximum"] + 1, str(part["minimum"]), float(part["maximum"])))
    if "enum" in part:
        return dice.choice((str(dice.choice(part["enum"])).upper(), len(part["enum"]), "", str(len(part["enum"]) - 1)))
    if part.get("type") == "array":
        return dice.choice(([], [None], ["x"] * (part.get("maxItems", 16) + 1), "x", {}))
    return dice.choice((0, [], {}, "", True))


PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "plugin": NETWORK["properties"],
    "ipam": delegate.IPAM,
    "range": delegate.RANGE,
    "route": delegate.ROUTE,
    "delegate": delegate.NETWORK["properties"],
}
