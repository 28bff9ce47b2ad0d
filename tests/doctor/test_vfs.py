"""The VFs: bound, in the host while their bond is free, with MACs of their own, not in quarantine."""

import pytest

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from cni_sriov_bond.pool import quarantine
from tests.doctor.fake_host import NET, PCI, FakeHost, relink, vf_address
from tests.support import ready

VF11, VF21, VF12 = vf_address(0, 0), vf_address(1, 0), vf_address(0, 1)


def test_a_vf_without_driver_is_bound(fake: FakeHost) -> None:
    link = fake.root / PCI[1:] / VF11 / "driver"
    fake.write("/sys/bus/pci/drivers_probe", "")
    assert fake.passes("vf-driver")
    link.unlink()
    [finding] = fake.wrong("vf-driver")
    assert finding.sentence == f"VF11 at {VF11} has no driver"
    assert finding.fix is not None
    assert finding.fix.safe
    finding.fix.run()
    assert (fake.root / "sys/bus/pci/drivers_probe").read_text() == VF11
    link.symlink_to("../../drivers/igbvf")  # as the kernel does
    assert fake.passes("vf-driver")


def test_a_vf_of_another_driver_or_gone_is_named(fake: FakeHost) -> None:
    link = fake.root / PCI[1:] / VF11 / "driver"
    fake.broken_and_repaired(
        "vf-driver",
        lambda: relink(link, "../../drivers/vfio-pci"),
        f"VF11 at {VF11} is bound to vfio-pci, not igbvf",
        lambda: relink(link, "../../drivers/igbvf"),
    )
    device, elsewhere = fake.root / PCI[1:] / VF11, fake.root / "gone"
    words = f"VF11 is not on the PCI bus at {VF11}"
    fake.broken_and_repaired("vf-driver", lambda: device.rename(elsewhere), words, lambda: elsewhere.rename(device))


def test_a_vf_astray_is_named_unless_its_bond_is_leased(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired(
        "vf-place",
        lambda: fake.take_netdev(VF11, "VF11"),
        "VF11 is in another network namespace, though cbond1 is not leased",
        lambda: fake.return_netdev(VF11, "VF11"),
    )
    assert finding.fix is not None
    assert not finding.fix.safe, "a program may use it there"
    ready(fake.pool, "c1")
    fake.take_netdev(VF11, "VF11")
    fake.take_netdev(VF21, "VF21")
    assert fake.passes("vf-place")


def test_a_vf_of_another_name_is_named(fake: FakeHost) -> None:
    def rename(old: str, new: str) -> None:
        directory = fake.root / PCI[1:] / VF12 / "net"
        (directory / old).rename(directory / new)
        fake.remove(f"{NET}/{old}")
        (fake.root / NET[1:] / new).symlink_to(f"../../bus/pci/devices/{VF12}/net/{new}")

    fake.broken_and_repaired("vf-place", lambda: rename("VF12", "eth0"), "VF12 is called eth0", lambda: rename("eth0", "VF12"))


def test_a_vf_that_the_host_uses_is_a_warning(fake: FakeHost) -> None:
    flags = f"{NET}/VF11/flags"
    fake.broken_and_repaired("vf-place", fake.set(flags, "0x1003"), "in the host: it is up", fake.set(flags, "0x1002"), WARNING)
    upper = fake.root / NET[1:] / "VF11/master"
    words = "VF11 of the free cbond1 is in use in the host: it is a port of br0"
    fake.broken_and_repaired("vf-place", lambda: upper.symlink_to("../br0"), words, upper.unlink, WARNING)


@pytest.mark.parametrize("other", ["VF12", "nic1"])
def test_one_mac_twice_is_named(fake: FakeHost, other: str) -> None:
    path = f"{NET}/{other}/address"
    before = (fake.root / path[1:]).read_text().strip()
    mac = fake.mac(0)
    finding = fake.broken_and_repaired("vf-mac", fake.set(path, mac), f"have one MAC, {mac}", fake.set(path, before))
    assert other in finding.sentence
    assert finding.fix is not None
    assert finding.fix.safe, "every NIC has its VFs, so `up` only sets MACs"


def test_a_vf_in_a_container_counts_by_its_lease(fake: FakeHost) -> None:
    macs = {address: fake.mac(0) for address in (VF11, VF21)}
    ready(fake.pool, "c1", port_macs=macs)
    for address, name in ((VF11, "VF11"), (VF21, "VF21")):
        fake.take_netdev(address, name)
    path = f"{NET}/VF12/address"
    before = (fake.root / path[1:]).read_text().strip()
    words = "VF12 and cbond1 of c1 eth0 have one MAC"
    fake.broken_and_repaired("vf-mac", fake.set(path, fake.mac(0)), words, fake.set(path, before))


def test_a_bridge_has_the_mac_of_its_port(fake: FakeHost) -> None:
    fake.write(f"{NET}/br0/address", fake.mac(0))
    assert not fake.passes("vf-mac")
    (fake.root / NET[1:] / "br0/lower_VF11").symlink_to("../VF11")
    assert fake.passes("vf-mac")


def test_quarantine_is_named_with_its_reason_and_ended(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired(
        "quarantine",
        lambda: quarantine.add(fake.pool.path, "cbond2", "VF22 was lost"),
        "db/cbond2 is in quarantine: VF22 was lost",
        lambda: quarantine.remove(fake.pool.path, "cbond2"),
        WARNING,
    )
    assert finding.fix is not None
    assert not finding.fix.safe


def test_without_a_pool_of_this_boot_nothing_is_checked(fake: FakeHost) -> None:
    fake.write_inventory(boot_id="earlier")
    for check in ("vf-driver", "vf-place", "vf-mac"):
        assert [finding.result for finding in fake.check(check)] == [SKIPPED]
