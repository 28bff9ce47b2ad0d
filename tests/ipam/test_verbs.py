"""The IPAM delegate's own rules: owners, VLANs, fixed addresses, GC, STATUS, and that it stands being killed."""

import ipaddress
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.cni import schema
from cni_sriov_bond.errors import (
    ADDRESS_REFUSED,
    CHECK_DIFFERS,
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    IO_FAILURE,
    NOT_AVAILABLE,
    TRY_AGAIN_LATER,
)
from cni_sriov_bond.ipam import index
from cni_sriov_bond.ipam.schema import IPAM, NETWORK
from tests.ipam import calls
from tests.support import REPOSITORY

V4, V6 = "10.1.0.0/24", "fd00:1::/64"


def names(paths: Iterator[Path]) -> list[str]:
    return sorted(path.name for path in paths)


# -- which addresses are given


def given(data: Path, number: int, **config: Any) -> list[str]:
    """Give the addresses of so many attachments, without prefix length."""
    answers = [calls.call("ADD", calls.network(data, **config), f"c{one}") for one in range(number)]
    assert {one.code for one in answers} <= {0, TRY_AGAIN_LATER}
    return [ip.partition("/")[0] for one in answers for ip in one.ips]


@pytest.mark.parametrize("subnet", ["10.1.0.0/27", "10.1.0.32/28", "192.168.1.4/30", "fd00::/123", "fd00::/126"])
def test_network_broadcast_and_gateway_are_never_given(tmp_path: Path, subnet: str) -> None:
    """A whole subnet is given away, each address once, but for its own, its gateway and, of IPv4, the broadcast address."""
    net = ip_network(subnet)
    found = given(
        tmp_path, net.num_addresses + 2, subnet=subnet, gateway=str(net[2]), rangeStart=str(net[0]), rangeEnd=str(net[-1])
    )
    kept = {net[0], net[2], *([net[-1]] if net.version == 4 else [])}
    assert [ip_address(one) for one in found] == sorted(set(net) - kept)


@pytest.mark.parametrize(
    ("subnet", "config", "expected"),
    [
        ("10.1.0.4/31", {}, ["10.1.0.4", "10.1.0.5"]),
        ("10.1.0.4/31", {"gateway": "10.1.0.4"}, ["10.1.0.5"]),
        ("10.1.0.9/32", {}, ["10.1.0.9"]),
        ("10.1.0.9/32", {"gateway": "169.254.1.1"}, ["10.1.0.9"]),
        ("fd00::6/127", {}, ["fd00::6", "fd00::7"]),
        ("fd00::6/128", {}, ["fd00::6"]),
    ],
)
def test_subnets_of_two_and_of_one(tmp_path: Path, subnet: str, config: dict[str, str], expected: list[str]) -> None:
    """/31 (RFC 3021), /127 (RFC 6164), /32 and /128 have neither an address of their own nor a gateway unless it is said."""
    assert given(tmp_path, 3, subnet=subnet, **config) == expected
    answer = calls.call("ADD", calls.network(tmp_path, "other", subnet=subnet, **config))
    assert answer.document["ips"][0].get("gateway") == config.get("gateway")


def test_what_is_excluded_is_not_given(tmp_path: Path) -> None:
    """Neither in turn nor on request; single addresses, networks, and what is outside of the range."""
    config: dict[str, Any] = {"subnet": "10.1.0.0/28", "exclude": ["10.1.0.4/30", "10.1.0.9", "10.1.0.14", "fd00::/8"]}
    assert given(tmp_path, 20, **config) == [f"10.1.0.{one}" for one in (2, 3, 8, 10, 11, 12, 13)]
    assert calls.call("ADD", calls.network(tmp_path, "other", **config), args="IP=10.1.0.5").code == ADDRESS_REFUSED


def test_a_freed_address_is_given_last(tmp_path: Path) -> None:
    """Next comes what was not given for the longest time, so that caches of neighbours forget."""
    value = calls.network(tmp_path, subnet="10.1.0.0/29")
    assert calls.call("ADD", value, "a").ips == ["10.1.0.2/29"]
    for expected in (3, 4, 5, 6, 3):
        assert calls.call("ADD", value, "b").ips == [f"10.1.0.{expected}/29"]
        calls.call("DEL", value, "b")
    calls.call("DEL", value, "a")
    assert [calls.call("ADD", value, cid).ips for cid in "cdef"] == [[f"10.1.0.{number}/29"] for number in (4, 5, 6, 2)]


def test_a_whole_ipv6_range_and_the_runtimes_address_in_it(tmp_path: Path) -> None:
    """2^120 addresses are no more work than two; far ones may be asked for, and the next is behind them."""
    value = calls.network(tmp_path, subnet="fd00::/8")
    assert calls.call("ADD", value, "a").ips == ["fd00::2/8"]
    assert calls.call("ADD", value, "b", args="IP=fdff:ffff::ffff").ips == ["fdff:ffff::ffff/8"]
    assert calls.call("ADD", value, "c").ips == ["fdff:ffff::1:0/8"]


