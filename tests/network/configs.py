"""Network configs for the tests of this folder, parsed as an ADD parses them."""

import json
from typing import Any

import pytest

from cni_sriov_bond.cni.call import parse_json
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.network import config


def _config(keys: dict[str, Any]) -> bytes:
    return json.dumps({"cniVersion": "1.0.0", "name": "net1", "type": "sriov-bond", **keys}).encode()


def network(**keys: Any) -> config.Network:
    """Return the network of a config with these keys; what the attachment requests is not read."""
    data = _config(keys)
    return config.parse_network(data, parse_json(data), "1.0.0")


def requested(args: str = "", /, **keys: Any) -> config.Network:
    """Return the network of an ADD with these keys and CNI_ARGS."""
    data = _config(keys)
    return config.parse_network(data, parse_json(data), "1.0.0", args)


def refusal(**keys: Any) -> str:
    """Return the message of the error that a config with these keys is."""
    with pytest.raises(CniError) as refused:
        network(**keys)
    assert refused.value.code == INVALID_CONFIG
    return refused.value.msg
