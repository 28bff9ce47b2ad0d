"""``sriov-bondctl log`` for people: each happening with its time, and the steps of an action below it."""

import textwrap
import time

from rich.console import Console
from rich.text import Text

from cni_sriov_bond.ctl import eventlog
from cni_sriov_bond.ctl.eventlog import Event, PortEvent
from cni_sriov_bond.ctl.story import Happening
from cni_sriov_bond.ctl.text import printable

_MEANINGS = {eventlog.FAILED: "failed", eventlog.UP: "is up", eventlog.ACTIVE: "is the active port now"}
_STYLES = {eventlog.FAILED: "red", eventlog.UP: "green", eventlog.ACTIVE: "yellow"}
_TIME = 25  # columns of a time, with the spaces after it


def print_story(console: Console, happenings: list[Happening]) -> None:
    """Print what happened, in order of time."""
    for happening in happenings:
        if happening.action:
            _print_action(console, happening.action)
        elif happening.port:
            _print_port(console, happening.port, happening.nic)


def _clock(at: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03}"


def _print_action(console: Console, event: Event) -> None:
    parts = [f"{event.container_id} {event.ifname}".strip()]
    parts += [f"network {event.network}"] if event.network else []
    parts += [f"bond {event.pool}/{event.bond}"] if event.bond else []
    program = "" if event.program == "sriov-bond" else f" with {event.program}"
    title = f"{event.action} by {event.caller}{program}: {', '.join(filter(None, parts))}"
    _print_line(console, _clock(event.time), title, "bold")
    for seconds, text in event.steps:
        _print_line(console, f"{seconds:+22.3f} s", text, "yellow" if text.startswith("warning: ") else "")
    if event.error:
        _print_line(console, f"{event.seconds:+22.3f} s", f"failed: {event.error}", "red")
    else:
        _print_line(console, f"{event.seconds:+22.3f} s", "done", "green")


def _print_port(console: Console, line: PortEvent, nic: str) -> None:
    _print_line(console, _clock(line.time), f"port {line.port} on {nic} {_MEANINGS[line.meaning]}", _STYLES[line.meaning])


def _print_line(console: Console, at: str, text: str, style: str) -> None:
    """Print a time and a text, which is wrapped between words; a word that is longer than a line is cut."""
    room = max(20, console.width - _TIME)
    lines = textwrap.wrap(printable(text), room, break_long_words=False, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        shown = line if len(line) <= room else line[: room - 1] + "…"
        console.print(Text.assemble((f"{at if not number else '':<{_TIME}}", "dim"), (shown, style)), soft_wrap=True)