# -- owners


def test_an_address_is_its_attachments_alone(tmp_path: Path) -> None:
    """Other interfaces, containers and networks have their own; each DEL frees only its own, and again frees nothing."""
    value, other = calls.network(tmp_path, subnet=V4), calls.network(tmp_path, "net2", subnet=V4)
    assert calls.call("ADD", value, "a", "eth0").ips == ["10.1.0.2/24"]
    assert calls.call("ADD", value, "a", "net1").ips == ["10.1.0.3/24"]
    assert calls.call("ADD", other, "a", "eth0").ips == ["10.1.0.2/24"]
    for _ in range(2):
        assert calls.call("DEL", value, "a", "eth0").code == 0
        assert calls.call("DEL", value, "nobody", "eth0").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.3": "a\r\nnet1"}
    assert calls.reserved(tmp_path, "net2") == {"10.1.0.2": "a\r\neth0"}


def test_a_late_del_does_not_free_the_next_owners_address(tmp_path: Path) -> None:
    """The address has a new owner; the old one's second DEL is for nothing."""
    value = calls.network(tmp_path, subnet="10.1.0.0/30")
    assert calls.call("ADD", value, "old").ips == ["10.1.0.2/30"]
    calls.call("DEL", value, "old")
    assert calls.call("ADD", value, "new").ips == ["10.1.0.2/30"]
    calls.call("DEL", value, "old")
    assert calls.reserved(tmp_path) == {"10.1.0.2": "new\r\neth0"}


def test_a_second_add_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    """Whatever it asks for, the first address stays as it is (A3)."""
    value = calls.network(tmp_path, ranges=[[{"subnet": V4}], [{"subnet": V6}]])
    calls.call("ADD", value)
    before = calls.reserved(tmp_path)
    for args in ("", "IP=10.1.0.77", "IP=10.1.0.2"):
        refused = calls.call("ADD", value, args=args)
        assert (refused.code, "10.1.0.2 has been allocated to container c1" in refused.said) == (ADDRESS_REFUSED, True)
    assert calls.reserved(tmp_path) == before


def test_a_failed_add_keeps_nothing(tmp_path: Path) -> None:
    """When the second family has none left, the first one's address is not kept (A5)."""
    value = calls.network(tmp_path, ranges=[[{"subnet": V4}], [{"subnet": "fd00::/126", "rangeEnd": "fd00::2"}]])
    assert calls.call("ADD", value, "a").code == 0
    failed = calls.call("ADD", value, "b")
    assert (failed.code, failed.said) == (
        TRY_AGAIN_LATER,
        "no IP addresses available in range set fd00::1-fd00::2 of network 'net1'",
    )
    assert names(iter((tmp_path / "net1").glob("*[0-9a]"))) == sorted(
        ["10.1.0.2", "fd00::2", "last_reserved_ip.0", "last_reserved_ip.1"]
    )


def test_del_needs_no_config_that_is_right(tmp_path: Path) -> None:
    """Ranges may have gone wrong, gone away or moved since the ADD (D10)."""
    later: list[dict[str, Any]] = [{}, {"subnet": "bad"}, {"subnet": "10.99.0.0/24"}, {"ranges": 5}]
    for number, changed in enumerate(later):
        calls.call("ADD", calls.network(tmp_path, subnet=V4), f"c{number}")
        assert calls.call("DEL", calls.network(tmp_path, **changed), f"c{number}").code == 0
    assert calls.reserved(tmp_path) == {}


def test_del_of_what_never_was_makes_nothing(tmp_path: Path) -> None:
    assert calls.call("DEL", calls.network(tmp_path / "none", subnet=V4)).code == 0
    assert list(tmp_path.iterdir()) == []


# -- fixed addresses


