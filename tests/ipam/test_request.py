"""Which sets serve an attachment: by its VLAN, by its arguments, and what is refused in a config."""

import ipaddress
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from cni_sriov_bond.cni import schema
from cni_sriov_bond.errors import ADDRESS_REFUSED, CHECK_DIFFERS, INVALID_CONFIG
from cni_sriov_bond.ipam.schema import IPAM, NETWORK
from tests.ipam import calls
from tests.support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

V4, V6 = "10.1.0.0/24", "fd00:1::/64"


SUBNETS = [
    {"subnet": "10.100.0.0/24", "vlan": 100, "routes": [{"dst": "10.0.0.0/8"}]},
    {"subnet": "fd00:100::/64", "vlan": 100},
    {"subnet": "10.200.0.0/24", "vlan": 200, "gateway": "10.200.0.254"},
    {"subnet": "10.200.9.0/24", "vlan": 200},
    {"subnet": "10.0.0.0/24"},
]


def on_vlan(data: Path, vlan: int | None, **more: Any) -> dict[str, Any]:
    value = calls.network(data, subnets=SUBNETS, routes=[{"dst": "0.0.0.0/0"}])
    return {**value, **({} if vlan is None else {"vlan": vlan}), **more}


@pytest.mark.parametrize(
    ("vlan", "expected"),
    [
        (100, ["10.100.0.2/24", "fd00:100::2/64"]),
        (200, ["10.200.0.1/24"]),
        (0, ["10.0.0.2/24"]),
        (None, ["10.0.0.2/24"]),
    ],
)
def test_an_attachment_gets_an_address_of_its_vlan(tmp_path: Path, vlan: int | None, expected: list[str]) -> None:
    """One address of each family of its VLAN, with that subnet's routes. Absent and 0 are both no VLAN."""
    answer = calls.process("ADD", on_vlan(tmp_path, vlan))
    assert answer.ips == expected
    assert answer.document["routes"] == [{"dst": "0.0.0.0/0"}, *([{"dst": "10.0.0.0/8"}] if vlan == 100 else [])]


def test_an_address_of_another_vlan_is_refused(tmp_path: Path) -> None:
    refused = calls.call("ADD", on_vlan(tmp_path, 100), args="IP=10.200.0.7")
    assert refused.code == ADDRESS_REFUSED
    assert refused.message == (
        "failed to allocate all requested IPs: 10.200.0.7; it belongs to VLAN 200, and the attachment is on VLAN 100"
    )
    assert calls.call("ADD", on_vlan(tmp_path, 200), args="IP=10.200.0.7").ips == ["10.200.0.7/24"]


def test_a_vlan_without_a_subnet_is_refused(tmp_path: Path) -> None:
    refused = calls.call("ADD", on_vlan(tmp_path, 300))
    assert (refused.code, "none of VLAN 300" in refused.message) == (INVALID_CONFIG, True)
    assert calls.call("STATUS", on_vlan(tmp_path, 300)).code == 0


def test_an_argument_chooses_the_vlan_only_where_the_plugin_allows_it(tmp_path: Path) -> None:
    """It applies to sriov-bond, if the network has vlanAllowed, which that plugin has checked."""
    allowed = on_vlan(tmp_path, 100, type="sriov-bond", vlanAllowed=[0, "100-200"])
    assert calls.call("ADD", allowed, "a", args="VLAN=200").ips == ["10.200.0.1/24"]
    previous = {"prevResult": {"ips": [{"address": "10.200.0.1/24"}]}}
    assert calls.call("CHECK", {**allowed, **previous}, "a").code == 0
    assert calls.call("ADD", {**allowed, "args": {"cni": {"vlan": 0}}}, "b", args="VLAN=200").ips == ["10.0.0.2/24"]
    assert calls.call("CHECK", {**allowed, **previous}, "b").code == CHECK_DIFFERS
    del allowed["vlanAllowed"]
    assert calls.call("ADD", allowed, "c", args="VLAN=200").ips == ["10.100.0.2/24", "fd00:100::2/64"]
    other = on_vlan(tmp_path, 100, type="macvlan", vlanAllowed=["200"])
    assert calls.call("ADD", other, "d", args="VLAN=200").ips == ["10.100.0.3/24", "fd00:100::3/64"]


def test_each_vlan_has_its_own_next_address(tmp_path: Path) -> None:
    """An allocation on one VLAN does not advance the next address of another, nor of the config's other sets."""
    first = [
        calls.call("ADD", on_vlan(tmp_path, vlan), f"c{number}").ips[0] for number, vlan in enumerate((100, 200, 100, 0, 200))
    ]
    assert first == ["10.100.0.2/24", "10.200.0.1/24", "10.100.0.3/24", "10.0.0.2/24", "10.200.0.2/24"]


