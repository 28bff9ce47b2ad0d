"""A network config becomes typed values, and all mistakes are reported at once."""

import json
from typing import Any

import pytest

from cni_sriov_bond.cni.call import parse_json
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.network import config
from cni_sriov_bond.ports import VfSettings
from tests.network.configs import network, refusal, requested

# What a VF is set to when the config does not speak of it.
SAFE = {"spoofchk": 1, "trust": 0, "defaults": ["trust", "spoofchk"]}


@pytest.mark.parametrize("key", ["pool", "deviceID", "mac", "spoofchk", "trust", "link_state", "vlanProto", "mode", "primary"])
def test_an_empty_string_is_absent(key: str) -> None:
    """As in Go, where it is the zero value: templates render unset variables so."""
    empty, absent = network(**{key: ""}), network()
    for slot in set(config.Network.__slots__) - {"raw", "document", "vf"}:
        assert getattr(empty, slot) == getattr(absent, slot)
    assert empty.vf.to_json() == absent.vf.to_json()


@pytest.mark.parametrize("keys", [{"vlan": 0, "vlanProto": "802.1q"}, {"vlanProto": "802.1Q"}, {"vlan": 0, "vlanQoS": 0}])
def test_defaults_of_untagged_frames_are_accepted(keys: dict[str, Any]) -> None:
    """sriov-cni writes 802.1q and priority 0 by default."""
    assert not network(**keys).vf.vlan_qos


def test_a_requested_vlan_has_the_priority_of_the_network() -> None:
    """Priority and protocol may be set for a VLAN that an attachment requests; untagged frames have none."""
    keys: dict[str, Any] = {"vlanQoS": 3, "vlanProto": "802.1ad", "vlanAllowed": ["0-9"]}
    assert requested("VLAN=9", **keys).vf.to_json() == {**SAFE, "vlan": 9, "vlan_qos": 3, "vlan_proto": 0x88A8}
    assert requested("VLAN=0", **keys).vf.to_json() == {**SAFE, "vlan": 0, "vlan_qos": 0, "vlan_proto": 0x8100}
    assert requested(**keys).vf.to_json() == SAFE


# -- our keys (C7, C13)


def test_a_config_without_options_has_safe_defaults() -> None:
    """By default flows are hashed over both NICs, spoofing is checked, VFs are not trusted, and the VLAN is unchanged."""
    parsed = network()
    assert (parsed.name, parsed.version, parsed.pool, parsed.delegate) == ("net1", "1.0.0", "", "")
    assert parsed.bond == {"mode": 2, "xmit_hash_policy": 1}
    assert isinstance(parsed.vf, VfSettings)
    assert parsed.vf.to_json() == SAFE
    assert (parsed.vf.vlan, parsed.mtu, parsed.mac, parsed.dns, parsed.prev_result) == (None, None, "", {}, None)
    assert (parsed.link_monitor, parsed.log_level, parsed.log_file) == ("auto", "warning", "")


def test_every_key_becomes_a_value() -> None:
    """Values become the kernel's numbers, and bond-cni's names the kernel's."""
    parsed = network(
        pool="db", vlan=100, vlanQoS=5, vlanProto="802.1AD", mac="02:AA:bb:00:00:01", spoofchk="off", trust="on",
        link_state="disable", min_tx_rate=10, max_tx_rate=100, mtu=9000, mode="active-backup", failOverMac="active",
        arp_interval=100, arp_ip_target=["10.0.0.1"], linkMonitor="arp", arp_validate="filter", min_links=1, primary="B",
        ipam={"type": "host-local", "subnet": "10.0.0.0/24"}, dns={"nameservers": ["10.0.0.1"]}, logLevel="debug",
    )  # fmt: skip
    assert parsed.vf.to_json() == {
        "vlan": 100, "vlan_qos": 5, "vlan_proto": 0x88A8, "spoofchk": 0, "trust": 1, "link_state": 2,
        "min_tx_rate": 10, "max_tx_rate": 100,
    }  # fmt: skip
    assert parsed.bond == {
        "mode": 1, "fail_over_mac": 1, "arp_interval": 100, "arp_ip_target": ["10.0.0.1"], "arp_validate": 4, "min_links": 1,
    }  # fmt: skip
    assert parsed.primary == "B"
    assert (parsed.pool, parsed.vf.vlan, parsed.mac, parsed.mtu) == ("db", 100, "02:aa:bb:00:00:01", 9000)
    assert (parsed.delegate, parsed.dns, parsed.log_level) == ("host-local", {"nameservers": ["10.0.0.1"]}, "debug")


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
    """Each value may be a name or a number, and numbers may be quoted as in bond-cni."""
    assert network(**keys).bond == options