@pytest.mark.parametrize("channel", ["CNI_ARGS", "args", "runtimeConfig", "mixed"])
def test_fixed_addresses_of_both_families(tmp_path: Path, channel: str) -> None:
    """Each channel gives them; CNI_ARGS has place for one, and the other comes in turn or through another channel."""
    value = calls.network(tmp_path, ranges=[[{"subnet": V4}], [{"subnet": V6}]])
    wanted = ["10.1.0.50", "fd00:1::50"]
    args = "IP=10.1.0.50" if channel in ("CNI_ARGS", "mixed") else ""
    if channel == "args":
        value["args"] = {"cni": {"ips": wanted}}
    if channel == "runtimeConfig":
        value["runtimeConfig"] = {"ips": [f"{wanted[0]}/24", f"{wanted[1]}/64"]}
    if channel == "mixed":
        value["runtimeConfig"] = {"ips": [wanted[1], "10.1.0.50"]}
    second = "fd00:1::2" if channel == "CNI_ARGS" else wanted[1]
    assert calls.process("ADD", value, args=args).ips == [f"{wanted[0]}/24", f"{second}/64"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.1.0.1", "requested ip 10.1.0.1 is subnet's gateway"),
        (
            "10.1.0.2",
            "requested IP address 10.1.0.2 is not available in range set 10.1.0.1-10.1.0.254: container a interface eth0",
        ),
        ("10.1.0.0", "failed to allocate all requested IPs: 10.1.0.0"),
        ("10.1.0.255", "failed to allocate all requested IPs: 10.1.0.255"),
        ("10.9.0.1", "failed to allocate all requested IPs: 10.9.0.1"),
    ],
)
def test_fixed_addresses_that_cannot_be_had(tmp_path: Path, address: str, words: str) -> None:
    """Each refusal says why, and nothing is reserved."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value, "a")
    refused = calls.call("ADD", value, "b", args=f"IP={address}")
    assert (refused.code, refused.said[: len(words)]) == (ADDRESS_REFUSED, words)
    assert calls.reserved(tmp_path) == {"10.1.0.2": "a\r\neth0"}


# -- VLANs


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
    """One address of each family of its VLAN, with that subnet's routes; no VLAN and 0 are those without."""
    answer = calls.process("ADD", on_vlan(tmp_path, vlan))
    assert answer.ips == expected
    assert answer.document["routes"] == [{"dst": "0.0.0.0/0"}, *([{"dst": "10.0.0.0/8"}] if vlan == 100 else [])]


def test_an_address_of_another_vlan_is_refused(tmp_path: Path) -> None:
    refused = calls.call("ADD", on_vlan(tmp_path, 100), args="IP=10.200.0.7")
    assert refused.code == ADDRESS_REFUSED
    assert refused.said == (
        "failed to allocate all requested IPs: 10.200.0.7; it is of VLAN 200, and the attachment is on VLAN 100"
    )
    assert calls.call("ADD", on_vlan(tmp_path, 200), args="IP=10.200.0.7").ips == ["10.200.0.7/24"]


def test_a_vlan_without_a_subnet_is_refused(tmp_path: Path) -> None:
    refused = calls.call("ADD", on_vlan(tmp_path, 300))
    assert (refused.code, "none of VLAN 300" in refused.said) == (INVALID_CONFIG, True)
    assert calls.call("STATUS", on_vlan(tmp_path, 300)).code == 0


def test_an_argument_chooses_the_vlan_only_where_the_plugin_lets_it(tmp_path: Path) -> None:
    """It counts for our plugin, when the network has vlanAllowed, which the plugin has held it against."""
    allowed = on_vlan(tmp_path, 100, type="sriov-bond", vlanAllowed=[0, "100-200"])
    assert calls.call("ADD", allowed, "a", args="VLAN=200").ips == ["10.200.0.1/24"]
    before = {"prevResult": {"ips": [{"address": "10.200.0.1/24"}]}}
    assert calls.call("CHECK", {**allowed, **before}, "a").code == 0
    assert calls.call("ADD", {**allowed, "args": {"cni": {"vlan": 0}}}, "b", args="VLAN=200").ips == ["10.0.0.2/24"]
    assert calls.call("CHECK", {**allowed, **before}, "b").code == CHECK_DIFFERS
    del allowed["vlanAllowed"]
    assert calls.call("ADD", allowed, "c", args="VLAN=200").ips == ["10.100.0.2/24", "fd00:100::2/64"]
    other = on_vlan(tmp_path, 100, type="macvlan", vlanAllowed=["200"])
    assert calls.call("ADD", other, "d", args="VLAN=200").ips == ["10.100.0.3/24", "fd00:100::3/64"]


def test_each_vlan_has_its_own_turn(tmp_path: Path) -> None:
    """What is given on one VLAN does not move another's next address, nor that of the config's other sets."""
    found = [
        calls.call("ADD", on_vlan(tmp_path, vlan), f"c{number}").ips[0] for number, vlan in enumerate((100, 200, 100, 0, 200))
    ]
    assert found == ["10.100.0.2/24", "10.200.0.1/24", "10.100.0.3/24", "10.0.0.2/24", "10.200.0.2/24"]


# -- config


