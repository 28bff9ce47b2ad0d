"""Reading the log: of a journal that is a program of ours, of the files, and of the kernel's lines about ports."""

import json
from pathlib import Path

import pytest

from cni_sriov_bond import events
from cni_sriov_bond.ctl import eventlog
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.events import Action, Subject
from cni_sriov_bond.log import Log
from tests.support import program


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory on a host without a journal, whose kernel has no messages."""
    monkeypatch.setattr(events, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(eventlog, "KMSG", str(tmp_path / "kmsg"))
    (tmp_path / "kmsg").touch()
    path = tmp_path / "state"
    path.mkdir()
    return path


def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Install a journal: its socket is there, and its program has this body."""
    Path(events.JOURNAL).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "journalctl", body)


def write(state: Path, container_id: str) -> None:
    Action(Log("panic", prefix="sriov-bond ADD"), "ADD").end(str(state), Subject("db", "cbond1", "n", container_id, "eth0"))


def ids(state: Path) -> list[str]:
    return [event.container_id for event in eventlog.read(str(state))]


def test_what_is_written_is_read(state: Path) -> None:
    """Also from the file before; and what is no event, such as a line that a full disk cut, is passed over."""
    assert eventlog.read(str(state)) == []
    for name in ("c1", "c2"):
        write(state, name)
    path = Path(events.file_of(str(state)))
    path.rename(f"{path}.1")
    write(state, "c3")
    with path.open("a") as file:
        file.write('{"time": 1, "act\n[]\n{"time": "x", "steps": []}\n')
    assert ids(state) == ["c1", "c2", "c3"]
    event = eventlog.read(str(state))[0]
    assert (event.action, event.bond, event.program, event.error, event.code) == ("ADD", "cbond1", "sriov-bond", "", 0)
    assert event.end >= event.time


def test_a_file_that_cannot_be_read(state: Path) -> None:
    Path(events.file_of(str(state))).mkdir()
    with pytest.raises(CniError, match=r"cannot read the log .*state.log: Is a directory"):
        eventlog.read(str(state))


def test_the_journal_and_the_file_are_one_story(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has what the journal was too busy for. The program is asked for our events and no others."""
    write(state, "in-file")
    value = json.loads(Path(events.file_of(str(state))).read_text())
    entry = json.dumps({"MESSAGE": "ADD", events.FIELD: json.dumps({**value, "time": 1.0, "container_id": "in-journal"})})
    (tmp_path / "entries").write_text(f"{entry}\nnot json\n[]\n{{}}\n")
    journalctl(
        tmp_path, monkeypatch, f'echo "$@" >{tmp_path}/asked; while read -r line; do echo "$line"; done <{tmp_path}/entries'
    )
    assert ids(state) == ["in-journal", "in-file"]
    asked = (tmp_path / "asked").read_text().split()
    assert {"--all", "--output=json", f"MESSAGE_ID={events.MESSAGE_ID}", f"SRIOV_BOND_STATE_DIR={state}"} <= set(asked)


def test_a_journal_that_fails_is_an_error(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journalctl(tmp_path, monkeypatch, "echo 'No space\nleft' >&2; exit 1")
    with pytest.raises(CniError, match="cannot read the journal: No space left"):
        eventlog.read(str(state))


def test_a_journal_that_hangs_is_an_error(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "_SECONDS", 0.2)
    journalctl(tmp_path, monkeypatch, "exec /bin/sleep 5")
    with pytest.raises(CniError, match="journalctl did not answer"):
        eventlog.read(str(state))


# What Linux 6.12 writes to /dev/kmsg, with the facts that follow a line.
KMSG = """\
6,1200,5000000,-;bonding: loaded
6,1201,6000000,-;eth0: (slave VF11): Enslaving as a backup interface with an up link
6,1202,7000000,-;eth0: (slave VF11): link status definitely down, disabling slave
 SUBSYSTEM=net
4,1203,7000010,c;eth0: (slave VF21): making interface the new active one
6,1204,7000020,-;eth0: now running without any active interface!
6,1205,8000000,-;eth0: (slave VF11): link status definitely up, 1000 Mbps full duplex
6,1206,9000000,-;eth0: (slave VF12): interface is now down
6,1207,9500000,-;eth0: (slave VF12): interface is now up
6,bad
"""


def test_what_the_kernel_says_of_ports(state: Path, tmp_path: Path) -> None:
    (tmp_path / "kmsg").write_text(KMSG)
    found = eventlog.port_events(0.0)
    assert [(event.port, event.meaning) for event in found] == [
        ("VF11", "failed"), ("VF21", "active"), ("VF11", "up"), ("VF12", "failed"), ("VF12", "up"),
    ]  # fmt: skip
    assert found[2].time - found[0].time == pytest.approx(1.0)
    assert found[2].text == "link status definitely up, 1000 Mbps full duplex"
    since = [event.port for event in eventlog.port_events(found[3].time - 0.01)]
    assert since == ["VF12", "VF12"]


def test_a_kernel_log_that_cannot_be_read_is_empty(state: Path, tmp_path: Path) -> None:
    (tmp_path / "kmsg").unlink()
    assert eventlog.port_events(0.0) == []


def test_the_journal_has_the_kernel_s_lines_too(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their times of day, also of before the last rotation of the kernel's own log."""
    (tmp_path / "kmsg").write_text(KMSG)
    text = "eth0: (slave VF13): link status definitely down, disabling slave"
    (tmp_path / "entries").write_text(json.dumps({"__REALTIME_TIMESTAMP": "1700000000500000", "MESSAGE": text}) + "\n")
    journalctl(tmp_path, monkeypatch, f'while read -r line; do echo "$line"; done <{tmp_path}/entries')
    [event] = eventlog.port_events(1_699_999_999.0)
    assert (event.time, event.port, event.meaning) == (1_700_000_000.5, "VF13", "failed")
