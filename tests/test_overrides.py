"""The VLAN of an attachment is decided in one place: plugin and IPAM plugin agree on it, whatever the arguments are."""

import json
from typing import Any

import pytest

from cni_sriov_bond.cni.call import Call, parse_call
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError
from cni_sriov_bond.ipam import request
from cni_sriov_bond.network import config
from tests import ipam

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
    return parse_call(ipam.environment("ADD", "c1", "eth0", args), lambda: json.dumps(value).encode())


@pytest.mark.parametrize(("args", "keys", "vlan"), TABLE)
def test_plugin_and_ipam_plugin_choose_one_vlan(args: str, keys: dict[str, Any], vlan: int | None) -> None:
    """Same digits, same vlanAllowed, same order; what the plugin refuses the IPAM plugin is not asked, and takes for unsaid."""
    asked = call(args, keys)
    addresses = request.parse(asked).vlan
    try:
        found = config.parse_network(asked.raw, asked.document, asked.version, args)
    except CniError as refused:
        assert refused.code in (INVALID_CONFIG, INVALID_ENVIRONMENT)
        assert vlan is None
        assert addresses in (keys["vlan"], 6)
        return
    assert (found.vlan or 0, addresses) == (vlan, vlan)


@pytest.mark.parametrize("allowed", [5, "5-7", {"5": 7}, [None, {}, "a-b"]])
def test_a_list_that_the_plugin_would_refuse_lets_nobody_choose(allowed: object) -> None:
    """The IPAM plugin may be asked by hand, with a config that no plugin has checked."""
    assert request.parse(call("VLAN=6", {"vlan": 100, "vlanAllowed": allowed})).vlan == 100


def test_an_argument_counts_for_our_plugin_alone() -> None:
    """Another plugin does not look at it, so its attachments are on the VLAN of its config."""
    assert request.parse(call("VLAN=6", {"vlan": 100, "vlanAllowed": ["5-7"], "type": "macvlan"})).vlan == 100
