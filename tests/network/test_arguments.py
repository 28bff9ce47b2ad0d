"""What an attachment requests; plugin and IPAM plugin select the same VLAN for any arguments."""

import json
from typing import Any

import pytest

from cni_sriov_bond.cni.call import Call, parse_call
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError
from cni_sriov_bond.ipam import request
from cni_sriov_bond.network import arguments, config
from tests.ipam import calls
from tests.network.configs import network, requested

# CNI_ARGS, keys of the config, and the VLAN that both choose; None where the plugin refuses the ADD.
TABLE: list[tuple[str, dict[str, Any], int | None]] = [
    ("", {}, 0),
    ("", {"vlan": 100}, 100),
    ("", {"vlan": 0}, 0),
    ("", {"vlan": 100, "vlanAllowed": ["5-7"]}, 100),
    ("VLAN=100", {"vlan": 100}, 100),
    ("VLAN=0100", {"vlan": 100}, 100),
    ("VLAN=6", {"vlan": 100, "vlanAllowed": ["5-7"]}, 6),
    ("VLAN=0006", {"vlan": 100, "vlanAllowed": ["5-7"]}, 6),
    ("VLAN=0", {"vlan": 100, "vlanAllowed": [0]}, 0),
    ("VLAN=6;VLAN=7", {"vlanAllowed": ["5-7"]}, 7),
    ("VLAN=", {"vlan": 100, "vlanAllowed": ["5-7"]}, 100),
    ("VLAN=6", {"vlanAllowed": ["5-7"], "args": {"cni": {"vlan": 5}}}, 5),
    ("VLAN=6", {"vlanAllowed": ["5-7"], "args": {"cni": {"VLAN": "5"}}}, 5),
    ("VLAN=6", {"vlanAllowed": ["5-7"], "args": {"cni": {"vlan": ""}}}, 6),
    ("VLAN=6", {"vlanAllowed": ["5-7"], "args": {"cni": {"vlan": None}}}, 6),
    ("VLAN=6", {"vlanAllowed": ["5-7"], "runtimeConfig": {"vlan": 5}}, 6),
    ("", {"vlan": 100, "args": {"cni": {"vlan": 100}}}, 100),
    ("IgnoreUnknown=1;K8S_POD_NAME=p;VLAN=6", {"vlanAllowed": [6]}, 6),
    ("VLAN=8", {"vlan": 100, "vlanAllowed": ["5-7"]}, None),
    ("VLAN=6", {"vlan": 100}, None),
    ("VLAN=00006", {"vlan": 100, "vlanAllowed": ["5-7"]}, None),
    ("VLAN=\u0666", {"vlan": 100, "vlanAllowed": ["5-7"]}, None),
    ("VLAN=+6", {"vlan": 100, "vlanAllowed": ["5-7"]}, None),
    ("VLAN=4095", {"vlan": 100, "vlanAllowed": ["0-4094"]}, None),
    ("VLAN=6", {"vlan": 100, "vlanAllowed": ["5-7"], "args": {"cni": {"vlan": 8}}}, None),
    ("", {"vlan": 100, "vlanAllowed": ["0-4094"], "args": {"cni": {"vlan": True}}}, None),
]


def call(args: str, keys: dict[str, Any]) -> Call:
    subnets = {"subnets": [{"subnet": "10.0.0.0/24"}]}
    value = {"cniVersion": "1.0.0", "name": "net1", "type": "sriov-bond", "ipam": {"type": "x", **subnets}, **keys}
    return parse_call(calls.environment("ADD", "c1", "eth0", args), lambda: json.dumps(value).encode())


@pytest.mark.parametrize(("args", "keys", "vlan"), TABLE)
def test_plugin_and_ipam_plugin_choose_one_vlan(args: str, keys: dict[str, Any], vlan: int | None) -> None:
    """Both have the same syntax, vlanAllowed and precedence. The IPAM plugin ignores a request that the plugin refuses."""
    accepted = call(args, keys)
    addresses = request.parse(accepted).vlan
    try:
        parsed = config.parse_network(accepted.raw, accepted.document, accepted.version, args)
    except CniError as refused:
        assert refused.code in (INVALID_CONFIG, INVALID_ENVIRONMENT)
        assert vlan is None
        assert addresses in (keys["vlan"], 6)
        return
    assert (parsed.vf.vlan or 0, addresses) == (vlan, vlan)