def test_every_mistake_is_told_with_its_path(tmp_path: Path) -> None:
    value = calls.network(tmp_path, subnet="10.1.0.1/24", ranges=[[{"subnet": V6}, {"subnet": "x"}], []], routes=[{"dst": "y"}])
    value["runtimeConfig"] = {"ips": ["z"]}
    refused = calls.call("ADD", value)
    assert refused.code == INVALID_CONFIG
    assert refused.said == (
        "network 'net1': ipam: subnet 10.1.0.1/24 has host bits set; its network is 10.1.0.0/24; ipam.ranges[0][1]: 'x' is not "
        "an address; ipam.ranges[1] is an empty range set; ipam.routes[0]: 'y' is not an address; "
        "runtimeConfig.ips: 'z' is not an address"
    )
    refused = calls.call("ADD", calls.network(tmp_path, subnet=5, ranges=[[{"gateway": 1}]], subnets=[{"vlan": 5000}]))
    assert refused.said == (
        "network 'net1': ipam.subnet must be a string, not 5; ipam.ranges[0][0].subnet is missing; ipam.ranges[0][0].gateway "
        "must be a string, not 1; ipam.subnets[0].subnet is missing; ipam.subnets[0].vlan must be from 0 to 4094, not 5000"
    )


def test_a_vlan_whose_subnet_is_wrong_is_not_said_to_have_none(tmp_path: Path) -> None:
    """The subnet's own mistake is told, alone; beside a good one of another VLAN too."""
    for others in ([], [{"vlan": 7, "subnet": "10.2.0.0/24"}]):
        refused = calls.call("ADD", calls.network(tmp_path, subnets=[{"subnet": "10.1.0.1/24"}, *others]))
        assert refused.said == (
            "network 'net1': ipam.subnets[0]: subnet 10.1.0.1/24 has host bits set; its network is 10.1.0.0/24"
        )


def test_the_schema_is_one_and_says_what_our_check_says() -> None:
    """It is valid, every key is described, and the library's verdict on a thousand generated configs is ours."""
    jsonschema.Draft202012Validator.check_schema(NETWORK)
    library, dice = jsonschema.Draft202012Validator(NETWORK), random.Random(3)
    words: list[Any] = [None, True, 5, "", "x", [], {}, [[]], ["x"], [5], [{}], [[{}]], [{"subnet": "x"}], [[{"subnet": 5}]]]
    words += [{"cni": {"ips": ["x"]}}, {"ips": "x"}, {"cni": 5}, [{"dst": "x", "mtu": -1}], [{"subnet": "x", "vlan": 4095}]]
    inside: dict[str, Any] = NETWORK["properties"]["ipam"]["properties"]
    assert [key for key, part in inside.items() if not part.get("description")] == []
    for _ in range(1000):
        chosen = {key: dice.choice(words) for key in dice.sample(sorted(inside), 3)}
        value = {
            "ipam": dice.choice([chosen, chosen, chosen, 5]),
            dice.choice(["vlan", "args", "runtimeConfig"]): dice.choice(words),
        }
        assert bool(schema.issues(value, NETWORK)) == (not library.is_valid(value)), value


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"subnet": "10.1.0.0/" + "2" * 5000}, "is not a network"),
        ({"subnet": V4, "rangeStart": "\ud800"}, "is not an address"),
        ({"subnet": V4, "gateway": "fd00::1"}, "ipam: gateway fd00::1 is not of the family of the subnet"),
        ({"subnet": V6, "gateway": "10.1.0.1"}, "ipam: gateway 10.1.0.1 is not of the family of the subnet"),
        ({"subnet": V4, "dataDir": "/x\ud800"}, "ipam.dataDir must be an absolute path"),
        ({"subnet": V4, "dataDir": "/x\0"}, "ipam.dataDir must be an absolute path"),
        ({"subnet": V4, "resolvConf": "/x\0"}, "ipam.resolvConf '/x\\x00' is no path"),
        ({"subnet": V4, "resolvConf": "/x\ud800"}, "ipam.resolvConf '/x\\ud800' is no path"),
        ({"subnet": V4, "resolvConf": "/none"}, "cannot read ipam.resolvConf /none: No such file"),
        ({"subnet": V4, "resolvConf": "/"}, "cannot read ipam.resolvConf /: Is a directory"),
    ],
)
def test_texts_that_are_no_number_and_no_path_are_told(tmp_path: Path, keys: dict[str, str], words: str) -> None:
    """What Python's own functions choke on is a mistake of the config like any other."""
    refused = calls.call("ADD", calls.network(tmp_path, **keys))
    assert refused.code == INVALID_CONFIG
    assert words in refused.said


@pytest.mark.parametrize("kind", ["fifo", "endless"])
def test_a_resolv_conf_that_never_ends_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """A FIFO without a writer and a device without an end give no dns, and the address is given."""
    os.mkfifo(tmp_path / "fifo")
    path = {"fifo": str(tmp_path / "fifo"), "endless": "/dev/zero"}[kind]
    answer = calls.call("ADD", calls.network(tmp_path, subnet=V4, resolvConf=path))
    assert (answer.ips, answer.document.get("dns")) == (["10.1.0.2/24"], None)


