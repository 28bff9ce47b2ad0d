"""How the NICs are fitted: cards, NUMA nodes, speed of link and PCIe."""

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from tests.doctor.fake_host import NET, NICS, PCI, PFS, FakeHost

CONFIG = "/etc/cni/sriov-bond.toml"


def test_two_ports_of_one_card_are_one_point_of_failure(fake: FakeHost) -> None:
    second = "ffff:01:00.1"
    fake.add_device(second, "igb", device="0x10c9", sriov_totalvfs=7, sriov_numvfs=2)
    fake.add_netdev(second, "nic1b", "02:11:00:00:00:03")
    sound = (fake.root / CONFIG[1:]).read_text()
    fake.broken_and_repaired(
        "nic-cards",
        lambda: fake.write(CONFIG, sound.replace("nic2", "nic1b")),
        "nic1 and nic1b of pool db are ports of one card",
        lambda: fake.write(CONFIG, sound),
        WARNING,
    )


def test_numa_nodes_are_compared(fake: FakeHost) -> None:
    path = f"{PCI}/{PFS[1]}/numa_node"
    fake.broken_and_repaired("nic-cards", fake.set(path, 1), "are at the NUMA nodes 0 and 1", fake.set(path, 0), WARNING)
    fake.write(path, "-1\n")
    assert fake.check("nic-cards")[0].sentence == "nic1 and nic2 are two cards at NUMA node 0"


def test_the_pools_on_disk_are_used_where_there_is_no_host_file(fake: FakeHost) -> None:
    fake.remove(CONFIG)
    assert fake.passes("nic-cards")


def test_a_link_below_the_cards_speed_is_a_warning(fake: FakeHost) -> None:
    path = f"{NET}/{NICS[0]}/speed"
    words = "nic1 runs at 100 Mbit/s, and Intel 82576 can 1000"
    fake.broken_and_repaired("nic-speed", fake.set(path, 100), words, fake.set(path, 1000), WARNING)
    fake.broken_and_repaired(
        "nic-speed", fake.set(path, 100), "nic1 100 Mbit/s, nic2 1000 Mbit/s", fake.set(path, 1000), WARNING
    )
    for nic in NICS:
        fake.write(f"{NET}/{nic}/speed", "-1\n")
    assert [finding.result for finding in fake.check("nic-speed")] == [SKIPPED]


def test_a_narrow_or_slow_pcie_slot_is_a_warning(fake: FakeHost) -> None:
    width, speed = (f"{PCI}/{PFS[1]}/current_link_{name}" for name in ("width", "speed"))
    words = "nic2 has PCIe x1 at 2.5 GT/s, and can have x4 at 2.5 GT/s"
    fake.broken_and_repaired("nic-pcie", fake.set(width, 1), words, fake.set(width, 4), WARNING)
    fake.write(f"{PCI}/{PFS[1]}/max_link_speed", "5.0 GT/s PCIe\n")
    fast = fake.set(speed, "5.0 GT/s PCIe")
    fast()
    fake.broken_and_repaired("nic-pcie", fake.set(speed, "2.5 GT/s PCIe"), "and can have x4 at 5 GT/s", fast, WARNING)
    fake.write(speed, "Unknown\n")
    assert fake.check("nic-pcie")[1].result == SKIPPED
