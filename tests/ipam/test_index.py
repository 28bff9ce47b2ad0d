"""The index of reservations: when it is not current, cannot be written, or covers a large range."""

from ipaddress import ip_address
from pathlib import Path

from cni_sriov_bond.errors import IO_FAILURE, NOT_AVAILABLE
from cni_sriov_bond.ipam import index
from tests.ipam import calls

V4 = "10.1.0.0/24"


def test_without_an_index_del_works_and_add_does_not(tmp_path: Path) -> None:
    """Addresses can be freed also when the disk has no room for the index."""
    value = calls.network(tmp_path, subnet=V4)
    for cid in ("a", "b"):
        calls.call("ADD", value, cid)
    (tmp_path / ".sriov-bond").rename(tmp_path / "old")
    (tmp_path / ".sriov-bond").touch()
    assert calls.call("ADD", value, "c").code == IO_FAILURE
    assert calls.call("STATUS", value).code == NOT_AVAILABLE
    assert calls.call("DEL", value, "a").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.3": "b\r\neth0"}
    (tmp_path / ".sriov-bond").unlink()
    assert calls.call("ADD", value, "c").ips == ["10.1.0.4/24"]
    assert calls.call("DEL", value, "b").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.4": "c\r\neth0"}


def test_after_a_reboot_the_index_is_rebuilt(tmp_path: Path) -> None:
    """A power cut may have left any part of it."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value, "a")
    state = tmp_path / ".sriov-bond/net1/state"
    boot, stamp = state.read_text().split()
    state.write_text(f"{'0' * len(boot)} {stamp}\n")
    for path in (tmp_path / ".sriov-bond/net1/owners").iterdir():
        path.write_text("10.1.0.99\n")
    assert calls.call("DEL", value, "a").code == 0
    assert calls.reserved(tmp_path) == {}


def test_a_range_of_a_million_addresses_takes_no_longer(tmp_path: Path) -> None:
    """With all but one of a million addresses taken an ADD reads 32 more small files; with 5000 attachments, none more."""
    value = calls.network(tmp_path, subnet="10.0.0.0/12")
    calls.call("ADD", value, "first")
    empty = calls.count_functions(lambda: calls.call("ADD", value, "a"))
    directory = tmp_path / "net1"
    for number in range(5000):
        (directory / f"10.1.{number >> 8}.{number & 255}").write_text(f"x{number}\r\neth0")
    calls.call("ADD", value, "rebuilds-the-index")
    assert abs(calls.count_functions(lambda: calls.call("ADD", value, "b")) - empty) <= 5
    taken = tmp_path / ".sriov-bond/net1/taken"
    for chunk in range(32):
        (taken / f"4-{(10 << 24 >> 15) + chunk:x}").write_bytes(b"\xff" * 4096)
    last = int(ip_address("10.15.255.254"))
    index.Index(str(tmp_path), "net1", str(directory)).set_taken((4, last), False)
    addresses: list[str] = []
    full = calls.count_functions(lambda: addresses.extend(calls.call("ADD", value, "c").ips))
    assert addresses == ["10.15.255.254/12"]
    assert full - empty <= 32 * 20
