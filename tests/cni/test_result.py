"""Results of every version, written and read, and appended to the result of a chain."""

import json
from typing import Any

import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.cni import result
from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, CniError

OLD = ("0.1.0", "0.2.0")
MIDDLE = ("0.3.0", "0.3.1", "0.4.0")
SANDBOX = "/proc/42/../42/ns/net"
VALUE: dict[str, Any] = {
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 9000, "sandbox": SANDBOX, "vlan": 100}],
    "ips": [
        {"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 0},
        {"address": "10.0.0.6/24", "interface": 0},
        {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 0},
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.0.0.1"},
        {"dst": "10.9.0.0/16", "mtu": 1400, "advmss": 1360, "priority": 5, "table": 0, "scope": 0},
        {"dst": "::/0", "gw": "fd00::1"},
    ],
    "dns": {"nameservers": ["10.0.0.2"]},
}


def of(value: dict[str, Any]) -> result.Result:
    """Return the result in a document of 1.1.0."""
    return result.from_json(value, "1.1.0")


def built(version: str, value: result.Result | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.build(value or of(VALUE), version))
    return document


def parsed(value: object, version: str = "1.0.0") -> result.Result:
    return result.parse(json.dumps(value), version, "the IPAM plugin x")


def shown(value: result.Result) -> dict[str, Any]:
    """Return a result as a document of 1.1.0 with all members."""
    return {"interfaces": [], "ips": [], "routes": [], "dns": {}, **built("1.1.0", value)} | {"cniVersion": "1.1.0"}


# -- building


@pytest.mark.parametrize("version", OLD)
def test_first_versions_have_one_address_of_each_family(version: str) -> None:
    """0.1.0 and 0.2.0: ip4 and ip6, routes under their family, nothing of interfaces (R1)."""
    assert built(version) == {
        "cniVersion": version,
        "ip4": {
            "ip": "10.0.0.5/24",
            "gateway": "10.0.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "10.9.0.0/16"}],
        },
        "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
        "dns": {"nameservers": ["10.0.0.2"]},
    }


@pytest.mark.parametrize("version", OLD)
def test_first_versions_drop_routes_of_a_family_without_address(version: str) -> None:
    """A route whose family has no address cannot be expressed in these versions (R1)."""
    document = built(version, of({**VALUE, "ips": VALUE["ips"][:1], "dns": {}}))
    assert "ip6" not in document
    assert document["dns"] == {}
    assert [route["dst"] for route in document["ip4"]["routes"]] == ["0.0.0.0/0", "10.9.0.0/16"]


@pytest.mark.parametrize("version", OLD)
def test_first_versions_need_an_address(version: str) -> None:
    """These versions have no result without an address, and the error says what to do (R1, A9)."""
    with pytest.raises(CniError, match=f"version {version} must have an address") as refused:
        result.build(of({**VALUE, "ips": []}), version)
    assert refused.value.code == INVALID_CONFIG


@pytest.mark.parametrize("version", MIDDLE)
def test_middle_versions_have_the_family_of_each_address(version: str) -> None:
    """0.3.0 to 0.4.0: ips have a version, interfaces and routes have no later keys (R2, R5)."""
    assert built(version) == {
        "cniVersion": version,
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": SANDBOX, "vlan": 100}],
        "ips": [
            {"version": "4", "address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 0},
            {"version": "4", "address": "10.0.0.6/24", "interface": 0},
            {"version": "6", "address": "fd00::5/64", "gateway": "fd00::1", "interface": 0},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "10.9.0.0/16"}, {"dst": "::/0", "gw": "fd00::1"}],
        "dns": {"nameservers": ["10.0.0.2"]},
    }