@pytest.mark.parametrize("allowed", [5, "5-7", {"5": 7}, [None, {}, "a-b"]])
def test_an_invalid_vlanallowed_allows_no_request(allowed: object) -> None:
    """The IPAM plugin may be run by hand, with a config that no plugin has checked."""
    assert request.parse(call("VLAN=6", {"vlan": 100, "vlanAllowed": allowed})).vlan == 100


def test_an_argument_is_used_with_our_plugin_only() -> None:
    """Another plugin ignores it, so its attachments are on the VLAN of its config."""
    assert request.parse(call("VLAN=6", {"vlan": 100, "vlanAllowed": ["5-7"], "type": "macvlan"})).vlan == 100


# -- what an attachment may request (contract 4, 37 to 41)


def test_requests_have_an_order_of_precedence() -> None:
    """runtimeConfig precedes args.cni, CNI_ARGS and the config, in this order; an empty value requests nothing."""
    macs = [f"02:00:00:00:00:0{number}" for number in range(4)]
    runtime, cni, args = {"mac": macs[0]}, {"cni": {"mac": macs[1]}}, f"MAC={macs[2]}"
    assert requested(args, mac=macs[3], runtimeConfig=runtime, args=cni).mac == macs[0]
    assert requested(args, mac=macs[3], args=cni).mac == macs[1]
    assert requested(args, mac=macs[3]).mac == macs[2]
    assert requested(mac=macs[3]).mac == macs[3]
    assert requested("MAC=;VLAN=", mac=macs[3], runtimeConfig={"mac": ""}, args={"cni": {"mac": None}}).mac == macs[3]


def test_keys_of_a_runtime_are_read_in_any_case() -> None:
    """go-cni sends the names of its fields; other keys and other types are ignored (C7)."""
    parsed = requested(runtimeConfig={"MAC": "02:AA:00:00:00:01", "DeviceId": "cbond2", "ips": 5, "PortMappings": [{}]})
    assert (parsed.mac, parsed.device) == ("02:aa:00:00:00:01", "cbond2")
    others: list[dict[str, Any]] = [{"runtimeConfig": []}, {"args": "x"}, {"args": {"cni": [1]}}, {"args": {"labels": []}}]
    for other in others:
        assert requested(mac="02:00:00:00:00:01", **other).mac == "02:00:00:00:00:01"


def test_requests_for_a_device_have_an_order_of_precedence() -> None:
    """A config may have a device too, as Multus writes it for a resource; the OCI hook passes one in CNI_ARGS."""
    assert requested(deviceID="c").device == "c"
    assert requested("DEVICE=d", deviceID="c").device == "d"
    assert requested("DEVICE=d", deviceID="c", args={"cni": {"deviceID": "b"}}).device == "b"
    assert requested(deviceID="c", args={"cni": {"deviceID": "b"}}).device == "b"
    assert requested(deviceID="c", args={"cni": {"deviceID": "b"}}, runtimeConfig={"deviceID": "a"}).device == "a"


@pytest.mark.parametrize(
    ("args", "keys", "vlan"),
    [
        ("VLAN=100", {"vlan": 100}, 100),
        ("VLAN=0", {"vlan": 100, "vlanAllowed": [0]}, 0),
        ("VLAN=7", {"vlanAllowed": [5, 7]}, 7),
        ("VLAN=200", {"vlan": 100, "vlanAllowed": [5, "150-250"]}, 200),
        ("VLAN=150", {"vlan": 100, "vlanAllowed": ["150-250"]}, 150),
        ("VLAN=250", {"vlan": 100, "vlanAllowed": ["150-250"]}, 250),
        ("VLAN=9", {"vlanAllowed": ["9"]}, 9),
        ("VLAN=100", {"vlan": 100, "vlanAllowed": [5]}, 100),
        ("VLAN=6", {"vlanAllowed": ["5-7"], "args": {"cni": {"vlan": "5"}}}, 5),
        ("", {"vlanAllowed": [5]}, None),
    ],
)
def test_an_allowed_vlan_may_be_requested(args: str, keys: dict[str, Any], vlan: int | None) -> None:
    """The network's own VLAN may always be requested."""
    parsed = requested(args, **keys)
    assert (parsed.vf.vlan, parsed.vf.vlan) == (vlan, vlan)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("FOO", "invalid pair 'FOO'"),
        ("A=1;", "invalid pair ''"),
        (";", "invalid pair ''"),
        ("=1", "invalid pair '=1'"),
        ("IgnoreUnknown=yes", "IgnoreUnknown 'yes' is neither true nor false"),
        ("MAC=x", "CNI_ARGS MAC 'x' is not a unicast MAC"),
        ("MAC=01:00:5e:00:00:01", "is not a unicast MAC"),
        ("VLAN=x", "CNI_ARGS VLAN 'x' is not a VLAN"),
        ("VLAN=4095", "CNI_ARGS VLAN '4095' is not a VLAN"),
        ("VLAN=-1", "CNI_ARGS VLAN '-1' is not a VLAN"),
        ("VLAN=00001", "CNI_ARGS VLAN '00001' is not a VLAN"),
        ("VLAN=200", "CNI_ARGS VLAN requests VLAN 200, but the network has no vlanAllowed"),
    ],
)
def test_bad_arguments_are_refused(args: str, expected: str) -> None:
    """An invalid pair, MAC or VLAN, and a VLAN that is not allowed, are errors of the environment."""
    with pytest.raises(CniError) as refused:
        requested(args, vlan=100)
    assert refused.value.code == INVALID_ENVIRONMENT
    assert expected in refused.value.msg


