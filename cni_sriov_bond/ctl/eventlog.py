"""Reading the log of events: from the journal and from the file, and what the kernel's log says of the ports of bonds."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from typing import Any, NamedTuple

from cni_sriov_bond import events
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import IO_FAILURE, CniError

KMSG = "/dev/kmsg"
_SECONDS = 60.0  # for journalctl, which may have to read many files
# What the bonding driver says of a port: "eth0: (... VF11): link status definitely down, disabling ..." (bond_main.c,
# netdev_info). The second word in brackets is the port's name, which no other device of the host has.
_OF_PORT = re.compile(r"\S+: \(\w+ (?P<port>\S+)\): (?P<text>.*)")
FAILED, UP, ACTIVE = "failed", "up", "active"
_MEANINGS = {
    "link status definitely down": FAILED,
    "interface is now down": FAILED,
    "link status definitely up": UP,
    "interface is now up": UP,
    "making interface the new active one": ACTIVE,
}


class Event(NamedTuple):
    """An action, as ``events.Action`` wrote it. ``time`` is its beginning in seconds since 1970; steps count from there."""

    time: float
    seconds: float
    program: str
    pid: int
    caller: str
    action: str
    pool: str
    bond: str
    network: str
    container_id: str
    ifname: str
    steps: list[tuple[float, str]]
    error: str = ""
    code: int = 0

    @property
    def end(self) -> float:
        """When it was over, in seconds since 1970."""
        return self.time + self.seconds

    def to_json(self) -> JsonObject:
        """Return the event as ``log --json`` has it."""
        value = self._asdict()
        steps = [{"seconds": seconds, "text": text} for seconds, text in self.steps]
        return {"kind": "action", **value, "steps": steps, "error": self.error or None, "code": self.code or None}


class PortEvent(NamedTuple):
    """A line of the kernel's log about a port: it ``failed``, is ``up``, or is the ``active`` one now."""

    time: float
    port: str
    meaning: str
    text: str


def read(state_dir: str) -> list[Event]:
    """Return all events of a state directory, the oldest first.

    :raises CniError: IO_FAILURE when there is a journal or a file that cannot be read.
    """
    fields = _journal(f"MESSAGE_ID={events.MESSAGE_ID}", f"SRIOV_BOND_STATE_DIR={state_dir}")
    texts = [str(entry.get(events.FIELD)) for entry in fields or ()]
    path = events.file_of(state_dir)
    for name in (f"{path}.1", path):
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                texts += file
        except FileNotFoundError:
            continue
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot read the log {name}: {failed.strerror}") from None
    found = [event for event in map(_event, texts) if event]
    return sorted(found, key=lambda event: event.time)


def _event(text: str) -> Event | None:
    """Return the event of a line; None for the rest of a line that a full disk cut, and for what is no event."""
    try:
        value = json.loads(text)
        known = {name: value[name] for name in Event._fields if name in value}
        steps = [(float(seconds), str(step)) for seconds, step in value["steps"]]
        return Event(**{**known, "time": float(value["time"]), "seconds": float(value["seconds"]), "steps": steps})
    except (ValueError, TypeError, KeyError):
        return None


def port_events(since: float) -> list[PortEvent]:
    """Return what the kernel logged of ports since a time, from the journal, or from what the kernel still has.

    :param since: seconds since 1970.
    """
    lines: list[tuple[float, str]] = []
    for entry in _journal("_TRANSPORT=kernel", f"--since=@{since:.0f}") or ():
        stamp = str(entry.get("__REALTIME_TIMESTAMP"))
        if stamp.isdecimal():
            lines.append((int(stamp) / 1e6, str(entry.get("MESSAGE"))))
    found = [event for event in (_port_event(at, text) for at, text in lines or _kmsg()) if event and event.time >= since]
    return sorted(found, key=lambda event: event.time)  # those of one time stay in the kernel's order


def _port_event(at: float, text: str) -> PortEvent | None:
    match = _OF_PORT.fullmatch(text.strip())
    if match:
        for phrase, meaning in _MEANINGS.items():
            if match["text"].startswith(phrase):
                return PortEvent(at, match["port"], meaning, match["text"])
    return None


def _journal(*matches: str) -> list[dict[str, Any]] | None:
    """Return the journal's entries that match, or None on a host without a journal."""
    program = shutil.which("journalctl")
    if not program or not os.path.exists(events.JOURNAL):
        return None
    command = [program, "--quiet", "--no-pager", "--all", "--output=json", *matches]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CniError(IO_FAILURE, f"journalctl did not answer within {_SECONDS:.0f} s") from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise CniError(IO_FAILURE, f"cannot read the journal: {reason}")
    entries = []
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries


def _kmsg() -> list[tuple[float, str]]:
    """Return the lines that the kernel still has, with their times (Documentation/ABI/testing/dev-kmsg).

    A record is "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT", and lines with facts about it that begin with a space.
    """
    try:
        fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a container without it, or not root
        return []
    booted = time.time() - time.monotonic()
    lines = []
    try:
        while data := _record(fd):
            for record in data.decode("utf-8", "replace").splitlines():
                head, _, text = record.partition(";")
                stamp = head.split(",")[2:3]
                if stamp and stamp[0].isdecimal():
                    lines.append((round(booted + int(stamp[0]) / 1e6, 3), text))
    finally:
        os.close(fd)
    return lines


def _record(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, 65536)
        except BrokenPipeError:  # it was overwritten before we read it; the next read has the oldest that is left
            continue
        except OSError:  # BlockingIOError: there is no more
            return b""