def test_version_1_0_0_has_no_family_and_no_mtu() -> None:
    """1.0.0: ips without a version, interfaces without an MTU (R3)."""
    document = built("1.0.0")
    assert [sorted(ip) for ip in document["ips"]] == [
        ["address", "gateway", "interface"],
        ["address", "interface"],
        ["address", "gateway", "interface"],
    ]
    assert document["interfaces"] == [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": SANDBOX, "vlan": 100}]
    assert document["routes"][1] == {"dst": "10.9.0.0/16"}


def test_version_1_1_0_has_all() -> None:
    """1.1.0: the MTU, and all numbers of a route, also table 0 and scope 0 (R4)."""
    assert built("1.1.0") == {"cniVersion": "1.1.0", **VALUE}


@pytest.mark.parametrize("version", [version for version in VERSIONS if version not in OLD])
def test_what_is_empty_is_left_out(version: str) -> None:
    """Without addresses, routes and dns a result is its interfaces (R3)."""
    document = built(version, of({**VALUE, "ips": [], "routes": [], "dns": {}}))
    assert sorted(document) == ["cniVersion", "interfaces"]


@pytest.mark.parametrize("version", [version for version in VERSIONS if version not in OLD])
def test_the_sandbox_is_the_path_from_the_runtime(version: str) -> None:
    """CHECK of other plugins compares strings: the path is not normalised (R8)."""
    assert built(version)["interfaces"][0]["sandbox"] == SANDBOX


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_one_line_and_has_its_version(version: str) -> None:
    """Every result has the config's version (R9), not that of the delegate."""
    text = result.build(of(VALUE), version)
    assert "\n" not in text
    assert json.loads(text)["cniVersion"] == version


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_built_can_be_read_again(version: str) -> None:
    """Reading a result of any version gives the form of 1.1.0, as far as the version can express it (R5, R6)."""
    read = result.parse(result.build(of(VALUE), version), "1.1.0", "we")
    assert result.build(read, version) == result.build(of(VALUE), version)
    document = shown(read)
    if version == "1.1.0":
        assert document == {"cniVersion": "1.1.0", **VALUE}
    assert [ip["address"] for ip in document["ips"]][0::2][:1] == ["10.0.0.5/24"]
    assert {ip["address"] for ip in document["ips"]} <= {ip["address"] for ip in VALUE["ips"]}
    assert {"dst": "::/0", "gw": "fd00::1"} in document["routes"]
    assert not any("version" in ip for ip in document["ips"])
    assert document["dns"] == VALUE["dns"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [({}, {"nameservers": ["10.0.0.2"], "search": ["a.b"]}), ({"nameservers": ["10.0.0.3"]}, {"nameservers": ["10.0.0.3"]})],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_dns_is_the_configs_else_the_delegates(version: str, config: dict[str, Any], expected: dict[str, Any]) -> None:
    """The config's replaces all of the delegate's; addresses get our interface, routes are unchanged (A11)."""
    answer = parsed(
        {
            "cniVersion": "1.0.0",
            "ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}],
            "routes": [{"dst": "10.9.8.7/16"}],
            "dns": {"nameservers": ["10.0.0.2"], "search": ["a.b"]},
        }
    )
    interface: dict[str, object] = {"name": "eth0", "sandbox": SANDBOX}
    ours = result.of_interface(interface, answer, config)
    assert shown(ours) == {
        "cniVersion": "1.1.0",
        "interfaces": [interface],
        "ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 0}],
        "routes": [{"dst": "10.9.8.7/16"}],
        "dns": expected,
    }
    assert built(version, ours)["dns"] == expected


# -- reading the result of a delegate or of the previous plugin


def test_old_results_become_new_ones() -> None:
    """0.2.0's ip4 and ip6 become ips, and their routes one list (R6)."""
    old = {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]}}
    assert shown(parsed(old)) == {
        "cniVersion": "1.1.0",
        "interfaces": [],
        "ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    }


def test_the_version_of_0_4_0_addresses_is_dropped() -> None:
    """From 1.0.0 on an address has no version key (R6)."""
    assert shown(parsed({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.5/24"}]}))["ips"] == [
        {"address": "10.0.0.5/24"}
    ]


def test_a_result_without_a_version_is_of_the_configs() -> None:
    """Without a version, or with an empty one or null, it is the config's (R9, I5)."""
    for answer in ({}, {"cniVersion": ""}, {"cniVersion": None}):
        for version, members in (("0.2.0", {"ip4": {"ip": "10.0.0.5/24"}}), ("1.0.0", {"ips": [{"address": "10.0.0.5/24"}]})):
            assert [ip.address.text for ip in parsed({**answer, **members}, version).ips] == ["10.0.0.5/24"]


def test_empty_and_null_members_are_tolerated() -> None:
    """An empty gateway or gw, null lists and dns count as absent (R7)."""
    answer = {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.0.0.5/24", "gateway": ""}],
        "routes": [{"dst": "0.0.0.0/0", "gw": None}],
        "interfaces": None,
        "dns": None,
    }
    assert shown(parsed(answer)) == {
        "cniVersion": "1.1.0",
        "interfaces": [],
        "ips": [{"address": "10.0.0.5/24"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    }
    assert parsed({"cniVersion": "1.0.0", "ips": None, "routes": None}).ips == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "unexpected end of JSON input"),
        ("Killed", "no JSON value"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"cniVersion":"9.9.9"}', "its cniVersion '9.9.9' is not supported"),
        ('{"cniVersion":5}', "its cniVersion 5 is not supported"),
        ('{"ips":[{}]}', "'address' is missing"),
        ('{"ips":[{"address":"10.0.0.5"}]}', "'10.0.0.5' is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5/33"}]}', "'10.0.0.5/33' is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5/-1"}]}', "'10.0.0.5/-1' is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5/%s"}]}' % ("2" * 5000), "is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5/\\u0662\\u0664"}]}', "is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5\\ud800/24"}]}', "is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5/+1"}]}', "."),
        ('{"ips":[{"address":"10.0.0.5/"}]}', "."),
        ('{"ips":[{"address":"10.0.0/24"}]}', "."),
        ('{"ips":[{"address":"fd00::5/129"}]}', "not an address with a prefix length"),
        ('{"ips":[{"address":"fe80::1%eth0/64"}]}', "."),
        ('{"ips":[{"address":5}]}', "5 is not an address with a prefix length"),
        ('{"ips":[{"address":"10.0.0.5/24","interface":"x"}]}', "interface of an address must be a number, not 'x'"),
        ('{"ips":[{"address":"10.0.0.5/24","interface":true}]}', "interface of an address must be a number"),
        ('{"ips":[null]}', "ips is not a list of objects"),
        ('{"ips":{"a":1}}', "ips is not a list of objects"),
        ('{"ips":"x"}', "ips is not a list of objects"),
        ('{"ips":[{"address":"10.0.0.5/24","gateway":"10.0.0.1/24"}]}', "."),
        ('{"ips":[{"address":"10.0.0.5/24","gateway":7}]}', "7 is not an address"),
        (
            '{"ips":[{"address":"10.0.0.5/24","gateway":"fd00::1"}]}',
            "10.0.0.5/24 has the gateway fd00::1, which is of the other",
        ),
        ('{"routes":[{}]}', "'dst' is missing"),
        ('{"routes":[{"dst":"default"}]}', "."),
        ('{"routes":[{"dst":"10.0.0.0/8","gw":"here"}]}', "."),
        ('{"routes":[null]}', "routes is not a list of objects"),
        ('{"routes":[{"dst":"10.0.0.0/8","mtu":"big"}]}', "mtu"),
        ('{"routes":[{"dst":"10.0.0.0/8","priority":-1}]}', "priority"),
        ('{"routes":[{"dst":"10.0.0.0/8","table":4294967296}]}', "table"),
        ('{"routes":[{"dst":"10.0.0.0/8","scope":256}]}', "scope"),
        ('{"routes":[{"dst":"10.0.0.0/8","advmss":true}]}', "advmss"),
        ('{"interfaces":[null]}', "."),
        ('{"interfaces":[5]}', "interfaces is not a list of objects"),
        ('{"interfaces":[[["a","b"]]]}', "interfaces is not a list of objects"),
        ('{"dns":"10.0.0.2"}', "dns is not an object"),
        ('{"cniVersion":"0.2.0","ip4":{"gateway":"10.0.0.1"}}', "'ip' is missing"),
        ('{"cniVersion":"0.2.0","ip4":"10.0.0.5/24"}', "ip4 is not an object"),
    ],
)
def test_an_invalid_result_is_refused_with_author_and_reason(answer: str, reason: str) -> None:
    """The message has the author and the reason, the details the text (I8, R7)."""
    with pytest.raises(CniError, match=f"^the IPAM plugin x returned no valid CNI result: .*{reason}") as refused:
        result.parse(answer, "1.0.0", "the IPAM plugin x")
    assert refused.value.code == DECODING_FAILURE
    assert refused.value.details == answer[:500]


