"""Options of the bond and its VFs, what an attachment may choose, and GC and STATUS, on real drivers."""

from typing import Any

import pytest

from cni_sriov_bond.kernel.bond_options import MODES, OPTIONS
from tests.lab.product import NICS, PEER, PEER6, Product, look, network

BONDING = "/sys/class/net/eth0/bonding"
# Every option once, in a mode that has it; sysfs shows them by the same names.
CASES: dict[str, dict[str, Any]] = {
    "balance-rr": {
        "packets_per_slave": 2, "miimon": "50", "updelay": 100, "downdelay": 150, "peer_notif_delay": 100, "use_carrier": "on",
        "resend_igmp": 3, "min_links": 1, "num_grat_arp": 2, "all_slaves_active": "on",
    },
    "active-backup": {
        "arp_interval": 100, "arp_ip_target": [PEER], "arp_validate": "all", "arp_all_targets": "all", "arp_missed_max": 5,
        "primary": "B", "primary_reselect": "failure", "fail_over_mac": "none",
    },
    "balance-xor": {"arp_interval": 100, "ns_ip6_target": [PEER6], "xmit_hash_policy": "layer2+3", "arp_validate": "filter"},
    "802.3ad": {
        "lacp_rate": "fast", "lacp_active": "on", "ad_select": "count", "ad_actor_sys_prio": 7, "ad_user_port_key": 3,
        "xmit_hash_policy": "vlan+srcmac",
    },
    "broadcast": {"miimon": 200, "min_links": 1},
    "balance-tlb": {"tlb_dynamic_lb": "off", "lp_interval": 5},
    "balance-alb": {"lp_interval": 2, "num_unsol_na": 3},
}  # fmt: skip
CHANGES = {
    "balance-rr": ("ip -n c1 link set eth0 type bond resend_igmp 4", "resend_igmp 4, not 3"),
    "active-backup": ("ip -n c1 link set eth0 type bond primary {port1}", "eth0 has the primary {pci1}, not {pci2}"),
    "balance-xor": ("ip -n c1 link set eth0 type bond arp_validate none", "arp_validate none, not filter"),
}
# With both ports: VFs differ from NICs in what a mode does with MACs.
FAIL_OVER = {"active-backup": ("none", "active", "follow")}
ROWS = [(mode, fail_over) for mode in MODES for fail_over in FAIL_OVER.get(mode, ("none",))]
# Modes that move MACs between ports are refused without trust, before anything is changed.
SWAPS = {("active-backup", "follow"), ("balance-tlb", "none"), ("balance-alb", "none")}
# Without an LACP partner a bond uses one port; which one, is random.
NOT_BY_ITSELF = {("802.3ad", "none")}
# (trust, spoofchk): the default, its opposite, and with --whole-table the other two.
SETTINGS = (("off", "on"), ("on", "off"), ("off", "off"), ("on", "on"))


def _leased(product: Product) -> dict[str, Any]:
    (bond,) = (bond for bond in product.status()["bonds"] if bond["state"] == "ready")
    found: dict[str, Any] = bond
    return found


def _shown(product: Product) -> dict[str, str]:
    """Return the options of the container's bond, from sysfs."""
    lines = product.inside("c1", f"grep -r . {BONDING}", check=False).stdout.splitlines()
    return {name.rpartition("/")[2]: value for name, _, value in (line.partition(":") for line in lines)}


def _is(key: str, requested: object, shown: str) -> bool:
    names = OPTIONS[key][2] if key in OPTIONS else ()
    if isinstance(requested, list):
        return shown.split() == requested
    return shown.split()[0] in (str(requested), str(names.index(requested)) if requested in names else "")


def test_every_option_is_on_the_bond_and_checked(product: Product) -> None:
    for mode, options in CASES.items():
        config = network(mode=mode, trust="on" if (mode, "none") in SWAPS else "off", **options)
        with product.attached(config, "c1") as (answer,):
            bond = _leased(product)
            ports = {f"{key}{number}": port[what] for number, port in enumerate(bond["ports"], 1)
                     for key, what in (("port", "name"), ("pci", "pci"))}  # fmt: skip
            expected = {"mode": mode, **options}
            if "primary" in expected:
                expected["primary"] = ports["port2"]
            # sysfs has no file for IPv6 targets; CHECK compares them below.
            expected.pop("ns_ip6_target", None)
            shown = _shown(product)
            wrong = {
                key: shown.get(key)
                for key, requested in expected.items()
                if not _is(key, requested, shown.get(key) or "nothing")
            }
            assert wrong == {}, mode
            checked = {**config, "prevResult": answer.document}
            product.call("CHECK", checked, "c1", "/run/netns/c1").succeeded()
            if mode in CHANGES:
                spoil, says = CHANGES[mode]
                product.guest.sh(spoil.format(**ports))
                product.call("CHECK", checked, "c1", "/run/netns/c1").failed(103, says.format(**ports))


