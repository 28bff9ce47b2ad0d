"""The values of ports, bonds and VFs: what is written to a file is read back, and requests are compared."""

import pytest

from cni_sriov_bond.ports import Bond, VfSettings, VfState
from tests.support import bond_entry


def test_a_bond_is_read_as_it_was_written() -> None:
    value = bond_entry(3)
    assert Bond.from_json(value).to_json() == value


@pytest.mark.parametrize("key", ["name", "mac", "ports"])
def test_a_bond_without_a_key_is_none(key: str) -> None:
    value = bond_entry(1)
    del value[key]
    with pytest.raises(KeyError, match=key):
        Bond.from_json(value)


def test_settings_are_read_as_they_were_written() -> None:
    """0 is a value; a setting that is None is left out, and one that is absent is None."""
    for value in ({}, {"vlan": 0, "trust": 1}, {name: number for number, name in enumerate(VfSettings.NAMES)}):
        settings = VfSettings.from_json(value)
        assert settings.to_json() == value
        assert [settings.get(name) for name in VfSettings.NAMES] == [value.get(name) for name in VfSettings.NAMES]


def test_only_requested_settings_can_differ() -> None:
    """In the order in which they are set: the VLAN before the rates."""
    present = VfSettings(vlan=0, vlan_qos=0, spoofchk=1, max_tx_rate=0)
    assert VfSettings().differing(present) == []
    assert VfSettings(vlan=0, spoofchk=1).differing(present) == []
    assert VfSettings(max_tx_rate=100, spoofchk=1, vlan=100, trust=0).differing(present) == ["vlan", "trust", "max_tx_rate"]


def test_a_state_is_read_as_it_was_written() -> None:
    value = {"mtu": 1500, "mac": "02:00:00:00:00:01", "admin_mac": "02:00:00:00:00:02", "vf": {"vlan": 100, "spoofchk": 1}}
    assert VfState.from_json(value).to_json() == value
    with pytest.raises(KeyError, match="admin_mac"):
        VfState.from_json({key: part for key, part in value.items() if key != "admin_mac"})