def test_vlan_has_three_values() -> None:
    """Absent leaves the VF unchanged, 0 is untagged, and a number is that VLAN with protocol 802.1q."""
    assert network().vf.vlan is None
    assert network(vlan=0).vf.vlan == 0
    assert network(vlan=4094).vf.to_json() == {**SAFE, "vlan": 4094, "vlan_qos": 0, "vlan_proto": 0x8100}


@pytest.mark.parametrize(
    ("keys", "settings"),
    [
        ({}, {"spoofchk": 1, "trust": 0, "defaults": ["trust", "spoofchk"]}),
        ({"trust": "off"}, {"spoofchk": 1, "trust": 0, "defaults": ["spoofchk"]}),
        ({"trust": "on", "spoofchk": "on"}, {"spoofchk": 1, "trust": 1}),
        ({"trust": "leave", "spoofchk": "leave"}, {}),
        ({"trust": None, "spoofchk": ""}, {"spoofchk": 1, "trust": 0, "defaults": ["trust", "spoofchk"]}),
    ],
)
def test_a_default_is_not_a_request(keys: dict[str, Any], settings: dict[str, Any]) -> None:
    """A driver need not have what nobody asked for, and what is to be left alone is not set at all."""
    assert network(**keys).vf.to_json() == settings


def test_null_is_absent() -> None:
    """A key that is null has its default."""
    parsed = network(vlan=None, ipam=None, dns=None, mode=None, mac=None, prevResult=None)
    assert (parsed.vf.vlan, parsed.delegate, parsed.dns, parsed.bond["mode"], parsed.mac) == (None, "", {}, 2, "")


@pytest.mark.parametrize("ipam", [{}, {"type": ""}, {"subnet": "10.0.0.0/24"}])
def test_ipam_without_a_type_means_no_addresses(ipam: dict[str, str]) -> None:
    """An ipam without a type requests no addresses (I10)."""
    assert network(ipam=ipam).delegate == ""


def test_unknown_keys_are_ignored() -> None:
    """Keys of runtimes and of other plugins are not refused (C7)."""
    network(capabilities={"ips": True}, args={"cni": {}}, cniVersions=["1.0.0"], runtimeConfig={}, x=1, disableCheck=True)


@pytest.mark.parametrize(
    ("key", "meant"),
    [("Vlan", "vlan"), ("VLAN", "vlan"), ("vlan_qos", "vlanQoS"), ("fail_overMac", "fail_over_mac"), ("state-dir", "stateDir"),
     ("linkState", "link_state"), ("ARP_IP_TARGET", "arp_ip_target")],
)  # fmt: skip
def test_a_misspelled_key_gets_a_hint(key: str, meant: str) -> None:
    """A difference in case, "_" or "-" gets a hint in the log, and in the details of a refusal."""
    assert config.hints(network(**{key: 1}).document) == [f"the key '{key}' is unknown and ignored; did you mean {meant}?"]
    with pytest.raises(CniError) as refused:
        network(**{key: 1, "mtu": 1})
    assert f"did you mean {meant}?" in refused.value.details


# The configs of the READMEs of bond-cni and sriov-cni, with all their keys.
BOND_CNI: dict[str, Any] = {
    "ifname": "bond0", "mode": "active-backup", "failOverMac": 1, "linksInContainer": True, "miimon": "100", "mtu": 1500,
    "links": [{"name": "net1"}, {"name": "net2"}], "allSlavesActive": 1,
    "ipam": {"type": "host-local", "subnet": "10.56.217.0/24", "routes": [{"dst": "0.0.0.0/0"}], "gateway": "10.56.217.1"},
}  # fmt: skip
SRIOV_CNI: dict[str, Any] = {
    "deviceID": "0000:03:02.0", "mac": "CA:FE:C0:FF:EE:00", "vlan": 1000, "vlanQoS": 4, "vlanProto": "802.1ad",
    "min_tx_rate": 100, "max_tx_rate": 200, "spoofchk": "off", "trust": "on", "link_state": "enable", "logLevel": "debug",
    "logFile": "/tmp/sriov.log",
}  # fmt: skip


