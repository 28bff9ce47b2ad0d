"""The NICs: there, with a known driver, with VFs, up and with carrier."""

import pytest

from cni_sriov_bond.doctor.check import FAILURE, SKIPPED, WARNING
from tests.doctor.fake_host import NET, NICS, PCI, PFS, FakeHost, relink

CONFIG = "/etc/cni/sriov-bond.toml"


def text(fake: FakeHost, path: str) -> str:
    return (fake.root / path[1:]).read_text()


def test_the_host_file_is_there_and_right(fake: FakeHost) -> None:
    sound = text(fake, CONFIG)
    repair = lambda: fake.write(CONFIG, sound)  # noqa: E731
    finding = fake.broken_and_repaired("host-file", lambda: fake.remove(CONFIG), "there is no", repair)
    assert 'pools.db = {pfs = ["nic1", "nic2"], vfs = "max"}' in finding.remedy, "the NICs that are here"
    fake.broken_and_repaired("host-file", lambda: fake.write(CONFIG, "[pools"), "is not valid TOML", repair)
    fake.broken_and_repaired("host-file", lambda: fake.write(CONFIG, "pools.db = {pfs = [1]}"), "pools.db.pfs[0]", repair)


def test_a_nic_that_is_not_here_is_named_with_those_that_are(fake: FakeHost) -> None:
    sound = text(fake, CONFIG)
    finding = fake.broken_and_repaired(
        "host-file",
        lambda: fake.write(CONFIG, sound.replace("nic2", "enp9s0")),
        "pool db names enp9s0, which is not here",
        lambda: fake.write(CONFIG, sound),
    )
    assert finding.remedy == "name one of the NICs with SR-IOV: nic1, nic2"
    fake.write(CONFIG, sound.replace("nic2", PFS[1]))
    assert fake.passes("host-file"), "a PCI address names a NIC too"


def test_driver_model_and_firmware_are_shown_and_compared(fake: FakeHost) -> None:
    fake.write("/sys/module/igb/version", "5.6.0-k\n")
    assert fake.check("nic-driver")[0].sentence == (
        "nic1 is Intel 82576, driver igb (5.6.0-k): 7 VFs; back within 12 s after the PF was down"
    )
    link = fake.root / PCI[1:] / PFS[0] / "driver"
    repair = lambda: relink(link, "../../drivers/igb")  # noqa: E731
    finding = fake.broken_and_repaired("nic-driver", lambda: relink(link, "../../drivers/vfio-pci"), "driver vfio-pci", repair)
    assert finding.remedy == "bind ffff:01:00.0 to igb, the driver of this model"
    finding = fake.broken_and_repaired(
        "nic-driver", link.unlink, "nic1 is Intel 82576, driver none", lambda: link.symlink_to("../../drivers/igb")
    )
    assert finding.remedy == "load its driver: `modprobe igb`"


def test_a_driver_of_which_nothing_is_known_is_a_warning(fake: FakeHost) -> None:
    device, link = f"{PCI}/{PFS[0]}/device", fake.root / PCI[1:] / PFS[0] / "driver"

    def damage() -> None:
        fake.write(device, "0xffff\n")
        relink(link, "../../drivers/newnic")

    def repair() -> None:
        fake.write(device, "0x10c9\n")
        relink(link, "../../drivers/igb")

    fake.broken_and_repaired("nic-driver", damage, "nic1 is PCI 8086:ffff, driver newnic, of which", repair, WARNING)


@pytest.mark.parametrize(("number", "words"), [(0, "nic2 has no VFs, and pool db asks for 2 of 7"), (1, "nic2 has 1 VFs")])
def test_a_nic_without_its_vfs_is_named(fake: FakeHost, number: int, words: str) -> None:
    path = f"{PCI}/{PFS[1]}/sriov_numvfs"
    finding = fake.broken_and_repaired("nic-vfs", fake.set(path, number), words, fake.set(path, 2))
    assert finding.fix is not None
    assert not finding.fix.safe, "`up` would create VFs"


def test_a_nic_that_offers_fewer_vfs_is_told_where_to_raise_them(fake: FakeHost) -> None:
    path = f"{PCI}/{PFS[0]}/sriov_totalvfs"
    finding = fake.broken_and_repaired(
        "nic-vfs", fake.set(path, 1), "asks for 2 VFs of nic1, which offers 1", fake.set(path, 7)
    )
    assert finding.remedy.startswith("lower vfs in ")


def test_a_number_that_firmware_lowered_is_shown(fake: FakeHost) -> None:
    assert fake.check("nic-vfs")[0].sentence == "nic1 has 2 of 7 VFs"
    fake.write(f"{PCI}/{PFS[0]}/sriov_totalvfs", "4\n")
    assert fake.check("nic-vfs")[0].sentence == "nic1 has 2 of 4 VFs (its model can have 7: firmware has lowered it)"


def test_autoprobe_is_repaired_and_binds_what_has_no_driver(fake: FakeHost) -> None:
    path = f"{PCI}/{PFS[0]}/sriov_drivers_autoprobe"
    fake.write("/sys/bus/pci/drivers_probe", "")
    fake.broken_and_repaired("nic-autoprobe", fake.set(path, 0), "sriov_drivers_autoprobe of nic1 is 0")
    assert text(fake, path)[:1] == "1"
    fake.remove(f"{PCI}/ffff:01:10.2/driver")
    fake.set(path, 0)()
    [finding] = fake.wrong("nic-autoprobe")
    assert finding.fix is not None
    assert finding.fix.run() == "set sriov_drivers_autoprobe of nic1 to 1 and bound 1 VFs"
    assert text(fake, "/sys/bus/pci/drivers_probe").startswith("ffff:01:10.2")


def test_a_nic_that_is_down_is_set_up(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired("nic-up", fake.set(f"{NET}/{NICS[1]}/flags", "0x1002"), "nic2 is down")
    assert finding.remedy == "run `ip link set nic2 up`"
    assert finding.fix is not None
    assert finding.fix.safe
    assert int(text(fake, f"{NET}/{NICS[1]}/flags"), 16) & 1


def test_a_nic_without_a_network_device_is_named(fake: FakeHost) -> None:
    fake.write("/etc/cni/sriov-bond.toml", f'pools.db = {{pfs = ["{PFS[0]}", "{PFS[1]}"], vfs = 2}}')
    fake.broken_and_repaired(
        "nic-up",
        lambda: fake.take_netdev(PFS[0], NICS[0]),
        "ffff:01:00.0 has no network device",
        lambda: fake.return_netdev(PFS[0], NICS[0]),
    )


def test_a_nic_without_carrier_is_named(fake: FakeHost) -> None:
    path = f"{NET}/{NICS[0]}/carrier"
    finding = fake.broken_and_repaired("nic-carrier", fake.set(path, 0), "nic1 has no carrier", fake.set(path, 1))
    assert (finding.result, "cable" in finding.remedy) == (FAILURE, True)
    for nic in NICS:
        fake.write(f"{NET}/{nic}/flags", "0x1002")
    assert [finding.result for finding in fake.check("nic-carrier")] == [SKIPPED], "those that are down are another check's"