def test_a_vlan_of_thousands_of_digits_is_ignored(tmp_path: Path) -> None:
    """The plugin has refused such an ADD before; here it must not be an internal error."""
    allowed = on_vlan(tmp_path, 100, type="sriov-bond", vlanAllowed=["100-200"])
    assert calls.call("ADD", allowed, args=f"VLAN={'9' * 5000}").ips == ["10.100.0.2/24", "fd00:100::2/64"]


@pytest.mark.parametrize("channel", ["CNI_ARGS", "args", "runtimeConfig", "mixed"])
def test_fixed_addresses_of_both_families(tmp_path: Path, channel: str) -> None:
    """Each channel requests them. CNI_ARGS has room for one; the other is the next one or comes from another channel."""
    value = calls.network(tmp_path, ranges=[[{"subnet": V4}], [{"subnet": V6}]])
    addresses = ["10.1.0.50", "fd00:1::50"]
    args = "IP=10.1.0.50" if channel in ("CNI_ARGS", "mixed") else ""
    if channel == "args":
        value["args"] = {"cni": {"ips": addresses}}
    if channel == "runtimeConfig":
        value["runtimeConfig"] = {"ips": [f"{addresses[0]}/24", f"{addresses[1]}/64"]}
    if channel == "mixed":
        value["runtimeConfig"] = {"ips": [addresses[1], "10.1.0.50"]}
    second = "fd00:1::2" if channel == "CNI_ARGS" else addresses[1]
    assert calls.process("ADD", value, args=args).ips == [f"{addresses[0]}/24", f"{second}/64"]


def test_every_mistake_is_reported_with_its_path(tmp_path: Path) -> None:
    value = calls.network(tmp_path, subnet="10.1.0.1/24", ranges=[[{"subnet": V6}, {"subnet": "x"}], []], routes=[{"dst": "y"}])
    value["runtimeConfig"] = {"ips": ["z"]}
    refused = calls.call("ADD", value)
    assert refused.code == INVALID_CONFIG
    assert refused.message == (
        "network 'net1': ipam: subnet 10.1.0.1/24 has host bits set; its network is 10.1.0.0/24; ipam.ranges[0][1]: 'x' is not "
        "an address; ipam.ranges[1] is an empty range set; ipam.routes[0]: 'y' is not an address; "
        "runtimeConfig.ips: 'z' is not an address"
    )
    refused = calls.call("ADD", calls.network(tmp_path, subnet=5, ranges=[[{"gateway": 1}]], subnets=[{"vlan": 5000}]))
    assert refused.message == (
        "network 'net1': ipam.subnet must be a string, not 5; ipam.ranges[0][0].subnet is missing; ipam.ranges[0][0].gateway "
        "must be a string, not 1; ipam.subnets[0].subnet is missing; ipam.subnets[0].vlan must be from 0 to 4094, not 5000"
    )


def test_a_vlan_whose_subnet_is_wrong_is_not_reported_as_missing(tmp_path: Path) -> None:
    """Only the subnet's own mistake is reported, also beside a good subnet of another VLAN."""
    for others in ([], [{"vlan": 7, "subnet": "10.2.0.0/24"}]):
        refused = calls.call("ADD", calls.network(tmp_path, subnets=[{"subnet": "10.1.0.1/24"}, *others]))
        assert refused.message == (
            "network 'net1': ipam.subnets[0]: subnet 10.1.0.1/24 has host bits set; its network is 10.1.0.0/24"
        )