def test_a_long_answer_is_cut_in_the_details() -> None:
    """A megabyte of garbage does not go to the runtime's log."""
    with pytest.raises(CniError) as refused:
        result.parse("x" * 1000000, "1.0.0", "x")
    assert len(refused.value.details) <= 500


def test_a_result_is_typed_values() -> None:
    """Addresses and routes are parsed once; what is absent is None or empty, and 0 is 0."""
    document = of(VALUE)
    assert [(ip.address.family, ip.address.prefix, ip.gateway, ip.interface) for ip in document.ips] == [
        (2, 24, "10.0.0.1", 0),
        (2, 24, "", 0),
        (10, 64, "fd00::1", 0),
    ]
    assert [(route.dst.text, route.gw, route.mtu, route.table, route.scope) for route in document.routes] == [
        ("0.0.0.0/0", "10.0.0.1", None, None, None),
        ("10.9.0.0/16", "", 1400, 0, 0),
        ("::/0", "fd00::1", None, None, None),
    ]
    assert document.ips[1].address.text == "10.0.0.6/24"
    assert of({"ips": [{"address": "10.0.0.5/24"}]}).ips[0].interface is None


def test_foreign_keys_of_interfaces_and_dns_are_kept() -> None:
    """Keys of other plugins and of later versions are passed on."""
    value = {"interfaces": [{"name": "br0", "x": [1, {"y": None}]}], "dns": {"nameservers": ["10.0.0.2"], "z": 5}}
    assert shown(of(value)) == {"cniVersion": "1.1.0", "ips": [], "routes": [], **value}