def test_settings_of_the_vfs_are_on_both_ports(product: Product) -> None:
    """The fixture checks that they are restored."""
    config = network(vlanQoS=3, spoofchk="off", trust="on", max_tx_rate=50)
    with product.attached(config, "c1") as (answer,):
        bond, links = _leased(product), look(product.guest).links
        for port in bond["ports"]:
            vf = links[port["pf"]]["vfs"][port["vf"]]
            assert vf["vlan_list"] == [{"vlan": 100, "qos": 3}]
            assert (vf["spoofchk"], vf["trust"], vf["rate"]["max_tx"]) == (False, True, 50)
        checked = {**config, "prevResult": answer.document}
        product.call("CHECK", checked, "c1", "/run/netns/c1").succeeded()
        product.guest.sh(f"ip link set enp2s0 vf {bond['ports'][1]['vf']} trust off")
        product.call("CHECK", {**config, "prevResult": answer.document}, "c1", "/run/netns/c1").failed(
            103, "has trust 0, not 1"
        )


def test_trust_and_spoof_check_can_be_left_alone(product: Product) -> None:
    """ADD, CHECK and DEL leave them as an administrator set them; without "leave" they are trust off and spoof check on."""
    bond = product.status()["bonds"][0]
    port = bond["ports"][0]
    vf = f"ip link set {NICS[0]} vf {port['vf']}"
    product.guest.sh(f"{vf} trust on; {vf} spoofchk off")
    try:
        for left in (True, False):
            keys = {"trust": "leave", "spoofchk": "leave"} if left else {}
            config = network(runtimeConfig={"deviceID": bond["name"]}, **keys)
            with product.attached(config, "c1") as (answer,):
                present = look(product.guest).links[port["pf"]]["vfs"][port["vf"]]
                assert (present["trust"], present["spoofchk"]) == (left, not left)
                product.call("CHECK", {**config, "prevResult": answer.document}, "c1", "/run/netns/c1").succeeded()
            present = look(product.guest).links[port["pf"]]["vfs"][port["vf"]]
            assert (present["trust"], present["spoofchk"]) == (True, False)
    finally:
        product.guest.sh(f"{vf} trust off; {vf} spoofchk on")


def test_an_attachment_chooses_its_mac_its_vlan_and_its_bond(product: Product) -> None:
    wanted = product.status()["bonds"][4]
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.200.0.0/24", "rangeStart": "10.200.0.10"}]]}
    runtime = {"MAC": "02:00:00:aa:bb:cc", "DeviceID": wanted["ports"][1]["pci"]}
    config = network(vlanAllowed=["190-200"], mac="02:00:00:00:00:77", runtimeConfig=runtime, ipam=ipam)
    args = {"CNI_ARGS": "IgnoreUnknown=1;VLAN=200;MAC=02:00:00:00:00:78"}
    with product.netns("c1", "c2") as (path, other):
        answer = product.call("ADD", config, "c1", path, environ=args).succeeded()
        assert (answer.document["interfaces"][0]["mac"], answer.document["interfaces"][0]["vlan"]) == (runtime["MAC"], 200)
        assert _leased(product)["name"] == wanted["name"]
        assert product.pings("c1", "10.200.0.1") == 3
        product.call("ADD", config, "c2", other).failed(11, f"bond {wanted['name']} of pool db", "is leased to c1 eth0")
        refused = {"CNI_ARGS": "VLAN=201"}
        product.call("ADD", config, "c2", other, environ=refused).failed(
            4, "VLAN 201, which is not in the network's vlanAllowed"
        )
        product.call("DEL", network(), "c1", path).succeeded()


def test_a_delegate_finds_the_bond_up(product: Product) -> None:
    """A delegate that asks a server, such as dhcp, needs the interface."""
    answer = '{"cniVersion":"1.0.0","ips":[{"address":"10.100.0.88/24"}]}'
    script = f"#!/bin/sh\nip -n c1 -j link show eth0 > /run/looks.json\necho '{answer}'\n"
    product.guest.write("/opt/cni/bin/looks", script, mode=0o755)
    try:
        with product.attached(network(ipam={"type": "looks"}), "c1"):
            (link,) = product.guest.sh("cat /run/looks.json").json()
            assert "UP" in link["flags"]
            assert product.pings("c1", PEER) == 3
    finally:
        product.guest.sh("rm -f /opt/cni/bin/looks /run/looks.json")