def test_a_config_of_bond_cni_is_ours() -> None:
    """Its options are those of the kernel; its links are not needed, which the log says."""
    parsed = network(**BOND_CNI)
    assert parsed.bond == {"mode": 1, "fail_over_mac": 1, "miimon": 100, "all_slaves_active": 1}
    assert (parsed.mtu, parsed.delegate) == (1500, "host-local")
    pool = "is not needed: the pool has the VFs; it is ignored"
    assert config.hints(parsed.document) == [
        "the key 'ifname' is not needed: the interface has the name that the runtime gives; it is ignored",
        f"the key 'linksInContainer' {pool}",
        f"the key 'links' {pool}",
    ]


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"mode": "balance-xor", "xmitHashPolicy": "layer2+3"}, {"mode": 2, "xmit_hash_policy": 2}),
        ({"mode": "balance-xor", "xmitHashPolicy": ""}, {"mode": 2, "xmit_hash_policy": 1}),
        ({"mode": "balance-xor", "allSlavesActive": 0}, {"mode": 2, "xmit_hash_policy": 1, "all_slaves_active": 0}),
        ({"mode": "balance-tlb", "tlbDynamicLb": 0, "trust": "on"}, {"mode": 5, "tlb_dynamic_lb": 0}),
        ({"mode": "balance-alb", "tlbDynamicLb": "1", "trust": "on"}, {"mode": 6, "tlb_dynamic_lb": 1}),
        ({"mode": "802.3ad", "lacpRate": "fast", "xmitHashPolicy": "encap3+4"},
         {"mode": 4, "lacp_rate": 1, "xmit_hash_policy": 4}),
    ],
)  # fmt: skip
def test_options_have_the_names_of_bond_cni_too(keys: dict[str, Any], options: dict[str, Any]) -> None:
    """With its values, which are the kernel's numbers, or names."""
    assert network(**keys).bond == options


def test_an_option_under_both_names_must_have_one_value() -> None:
    """And a value that is refused is reported under the name in the config."""
    assert network(allSlavesActive=1, all_slaves_active="on").bond["all_slaves_active"] == 1
    same = "xmitHashPolicy 'layer2' and xmit_hash_policy 'layer3+4' are the same option; remove one"
    assert same in refusal(xmitHashPolicy="layer2", xmit_hash_policy="layer3+4")
    assert "allSlavesActive must be one of off, on, not 2" in refusal(allSlavesActive=2)
    assert "mode balance-rr has no tlb_dynamic_lb" in refusal(mode="balance-rr", tlbDynamicLb=1)


def test_a_config_of_sriov_cni_is_ours() -> None:
    """Every key of it has the same meaning, for each VF of the bond."""
    parsed = network(**SRIOV_CNI)
    assert parsed.vf.to_json() == {
        "vlan": 1000, "vlan_qos": 4, "vlan_proto": 0x88A8, "spoofchk": 0, "trust": 1, "link_state": 1, "min_tx_rate": 100,
        "max_tx_rate": 200,
    }  # fmt: skip
    assert (parsed.device, parsed.mac) == ("0000:03:02.0", "ca:fe:c0:ff:ee:00")
    assert (parsed.log_level, parsed.log_file) == ("debug", "/tmp/sriov.log")
    assert config.hints(parsed.document) == []


@pytest.mark.parametrize(
    ("key", "says"),
    [("master", "is not needed: the pool has the NICs"), ("vlan_trunk", "is not supported: a VF has one VLAN, or none"),
     ("dpdk", "is not supported: a VF of a bond has the kernel's driver")],
)  # fmt: skip
def test_keys_of_older_versions_and_forks_are_answered(key: str, says: str) -> None:
    """A container without what it asked for should not be a surprise."""
    assert config.hints({key: "x"}) == [f"the key {key!r} {says}; it is ignored"]


# -- IPv6


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [({}, None), ({"ipam": {"type": "x"}}, False), ({"ipam": {}}, None), ({"acceptRA": True}, True),
     ({"acceptRA": False}, False), ({"acceptRA": True, "ipam": {"type": "x"}}, True),
     ({"acceptRA": None, "ipam": {"type": "x"}}, False)],
)  # fmt: skip
def test_who_gets_addresses_takes_no_advertisements(keys: dict[str, Any], wanted: bool | None) -> None:
    """Unless the key says so. Without an IPAM plugin the container's namespace decides."""
    assert network(**keys).router_advertisements is wanted


@pytest.mark.parametrize("value", ["true", 1, "", "off"])
def test_accept_ra_is_true_or_false(value: object) -> None:
    """Nothing else is taken for one of them."""
    assert "acceptRA must be true or false, not" in refusal(acceptRA=value)


