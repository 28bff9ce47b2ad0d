"""What the plugin makes of a network config: typed values, and every mistake at once."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from cni_sriov_bond.cni.call import parse_json
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError, Issue
from cni_sriov_bond.network import arguments, bond_rules, config
from cni_sriov_bond.ports import VfSettings

if TYPE_CHECKING:
    from cni_sriov_bond.kernel import bond_options

# What a VF is set to when the config does not speak of it.
SAFE = {"spoofchk": 1, "trust": 0}


def network(**keys: Any) -> config.Network:
    value = {"cniVersion": "1.0.0", "name": "net1", "type": "sriov-bond", **keys}
    data = json.dumps(value).encode()
    return config.parse_network(data, parse_json(data), "1.0.0")


def refusal(**keys: Any) -> str:
    with pytest.raises(CniError) as refused:
        network(**keys)
    assert refused.value.code == INVALID_CONFIG
    return refused.value.msg


# -- what an attachment may choose for itself (contract 4, 37 to 41)


def chosen(given: str = "", /, **keys: Any) -> config.Network:
    value = {"cniVersion": "1.0.0", "name": "net1", "type": "sriov-bond", **keys}
    data = json.dumps(value).encode()
    return config.parse_network(data, parse_json(data), "1.0.0", given)


def test_choices_have_their_order() -> None:
    """runtimeConfig is before args.cni, that before CNI_ARGS, and that before the config; what is empty chooses nothing."""
    macs = [f"02:00:00:00:00:0{number}" for number in range(4)]
    runtime, cni, given = {"mac": macs[0]}, {"cni": {"mac": macs[1]}}, f"MAC={macs[2]}"
    assert chosen(given, mac=macs[3], runtimeConfig=runtime, args=cni).mac == macs[0]
    assert chosen(given, mac=macs[3], args=cni).mac == macs[1]
    assert chosen(given, mac=macs[3]).mac == macs[2]
    assert chosen(mac=macs[3]).mac == macs[3]
    assert chosen("MAC=;VLAN=", mac=macs[3], runtimeConfig={"mac": ""}, args={"cni": {"mac": None}}).mac == macs[3]


def test_keys_of_a_runtime_are_known_in_any_spelling() -> None:
    """go-cni sends its own names of fields; other keys and other shapes are no business of ours (C7)."""
    found = chosen(runtimeConfig={"MAC": "02:AA:00:00:00:01", "DeviceId": "cbond2", "ips": 5, "PortMappings": [{}]})
    assert (found.mac, found.device) == ("02:aa:00:00:00:01", "cbond2")
    others: list[dict[str, Any]] = [{"runtimeConfig": []}, {"args": "x"}, {"args": {"cni": [1]}}, {"args": {"labels": []}}]
    for other in others:
        assert chosen(mac="02:00:00:00:00:01", **other).mac == "02:00:00:00:00:01"


def test_the_device_has_its_order() -> None:
    """A config may name the device too, as Multus does for a resource."""
    assert chosen(deviceID="c").device == "c"
    assert chosen(deviceID="c", args={"cni": {"deviceID": "b"}}).device == "b"
    assert chosen(deviceID="c", args={"cni": {"deviceID": "b"}}, runtimeConfig={"deviceID": "a"}).device == "a"


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
def test_a_vlan_may_be_chosen_of_those_that_are_allowed(args: str, keys: dict[str, Any], vlan: int | None) -> None:
    """The network's own VLAN may always be asked for."""
    found = chosen(args, **keys)
    assert (found.vlan, found.vf.vlan) == (vlan, vlan)


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
    assert chosen("VLAN=9", **keys).vf.to_json() == {**SAFE, "vlan": 9, "vlan_qos": 3, "vlan_proto": 0x88A8}
    assert chosen("VLAN=0", **keys).vf.to_json() == {**SAFE, "vlan": 0, "vlan_qos": 0, "vlan_proto": 0x8100}
    assert chosen(**keys).vf.to_json() == SAFE


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("FOO", "invalid pair 'FOO'"),
        ("A=1;", "invalid pair ''"),
        (";", "invalid pair ''"),
        ("=1", "invalid pair '=1'"),
        ("IgnoreUnknown=yes", "IgnoreUnknown 'yes' is neither true nor false"),
        ("MAC=x", "CNI_ARGS MAC 'x' is not the MAC of one host"),
        ("MAC=01:00:5e:00:00:01", "is not the MAC of one host"),
        ("VLAN=x", "CNI_ARGS VLAN 'x' is no VLAN"),
        ("VLAN=4095", "CNI_ARGS VLAN '4095' is no VLAN"),
        ("VLAN=-1", "CNI_ARGS VLAN '-1' is no VLAN"),
        ("VLAN=00001", "CNI_ARGS VLAN '00001' is no VLAN"),
        ("VLAN=200", "CNI_ARGS VLAN asks for VLAN 200, but the network lets nobody choose"),
    ],
)
def test_bad_arguments_are_refused(args: str, words: str) -> None:
    """What is no pair, no MAC and no VLAN, and a VLAN that nobody may choose, are errors of the environment."""
    with pytest.raises(CniError) as refused:
        chosen(args, vlan=100)
    assert refused.value.code == INVALID_ENVIRONMENT
    assert words in refused.value.msg