def test_the_schema_is_valid_and_our_check_agrees_with_the_library() -> None:
    """Every key has a description, and both give the same verdict on a thousand generated configs."""
    jsonschema.Draft202012Validator.check_schema(NETWORK)
    library, dice = jsonschema.Draft202012Validator(NETWORK), random.Random(3)
    parts: list[Any] = [None, True, 5, "", "x", [], {}, [[]], ["x"], [5], [{}], [[{}]], [{"subnet": "x"}], [[{"subnet": 5}]]]
    parts += [{"cni": {"ips": ["x"]}}, {"ips": "x"}, {"cni": 5}, [{"dst": "x", "mtu": -1}], [{"subnet": "x", "vlan": 4095}]]
    keys: dict[str, Any] = NETWORK["properties"]["ipam"]["properties"]
    assert [key for key, part in keys.items() if not part.get("description")] == []
    for _ in range(1000):
        chosen = {key: dice.choice(parts) for key in dice.sample(sorted(keys), 3)}
        value = {
            "ipam": dice.choice([chosen, chosen, chosen, 5]),
            dice.choice(["vlan", "args", "runtimeConfig"]): dice.choice(parts),
        }
        assert bool(schema.issues(value, NETWORK)) == (not library.is_valid(value)), value


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"subnet": "10.1.0.0/" + "2" * 5000}, "is not a network"),
        ({"subnet": V4, "rangeStart": "\ud800"}, "is not an address"),
        ({"subnet": V4, "gateway": "fd00::1"}, "ipam: gateway fd00::1 is not of the family of the subnet"),
        ({"subnet": V6, "gateway": "10.1.0.1"}, "ipam: gateway 10.1.0.1 is not of the family of the subnet"),
        ({"subnet": V4, "dataDir": "/x\ud800"}, "ipam.dataDir must be an absolute path"),
        ({"subnet": V4, "dataDir": "/x\0"}, "ipam.dataDir must be an absolute path"),
        ({"subnet": V4, "resolvConf": "/x\0"}, "ipam.resolvConf '/x\\x00' is not a path"),
        ({"subnet": V4, "resolvConf": "/x\ud800"}, "ipam.resolvConf '/x\\ud800' is not a path"),
        ({"subnet": V4, "resolvConf": "/none"}, "cannot read ipam.resolvConf /none: No such file"),
        ({"subnet": V4, "resolvConf": "/"}, "cannot read ipam.resolvConf /: Is a directory"),
    ],
)
def test_a_text_that_is_no_address_and_no_path_is_a_mistake_of_the_config(
    tmp_path: Path, keys: dict[str, str], sentence: str
) -> None:
    """Also one on which Python's own functions raise something else, such as thousands of digits or a lone surrogate."""
    refused = calls.call("ADD", calls.network(tmp_path, **keys))
    assert refused.code == INVALID_CONFIG
    assert sentence in refused.message


def test_a_relative_data_directory_is_refused(tmp_path: Path) -> None:
    for verb in ("ADD", "DEL"):
        assert calls.call(verb, calls.network(Path("somewhere"), subnet=V4)).code == INVALID_CONFIG


def test_the_largest_config_takes_linear_time(tmp_path: Path) -> None:
    """Ranges and exclusions of a megabyte are visited once and not compared in pairs: twice as many are twice the work."""
    nets = [f"10.{number >> 6}.{(number & 63) * 4}.0/24" for number in range(4000)]
    configs: list[Callable[[int], dict[str, Any]]] = [
        lambda count: {"ranges": [[{"subnet": net} for net in nets[:count]]]},
        lambda count: {"ranges": [[{"subnet": net}] for net in nets[:count]]},
        lambda count: {"subnets": [{"subnet": net, "vlan": number % 4095} for number, net in enumerate(nets[:count])]},
        lambda count: {"subnet": "10.0.0.0/8", "exclude": nets[:count]},
    ]
    for config in configs:
        values = [calls.network(tmp_path, **config(count)) for count in (2000, 4000)]
        half, full = (calls.count_functions(lambda value=value: calls.call("STATUS", value)) for value in values)  # type: ignore[misc]
        assert full < 2.3 * half
    refused = calls.call("STATUS", {**calls.network(tmp_path, subnet=V4), "runtimeConfig": {"ips": ["10.1.0.5"] * 1025}})
    assert refused.message == "network 'net1': runtimeConfig.ips must have 0 to 1024 entries, not 1025"


def test_samples_are_served(tmp_path: Path) -> None:
    """Every sample network with our IPAM plugin gets an address of each family, of its VLAN."""
    served = 0
    for path in (REPOSITORY / "conf").glob("*.conflist"):
        listed = json.loads(path.read_text())
        for plugin in listed["plugins"]:
            if plugin.get("ipam", {}).get("type") == "sriov-bond-ipam":
                assert set(plugin["ipam"]) <= set(IPAM)
                plugin["ipam"]["dataDir"] = str(tmp_path)
                value = {**plugin, "name": listed["name"], "cniVersion": listed["cniVersion"]}
                allocated = [ipaddress.ip_interface(ip) for ip in calls.call("ADD", value).ips]
                entries = [entry for part in plugin["ipam"].get("ranges", []) for entry in part]
                entries += [entry for entry in plugin["ipam"].get("subnets", []) if entry["vlan"] == plugin["vlan"]]
                assert [str(ip.network) for ip in allocated] == [entry["subnet"] for entry in entries], path.name
                served += 1
    assert served
