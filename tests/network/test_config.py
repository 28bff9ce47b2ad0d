"""What the plugin makes of a network config: typed values, and every mistake at once."""

import json
from typing import Any

import pytest

from cni_sriov_bond.cni.call import parse_json
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.network import config
from cni_sriov_bond.ports import VfSettings
from tests.network.configs import network, refusal, requested

# What a VF is set to when the config does not speak of it.
SAFE = {"spoofchk": 1, "trust": 0}


@pytest.mark.parametrize("key", ["pool", "deviceID", "mac", "spoofchk", "trust", "link_state", "vlanProto", "mode", "primary"])
def test_an_empty_word_is_absent(key: str) -> None:
    """As in Go, where it is the zero value: templates render what nobody gave so."""
    given, absent = network(**{key: ""}), network()
    for slot in set(config.Network.__slots__) - {"raw", "document", "vf"}:
        assert getattr(given, slot) == getattr(absent, slot)
    assert given.vf.to_json() == absent.vf.to_json()


@pytest.mark.parametrize("keys", [{"vlan": 0, "vlanProto": "802.1q"}, {"vlanProto": "802.1Q"}, {"vlan": 0, "vlanQoS": 0}])
def test_what_untagged_frames_have_may_be_said(keys: dict[str, Any]) -> None:
    """802.1q and priority 0 are what sriov-cni fills in where nothing is given."""
    assert not network(**keys).vf.vlan_qos


def test_a_chosen_vlan_has_the_priority_of_the_network() -> None:
    """Priority and protocol may be there for a VLAN that an attachment chooses; untagged frames have none."""
    keys: dict[str, Any] = {"vlanQoS": 3, "vlanProto": "802.1ad", "vlanAllowed": ["0-9"]}
    assert requested("VLAN=9", **keys).vf.to_json() == {**SAFE, "vlan": 9, "vlan_qos": 3, "vlan_proto": 0x88A8}
    assert requested("VLAN=0", **keys).vf.to_json() == {**SAFE, "vlan": 0, "vlan_qos": 0, "vlan_proto": 0x8100}
    assert requested(**keys).vf.to_json() == SAFE


# -- our keys (C7, C13)


def test_a_config_without_a_key_of_ours_is_safe_and_whole() -> None:
    """Left alone, a network hashes flows over both NICs, checks spoofing, trusts nobody and leaves the VLAN as it is."""
    found = network()
    assert (found.name, found.version, found.pool, found.delegate) == ("net1", "1.0.0", "", "")
    assert found.bond == {"mode": 2, "xmit_hash_policy": 1}
    assert isinstance(found.vf, VfSettings)
    assert found.vf.to_json() == SAFE
    assert (found.vlan, found.mtu, found.mac, found.dns, found.prev_result) == (None, None, "", {}, None)
    assert (found.link_monitor, found.log_level, found.log_file) == ("auto", "warning", "")


def test_every_key_reaches_its_place() -> None:
    """Words become the kernel's numbers, bond-cni's spelling the kernel's name."""
    found = network(
        pool="db", vlan=100, vlanQoS=5, vlanProto="802.1AD", mac="02:AA:bb:00:00:01", spoofchk="off", trust="on",
        link_state="disable", min_tx_rate=10, max_tx_rate=100, mtu=9000, mode="active-backup", failOverMac="active",
        arp_interval=100, arp_ip_target=["10.0.0.1"], linkMonitor="arp", arp_validate="filter", min_links=1, primary="B",
        ipam={"type": "host-local", "subnet": "10.0.0.0/24"}, dns={"nameservers": ["10.0.0.1"]}, logLevel="debug",
    )  # fmt: skip
    assert found.vf.to_json() == {
        "vlan": 100, "vlan_qos": 5, "vlan_proto": 0x88A8, "spoofchk": 0, "trust": 1, "link_state": 2,
        "min_tx_rate": 10, "max_tx_rate": 100,
    }  # fmt: skip
    assert found.bond == {
        "mode": 1, "fail_over_mac": 1, "arp_interval": 100, "arp_ip_target": ["10.0.0.1"], "arp_validate": 4, "min_links": 1,
    }  # fmt: skip
    assert found.primary == "B"
    assert (found.pool, found.vlan, found.mac, found.mtu) == ("db", 100, "02:aa:bb:00:00:01", 9000)
    assert (found.delegate, found.dns, found.log_level) == ("host-local", {"nameservers": ["10.0.0.1"]}, "debug")