def test_dns_is_the_configs_else_the_delegates(product: Product) -> None:
    """host-local returns the content of a file; a network with its own ``dns`` returns only that."""
    path = "/run/lab-resolv.conf"
    ipam = {**network()["ipam"], "resolvConf": path}
    product.guest.write(path, "nameserver 10.100.0.2\nsearch a.b\n")
    try:
        for own, expected in (
            (None, {"nameservers": ["10.100.0.2"], "search": ["a.b"]}),
            ({"nameservers": ["10.100.0.3"]}, {"nameservers": ["10.100.0.3"]}),
        ):
            with product.attached(network(ipam=ipam, dns=own), "c1") as (answer,):
                assert answer.document["dns"] == expected
    finally:
        product.guest.sh(f"rm -f {path}")


def test_gc_frees_what_is_not_listed(product: Product) -> None:
    """The listed container keeps its network; the VFs of the other return to the host though its namespace exists."""
    config = network(ipam=None)
    newest = {**config, "cniVersion": "1.1.0"}
    with product.attached(config, "c1", "c2", "c3"):
        product.guest.sh("ip -n c1 addr add 10.100.0.77/24 dev eth0; ip netns del c3")
        product.gc({**newest, "name": "foreign"}, []).succeeded()
        assert product.states().count("ready") == 3
        product.gc(newest).succeeded()
        assert product.states().count("ready") == 2, "without a list what is gone is freed, or drains"
        product.gc(newest, [{"containerID": "c1", "ifname": "eth0"}]).succeeded()
        assert product.states().count("ready") == 1
        assert product.links("c2") == ["lo"]
        assert product.pings("c1", PEER) == 3


def test_status_of_a_pool_that_can_serve(product: Product) -> None:
    newest = {**network(ipam=None), "cniVersion": "1.1.0"}
    answer = product.call("STATUS", newest, "", ifname="").succeeded()
    assert answer.result.stdout == ""
    print(f"\nSTATUS: {answer.seconds * 1000:.0f} ms in the guest")
    product.call("STATUS", {**newest, "pool": "web"}, "", ifname="").failed(50, "pool 'web' is not provisioned")
    product.call("STATUS", {**newest, "ipam": {"type": "nowhere"}}, "", ifname="").failed(50, "failed to find plugin 'nowhere'")


@pytest.fixture
def whole_table(pytestconfig: pytest.Config) -> bool:
    """Return whether to try every combination, which takes five minutes: `./dev test -k which_modes -s --whole-table`."""
    return bool(pytestconfig.getoption("whole_table"))


@pytest.mark.timeout(900)
def test_which_modes_work_on_this_nic(product: Product, whole_table: bool) -> None:
    """Print a table of mode, fail_over_mac, trust, spoofchk, outcome of ADD, and answered pings before and after a failure."""
    print("\n| mode | fail_over_mac | trust | spoofchk | ADD | answers to 3 pings | without port 1 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    wrong = []
    for mode, fail_over in ROWS:
        in_brief = SETTINGS[: 2 if (mode, fail_over) in SWAPS else 1]
        for trust, spoofchk in SETTINGS if whole_table else in_brief:
            config = network(mode=mode, failOverMac=fail_over, trust=trust, spoofchk=spoofchk, miimon=100)
            outcome, before, after = _try(product, config)
            row = f"| {mode} | {fail_over} | {trust} | {spoofchk} | {outcome} | {before} | {after} |"
            print(row)
            if (mode, fail_over) in SWAPS and trust == "off":
                expected = "which NICs allow only to trusted VFs" in outcome
            else:
                expected = outcome == "done" and before == 3 and (after == 3 or (mode, fail_over) in NOT_BY_ITSELF)
            wrong += [] if expected else [row]
    assert wrong == []


def _try(product: Product, config: dict[str, Any]) -> tuple[str, int, int]:
    with product.netns("c1") as (path,):
        answer = product.call("ADD", config, "c1", path)
        if answer.status != 0:
            assert product.links("c1") == ["lo"], config
            return answer.document["msg"], 0, 0
        try:
            first = _leased(product)["ports"][0]["name"]
            before = product.pings("c1", PEER)
            product.guest.sh(f"ip -n c1 link set {first} down")
            product.pings("c1", PEER)  # until the failure is noticed
            return "done", before, product.pings("c1", PEER)
        finally:
            product.call("DEL", config, "c1", path).succeeded()
