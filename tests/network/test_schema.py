"""The plugin's check of a config by its schema agrees with the jsonschema library."""

import random
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond.cni import schema
from cni_sriov_bond.kernel import bond_options
from cni_sriov_bond.network.schema import NETWORK

LIBRARY = jsonschema.Draft202012Validator(NETWORK)
PROPERTIES: dict[str, Any] = NETWORK["properties"]


def words_of(part: dict[str, Any]) -> list[Any]:
    return [*part.get("enum", []), *words_of(part["items"])] if "items" in part else list(part.get("enum", []))


def some_values() -> list[Any]:
    """Every word and bound of the schema, its neighbours, and a value of every JSON type.

    Whole numbers written as fractions (1.0) are left out: see the test of that name.
    """
    values: list[Any] = [None, True, False, "", "x", 0.5, -1, 2**70, [], {}, [None], [""], ["10.0.0.1"], [1], [["x"]]]
    values += [["10.0.0.1"] * 16, ["10.0.0.1"] * 17, {"type": "host-local"}, {"type": None}, {"type": 5}, {"type": ""}]
    for part in PROPERTIES.values():
        values += words_of(part)
        for bound in (part.get("minimum"), part.get("maximum")):
            if bound is not None:
                values += [bound - 1, bound, bound + 1, str(bound)]
    return values


VALUES = some_values()


def heads(value: object) -> list[str]:
    """Return the top-level keys that the library refuses."""
    errors = LIBRARY.iter_errors(value)
    return sorted({str(error.path[0]) if error.path else error.message for error in errors})


def our_heads(value: object) -> list[str]:
    keys = set()
    for issue in schema.issues(value, NETWORK):
        missing = issue.path == ("type",) and issue.sentence == "type is missing"
        keys.add("'type' is a required property" if missing else issue.key)
    return sorted(keys)


def test_the_schema_is_valid() -> None:
    """The schema itself is valid JSON Schema of 2020-12, and every key has a description."""
    jsonschema.Draft202012Validator.check_schema(NETWORK)
    assert [key for key, part in PROPERTIES.items() if not part.get("description")] == []


@pytest.mark.parametrize("key", PROPERTIES)
def test_verdict_on_each_key_is_the_librarys(key: str) -> None:
    """Each key with each value of interest is accepted or refused as the library does, and both name the key."""
    verdicts = set()
    for value in VALUES:
        config = {"type": "sriov-bond", key: value}
        assert our_heads(config) == heads(config), config
        verdicts.add(bool(heads(config)))
    assert verdicts == {True, False}


def test_verdict_on_whole_configs_is_the_librarys() -> None:
    """Three thousand generated configs have all their bad keys named, no more and no less."""
    dice = random.Random(5)
    for _ in range(3000):
        keys = dice.sample(sorted(PROPERTIES), dice.randrange(1, 12))
        config = {key: dice.choice(VALUES) for key in keys}
        if dice.random() < 0.8:
            config["type"] = "sriov-bond"
        config[f"x-{dice.randrange(9)}"] = dice.choice(VALUES)
        assert our_heads(config) == heads(config), config


@pytest.mark.parametrize("value", [None, True, 5, "x", [], ["type"]])
def test_a_config_that_is_not_an_object_is_refused_by_both(value: object) -> None:
    """A config of another type is one issue."""
    assert not LIBRARY.is_valid(value)
    [issue] = schema.issues(value, NETWORK)
    assert (issue.path, issue.key) == ((), "")
    assert issue.sentence.startswith("the config must be an object")


@pytest.mark.parametrize("key", ["vlan", "miimon", "failOverMac"])
def test_a_whole_number_written_as_a_fraction_is_refused(key: str) -> None:
    """JSON Schema accepts 1.0 as an integer; we do not, like Go's decoder."""
    assert LIBRARY.is_valid({"type": "sriov-bond", key: 1.0})
    [issue] = schema.issues({"type": "sriov-bond", key: 1.0}, NETWORK)
    assert issue.sentence.startswith(f"{key} must be ")


def test_every_mistake_is_reported_with_its_path_and_value() -> None:
    """Each issue has its path, the value, and what is allowed."""
    config = {"vlan": 4095, "mode": "fastest", "arp_ip_target": [1], "ipam": {"type": []}, "pool": "", "miimon": "100"}
    assert [(issue.path, issue.sentence) for issue in schema.issues(config, NETWORK)] == [
        (("type",), "type is missing"),
        (("pool",), "pool must not be empty"),
        (("vlan",), "vlan must be from 0 to 4094, not 4095"),
        (("mode",), f"mode must be one of {', '.join(bond_options.MODES)}, not 'fastest'"),
        (("miimon",), "miimon must be a whole number, not '100'"),
        (("arp_ip_target", 0), "arp_ip_target[0] must be a string, not 1"),
        (("ipam", "type"), "ipam.type must be a string, not []"),
    ]


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("vlan", 0, 4094),
        ("vlanQoS", 0, 7),
        ("min_tx_rate", 0, None),
        ("max_tx_rate", 0, None),
        ("mtu", 68, 65535),
        ("miimon", 0, None),
        ("updelay", 0, None),
        ("arp_missed_max", 1, 255),
        ("min_links", 0, 16),
        ("num_peer_notif", 0, 255),
    ],
)
def test_bounds_are_the_kernels(key: str, least: int, most: int | None) -> None:
    """The minimum and maximum of the kernel are accepted, and nothing beyond."""
    taken = {value: not schema.issues({"type": "x", key: value}, NETWORK) for value in (least - 1, least)}
    assert taken == {least - 1: False, least: True}
    if most is not None:
        taken = {value: not schema.issues({"type": "x", key: value}, NETWORK) for value in (most, most + 1)}
        assert taken == {most: True, most + 1: False}


def test_as_many_targets_as_the_kernel_has_are_accepted() -> None:
    """Sixteen targets are accepted (bond_options.h, BOND_MAX_ARP_TARGETS); none and seventeen are not."""
    for key in ("arp_ip_target", "ns_ip6_target"):
        taken = [not schema.issues({"type": "x", key: ["x"] * number}, NETWORK) for number in (0, 1, 16, 17)]
        assert taken == [False, True, True, False]
