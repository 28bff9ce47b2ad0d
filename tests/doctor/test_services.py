"""udev, NetworkManager and systemd-networkd leave VFs alone; the boot unit is enabled."""

from pathlib import Path

import pytest

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from cni_sriov_bond.errors import CniError
from tests.doctor.fake_host import FakeHost
from tests.support import program

RULES = "/run/udev/rules.d/90-sriov-bond-db.rules"
UNIT = "/usr/lib/systemd/system/sriov-bond.service"
WANTS = "/etc/systemd/system/multi-user.target.wants/sriov-bond.service"


def skips(fake: FakeHost, check: str) -> bool:
    return [finding.result for finding in fake.check(check)] == [SKIPPED]


def test_udev_has_a_rule_for_each_vf(fake: FakeHost) -> None:
    words = "udev has no rule for 4 VFs of pool db"
    finding = fake.broken_and_repaired("udev", lambda: fake.remove(RULES), words, fake.write_rules)
    assert finding.fix is not None
    fake.broken_and_repaired("udev", lambda: fake.write_rules(vfs=1), "no rule for 2 VFs", fake.write_rules)


def test_without_udev_there_is_nothing_to_check(fake: FakeHost) -> None:
    for path in (RULES, "/run/udev/rules.d", "/run/udev"):
        target = fake.root / path[1:]
        target.unlink() if target.is_file() else target.rmdir()
    assert skips(fake, "udev")


def test_networkmanager_does_not_manage_vfs(fake: FakeHost) -> None:
    assert skips(fake, "networkmanager")
    for index in range(10, 14):
        fake.write(f"/run/udev/data/n{index}", "E:NM_UNMANAGED=1\n")
        fake.write(f"/run/NetworkManager/devices/{index}", "[device]\nmanaged=false\n")
    path, words = "/run/NetworkManager/devices/11", "NetworkManager manages VF21 of pool db"
    sound = fake.set(path, "[device]\nmanaged=false")
    finding = fake.broken_and_repaired("networkmanager", fake.set(path, "[device]\nmanaged=true"), words, sound)
    assert "unmanaged-devices" in finding.remedy
    rule = "/run/udev/data/n12"
    fake.broken_and_repaired("networkmanager", fake.set(rule, "E:X=1"), "manages VF12", fake.set(rule, "E:NM_UNMANAGED=1"))


def test_networkd_does_not_manage_vfs(fake: FakeHost) -> None:
    assert skips(fake, "networkd")
    fake.write("/run/systemd/netif/state", "")
    path, words = "/run/systemd/netif/links/13", "systemd-networkd manages VF22 of pool db"
    sound = fake.set(path, "ADMIN_STATE=unmanaged\nOPER_STATE=off")
    sound()
    fake.broken_and_repaired("networkd", fake.set(path, "ADMIN_STATE=configuring\nOPER_STATE=off"), words, sound)


def test_the_boot_unit_is_there_and_enabled(fake: FakeHost) -> None:
    assert [finding.result for finding in fake.check("boot-unit")] == [SKIPPED], "no systemd"
    fake.write("/run/systemd/system/x.service", "")
    assert "there is no sriov-bond.service" in fake.wrong("boot-unit")[0].sentence
    fake.write(UNIT, "[Unit]\n")
    fake.write(WANTS, "")
    finding = fake.broken_and_repaired(
        "boot-unit", lambda: fake.remove(WANTS), "is not enabled", lambda: fake.write(WANTS, ""), WARNING
    )
    assert finding.fix is not None
    assert not finding.fix.safe, "it changes the next boot"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo $* > asked", ""),
        ("echo 'Unit x\nis masked.' >&2; exit 1", "failed: Unit x is masked."),
    ],
)
def test_the_unit_is_enabled_by_systemctl(
    fake: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    fake.write("/run/systemd/system/x.service", "")
    fake.write(UNIT, "[Unit]\n")
    program(tmp_path, "systemctl", f"cd {tmp_path}\n{body}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    [finding] = fake.wrong("boot-unit")
    assert finding.fix is not None
    if words:
        with pytest.raises(CniError, match=words):
            finding.fix.run()
    else:
        assert finding.fix.run() == "enabled sriov-bond.service"
        assert (tmp_path / "asked").read_text() == "enable sriov-bond\n"