@pytest.mark.parametrize("args", ["A=b=c", "K=", "IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=h;IP=10.0.0.5", "IP=a,b", "mac=x"])
def test_arguments_of_others_are_ignored(args: str) -> None:
    """The value is all that follows the first equals sign; unknown keys and IP are not ours (contract 4, 37 to 40)."""
    assert chosen(args).mac == ""


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"runtimeConfig": {"mac": 5}}, "runtimeConfig.mac must be a string, not 5"),
        ({"runtimeConfig": {"mac": "x"}}, "runtimeConfig.mac 'x' is not the MAC"),
        ({"runtimeConfig": {"deviceID": ["a"]}}, "runtimeConfig.deviceID must be a string"),
        ({"args": {"cni": {"vlan": 4095}}}, "args.cni.vlan 4095 is no VLAN; it may be 0 to 4094"),
        ({"args": {"cni": {"vlan": True}}}, "args.cni.vlan True is no VLAN"),
        ({"args": {"cni": {"vlan": 5}}}, "args.cni.vlan asks for VLAN 5, but the network lets nobody choose"),
        (
            {"args": {"cni": {"vlan": 5}}, "vlanAllowed": ["6-8", 4]},
            "asks for VLAN 5, which is not in the network's vlanAllowed",
        ),
        ({"vlanAllowed": [4095]}, "vlanAllowed[0] 4095 is neither a VLAN nor a range"),
        ({"vlanAllowed": [1, "9-5"]}, "vlanAllowed[1] '9-5' is neither"),
        ({"vlanAllowed": ["-5"]}, "vlanAllowed[0] '-5' is neither"),
        ({"vlanAllowed": ["a-b", None, True, {}]}, "vlanAllowed[3] {} is neither"),
        ({"vlanAllowed": []}, "vlanAllowed must have 1 to 4096 entries"),
        ({"vlanAllowed": 5}, "vlanAllowed must be a list"),
    ],
)
def test_a_choice_that_cannot_be_is_told_with_the_other_mistakes(keys: dict[str, Any], words: str) -> None:
    """What the config or the runtime says is told at once with all other mistakes."""
    with pytest.raises(CniError) as refused:
        chosen(mtu=5, **keys)
    assert refused.value.code == INVALID_CONFIG
    assert words in refused.value.msg
    assert "mtu must be" in refused.value.msg


def test_choices_are_not_looked_at_but_by_an_add() -> None:
    """DEL and CHECK come with other arguments, or none (D10)."""
    found = network(runtimeConfig={"mac": 5}, args={"cni": {"vlan": 4095}})
    assert (found.mac, found.vlan) == ("", None)


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


