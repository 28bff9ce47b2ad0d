"""Gateways: which are asked, how they are asked, and what the answers mean. The lab asks from real VFs."""

import pytest

from cni_sriov_bond.doctor import gateway
from cni_sriov_bond.doctor.check import FAILURE, PASS, SKIPPED, WARNING
from cni_sriov_bond.kernel.netns import Entered
from cni_sriov_bond.pool.lease import ADDING
from tests.doctor.fake_host import GATEWAY, FakeHost
from tests.support import lease, ready, veth_pair, vf_state

WEB = "/etc/cni/net.d/20-web.conflist"


def of(vlan: int | None = 100, address: str = GATEWAY, routed: bool = True) -> gateway._Gateway:
    return gateway._Gateway(vlan, address, ("db",), routed)


@pytest.mark.parametrize(
    ("answers", "routed", "result", "words"),
    [
        (("nic1", "nic2"), True, PASS, "answers on VLAN 100 on nic1 and nic2"),
        (("nic1",), True, FAILURE, "answers on VLAN 100 on nic1, but not on nic2"),
        (("nic2",), False, FAILURE, "answers on VLAN 100 on nic2, but not on nic1"),
        ((), True, FAILURE, "does not answer on VLAN 100"),
        ((), False, WARNING, "the subnet's first address, does not answer on VLAN 100"),
    ],
)
def test_what_answers_mean(answers: tuple[str, ...], routed: bool, result: str, words: str) -> None:
    asked = of(routed=routed)
    [finding] = gateway._judge(asked, {nic: {asked} if nic in answers else set() for nic in ("nic1", "nic2")})
    assert (finding.result, words in finding.sentence) == (result, True), finding
    assert bool(finding.remedy) == (result != PASS)


def test_without_carrier_nobody_could_ask() -> None:
    [finding] = gateway._judge(of(vlan=None), {})
    assert finding.result == SKIPPED


def test_each_vlan_and_gateway_is_asked_once(fake: FakeHost) -> None:
    subnets = [{"vlan": 100, "subnet": "10.100.0.0/24"}, {"vlan": 120, "subnet": "fd00::/64"}]
    fake.write_network(WEB, "web", {"type": "sriov-bond-ipam", "subnets": subnets}, pool=None)
    asked = gateway._by_pool(fake.host())
    assert asked == {
        "db": [gateway._Gateway(100, GATEWAY, ("db", "web"), True), gateway._Gateway(120, "fd00::1", ("web",), False)]
    }
    assert [one.place for one in asked["db"]] == ["on VLAN 100", "on VLAN 120"]
    assert of(vlan=0).place == "untagged"


@pytest.mark.root
def test_a_gateway_that_answers_arp_and_one_that_answers_nd_are_told_from_silent_ones() -> None:
    with veth_pair() as (left, right):
        right.theirs.addr("add", index=right.index("b"), address="10.100.0.1", prefixlen=24)
        right.theirs.addr("add", index=right.index("b"), address="fd00::1", prefixlen=64, flags=2)  # no DAD
        silent, answering = of(address="10.100.0.9"), {of(), of(address="fd00::1")}
        mac = left.show("a").get_attr("IFLA_ADDRESS")
        with Entered(left.netns):
            assert gateway._answering("a", mac, [silent, *answering]) == answering


def test_a_pool_without_a_free_bond_is_skipped(fake: FakeHost) -> None:
    for container in ("c1", "c2"):
        ready(fake.pool, container)
    [finding] = fake.check("gateway")
    assert (finding.result, "no free bond to ask with" in finding.sentence) == (SKIPPED, True)


def test_vfs_that_cannot_be_used_are_a_failure_and_the_bond_is_given_back(fake: FakeHost) -> None:
    """The kernel of this machine has no such NICs."""
    found = fake.wrong("gateway")
    assert "gateways cannot be asked from bond cbond1 of pool db" in found[0].sentence
    assert fake.pool.entries() == []


# A release leaves its netlink socket to the end of its process, which is a call of the plugin.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_killed_doctor_leaves_is_finished_by_gc(fake: FakeHost) -> None:
    taken = lease(fake.pool, "doctor", gateway.ATTACHMENT.network, gateway.ATTACHMENT.ifname, netns=gateway.NO_NETNS)
    taken.record.mac = taken.record.bond.mac
    taken.record.port_macs = dict.fromkeys((port.address for port in taken.record.ports), taken.record.mac)
    taken.record.before = {port.address: vf_state() for port in taken.record.ports}
    taken.save(ADDING)
    taken.close()
    assert taken.entry.key == gateway.ATTACHMENT.key
    [finding] = fake.wrong("lease")
    assert finding.sentence == "the ADD or DEL of cbond1 for container doctor doctor was interrupted"
    assert finding.fix is not None
    finding.fix.run()
    assert fake.pool.entries() == []


def test_without_gateways_there_is_nothing_to_ask(fake: FakeHost) -> None:
    fake.write_network(ipam={"type": "dhcp"})
    assert [finding.result for finding in fake.check("gateway")] == [SKIPPED]
