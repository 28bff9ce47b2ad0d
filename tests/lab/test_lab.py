"""The lab itself: what the other tests rely on."""

import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.lab import shell
from tests.lab.errors import CommandDeadlineError, CommandFailedError, LostGuestError
from tests.lab.guest import Guest
from tests.lab.machine import Channels, Machine
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.lab import Lab


def test_two_nics_with_seven_virtual_functions_each(lab: "Lab") -> None:
    for nic in ("enp1s0", "enp2s0"):
        assert lab.guest.read(f"/sys/class/net/{nic}/device/sriov_totalvfs") == "7\n"
        assert lab.guest.read(f"/sys/class/net/{nic}/device/sriov_numvfs") == "0\n"


def test_output_and_exit_status_come_back(lab: "Lab") -> None:
    result = lab.guest.run("cat; echo oops >&2; exit 3", stdin="hello")
    assert (result.status, result.stdout, result.stderr) == (3, "hello", "oops\n")


def test_end_by_signal_is_reported(lab: "Lab") -> None:
    assert lab.guest.run(["bash", "-c", "kill -9 $$"]).status == -9


def test_checked_command_that_fails_reports_its_output(lab: "Lab") -> None:
    with pytest.raises(CommandFailedError, match=r"(?s)exit status 2: .*no such file"):
        lab.guest.sh("echo no such file >&2; (exit 2); echo not reached")


def test_hanging_command_is_killed_at_its_deadline(lab: "Lab") -> None:
    began = time.monotonic()
    with pytest.raises(CommandDeadlineError, match="still running after 1 s") as caught:
        lab.guest.run("echo before; sleep 1000", timeout=1)
    assert time.monotonic() - began < 10
    assert caught.value.result.stdout == "before\n"


def test_command_that_starts_a_daemon_ends_without_it(lab: "Lab") -> None:
    assert lab.guest.run("sleep 1000 & echo $!", timeout=20).status == 0
    lab.guest.sh("pkill -x sleep")


def test_missing_program_is_an_error(lab: "Lab") -> None:
    with pytest.raises(Exception, match="FileNotFoundError"):
        lab.guest.run(["/no/such/program"])


def test_background_process_is_read_and_stopped(lab: "Lab") -> None:
    process = lab.guest.spawn("echo up; sleep 1000")
    wait_until(lambda: process.stdout == "up\n", "its first line")
    assert process.stop().status == -15


def test_commands_run_side_by_side(lab: "Lab") -> None:
    # Each waits for the file of the other, so in sequence they would not end.
    script = "touch /tmp/{0}; until [[ -e /tmp/{1} ]]; do sleep 0.05; done"
    processes = [lab.guest.spawn(script.format(a, b), timeout=20) for a, b in (("one", "two"), ("two", "one"))]
    assert [process.wait().status for process in processes] == [0, 0]


def test_files_are_written_and_read(lab: "Lab") -> None:
    lab.guest.write("/run/test/new/file", "text\n", mode=0o600)
    assert lab.guest.read("/run/test/new/file") == "text\n"
    assert lab.guest.run(["stat", "-c", "%a", "/run/test/new/file"]).stdout == "600\n"


