"""Who has an address: owners, requested addresses, many processes at once, and calls that are killed."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import ADDRESS_REFUSED, TRY_AGAIN_LATER
from tests.ipam import calls

V4, V6 = "10.1.0.0/24", "fd00:1::/64"


def names(paths: Iterator[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def test_an_address_belongs_to_one_attachment(tmp_path: Path) -> None:
    """Other interfaces, containers and networks have their own. A DEL frees only its own, and a second one nothing."""
    value, other = calls.network(tmp_path, subnet=V4), calls.network(tmp_path, "net2", subnet=V4)
    assert calls.call("ADD", value, "a", "eth0").ips == ["10.1.0.2/24"]
    assert calls.call("ADD", value, "a", "net1").ips == ["10.1.0.3/24"]
    assert calls.call("ADD", other, "a", "eth0").ips == ["10.1.0.2/24"]
    for _ in range(2):
        assert calls.call("DEL", value, "a", "eth0").code == 0
        assert calls.call("DEL", value, "nobody", "eth0").code == 0
    assert calls.reserved(tmp_path) == {"10.1.0.3": "a\r\nnet1"}
    assert calls.reserved(tmp_path, "net2") == {"10.1.0.2": "a\r\neth0"}


def test_a_late_del_does_not_free_the_next_owners_address(tmp_path: Path) -> None:
    """The address has a new owner, so the second DEL of the old one frees nothing."""
    value = calls.network(tmp_path, subnet="10.1.0.0/30")
    assert calls.call("ADD", value, "old").ips == ["10.1.0.2/30"]
    calls.call("DEL", value, "old")
    assert calls.call("ADD", value, "new").ips == ["10.1.0.2/30"]
    calls.call("DEL", value, "old")
    assert calls.reserved(tmp_path) == {"10.1.0.2": "new\r\neth0"}


def test_a_second_add_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """Whatever it requests, the first address stays (A3)."""
    value = calls.network(tmp_path, ranges=[[{"subnet": V4}], [{"subnet": V6}]])
    calls.call("ADD", value)
    before = calls.reserved(tmp_path)
    for args in ("", "IP=10.1.0.77", "IP=10.1.0.2"):
        refused = calls.call("ADD", value, args=args)
        assert (refused.code, "10.1.0.2 has been allocated to container c1" in refused.message) == (ADDRESS_REFUSED, True)
    assert calls.reserved(tmp_path) == before


def test_a_failed_add_reserves_nothing(tmp_path: Path) -> None:
    """When the second family has no address left, the first one's address is not reserved (A5)."""
    value = calls.network(tmp_path, ranges=[[{"subnet": V4}], [{"subnet": "fd00::/126", "rangeEnd": "fd00::2"}]])
    assert calls.call("ADD", value, "a").code == 0
    failed = calls.call("ADD", value, "b")
    assert (failed.code, failed.message) == (
        TRY_AGAIN_LATER,
        "no IP addresses available in range set fd00::1-fd00::2 of network 'net1'",
    )
    assert names(iter((tmp_path / "net1").glob("*[0-9a]"))) == sorted(
        ["10.1.0.2", "fd00::2", "last_reserved_ip.0", "last_reserved_ip.1"]
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("10.1.0.1", "requested ip 10.1.0.1 is subnet's gateway"),
        (
            "10.1.0.2",
            "requested IP address 10.1.0.2 is not available in range set 10.1.0.1-10.1.0.254: it is reserved for container "
            "a interface eth0",
        ),
        ("10.1.0.0", "failed to allocate all requested IPs: 10.1.0.0"),
        ("10.1.0.255", "failed to allocate all requested IPs: 10.1.0.255"),
        ("10.9.0.1", "failed to allocate all requested IPs: 10.9.0.1"),
    ],
)
def test_requested_addresses_that_cannot_be_allocated(tmp_path: Path, address: str, sentence: str) -> None:
    """Each refusal says why, and nothing is reserved."""
    value = calls.network(tmp_path, subnet=V4)
    calls.call("ADD", value, "a")
    refused = calls.call("ADD", value, "b", args=f"IP={address}")
    assert (refused.code, refused.message[: len(sentence)]) == (ADDRESS_REFUSED, sentence)
    assert calls.reserved(tmp_path) == {"10.1.0.2": "a\r\neth0"}