def test_a_vlan_of_thousands_of_digits_is_none(tmp_path: Path) -> None:
    """It is no VLAN that was chosen, and no bug."""
    allowed = on_vlan(tmp_path, 100, type="sriov-bond", vlanAllowed=["100-200"])
    assert calls.call("ADD", allowed, args=f"VLAN={'9' * 5000}").ips == ["10.100.0.2/24", "fd00:100::2/64"]


@pytest.mark.parametrize("before", [{"ips": 5}, {"ips": [{"address": []}]}, [1], "x", {"cniVersion": "9.9.9"}])
def test_a_check_tells_what_is_wrong_with_prevresult(tmp_path: Path, before: object) -> None:
    """In words, not in those of a programming language."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value)
    refused = calls.call("CHECK", {**value, "prevResult": before})
    assert (refused.code, "is no CNI result: " in refused.said) == (DECODING_FAILURE, True)
    assert "object has no" not in refused.said and "iterable" not in refused.said


def test_the_largest_config_is_read_in_a_moment(tmp_path: Path) -> None:
    """A megabyte of ranges or exclusions is looked at once and not by pairs: twice as many are twice the work."""
    nets = [f"10.{number >> 6}.{(number & 63) * 4}.0/24" for number in range(4000)]
    configs: list[Callable[[int], dict[str, Any]]] = [
        lambda many: {"ranges": [[{"subnet": net} for net in nets[:many]]]},
        lambda many: {"ranges": [[{"subnet": net}] for net in nets[:many]]},
        lambda many: {"subnets": [{"subnet": net, "vlan": number % 4095} for number, net in enumerate(nets[:many])]},
        lambda many: {"subnet": "10.0.0.0/8", "exclude": nets[:many]},
    ]
    for config in configs:
        values = [calls.network(tmp_path, **config(many)) for many in (2000, 4000)]
        half, whole = (calls_of(lambda value=value: calls.call("STATUS", value)) for value in values)  # type: ignore[misc]
        assert whole < 2.3 * half
    refused = calls.call("STATUS", {**calls.network(tmp_path, subnet=V4), "runtimeConfig": {"ips": ["10.1.0.5"] * 1025}})
    assert refused.said == "network 'net1': runtimeConfig.ips must have 0 to 1024 entries, not 1025"


def test_exclusions_that_overlap_and_gateways_leave_the_rest(tmp_path: Path) -> None:
    """What is left of a range is what no exclusion and no gateway has, in whatever order they are written."""
    dice = random.Random(7)
    for number in range(150):
        net = ip_network("10.1.0.0/27")
        excluded = [f"{net[dice.randrange(32)]}{dice.choice(('', '/30', '/31', '/29'))}" for _ in range(dice.randrange(6))]
        first, last = sorted((dice.randrange(32), dice.randrange(32)))
        gateway = str(net[dice.randrange(32)])
        config = {"subnet": str(net), "rangeStart": str(net[first]), "rangeEnd": str(net[last]), "gateway": gateway}
        found = given(tmp_path / str(number), 33, **config, exclude=excluded)
        gone = {one for text in excluded for one in ip_network(text, strict=False)}
        left = set(list(net)[max(first, 1) : min(last, 30) + 1]) - gone - {ip_address(gateway)}
        assert [ip_address(one) for one in found] == sorted(left), config


def test_a_relative_data_directory_is_refused(tmp_path: Path) -> None:
    for verb in ("ADD", "DEL"):
        assert calls.call(verb, calls.network(Path("somewhere"), subnet=V4)).code == INVALID_CONFIG


def test_samples_are_served(tmp_path: Path) -> None:
    """Every sample network with our delegate gets an address of each family, of its VLAN."""
    served = 0
    for path in (REPOSITORY / "conf").glob("*.conflist"):
        listed = json.loads(path.read_text())
        for plugin in listed["plugins"]:
            if plugin.get("ipam", {}).get("type") == "sriov-bond-ipam":
                assert set(plugin["ipam"]) <= set(IPAM)
                plugin["ipam"]["dataDir"] = str(tmp_path)
                value = {**plugin, "name": listed["name"], "cniVersion": listed["cniVersion"]}
                given = [ipaddress.ip_interface(ip) for ip in calls.call("ADD", value).ips]
                asked = [one for part in plugin["ipam"].get("ranges", []) for one in part]
                asked += [one for one in plugin["ipam"].get("subnets", []) if one["vlan"] == plugin["vlan"]]
                assert [str(ip.network) for ip in given] == [one["subnet"] for one in asked], path.name
                served += 1
    assert served


# -- the contract


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_served(tmp_path: Path, version: str) -> None:
    value = calls.network(tmp_path, version=version, subnet=V4)
    assert calls.process("ADD", value).document["cniVersion"] == version
    allowed = {"CHECK": version >= "0.4.0", "STATUS": version == "1.1.0", "GC": version == "1.1.0"}
    for verb, is_allowed in allowed.items():
        answer = calls.call(verb, {**value, "prevResult": {"ips": [{"address": "10.1.0.2/24"}]}})
        assert answer.code == (0 if is_allowed else INCOMPATIBLE_VERSION), verb


def test_version_and_about() -> None:
    done = subprocess.run(calls.OURS, env={"CNI_COMMAND": "VERSION"}, cwd=REPOSITORY, capture_output=True, check=True)
    assert json.loads(done.stdout) == {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}
    done = subprocess.run(calls.OURS, env={}, cwd=REPOSITORY, capture_output=True, check=True)
    assert (done.stdout, done.stderr.split(b"\n")[0]) == (b"", b"CNI sriov-bond-ipam plugin")


@pytest.mark.parametrize("verb", ["NOPE", "add"])
def test_unknown_verbs_are_refused(tmp_path: Path, verb: str) -> None:
    assert calls.process(verb, calls.network(tmp_path, subnet=V4)).code == INVALID_ENVIRONMENT


def test_an_answer_that_nobody_takes_leaves_nothing(tmp_path: Path) -> None:
    """The runtime's end of the pipe is gone: nobody will know of the address, so it is not kept (contract 4, 43)."""
    running = calls.start("ADD", calls.network(tmp_path, subnet=V4))
    assert running.stdout and running.stderr
    running.stdout.close()
    assert running.wait() == 1
    running.stderr.close()
    assert calls.reserved(tmp_path) == {}


