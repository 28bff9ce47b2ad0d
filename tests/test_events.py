"""The log of events: to the journal's socket, and to a file where there is none."""

import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond import events, files
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.events import Action, Subject
from cni_sriov_bond.log import Log
from tests.support import Plugin, make_pool

SUBJECT = Subject("db", "cbond1", "net1", "c1", "eth0")
KEYS = ["action", "bond", "caller", "container_id", "ifname", "network", "pid", "pool", "program", "seconds", "steps", "time"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory, on a host without a journal."""
    monkeypatch.setattr(events, "JOURNAL", str(tmp_path / "journal"))
    path = tmp_path / "state"
    path.mkdir()
    return path


@pytest.fixture
def journal(state: Path) -> socket.socket:
    """The journal's end of its socket."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(events.JOURNAL)
    peer.settimeout(5)
    return peer


def written(state: Path) -> list[dict[str, Any]]:
    """Return the events of the file."""
    return [json.loads(line) for line in Path(events.file_of(str(state))).read_text().splitlines()]


def end(state: Path, failed: BaseException | None = None, subject: Subject = SUBJECT) -> None:
    """Write an event with a step before it that is not its own, and two that are."""
    log = Log("panic", prefix="sriov-bond ADD c1")
    log.step("of an earlier action")
    action = Action(log, "ADD")
    log.step("leased")
    log.warn("no\ncarrier")
    action.end(str(state), subject, failed)


def test_an_event_without_a_journal_is_a_line_of_a_file(state: Path) -> None:
    end(state)
    end(state, CniError(POOL_UNUSABLE, "no\nbond", "waited"))
    first, second = written(state)
    assert sorted(first) == KEYS
    assert [first[key] for key in ("program", "action", "pool", "bond", "network", "container_id", "ifname", "pid")] == [
        "sriov-bond", "ADD", "db", "cbond1", "net1", "c1", "eth0", os.getpid(),
    ]  # fmt: skip
    assert [text for _, text in first["steps"]] == ["leased", "warning: no carrier"]
    assert 0 <= first["steps"][0][0] <= first["steps"][1][0] <= first["seconds"] < 5
    assert (second["error"], second["code"]) == ("no bond (waited)", POOL_UNUSABLE)
    assert stat.S_IMODE(os.stat(events.file_of(str(state))).st_mode) == 0o600


def test_a_failure_that_is_not_ours_has_its_name(state: Path) -> None:
    end(state, KeyboardInterrupt())
    assert (written(state)[0]["error"], written(state)[0]["code"]) == ("KeyboardInterrupt", 0)


def test_the_caller_is_our_parent(state: Path) -> None:
    name = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    assert events.caller() == f"{name}[{os.getppid()}]"


def test_the_journal_gets_fields(state: Path, journal: socket.socket) -> None:
    """Each on a line: KEY=VALUE, so no value has a line break; and nothing is written to the file."""
    with journal:
        end(state, CniError(POOL_UNUSABLE, "no\nbond"), Subject("db", "cbond1", "a\udcff", "c1", "eth0"))
        lines = journal.recv(65536).decode().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    assert fields["MESSAGE"] == "ADD c1 eth0 of network a?, bond cbond1 of pool db: failed: no bond"
    assert [fields[key] for key in ("PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE_ID")] == ["3", "sriov-bond", events.MESSAGE_ID]
    assert [fields[f"SRIOV_BOND_{key}"] for key in ("CONTAINER_ID", "BOND", "STATE_DIR")] == ["c1", "cbond1", str(state)]
    assert json.loads(fields[events.FIELD])["network"] == "a\udcff"
    assert not Path(events.file_of(str(state))).exists()


def test_a_journal_that_is_too_busy_is_not_waited_for(state: Path, journal: socket.socket) -> None:
    """The socket's queue holds some datagrams, and the file gets those that come after."""
    with journal:
        queued = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
        for _ in range(queued + 1):
            end(state)
        assert len(written(state)) == 1


@pytest.mark.parametrize("kind", ["no state directory", "a directory", "a link", "a pipe"])
def test_what_cannot_be_written_fails_nothing(state: Path, kind: str) -> None:
    """And a link is not followed: the directory of a foreign state directory may be one that others write to."""
    path = Path(events.file_of(str(state)))
    if kind == "no state directory":
        state.rmdir()
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a link":
        path.symlink_to(state.parent / "target")
    else:
        os.mkfifo(path)
    end(state)
    assert not (state.parent / "target").exists()
    assert path.exists() == (kind in ("a directory", "a pipe"))


def test_the_file_has_a_limit(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it is kept; of several processes that see a full file one renames it."""
    monkeypatch.setattr(events, "MOST_BYTES", 2000)

    def write() -> None:
        for _ in range(25):
            end(state)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = Path(events.file_of(str(state)))
    before = path.with_name(f"{path.name}.1")
    assert 2000 < before.stat().st_size < 4000
    for line in before.read_text().splitlines():
        assert sorted(json.loads(line)) == KEYS


def test_the_default_is_in_var_log() -> None:
    assert events.file_of(files.STATE_DIR) == "/var/log/sriov-bond.log"


@pytest.mark.root
def test_a_call_of_the_plugin_is_an_event(plugin: Plugin) -> None:
    """ADD and DEL in any case, CHECK if it fails; STATUS, which runtimes call every few seconds, never."""
    make_pool(plugin.state)
    without_journal = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh")
    for verb in ("ADD", "DEL", "CHECK", "STATUS"):
        plugin.run(verb, plugin.config(cniVersion="1.1.0"), without_journal)
    first, second, third = written(plugin.state)
    assert [event["action"] for event in (first, second, third)] == ["ADD", "DEL", "CHECK"]
    assert "CNI_NETNS '/none' does not exist" in first["error"]
    assert first["caller"].endswith(f"[{os.getpid()}]")
    assert (second.get("error"), second["bond"], second["container_id"]) == (None, "", "c1")
    assert "prevResult" in third["error"]