ARP = {"arp_interval": 100, "arp_ip_target": ["10.0.0.1"]}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"mode": "active-backup", "packets_per_slave": 1},
            "has no packets_per_slave, which is one of balance-rr",
        ),
        (
            {"primary": "A"},
            "the mode balance-xor has no primary, which is one of active-backup and balance-tlb and",
        ),
        ({"mode": "balance-rr", "failOverMac": "active"}, "the mode balance-rr has no fail_over_mac"),
        *(({"mode": "active-backup", key: value}, f"has no {key}, which is one of 802.3ad") for key, value in LACP.items()),
        ({"mode": "balance-rr", "tlb_dynamic_lb": 0}, "has no tlb_dynamic_lb"),
        ({"mode": "active-backup", "lp_interval": 1}, "has no lp_interval"),
        ({"mode": "802.3ad", "arp_interval": 0}, "the mode 802.3ad has no ARP monitor; leave out arp_interval"),
        ({"mode": "balance-tlb"}, "the mode balance-tlb moves MACs from port to port, which a NIC lets only trusted VFs do"),
        ({"mode": 6, "trust": "off"}, "the mode balance-alb moves MACs from port to port"),
        ({"mode": "active-backup", "failOverMac": "follow"}, "failOverMac follow moves MACs from port to port"),
        ({"mode": "balance-tlb", "arp_validate": "none"}, "has no ARP monitor; leave out arp_validate"),
        ({"mode": "balance-alb", "arp_missed_max": 3}, "has no ARP monitor; leave out arp_missed_max"),
        ({"arp_validate": "all"}, "arp_validate all needs arp_interval and a target"),
        ({**ARP, "updelay": 100}, "updelay needs miimon"),
        ({"miimon": 0, "downdelay": 100}, "downdelay needs miimon"),
        ({"peer_notif_delay": 100, "linkMonitor": "arp"}, "peer_notif_delay and linkMonitor arp exclude each other"),
        ({"updelay": 150}, "updelay 150 is no multiple of miimon 100, in which the kernel counts; make it 100"),
        (
            {"miimon": 80, "downdelay": 200},
            "downdelay 200 is no multiple of miimon 80, in which the kernel counts; make it",
        ),
        ({"mode": "active-backup", "failOverMac": 1, "fail_over_mac": 2}, "failOverMac 1 and fail_over_mac 2 are one option"),
        ({"num_grat_arp": 1, "num_peer_notif": 2}, "num_grat_arp 1 and num_peer_notif 2 are one option"),
        ({"arp_ip_target": ["10.0.0.1", "10.0.0.1"]}, "arp_ip_target 10.0.0.1 is there twice"),
        ({"arp_ip_target": ["0.0.0.0"]}, "arp_ip_target 0.0.0.0 is not the address of one neighbour"),
        ({"arp_ip_target": ["224.0.0.1"]}, "arp_ip_target 224.0.0.1 is not the address of one neighbour"),
        ({"arp_ip_target": ["255.255.255.255"]}, "arp_ip_target 255.255.255.255 is not the address of one neighbour"),
        ({"ns_ip6_target": ["fd00::1", "fd00:0::1"]}, "ns_ip6_target fd00:0::1 is there twice"),
        ({"ns_ip6_target": ["::"]}, "ns_ip6_target :: is not the address of one neighbour"),
        ({"ns_ip6_target": ["::1"]}, "ns_ip6_target ::1 is not the address of one neighbour"),
        ({"ns_ip6_target": ["ff02::1"]}, "ns_ip6_target ff02::1 is not the address of one neighbour"),
        ({"miimon": "9" * 20}, "miimon must be from 0 to 600000"),
        ({"miimon": "-1"}, "miimon must be a whole number"),
        ({"miimon": "\u0661"}, "miimon must be a whole number"),
        ({"failOverMac": 3}, "failOverMac must be one of"),
        ({"failOverMac": "3"}, "failOverMac must be one of"),
        ({"mode": "7"}, "mode must be one of"),
    ],
)
def test_options_that_the_kernel_would_refuse_are_refused_before(keys: dict[str, Any], words: str) -> None:
    """The rules are those of bond_options.c; what it would silently round or ignore is told too."""
    assert words in refusal(**keys)


def test_good_neighbours_of_bad_targets_are_taken() -> None:
    """What is no neighbour is known by its first or last byte alone."""
    targets = {"arp_ip_target": ["223.255.255.255", "0.0.0.1"], "ns_ip6_target": ["fe80::1", "::2", "100::", "fe00::"]}
    assert {name: network(**targets).bond[name] for name in targets} == targets


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
    assert config.hints(network(**{key: 1}).document) == [f"the key '{key}' is not known and ignored; did you mean {meant}?"]
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