def test_an_answer_that_nobody_takes_keeps_what_was_there(tmp_path: Path) -> None:
    """What the attachment has of a range that the config had before is not the failed call's to free."""
    assert calls.call("ADD", calls.network(tmp_path, subnet=V4)).ips == ["10.1.0.2/24"]
    running = calls.start("ADD", calls.network(tmp_path, subnet="10.7.0.0/24"))
    assert running.stdout and running.stderr
    running.stdout.close()
    assert running.wait() == 1
    running.stderr.close()
    assert calls.reserved(tmp_path) == {"10.1.0.2": "c1\r\neth0"}
    assert calls.call("DEL", calls.network(tmp_path, subnet=V4)).code == 0
    assert calls.reserved(tmp_path) == {}


def test_what_an_old_host_local_gave_is_freed_last(tmp_path: Path) -> None:
    """A reservation without an interface is its container's; a DEL of another address of it does not lose it."""
    value = calls.network(tmp_path, subnet=V4)
    (tmp_path / "net1").mkdir()
    (tmp_path / "net1/10.9.0.9").write_text("c1")
    assert calls.call("ADD", value).ips == ["10.1.0.2/24"]
    assert calls.call("DEL", value).code == 0
    assert calls.reserved(tmp_path) == {"10.9.0.9": "c1"}
    assert calls.call("DEL", value).code == 0
    assert calls.reserved(tmp_path) == {}


def test_check(tmp_path: Path) -> None:
    """Well after an ADD; not when the attachment has nothing, or prevResult an address of ours that another has."""
    value = calls.network(tmp_path, subnet=V4)
    answer = calls.call("ADD", value, "a")
    calls.call("ADD", value, "b")
    before = {**value, "prevResult": answer.document}
    assert calls.process("CHECK", before, "a").code == 0
    assert calls.call("CHECK", before, "b").code == CHECK_DIFFERS
    assert calls.call("CHECK", before, "c").code == CHECK_DIFFERS
    foreign = {**value, "prevResult": {"ips": [{"address": "192.0.2.1/24"}, *answer.document["ips"]]}}
    assert calls.call("CHECK", foreign, "a").code == 0
    assert calls.call("CHECK", {**value, "prevResult": {"ips": [5]}}, "a").code == DECODING_FAILURE


def test_status(tmp_path: Path) -> None:
    """Ready without having made anything; not when a set is full, nor where nothing can be kept."""
    value = calls.network(tmp_path / "data", ranges=[[{"subnet": V6}], [{"subnet": "10.1.0.0/30"}]])
    assert calls.process("STATUS", value).code == 0
    assert list(tmp_path.iterdir()) == []
    calls.call("ADD", value)
    full = calls.process("STATUS", value)
    assert (full.code, full.said) == (NOT_AVAILABLE, "network 'net1' has no address left in 10.1.0.1-10.1.0.2")
    calls.call("DEL", value)
    assert calls.call("STATUS", value).code == 0
    (tmp_path / "file").touch()
    assert calls.call("STATUS", calls.network(tmp_path / "file/x", subnet=V4)).code == NOT_AVAILABLE
    assert calls.call("ADD", calls.network(tmp_path / "file/x", subnet=V4)).code == IO_FAILURE
    assert calls.call("STATUS", calls.network(tmp_path)).code == INVALID_CONFIG