LACP = {"lacp_active": "off", "lacp_rate": 1, "ad_select": "count", "ad_actor_sys_prio": 1, "ad_user_port_key": 1023}


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"mode": "balance-rr", "packets_per_slave": 0}, {"mode": 0, "packets_per_slave": 0}),
        ({"mode": "balance-rr", "miimon": "50", "updelay": 100, "downdelay": "150", "peer_notif_delay": 50},
         {"mode": 0, "miimon": 50, "updelay": 100, "downdelay": 150, "peer_notif_delay": 50}),
        ({"mode": "balance-rr", "updelay": 300}, {"mode": 0, "updelay": 300}),
        ({"mode": "active-backup", "failOverMac": 2, "trust": "on"}, {"mode": 1, "fail_over_mac": 2}),
        ({"mode": "active-backup", "failOverMac": "1", "fail_over_mac": "active"}, {"mode": 1, "fail_over_mac": 1}),
        ({"mode": "balance-rr", "failOverMac": 0}, {"mode": 0, "fail_over_mac": 0}),
        ({"mode": "802.3ad", **LACP},
         {"mode": 4, "lacp_active": 0, "lacp_rate": 1, "ad_select": 2, "ad_actor_sys_prio": 1, "ad_user_port_key": 1023}),
        (
            {"mode": "5", "tlb_dynamic_lb": "off", "lp_interval": 5, "trust": "on"},
            {"mode": 5, "tlb_dynamic_lb": 0, "lp_interval": 5},
        ),
        (
            {"mode": "balance-alb", "num_grat_arp": 3, "resend_igmp": 0, "trust": "on"},
            {"mode": 6, "num_peer_notif": 3, "resend_igmp": 0},
        ),
        ({"mode": "broadcast", "all_slaves_active": 1, "use_carrier": "on"},
         {"mode": 3, "all_slaves_active": 1, "use_carrier": 1}),
        ({"xmit_hash_policy": "5"}, {"mode": 2, "xmit_hash_policy": 5}),
        ({"arp_interval": 0, "updelay": 100}, {"mode": 2, "xmit_hash_policy": 1, "arp_interval": 0, "updelay": 100}),
    ],
)  # fmt: skip
def test_options_of_the_bond_are_the_kernels_numbers(keys: dict[str, Any], options: dict[str, Any]) -> None:
    """Each option may be said by word or number, and numbers in quotes as bond-cni has them."""
    assert network(**keys).bond == options


def test_vlan_has_three_values() -> None:
    """Absent leaves the VF alone, 0 is untagged, and a number is that VLAN with the usual protocol."""
    assert network().vf.vlan is None
    assert network(vlan=0).vf.vlan == 0
    assert network(vlan=4094).vf.to_json() == {**SAFE, "vlan": 4094, "vlan_qos": 0, "vlan_proto": 0x8100}


def test_null_is_as_good_as_absent() -> None:
    """A key that a template left null has its default."""
    found = network(vlan=None, ipam=None, dns=None, mode=None, mac=None, prevResult=None)
    assert (found.vlan, found.delegate, found.dns, found.bond["mode"], found.mac) == (None, "", {}, 2, "")


@pytest.mark.parametrize("ipam", [{}, {"type": ""}, {"subnet": "10.0.0.0/24"}])
def test_ipam_without_a_type_is_no_ipam(ipam: dict[str, str]) -> None:
    """An ipam without a type asks for no addresses (I10)."""
    assert network(ipam=ipam).delegate == ""


def test_unknown_keys_are_ignored() -> None:
    """Keys of runtimes and of other plugins are no mistake (C7)."""
    network(capabilities={"ips": True}, args={"cni": {}}, cniVersions=["1.0.0"], runtimeConfig={}, x=1, disableCheck=True)


@pytest.mark.parametrize(
    ("key", "meant"),
    [("Vlan", "vlan"), ("VLAN", "vlan"), ("vlan_qos", "vlanQoS"), ("fail_overMac", "fail_over_mac"), ("state-dir", "stateDir"),
     ("linkState", "link_state"), ("ARP_IP_TARGET", "arp_ip_target")],
)  # fmt: skip
def test_a_known_key_in_another_spelling_is_hinted_at(key: str, meant: str) -> None:
    """A slip in case, "_" or "-" is told in the log, and beside the mistakes of a config that is refused."""
    assert config.hints(network(**{key: 1}).document) == [f"the key '{key}' is unknown and ignored; did you mean {meant}?"]
    with pytest.raises(CniError) as refused:
        network(**{key: 1, "mtu": 1})
    assert f"did you mean {meant}?" in refused.value.details


def test_keys_of_others_are_not_hinted_at() -> None:
    """What runtimes add and what is none of ours in any spelling is silent, and a flood of keys is cut."""
    document = {"disableCheck": 1, "pciBusID": "x", "cni.dev/valid-attachments": [], "vlan/x": 1, "dns": {}, "vlna": 1, "": 2}
    assert config.hints(document) == []
    assert len(config.hints({f"vl{'_' * number}an": 1 for number in range(1, 50)})) == 20
    [long] = config.hints({f"vlan{'_' * 10**6}": 1})
    assert len(long) < 150


