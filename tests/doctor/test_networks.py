"""Network files: valid, of pools that exist, without overlaps, with an MTU that the NICs have."""

import pytest

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from tests.doctor.fake_host import CONFLIST, NET, FakeHost

OTHER = "/etc/cni/net.d/20-web.conflist"
CHECKS = ("network-file", "network-pool", "network-overlap", "network-mtu")


def subnet(text: str, **keys: str) -> dict[str, object]:
    return {"type": "host-local", "ranges": [[{"subnet": text, **keys}]]}


def test_a_broken_file_is_named_with_its_line(fake: FakeHost) -> None:
    words = f"{CONFLIST}: line 1: is not valid JSON"
    fake.broken_and_repaired("network-file", lambda: fake.write(CONFLIST, "{"), words, fake.write_network)
    finding = fake.broken_and_repaired(
        "network-file",
        lambda: fake.write_network(vlan=5000, mode="nosuch"),
        "plugins[0].vlan must be from 0 to 4094, not 5000",
        fake.write_network,
    )
    assert "(and 1 more)" in finding.sentence
    assert finding.remedy == f"correct it; `sriov-bondctl check {CONFLIST}` shows every mistake"


def test_two_files_of_one_name_are_named(fake: FakeHost) -> None:
    words = f"{OTHER} and {CONFLIST} both have the network db"
    fake.broken_and_repaired("network-file", lambda: fake.write_network(OTHER), words, lambda: fake.remove(OTHER))


def test_files_of_other_plugins_are_left_alone(fake: FakeHost) -> None:
    fake.write("/etc/cni/net.d/00-bridge.conflist", '{"name": "b", "plugins": [{"type": "bridge", "mtu": "wrong"}]}')
    fake.write("/etc/cni/net.d/README", "{")
    assert len(fake.check("network-file")) == 1


def test_a_pool_that_does_not_exist_is_named_with_those_that_do(fake: FakeHost) -> None:
    words = "network db names pool web, which does not exist"
    finding = fake.broken_and_repaired("network-pool", lambda: fake.write_network(pool="web"), words, fake.write_network)
    assert finding.remedy.endswith("there is db")
    fake.write_network(pool=None)
    assert fake.passes("network-pool"), "the only pool there is"
    (fake.root / "var/lib/cni/sriov-bond/second/leases").mkdir(parents=True)
    assert "network db names no pool" in fake.wrong("network-pool")[0].sentence


def test_a_network_of_another_state_directory_is_not_judged(fake: FakeHost) -> None:
    fake.write_network(pool="web", stateDir="/srv/other")
    assert [finding.result for finding in fake.check("network-pool")] == [SKIPPED]


def test_one_address_of_two_networks_is_named(fake: FakeHost) -> None:
    words = "networks db and web both give addresses of 10.100.0.1-10.100.0.126 on VLAN 100"
    other = lambda: fake.write_network(OTHER, "web", subnet("10.100.0.0/25"))  # noqa: E731
    fake.broken_and_repaired("network-overlap", other, words, lambda: fake.remove(OTHER))
    fake.write_network(OTHER, "web", subnet("10.101.0.0/24"))
    assert fake.passes("network-overlap"), "two subnets on one VLAN are fine"
    assert fake.check("network-overlap")[0].sentence.endswith("(db and web share VLAN 100)"), "but they reach each other"


def test_a_subnet_on_two_vlans_is_a_warning(fake: FakeHost) -> None:
    other = lambda: fake.write_network(OTHER, "web", subnet("10.100.0.0/24"), vlan=200)  # noqa: E731
    words = "networks db and web have the subnet 10.100.0.0/24 on VLAN 100 and on VLAN 200"
    fake.broken_and_repaired("network-overlap", other, words, lambda: fake.remove(OTHER), WARNING)


def test_an_mtu_above_the_nics_is_named_and_raised(fake: FakeHost) -> None:
    words = "network db has the MTU 9000, and nic1 only 1500"
    finding = fake.broken_and_repaired("network-mtu", lambda: fake.write_network(mtu=9000), words, fake.write_network)
    assert finding.fix is not None
    assert not finding.fix.safe
    fake.write_network(mtu=9000)
    for wrong in fake.wrong("network-mtu"):
        assert wrong.fix is not None
        wrong.fix.run()
    assert fake.passes("network-mtu")
    assert (fake.root / NET[1:] / "nic1/mtu").read_text().startswith("9000")


def test_nics_of_different_mtus_are_a_warning(fake: FakeHost) -> None:
    path = f"{NET}/nic2/mtu"
    words = "the NICs of pool db have different MTUs: nic1 1500, nic2 9000"
    fake.broken_and_repaired("network-mtu", fake.set(path, 9000), words, fake.set(path, 1500), WARNING)


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_network_there_is_nothing_to_check(fake: FakeHost, check: str) -> None:
    fake.remove(CONFLIST)
    assert [finding.result for finding in fake.check(check)] == [SKIPPED]