# -- chains


def test_without_a_previous_plugin_our_result_is_the_result() -> None:
    """Without a previous plugin nothing is added."""
    assert shown(result.join(None, of(VALUE))) == {"cniVersion": "1.1.0", **VALUE}


def test_after_another_plugin_ours_is_appended() -> None:
    """The previous result stays first, ours follows, and our addresses point at our interface (A8)."""
    before = parsed(
        {
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "br0", "mac": "x"}, {"name": "net1", "mac": "y", "sandbox": SANDBOX}],
            "ips": [{"version": "4", "address": "172.16.0.2/24", "interface": 1}],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {"nameservers": ["9.9.9.9"]},
        }
    )
    ours, unchanged = of(VALUE), shown(before)
    document = shown(result.join(before, ours))
    assert [interface["name"] for interface in document["interfaces"]] == ["br0", "net1", "eth0"]
    assert [(ip["address"], ip["interface"]) for ip in document["ips"]] == [
        ("172.16.0.2/24", 1),
        ("10.0.0.5/24", 2),
        ("10.0.0.6/24", 2),
        ("fd00::5/64", 2),
    ]
    assert [route["dst"] for route in document["routes"]] == ["0.0.0.0/0", "0.0.0.0/0", "10.9.0.0/16", "::/0"]
    assert document["dns"] == {"nameservers": ["10.0.0.2"]}
    assert (shown(before), ours.ips[0].interface) == (unchanged, 0)


def test_the_chains_dns_stays_when_we_have_none() -> None:
    """An empty dns of ours does not replace that of a previous plugin."""
    before = parsed({"cniVersion": "1.0.0", "dns": {"nameservers": ["9.9.9.9"]}})
    assert result.join(before, of({**VALUE, "dns": {}})).dns == {"nameservers": ["9.9.9.9"]}


# -- errors


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_document_has_its_four_members(version: str) -> None:
    """Code, msg and details with the version that was asked for, also for text with lone surrogates (section 1)."""
    document = json.loads(result.error(7, "wrong: \udcff", "é", version))
    assert document == {"cniVersion": version, "code": 7, "msg": "wrong: \udcff", "details": "é"}