def test_status_of_a_set_that_never_had_an_address(tmp_path: Path) -> None:
    """Where all is excluded or the gateway's an ADD fails, also the first one, and STATUS says so before."""
    value = calls.network(tmp_path / "data", subnet="10.1.0.24/30", exclude=["10.1.0.26"])
    found = calls.call("STATUS", value)
    assert (found.code, found.said) == (NOT_AVAILABLE, "network 'net1' has no address left in 10.1.0.25-10.1.0.26")
    assert calls.call("ADD", value).code == TRY_AGAIN_LATER


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_frees_what_is_not_listed(tmp_path: Path, key: str) -> None:
    """Of this network alone (G2, G5); an empty list and null free all of it (G3)."""
    value, other = calls.network(tmp_path, subnet=V4), calls.network(tmp_path, "net2", subnet=V4)
    for cid, ifname in (("a", "eth0"), ("a", "net1"), ("b", "eth0")):
        assert calls.call("ADD", value, cid, ifname).code == 0
    calls.call("ADD", other, "b")
    assert (
        calls.process("GC", {**value, key: [{"containerID": "a", "ifname": "net1"}, {"containerID": "x", "ifname": "y"}]}).code
        == 0
    )
    assert calls.reserved(tmp_path) == {"10.1.0.3": "a\r\nnet1"}
    assert calls.reserved(tmp_path, "net2") == {"10.1.0.2": "b\r\neth0"}
    assert calls.call("GC", {**value, key: None}).code == 0
    assert calls.reserved(tmp_path) == {}
    assert calls.call("ADD", value, "a", "net1").ips == ["10.1.0.5/24"]


@pytest.mark.parametrize(
    "listed",
    [
        *(5, 0, "x", "", {}, False, [5], [{}], [None]),
        *([{"containerID": "a"}], [{"containerID": 5, "ifname": "x"}], [{"containerID": "", "ifname": "eth0"}]),
    ],
)
def test_gc_with_a_list_that_is_none_frees_nothing(tmp_path: Path, listed: object) -> None:
    """Wrong types free nothing (G8), and neither does a list that is not there (G4)."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value)
    assert calls.call("GC", {**value, "cni.dev/valid-attachments": listed}).code == DECODING_FAILURE
    assert len(calls.reserved(tmp_path)) == 1
    assert calls.call("GC", value).code == 0
    assert len(calls.reserved(tmp_path)) == 1


def test_gc_keeps_what_either_list_has(tmp_path: Path) -> None:
    """The list has two names; a bad one beside a good one frees nothing (G5, G8)."""
    value = calls.network(tmp_path, subnet=V4)
    for container_id in ("a", "b", "c"):
        calls.call("ADD", value, container_id)
    newer, older = ([{"containerID": one, "ifname": "eth0"}] for one in ("a", "b"))
    lists = {**value, "cni.dev/valid-attachments": newer, "cni.dev/attachments": older}
    assert calls.call("GC", {**lists, "cni.dev/attachments": 5}).code == DECODING_FAILURE
    assert len(calls.reserved(tmp_path)) == 3
    assert calls.call("GC", lists).code == 0
    assert len(calls.reserved(tmp_path)) == 2


# -- many at once, and killed


def test_processes_at_once_get_addresses_of_their_own(tmp_path: Path) -> None:
    """Thirty processes and 29 addresses: each is given once, and one process is told to try again later."""
    value = calls.network(tmp_path, subnet="10.1.0.0/27")
    running = [calls.start("ADD", value, f"c{number}") for number in range(30)]
    answers = [calls.finish(one) for one in running]
    assert sorted(one.code for one in answers) == [0] * 29 + [TRY_AGAIN_LATER]
    assert len({ip for one in answers for ip in one.ips}) == 29
    running = [calls.start("DEL", value, f"c{number}") for number in range(30)]
    assert {calls.finish(one).code for one in running} == {0}
    assert calls.reserved(tmp_path) == {}


_SYSCALLS = ("posix", "fcntl", "io", "_io")


def killed_at(place: int, work: "Callable[[], object]") -> bool:
    """Do something in a process that kills itself before its n-th call into the system; tell whether it came that far."""
    pid = os.fork()
    if not pid:
        left = place

        def watch(_: object, event: str, called: Any) -> None:
            nonlocal left
            if event == "c_call" and getattr(called, "__module__", None) in _SYSCALLS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        work()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("verb", ["ADD", "DEL", "GC", "first ADD"])
def test_killed_anywhere_it_stays_consistent(tmp_path: Path, verb: str) -> None:
    """After a kill -9 before each call into the system, nobody has another's address, and a DEL of each leaves nothing."""
    place = 0
    while True:
        place += 1
        data = tmp_path / str(place)
        value = calls.network(data, ranges=[[{"subnet": "10.1.0.0/29", "rangeEnd": "10.1.0.4"}], [{"subnet": V6}]])
        kept: dict[str, list[str]] = {}
        if verb != "first ADD":
            kept = {cid: calls.call("ADD", value, cid).ips for cid in ("a", "b")}
        asked = {**value, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}
        cid = "b" if verb in ("DEL", "GC") else "c"
        came = killed_at(place, lambda verb=verb, asked=asked, cid=cid: calls.call(verb.split()[-1], asked, cid))  # type: ignore[misc]
        kept.pop(cid, None)
        # What was given before is still there, and goes to nobody else; the killed one's DEL is enough to have all again.
        for other, ips in kept.items():
            assert calls.call("CHECK", {**value, "prevResult": {"ips": [{"address": ip} for ip in ips]}}, other).code == 0
        assert calls.call("DEL", value, cid).code == 0
        free = 3 - len(kept)
        new = [calls.call("ADD", value, f"n{number}") for number in range(free + 1)]
        assert [one.code for one in new] == [0] * free + [TRY_AGAIN_LATER], (place, new)
        found = [ip for one in new for ip in one.ips] + [ip for ips in kept.values() for ip in ips]
        assert len(set(found)) == len(found) == 6
        for one in [*kept, *(f"n{number}" for number in range(free))]:
            assert calls.call("DEL", value, one).code == 0
        assert calls.reserved(data) == {}
        if not came:
            break
    assert place > 15