def paths(issues: list[Issue]) -> list[tuple[str | int, ...]]:
    return [issue.path for issue in issues]


def test_an_issue_has_the_path_that_the_config_has() -> None:
    """What goes wrong together is told at one of its keys, as the config spells it; sentences are never taken apart."""
    options: bond_options.BondOptions = {
        "mode": 2, "arp_interval": 100, "miimon": 100, "arp_ip_target": ["10.0.0.1", "x"], "arp_validate": 3, "updelay": 50,
    }  # fmt: skip
    found = bond_rules.mistakes(options, True, "auto", set())
    assert paths(found) == [("primary",), ("arp_interval",), ("updelay",), ("arp_ip_target", 1)]
    assert found[-1].sentence == "arp_ip_target 'x' is no address"
    given = {"vlan": 5, "vlanAllowed": ["7"], "runtimeConfig": {"MAC": 5}, "args": {"cni": {"VLAN": 6, "deviceId": []}}}
    chosen_keys, found = arguments.choose({"name": "net1", **given}, "")
    assert chosen_keys == {}
    assert paths(found) == [("runtimeConfig", "mac"), ("args", "cni", "vlan"), ("args", "cni", "deviceID")]


def test_a_teardown_leaves_out_what_is_wrong_by_its_key() -> None:
    """A key that a sentence happens to begin with is not meant: the path says which is left out."""
    value = {"name": "net1", "type": "sriov-bond", "logFile": "a\0b", "ipam": {"type": 5}, "logLevel": "debug", "vlan": 4095}
    found, left_out = config.parse_for_teardown(json.dumps(value).encode(), value, "1.1.0")
    assert paths(left_out) == [("ipam", "type"), ("logFile",)]
    assert (found.delegate, found.log_file, found.log_level, found.vlan) == ("", "", "debug", None)


def test_the_delegates_bytes_are_untouched() -> None:
    """White space, key order and bad UTF-8 are kept for the delegate (I3)."""
    data = b' {"type":"sriov-bond" , "name":"a","x":"\xff","name":"b"}\n'
    assert config.parse_network(data, parse_json(data), "1.0.0").raw == data


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"pool": "../etc"}, "pool '../etc' is no name of a pool"),
        ({"pool": ".."}, "pool '..' is no name"),
        ({"pool": "a/b"}, "pool 'a/b' is no name"),
        ({"pool": "p" * 65}, "is no name of a pool"),
        ({"mac": "zz:00:00:00:00:00"}, "mac 'zz:00:00:00:00:00' is not the MAC"),
        ({"mac": "02:11:22:33:44"}, "is not the MAC"),
        ({"mac": "02:11:22:33:44:55:66"}, "is not the MAC"),
        ({"mac": "021122334455"}, "is not the MAC"),
        ({"mac": "02:11:22:33:44:  "}, "is not the MAC"),
        ({"mac": "2:11:22:33:44:55"}, "is not the MAC"),
        ({"mac": "01:00:5e:00:00:01"}, "is not the MAC of one host"),
        ({"mac": "ff:ff:ff:ff:ff:ff"}, "is not the MAC of one host"),
        ({"mac": "00:00:00:00:00:00"}, "is not the MAC of one host"),
        ({"arp_ip_target": ["10.0.0.256"]}, "arp_ip_target '10.0.0.256' is no address"),
        ({"arp_ip_target": ["fd00::1"]}, "arp_ip_target 'fd00::1' is no address"),
        ({"arp_ip_target": ["10.0.0.1\0"]}, "is no address"),
        ({"ns_ip6_target": ["10.0.0.1"]}, "ns_ip6_target '10.0.0.1' is no address"),
        ({"arp_interval": 100}, "arp_interval needs arp_ip_target"),
        ({"arp_interval": 100, "miimon": 100, "arp_ip_target": ["10.0.0.1"]}, "arp_interval and miimon exclude"),
        ({"arp_interval": 100, "mode": "802.3ad", "arp_ip_target": ["10.0.0.1"]}, "the mode 802.3ad has no ARP monitor"),
        ({"arp_interval": 100, "mode": "balance-alb", "arp_ip_target": ["10.0.0.1"]}, "balance-alb has no ARP monitor"),
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