def test_an_address_of_an_old_host_local_is_freed_last(tmp_path: Path) -> None:
    """A reservation without an interface belongs to the container, and a DEL of its other address leaves it."""
    value = calls.network(tmp_path, subnet=V4)
    (tmp_path / "net1").mkdir()
    (tmp_path / "net1/10.9.0.9").write_text("c1")
    assert calls.call("ADD", value).ips == ["10.1.0.2/24"]
    assert calls.call("DEL", value).code == 0
    assert calls.reserved(tmp_path) == {"10.9.0.9": "c1"}
    assert calls.call("DEL", value).code == 0
    assert calls.reserved(tmp_path) == {}


def test_an_empty_reservation_is_deleted(tmp_path: Path) -> None:
    """A host-local that was killed leaves these, and never frees them."""
    (tmp_path / "net1").mkdir()
    (tmp_path / "net1/10.1.0.2").touch()
    assert calls.call("ADD", calls.network(tmp_path, subnet="10.1.0.0/30")).ips == ["10.1.0.2/30"]


def test_an_operator_may_delete_a_reservation(tmp_path: Path) -> None:
    """As with host-local, deleting the file frees the address."""
    value = calls.network(tmp_path, subnet="10.1.0.0/30")
    calls.call("ADD", value, "a")
    (tmp_path / "net1/10.1.0.2").unlink()
    assert calls.call("ADD", value, "b").ips == ["10.1.0.2/30"]


def test_processes_at_once_get_addresses_of_their_own(tmp_path: Path) -> None:
    """Thirty processes and 29 addresses: each is allocated once, and one process gets "try again later"."""
    value = calls.network(tmp_path, subnet="10.1.0.0/27")
    running = [calls.start("ADD", value, f"c{number}") for number in range(30)]
    answers = [calls.finish(process) for process in running]
    assert sorted(answer.code for answer in answers) == [0] * 29 + [TRY_AGAIN_LATER]
    assert len({ip for answer in answers for ip in answer.ips}) == 29
    running = [calls.start("DEL", value, f"c{number}") for number in range(30)]
    assert {calls.finish(process).code for process in running} == {0}
    assert calls.reserved(tmp_path) == {}


_SYSCALLS = ("posix", "fcntl", "io", "_io")


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a process that kills itself before its n-th system call; return whether it was killed."""
    pid = os.fork()
    if not pid:
        left = step

        def count_call(_: object, event: str, called: Any) -> None:
            nonlocal left
            if event == "c_call" and getattr(called, "__module__", None) in _SYSCALLS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count_call)
        work()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("verb", ["ADD", "DEL", "GC", "first ADD"])
def test_a_kill_at_any_step_leaves_consistent_reservations(tmp_path: Path, verb: str) -> None:
    """After SIGKILL before each system call nobody has another's address, and a DEL of each attachment frees all."""
    step = 0
    while True:
        step += 1
        data = tmp_path / str(step)
        value = calls.network(data, ranges=[[{"subnet": "10.1.0.0/29", "rangeEnd": "10.1.0.4"}], [{"subnet": V6}]])
        owned: dict[str, list[str]] = {}
        if verb != "first ADD":
            owned = {cid: calls.call("ADD", value, cid).ips for cid in ("a", "b")}
        config = {**value, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}
        cid = "b" if verb in ("DEL", "GC") else "c"
        killed = killed_at(step, lambda verb=verb, config=config, cid=cid: calls.call(verb.split()[-1], config, cid))  # type: ignore[misc]
        owned.pop(cid, None)
        # Earlier addresses are still reserved, for nobody else. A DEL of the killed attachment is enough to free its own.
        for other, ips in owned.items():
            assert calls.call("CHECK", {**value, "prevResult": {"ips": [{"address": ip} for ip in ips]}}, other).code == 0
        assert calls.call("DEL", value, cid).code == 0
        free = 3 - len(owned)
        new = [calls.call("ADD", value, f"n{number}") for number in range(free + 1)]
        assert [answer.code for answer in new] == [0] * free + [TRY_AGAIN_LATER], (step, new)
        addresses = [ip for answer in new for ip in answer.ips] + [ip for ips in owned.values() for ip in ips]
        assert len(set(addresses)) == len(addresses) == 6
        for container_id in [*owned, *(f"n{number}" for number in range(free))]:
            assert calls.call("DEL", value, container_id).code == 0
        assert calls.reserved(data) == {}
        if not killed:
            break
    assert step > 15