SCRIPTS = {
    "executable": ("#!/usr/bin/env python3\nimport sys\nprint('python', *sys.argv[1:])\nsys.exit(3)\n", 0o755, "python a b\n"),
    "not executable": ("#!/usr/bin/env python3\necho bash $BASH_VERSINFO $*; exit 3\n", 0o644, "bash 5 a b\n"),
    "without a first line": ("echo bash $BASH_VERSINFO $*; exit 3\n", 0o755, "bash 5 a b\n"),
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_script_is_run_by_its_first_line(lab: "Lab", kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`./dev lab SCRIPT` executes an executable file directly, and runs any other by bash."""
    text, mode, printed = SCRIPTS[kind]
    path = tmp_path / "script"
    path.write_text(text)
    path.chmod(mode)
    assert shell.script(lab.guest, ["script", "a", "b"], tmp_path) == 3
    assert capfd.readouterr().out == printed


def test_clients_are_on_the_path(lab: "Lab") -> None:
    versions = lab.guest.sh("containerd --version; /usr/bin/containerd --version; command -v ctr cnitool; runc -v")
    assert " 2." in versions.stdout
    assert " 1." in versions.stdout
    assert "host-local" in lab.guest.sh("ls /opt/cni/bin").stdout


def test_pulled_cable_takes_the_carrier_away(lab: "Lab") -> None:
    def carrier(nic: str) -> str:
        return lab.guest.read(f"/sys/class/net/{nic}/carrier").strip()

    lab.guest.sh("ip link set enp1s0 up; ip link set enp2s0 up")
    try:
        wait_until(lambda: (carrier("enp1s0"), carrier("enp2s0")) == ("1", "1"), "carrier on both NICs", 30)
        with lab.pulled("A"):
            wait_until(lambda: carrier("enp1s0") == "0", "NIC 1 to lose its carrier", 30)
            assert carrier("enp2s0") == "1"
        wait_until(lambda: carrier("enp1s0") == "1", "NIC 1 to have its carrier back", 30)
    finally:
        lab.guest.sh("ip link set enp1s0 down; ip link set enp2s0 down")


HELLO = b'{"hello": "6.12"}\n'
BOND = """
for pf in enp1s0 enp2s0; do
    ip link set $pf up
    echo 1 > /sys/class/net/$pf/device/sriov_numvfs
done
udevadm settle
ip netns add box
ip -n box link set lo up
modprobe bonding max_bonds=0
ip -n box link add bond0 type bond mode active-backup miimon 100
for pf in enp1s0 enp2s0; do
    ip link set $pf vf 0 vlan 100
    vf=$(ls /sys/class/net/$pf/device/virtfn0/net)
    ip link set $vf down netns box
    ip -n box link set $vf master bond0
done
ip -n box addr add 10.100.0.9/24 dev bond0
ip -n box addr add 10.200.0.9/24 dev bond0
ip -n box link set bond0 up
"""
NO_BOND = """
ip netns del box || true
for pf in enp1s0 enp2s0; do
    echo 0 > /sys/class/net/$pf/device/sriov_numvfs
    ip link set $pf down
done
"""


@pytest.fixture
def bond(lab: "Lab") -> "Iterator[None]":
    try:
        lab.guest.sh(BOND)
        yield
    finally:
        lab.guest.sh(NO_BOND)


@pytest.mark.usefixtures("bond")
def test_bond_made_by_hand_reaches_its_vlan_and_no_other(lab: "Lab") -> None:
    ping = "ip netns exec box ping -q -c 1 -W 1"
    wait_until(lambda: lab.guest.run(f"{ping} 10.100.0.1").status == 0, "an answer from VLAN 100", 30)
    assert lab.guest.run(f"{ping} 10.200.0.1").status == 1


class FakeMachine:
    """A fake machine that is only a socket, so that a lost guest needs no boot."""

    def __init__(self) -> None:
        ours, self.far_end = socket.socketpair()
        self.channels = Channels(agent=ours, qmp=ours, terminal=None)
        self.killed = threading.Event()

    def console_tail(self) -> str:
        return "Kernel panic - not syncing"

    def how_it_ended(self) -> str:
        return "QEMU was killed by signal 9"

    def kill(self, *, keep_console: bool = False) -> None:
        self.killed.set()
        self.far_end.close()

    def guest(self, boot_deadline: float = 10.0) -> Guest:
        return Guest(cast("Machine", self), boot_deadline=boot_deadline)


@pytest.fixture
def machine() -> "Iterator[FakeMachine]":
    paper = FakeMachine()
    yield paper
    paper.far_end.close()
    paper.channels.close()


def test_guest_whose_agent_ends_is_lost_for_present_and_later_requests(machine: FakeMachine) -> None:
    machine.far_end.sendall(HELLO)
    guest = machine.guest()
    process = guest.spawn(["sleep", "1000"])
    machine.far_end.shutdown(socket.SHUT_RDWR)
    reason = r"lost guest: its agent ended \(QEMU was killed by signal 9\); Kernel panic"
    with pytest.raises(LostGuestError, match=reason):
        process.wait()
    with pytest.raises(LostGuestError, match=reason):
        guest.run(["true"])
    assert machine.killed.is_set()


def test_guest_that_does_not_answer_is_lost(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lab.guest.GRACE", 0.1)
    machine.far_end.sendall(HELLO)
    with pytest.raises(LostGuestError, match=r"lost guest: it does not answer any more \(request: true\)"):
        machine.guest().run(["true"], timeout=0.1)


def test_guest_that_does_not_boot_is_lost(machine: FakeMachine) -> None:
    with pytest.raises(LostGuestError, match=r"lost guest: it did not boot within 0.1 s; Kernel panic"):
        machine.guest(boot_deadline=0.1)


def test_machine_that_ends_before_it_has_booted_is_lost(machine: FakeMachine) -> None:
    machine.far_end.shutdown(socket.SHUT_RDWR)
    with pytest.raises(LostGuestError, match=r"lost guest: it ended before it had booted"):
        machine.guest()