@pytest.mark.parametrize("args", ["A=b=c", "K=", "IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=h;IP=10.0.0.5", "IP=a,b", "mac=x"])
def test_arguments_of_others_are_ignored(args: str) -> None:
    """The value is all after the first "="; IP and unknown keys are not used (contract 4, 37 to 40)."""
    assert requested(args).mac == ""


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"runtimeConfig": {"mac": 5}}, "runtimeConfig.mac must be a string, not 5"),
        ({"runtimeConfig": {"mac": "x"}}, "runtimeConfig.mac 'x' is not a unicast MAC"),
        ({"runtimeConfig": {"deviceID": ["a"]}}, "runtimeConfig.deviceID must be a string"),
        ({"args": {"cni": {"vlan": 4095}}}, "args.cni.vlan 4095 is not a VLAN; use 0 to 4094"),
        ({"args": {"cni": {"vlan": True}}}, "args.cni.vlan True is not a VLAN"),
        ({"args": {"cni": {"vlan": 5}}}, "args.cni.vlan requests VLAN 5, but the network has no vlanAllowed"),
        (
            {"args": {"cni": {"vlan": 5}}, "vlanAllowed": ["6-8", 4]},
            "requests VLAN 5, which is not in the network's vlanAllowed",
        ),
        ({"vlanAllowed": [4095]}, "vlanAllowed[0] 4095 is neither a VLAN nor a range"),
        ({"vlanAllowed": [1, "9-5"]}, "vlanAllowed[1] '9-5' is neither"),
        ({"vlanAllowed": ["-5"]}, "vlanAllowed[0] '-5' is neither"),
        ({"vlanAllowed": ["a-b", None, True, {}]}, "vlanAllowed[3] {} is neither"),
        ({"vlanAllowed": []}, "vlanAllowed must have 1 to 4096 entries"),
        ({"vlanAllowed": 5}, "vlanAllowed must be a list"),
    ],
)
def test_an_invalid_request_is_reported_with_the_other_mistakes(keys: dict[str, Any], expected: str) -> None:
    """Mistakes of the config and of the runtime are reported together."""
    with pytest.raises(CniError) as refused:
        requested(mtu=5, **keys)
    assert refused.value.code == INVALID_CONFIG
    assert expected in refused.value.msg
    assert "mtu must be" in refused.value.msg


def test_requests_are_read_by_add_only() -> None:
    """DEL and CHECK get other arguments, or none (D10)."""
    parsed = network(runtimeConfig={"mac": 5}, args={"cni": {"vlan": 4095}})
    assert (parsed.mac, parsed.vf.vlan) == ("", None)


def test_an_issue_has_the_path_of_the_request() -> None:
    """Keys of the path are spelled as documented, even if the runtime spells them otherwise."""
    config_keys = {"vlan": 5, "vlanAllowed": ["7"], "runtimeConfig": {"MAC": 5}, "args": {"cni": {"VLAN": 6, "deviceId": []}}}
    values, issues = arguments.choose({"name": "net1", **config_keys}, "")
    assert values == {}
    assert [issue.path for issue in issues] == [("runtimeConfig", "mac"), ("args", "cni", "vlan"), ("args", "cni", "deviceID")]
