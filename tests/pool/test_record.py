"""The lease record: one reader and one writer of its JSON, and what is damage."""

import json
from typing import Any

import pytest

from cni_sriov_bond.errors import POOL_UNUSABLE, DamagedLeaseError
from cni_sriov_bond.pool.record import Attachment, LeaseRecord, Requested
from cni_sriov_bond.ports import Bond, Port, VfState
from tests.support import REPOSITORY, bond_entry

PCI = "ffff:01:10.1"
# A ready lease as version 0.1 wrote it, with every key that it had.
OLD: dict[str, Any] = {
    "netns": {"path": "/run/netns/c1", "id": [4, 4026532000]},
    "asked": {
        "options": {"mode": 2, "xmit_hash_policy": 1, "miimon": 0, "arp_ip_target": ["10.0.0.1"]},
        "vf": {"vlan": 100, "vlan_qos": 0, "vlan_proto": 33024, "spoofchk": 1, "trust": 0},
        "mtu": 1500,
        "primary": "",
    },
    "delegate": {
        "type": "host-local",
        "environ": {"CNI_COMMAND": "ADD", "CNI_PATH": "/opt/cni/bin"},
        "config": '{"a":"\udcff"}',
    },
    "version": 1,
    "pool": "db",
    "bond": "cbond1",
    "network": "net1",
    "container_id": "c1",
    "ifname": "eth0",
    "boot_id": "11111111-2222-3333-4444-555555555555",
    "pid": 4711,
    "created": 1764000000,
    "mac": "02:00:00:00:00:01",
    "macs": {PCI: "02:00:00:00:00:01", "ffff:02:10.1": "02:00:00:00:00:01"},
    "ports_of": bond_entry(1),
    "before": {
        PCI: {
            "mtu": 1500,
            "mac": "02:00:00:00:00:01",
            "admin_mac": "02:00:00:00:00:01",
            "vf": {"vlan": 0, "vlan_qos": 0, "vlan_proto": 33024, "spoofchk": 1, "trust": None, "link_state": 0},
        }
    },
    "ips": ["10.0.0.7/24"],
}
# What an ADD had written when it had chosen a bond, and nothing else.
FIRST = {key: OLD[key] for key in OLD if key not in ("mac", "macs", "ports_of", "before", "ips", "delegate")}
WRONG: tuple[object, ...] = (5.5, [], {}, "x", None, True, [["x"]])
REQUIRED = ("network", "container_id", "ifname", "boot_id", "created", "netns", "asked")


def read(value: object) -> LeaseRecord:
    return LeaseRecord.from_json(json.dumps(value), "the file")


def test_a_record_of_the_first_version_is_read_whole() -> None:
    """A host is upgraded with containers running: their leases are on disk in this form."""
    record = read(OLD)
    assert record.attachment and record.netns and record.delegate
    assert (record.pool, record.bond.name, record.owner, record.attachment.network) == ("db", "cbond1", "c1 eth0", "net1")
    assert (record.netns.path, record.netns.dev, record.netns.ino) == ("/run/netns/c1", 4, 4026532000)
    assert (record.requested.options, record.requested.mtu) == (OLD["asked"]["options"], 1500)
    assert record.requested.vf.to_json() == OLD["asked"]["vf"]
    assert [port.address for port in record.ports] == [PCI, "ffff:02:10.1"]
    assert (record.mac, record.port_macs, record.addresses) == (OLD["mac"], OLD["macs"], ["10.0.0.7/24"])
    assert (record.before[PCI].mtu, record.before[PCI].settings.spoofchk, record.before[PCI].settings.trust) == (1500, 1, None)
    assert (record.delegate.kind, record.delegate.config) == ("host-local", '{"a":"\udcff"}')
    assert (record.boot_id, record.pid, record.created, record.damage) == (OLD["boot_id"], 4711, 1764000000, "")


def test_what_is_written_is_read_again_and_by_the_first_version() -> None:
    """Reading and writing changes nothing, but for settings that are not known, which need no key: a downgrade reads it too."""
    known = {name: value for name, value in OLD["before"][PCI]["vf"].items() if value is not None}
    expected = {**OLD, "before": {PCI: {**OLD["before"][PCI], "vf": known}}}
    assert json.loads(read(OLD).to_json()) == expected


def test_a_record_without_optional_fields_is_whole() -> None:
    """An interrupted ADD has not looked at the VFs and not asked its delegate."""
    record = read(FIRST)
    assert (record.bond.name, record.ports, record.before, record.mac, record.addresses, record.delegate) == (
        "cbond1", [], {}, "", None, None,
    )  # fmt: skip


@pytest.mark.parametrize("key", REQUIRED)
def test_a_record_that_lacks_a_field_is_damaged(key: str) -> None:
    """It is said which, and is never a KeyError in a DEL or in `status`."""
    with pytest.raises(DamagedLeaseError, match=f"the lease the file is damaged .it has no {key}") as damaged:
        read({name: value for name, value in OLD.items() if name != key})
    assert damaged.value.code == POOL_UNUSABLE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in OLD if key != "version" for value in WRONG),
        ("netns", {"path": "/x", "id": [4]}),
        ("netns", {"path": 5, "id": [4, 5]}),
        ("ports_of", {"name": "cbond1", "mac": "x", "ports": [{"pci": PCI}]}),
        ("before", {PCI: {"mtu": 1500}}),
        ("delegate", {"type": "x", "environ": [], "config": "{}"}),
        ("asked", {"vf": 5}),
    ],
)
def test_a_value_of_the_wrong_type_is_damage_or_harmless(key: str, value: object) -> None:
    """Whatever is in the file, a record is made that has the promised types, or the file is called damaged."""
    try:
        record = read({**OLD, key: value})
    except DamagedLeaseError as damaged:
        assert damaged.msg.startswith("the lease the file is damaged (")
        return
    assert isinstance(json.loads(record.to_json()), dict)
    types: list[tuple[object, type]] = [(record.owner, str), (record.created, int), (record.bond, Bond)]
    types += [(state, VfState) for state in record.before.values()]
    types += [(port.address, str) for port in record.ports]
    assert [value for value, kind in types if not isinstance(value, kind)] == []


def test_parts_of_an_attachment_are_kept_apart_in_its_key() -> None:
    """Where one part ends and the next begins is a part of the key."""
    keys = {Attachment(*parts).key for parts in (("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd"), ("a", "bcd", ""))}
    assert len(keys) == 4


def test_only_this_module_spells_the_keys_of_a_record() -> None:
    """A key that two modules spell is one that a typing error can split."""
    package = REPOSITORY / "cni_sriov_bond"
    for path in package.rglob("*.py"):
        if path.name in ("record.py", "outputs.py"):  # that has the keys of `status --json`
            continue
        text = path.read_text()
        for key in ("ports_of", '"asked"', '"macs"'):
            assert key not in text, f"{path.name} spells {key}"


@pytest.mark.parametrize(("primary", "order"), [("", "abc"), ("b", "bac"), ("c", "cab"), ("gone", "abc")])
def test_the_primary_is_preferred_and_then_the_order_of_the_pool(primary: str, order: str) -> None:
    ports = [Port(address, f"VF{address}", "pf", 0) for address in "abc"]
    record = LeaseRecord("db", Bond("cbond1", "02:00:00:00:00:01", ports), requested=Requested(primary=primary))
    assert "".join(port.address for port in record.ports_by_preference) == order
