"""Network files as values, however wrong they are."""

import json
from typing import Any

import pytest

from cni_sriov_bond.doctor import netfiles
from tests.doctor.fake_host import CONFLIST, GATEWAY, FakeHost


def only(fake: FakeHost) -> netfiles.Network:
    [network] = fake.host().networks
    return network


def test_a_network_is_read_with_all_that_checks_need(fake: FakeHost) -> None:
    network = only(fake)
    assert (network.name, network.pool, network.vlan, network.mtu) == ("db", "db", 100, None)
    assert network.types == ("sriov-bond", "sriov-bond-ipam")
    assert network.data_dir == "/var/lib/cni/networks"
    assert [(subnet.vlan, subnet.gateway, subnet.routed) for subnet in network.subnets] == [(100, GATEWAY, True)]


def test_each_vlan_has_its_subnets_and_gateways(fake: FakeHost) -> None:
    subnets = [{"vlan": 110, "subnet": "10.110.0.0/24"}, {"vlan": 120, "subnet": "fd00::/64", "gateway": "fd00::fe"}]
    fake.write_network(ipam={"type": "sriov-bond-ipam", "subnets": subnets})
    found = [(subnet.vlan, subnet.gateway, subnet.routed) for subnet in only(fake).subnets]
    assert found == [(110, "10.110.0.1", False), (120, "fd00::fe", True)]
    fake.write_network(ipam={"type": "sriov-bond-ipam", "subnets": subnets[:1], "routes": [{"dst": "0.0.0.0/0"}]})
    assert only(fake).subnets[0].routed


def test_an_old_single_subnet_and_a_single_plugin_are_read(fake: FakeHost) -> None:
    fake.remove(CONFLIST)
    plugin = {
        "name": "one",
        "cniVersion": "0.4.0",
        "type": "sriov-bond",
        "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"},
    }
    fake.write("/etc/cni/net.d/10-one.conf", json.dumps(plugin))
    network = only(fake)
    assert (network.name, network.vlan, network.subnets[0].range.subnet) == ("one", None, "10.9.0.0/24")


def test_other_ipam_plugins_keep_no_files_and_chained_plugins_are_needed(fake: FakeHost) -> None:
    plugins = [{"type": "sriov-bond", "ipam": {"type": "dhcp"}}, {"type": "tuning"}]
    fake.write(CONFLIST, json.dumps({"cniVersion": "1.0.0", "name": "db", "plugins": plugins}))
    network = only(fake)
    assert (network.types, network.data_dir, network.subnets) == (("sriov-bond", "tuning", "dhcp"), "", ())


@pytest.mark.parametrize(
    "value",
    [
        {"name": 5, "plugins": [{"type": "sriov-bond", "pool": 7, "vlan": "x", "mtu": "y", "ipam": []}]},
        {
            "name": "a",
            "plugins": [{"type": "sriov-bond", "ipam": {"type": "sriov-bond-ipam", "ranges": [5, [None, {"subnet": 7}]]}}],
        },
        {"name": "a", "plugins": [{"type": "sriov-bond", "ipam": {"type": "sriov-bond-ipam", "subnets": "x", "ranges": {}}}]},
        {"name": "a", "plugins": [None, {"type": "sriov-bond", "ipam": {"type": ["x"], "subnet": "10.0.0.1/24"}}]},
    ],
)
def test_a_wrong_file_has_problems_and_no_wrong_values(fake: FakeHost, value: Any) -> None:
    fake.write(CONFLIST, json.dumps({"cniVersion": "1.0.0", **value}))
    [file] = netfiles.read(fake.host().tree)
    assert file.problems
    assert file.network is not None
    assert file.network.subnets == ()


def test_a_file_that_cannot_be_read_is_reported(fake: FakeHost) -> None:
    fake.remove(CONFLIST)
    (fake.root / CONFLIST[1:]).mkdir()
    [file] = netfiles.read(fake.host().tree)
    assert file.problems[0].startswith("cannot be read")