def test_a_teardown_leaves_out_what_is_wrong_by_its_key() -> None:
    """A key that a sentence happens to begin with is not meant: the path says which is left out."""
    value = {"name": "net1", "type": "sriov-bond", "logFile": "a\0b", "ipam": {"type": 5}, "logLevel": "debug", "vlan": 4095}
    found, left_out = config.parse_for_teardown(json.dumps(value).encode(), value, "1.1.0")
    assert [issue.path for issue in left_out] == [("ipam", "type"), ("logFile",)]
    assert (found.delegate, found.log_file, found.log_level, found.vlan) == ("", "", "debug", None)


def test_the_delegates_bytes_are_untouched() -> None:
    """White space, key order and bad UTF-8 are kept for the delegate (I3)."""
    data = b' {"type":"sriov-bond" , "name":"a","x":"\xff","name":"b"}\n'
    assert config.parse_network(data, parse_json(data), "1.0.0").raw == data


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"pool": "../etc"}, "pool '../etc' is not a valid pool name"),
        ({"pool": ".."}, "pool '..' is not a valid pool name"),
        ({"pool": "a/b"}, "pool 'a/b' is not a valid pool name"),
        ({"pool": "p" * 65}, "is not a valid pool name"),
        ({"mac": "zz:00:00:00:00:00"}, "mac 'zz:00:00:00:00:00' is not a unicast MAC"),
        ({"mac": "02:11:22:33:44"}, "is not a unicast MAC"),
        ({"mac": "02:11:22:33:44:55:66"}, "is not a unicast MAC"),
        ({"mac": "021122334455"}, "is not a unicast MAC"),
        ({"mac": "02:11:22:33:44:  "}, "is not a unicast MAC"),
        ({"mac": "2:11:22:33:44:55"}, "is not a unicast MAC"),
        ({"mac": "01:00:5e:00:00:01"}, "is not a unicast MAC"),
        ({"mac": "ff:ff:ff:ff:ff:ff"}, "is not a unicast MAC"),
        ({"mac": "00:00:00:00:00:00"}, "is not a unicast MAC"),
        ({"vlanQoS": 3}, "need a vlan"),
        ({"vlanQoS": 3, "vlan": 0}, "need a vlan"),
        ({"vlanProto": "802.1ad"}, "need a vlan"),
        ({"vlanProto": "802.1AD", "vlan": 0}, "need a vlan"),
        ({"vlan": ""}, "vlan must be a whole number"),
        ({"min_tx_rate": 11, "max_tx_rate": 10}, "min_tx_rate 11 is above max_tx_rate 10"),
        ({"vlan": 4095}, "vlan must be from 0 to 4094, not 4095"),
        ({"vlan": "100"}, "vlan must be a whole number"),
        ({"vlan": True}, "vlan must be a whole number, not true"),
        ({"mode": "active_backup"}, "mode must be one of"),
        (
            {"mode": 7},
            "mode must be one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb",
        ),
        ({"ipam": "host-local"}, "ipam must be an object"),
        ({"ipam": {"type": 5}}, "ipam.type must be a string"),
        ({"prevResult": []}, "prevResult must be an object"),
        ({"type": None}, "type is missing"),
    ],
)
def test_a_mistake_is_named_with_its_value(keys: dict[str, Any], words: str) -> None:
    """A wrong key is named with what it had and what it should be, and the network is named too (C13)."""
    message = refusal(**keys)
    assert message.startswith("network 'net1': ")
    assert words in message


def test_all_mistakes_are_told_at_once() -> None:
    """Types, ranges, formats and what does not go together are one sentence, which says of no key that a bad one is missing."""
    message = refusal(vlan=4095, mode="x", ipam=[], spoofchk="yes", miimon=-1, mac="y", updelay=50, primary="A", vlanQoS=1)
    for words in ("vlan must", "mode must", "ipam must", "spoofchk must", "miimon must", "mac 'y' is not"):
        assert words in message
    for words in ("vlanQoS", "updelay", "primary"):
        assert words not in message
    message = refusal(arp_interval=100, arp_ip_target=["10.0.0.1", 5], arp_validate="all", mode="balance-alb")
    assert "arp_ip_target[1] must be a string" in message
    assert "needs" not in message
    assert message.count("has no ARP monitor") == 2
    message = refusal(pool="a/b", mac="x", arp_ip_target=["x", "y"], vlanQoS=1, min_tx_rate=2, max_tx_rate=1)
    for words in ("pool", "mac", "arp_ip_target 'x'", "arp_ip_target 'y'", "vlanQoS", "min_tx_rate"):
        assert words in message


@pytest.mark.parametrize("name", ["db", "0", "a.b_c-d", "p" * 64])
def test_names_of_pools(name: str) -> None:
    """What can be one directory's name is a pool's name."""
    assert config.is_pool_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "é", "p" * 65])
def test_what_is_no_name_of_a_pool(name: str) -> None:
    """What could lead out of the state directory, or is too long, is none."""
    assert not config.is_pool_name(name)