def test_without_an_index_there_is_del_and_no_add(tmp_path: Path) -> None:
    """A disk that has no room for the index still gives addresses back."""
    value = calls.network(tmp_path, subnet=V4)
    for cid in ("a", "b"):
        calls.call("ADD", value, cid)
    (tmp_path / ".sriov-bond").rename(tmp_path / "aside")
    (tmp_path / ".sriov-bond").touch()
    assert calls.call("ADD", value, "c").code == IO_FAILURE
    assert calls.call("STATUS", value).code == NOT_AVAILABLE
    assert calls.call("DEL", value, "a").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.3": "b\r\neth0"}
    (tmp_path / ".sriov-bond").unlink()
    assert calls.call("ADD", value, "c").ips == ["10.1.0.4/24"]
    assert calls.call("DEL", value, "b").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.4": "c\r\neth0"}


def test_a_file_without_a_word_is_taken_back(tmp_path: Path) -> None:
    """A killed host-local leaves these, and never frees them."""
    (tmp_path / "net1").mkdir()
    (tmp_path / "net1/10.1.0.2").touch()
    assert calls.call("ADD", calls.network(tmp_path, subnet="10.1.0.0/30")).ips == ["10.1.0.2/30"]


def test_an_operator_may_delete_a_reservation(tmp_path: Path) -> None:
    """As with host-local, deleting the file frees the address."""
    value = calls.network(tmp_path, subnet="10.1.0.0/30")
    calls.call("ADD", value, "a")
    (tmp_path / "net1/10.1.0.2").unlink()
    assert calls.call("ADD", value, "b").ips == ["10.1.0.2/30"]


def test_after_a_reboot_the_index_is_made_anew(tmp_path: Path) -> None:
    """What a power cut left of it is not believed."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value, "a")
    state = tmp_path / ".sriov-bond/net1/state"
    boot, stamp = state.read_text().split()
    state.write_text(f"{'0' * len(boot)} {stamp}\n")
    for path in (tmp_path / ".sriov-bond/net1/owners").iterdir():
        path.write_text("10.1.0.99\n")
    assert calls.call("DEL", value, "a").code == 0
    assert calls.reserved(tmp_path) == {}


# -- large ranges


def calls_of(work: "Callable[[], object]") -> int:
    """Count the calls of functions in something, ours and C's: its work, whatever else the machine does."""
    count = 0

    def watch(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_range_of_a_million_takes_no_longer(tmp_path: Path) -> None:
    """With all but one of a million addresses taken an ADD reads 32 small files more; with 5000 attachments, none."""
    value = calls.network(tmp_path, subnet="10.0.0.0/12")
    calls.call("ADD", value, "first")
    empty = calls_of(lambda: calls.call("ADD", value, "a"))
    directory = tmp_path / "net1"
    for number in range(5000):
        (directory / f"10.1.{number >> 8}.{number & 255}").write_text(f"x{number}\r\neth0")
    calls.call("ADD", value, "remakes-the-index")
    assert abs(calls_of(lambda: calls.call("ADD", value, "b")) - empty) <= 5
    taken = tmp_path / ".sriov-bond/net1/taken"
    for chunk in range(32):
        (taken / f"4-{(10 << 24 >> 15) + chunk:x}").write_bytes(b"\xff" * 4096)
    last = int(ip_address("10.15.255.254"))
    index.Index(str(tmp_path), "net1", str(directory)).mark((4, last), False)
    found: list[str] = []
    full = calls_of(lambda: found.extend(calls.call("ADD", value, "c").ips))
    assert found == ["10.15.255.254/12"]
    assert full - empty <= 32 * 20
