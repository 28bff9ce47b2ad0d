"""The state directory and the inventories in it."""

import os

import pytest

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from cni_sriov_bond.doctor.state import mount_of
from tests.doctor.fake_host import FakeHost

MOUNTS = "/proc/self/mountinfo"
DISK = "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"


def test_the_state_directory_is_roots_alone(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired("state-dir", lambda: fake.state.chmod(0o755), "has the mode 0755")
    assert finding.fix is not None
    assert finding.fix.safe
    assert fake.state.stat().st_mode & 0o777 == 0o700
    elsewhere = fake.root / "elsewhere"
    fake.broken_and_repaired(
        "state-dir", lambda: fake.state.rename(elsewhere), "there is no", lambda: elsewhere.rename(fake.state)
    )

    def replace() -> None:
        fake.state.rename(elsewhere)
        fake.state.write_text("")

    def restore() -> None:
        fake.state.unlink()
        elsewhere.rename(fake.state)

    fake.broken_and_repaired("state-dir", replace, "is not a directory", restore)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_state_directory_of_another_user_is_named(fake: FakeHost) -> None:
    fake.broken_and_repaired(
        "state-dir", lambda: os.chown(fake.state, 1000, -1), "belongs to user 1000", lambda: os.chown(fake.state, 0, -1)
    )


@pytest.mark.parametrize(
    ("line", "words", "result"),
    [
        ("2 1 0:2 / /var/lib rw - tmpfs tmpfs rw", "is on tmpfs: after a reboot pending IPAM DELs are lost", WARNING),
        ("2 1 0:2 / /var rw - nfs4 server:/var rw", "is on nfs4, where locks may not hold", WARNING),
        ("2 1 8:2 / /var ro,relatime - ext4 /dev/sda2 rw", "is mounted read-only", "failure"),
    ],
)
def test_the_state_is_on_a_local_disk(fake: FakeHost, line: str, words: str, result: str) -> None:
    fake.broken_and_repaired("state-disk", fake.set(MOUNTS, DISK + line), words, fake.set(MOUNTS, DISK), result)


def test_the_innermost_mount_counts() -> None:
    text = DISK + "2 1 0:2 / /var rw - tmpfs t rw\n3 1 8:3 / /var/lib\\040x rw - xfs x rw\n4 1 8:4 / /var/lib rw - btrfs b ro\n"
    assert [mount_of(text, path)[0] for path in ("/etc", "/variable", "/var/log", "/var/lib", "/var/lib x")] == [
        "ext4", "ext4", "tmpfs", "btrfs", "xfs",
    ]  # fmt: skip
    assert "ro" in mount_of(text, "/var/lib/cni")[1]
    assert mount_of("nonsense\n\n", "/") == ("", [""])


def test_an_inventory_is_of_this_boot(fake: FakeHost) -> None:
    for damage, words in (
        (lambda: fake.write_inventory(boot_id="earlier"), "pool db was made before this boot"),
        (lambda: fake.write_inventory(being_removed=True), "the removal of pool db was interrupted"),
        (lambda: (fake.state / "db/pool.json").write_text("{"), "is damaged"),
        (lambda: (fake.state / "db/pool.json").unlink(), "pool 'db' is not provisioned"),
    ):
        finding = fake.broken_and_repaired("inventory", damage, words, fake.write_inventory)
        assert finding.fix is not None
    fake.write("/etc/cni/sriov-bond.toml", 'pools.web = {pfs = ["nic1", "nic2"], vfs = 2}')
    assert [finding.sentence for finding in fake.wrong("inventory")] == ["pool web of the host file is not made"]


def test_without_a_state_directory_there_is_no_disk_to_check(fake: FakeHost) -> None:
    fake.state.rename(fake.root / "elsewhere")
    assert [finding.result for finding in fake.check("state-disk")] == [SKIPPED]