SIX = {"type": "host-local", "ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]}


def test_an_mtu_below_that_of_ipv6_is_refused_with_ipv6_ranges() -> None:
    """Before anything is done; with IPv4 alone it is accepted."""
    assert "mtu 1279 is too small for fd00::/64: IPv6 needs 1280; raise mtu, or remove fd00::/64" in refusal(mtu=1279, ipam=SIX)
    assert "mtu 1000 is too small for acceptRA" in refusal(mtu=1000, acceptRA=True)
    assert network(mtu=1280, ipam=SIX, acceptRA=True).mtu == 1280
    assert network(mtu=68, ipam={"type": "host-local", "subnet": "10.0.0.0/24"}).mtu == 68


def test_an_mtu_of_0_is_the_default() -> None:
    """As in bond-cni and the reference plugins; nothing else is taken for 0."""
    assert network(mtu=0).mtu is None
    assert "mtu must be" in refusal(mtu=False)


def test_other_unknown_keys_get_no_hint() -> None:
    """Keys of runtimes get no hint, and the number and length of hints are limited."""
    document = {"disableCheck": 1, "pciBusID": "x", "cni.dev/valid-attachments": [], "vlan/x": 1, "dns": {}, "vlna": 1, "": 2}
    assert config.hints(document) == []
    assert len(config.hints({f"vl{'_' * number}an": 1 for number in range(1, 50)})) == 20
    [long] = config.hints({f"vlan{'_' * 10**6}": 1})
    assert len(long) < 150


def test_a_teardown_ignores_invalid_keys() -> None:
    """The path of an issue says which key is ignored, not its sentence."""
    value = {"name": "net1", "type": "sriov-bond", "logFile": "a\0b", "ipam": {"type": 5}, "logLevel": "debug", "vlan": 4095}
    parsed, left_out = config.parse_for_teardown(json.dumps(value).encode(), value, "1.1.0")
    assert [issue.path for issue in left_out] == [("ipam", "type"), ("logFile",)]
    assert (parsed.delegate, parsed.log_file, parsed.log_level, parsed.vf.vlan) == ("", "", "debug", None)


def test_the_delegates_bytes_are_unchanged() -> None:
    """White space, order of keys and invalid UTF-8 are passed on to the delegate (I3)."""
    data = b' {"type":"sriov-bond" , "name":"a","x":"\xff","name":"b"}\n'
    assert config.parse_network(data, parse_json(data), "1.0.0").raw == data


@pytest.mark.parametrize(
    ("keys", "expected"),
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
def test_a_mistake_is_named_with_its_value(keys: dict[str, Any], expected: str) -> None:
    """The message has the network, the key, its value, and what is allowed (C13)."""
    message = refusal(**keys)
    assert message.startswith("network 'net1': ")
    assert expected in message


def test_a_whole_list_says_so() -> None:
    """Without this the answer was that type is missing."""
    document = {"cniVersion": "1.0.0", "name": "db", "plugins": [{"type": "sriov-bond", "pool": "db"}]}
    with pytest.raises(
        CniError, match=r"network 'db' is a list of plugins, a .conflist; give one plugin of its list"
    ) as refused:
        config.parse_network(json.dumps(document).encode(), document, "1.0.0")
    assert refused.value.code == INVALID_CONFIG


def test_all_mistakes_are_reported_at_once() -> None:
    """Types, ranges, formats and conflicts are one message, which does not report an invalid key as missing."""
    message = refusal(vlan=4095, mode="x", ipam=[], spoofchk="yes", miimon=-1, mac="y", updelay=50, primary="A", vlanQoS=1)
    for expected in ("vlan must", "mode must", "ipam must", "spoofchk must", "miimon must", "mac 'y' is not"):
        assert expected in message
    for expected in ("vlanQoS", "updelay", "primary"):
        assert expected not in message
    message = refusal(arp_interval=100, arp_ip_target=["10.0.0.1", 5], arp_validate="all", mode="balance-alb")
    assert "arp_ip_target[1] must be a string" in message
    assert "needs" not in message
    assert message.count("has no ARP monitor") == 2
    message = refusal(pool="a/b", mac="x", arp_ip_target=["x", "y"], vlanQoS=1, min_tx_rate=2, max_tx_rate=1)
    for expected in ("pool", "mac", "arp_ip_target 'x'", "arp_ip_target 'y'", "vlanQoS", "min_tx_rate"):
        assert expected in message


@pytest.mark.parametrize("name", ["db", "0", "a.b_c-d", "p" * 64])
def test_names_of_pools(name: str) -> None:
    """A pool name is a valid name of a directory."""
    assert config.is_pool_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "é", "p" * 65])
def test_invalid_names_of_pools(name: str) -> None:
    """Names that could leave the state directory, or are too long, are refused."""
    assert not config.is_pool_name(name)
