"""`top` on terminals: what fits, and its keys on a terminal of its own."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from cni_sriov_bond.ctl import rates
from cni_sriov_bond.ctl.top_screen import render
from tests.ctl.samples import LONG_ID, bond, snapshot
from tests.support import REPOSITORY, make_pool

if TYPE_CHECKING:
    from collections.abc import Iterator


def shown(width: int, height: int = 0, bonds: int = 3) -> list[str]:
    every = [bond(f"cbond{number}", LONG_ID, number) for number in range(1, bonds + 1)]
    gone = bond("cbond99", "c99", link=None)
    before = snapshot(0.0, *(bond(f"cbond{number}", LONG_ID, 0) for number in range(1, bonds + 1)), gone)
    output = io.StringIO()
    console = Console(file=output, width=width, highlight=False, markup=False, emoji=False)
    console.print(render(rates.between(before, snapshot(2.0, *every, gone)), width, height, ", by traffic (s), q ends"))
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(width: int) -> None:
    """No line is longer or wrapped; the busiest bond is first, and active port and traffic are always there."""
    lines = shown(width)
    assert [line for line in lines if len(line) > width] == []
    assert len(lines) == 1 + 3 + 5
    assert "4 of 7 bonds leased" in lines[0]
    assert [line.split()[0] for line in lines[5:]] == ["cbond3", "cbond2", "cbond1", "cbond99"]
    assert "ACTIVE" in lines[4]
    for title in ("LINK", "FAILOVERS"):
        assert (title in lines[4]) == (width >= 80), lines[4]
    cells = lines[5].split()
    assert cells[2:4] == ["NIC", "2"]
    assert {"12.0k", "24.0k"} <= set(cells)


def test_bonds_that_do_not_fit_are_counted() -> None:
    lines = shown(80, height=12, bonds=20)
    assert len(lines) <= 12
    assert re.fullmatch(r"and \d+ more bonds", lines[-1])
    assert sum(line.startswith(" cbond") for line in lines) + int(lines[-1].split()[1]) == 21


def test_a_bond_that_cannot_be_read_has_its_state() -> None:
    assert shown(120)[-1].split()[:4] == ["cbond99", "c99", "-", "releasing"]


class Terminal:
    """`top` on a terminal of its own."""

    def __init__(self, state: Path) -> None:
        self.master, slave = pty.openpty()
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        command = [sys.executable, "-m", "cni_sriov_bond.ctl", "--state-dir", str(state), "top", "--interval", "30"]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=REPOSITORY, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def read_until(self, text: str) -> None:
        """Read until a text has been written; a terminal's own sequences are left out."""
        deadline = time.monotonic() + 30
        while text not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 1)[0]:
                self.text += os.read(self.master, 65536).decode()


@pytest.fixture
def terminal(tmp_path: Path) -> "Iterator[Terminal]":
    make_pool(tmp_path)
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.process.kill()
    terminal.process.wait()


@pytest.mark.root
def test_the_keys(terminal: Terminal) -> None:
    """`s` shows another order at once, `q` ends it, and the terminal is as before."""
    terminal.read_until("by traffic")
    assert "\x1b[?1049h" in terminal.text, "it is on a screen of its own"
    os.write(terminal.master, b"s")
    terminal.read_until("by name")
    os.write(terminal.master, b"q")
    assert terminal.process.wait(30) == 0
    while select.select([terminal.master], [], [], 0.2)[0]:
        try:
            terminal.text += os.read(terminal.master, 65536).decode()
        except OSError:  # EIO: its other end is closed
            break
    assert "\x1b[?1049l" in terminal.text
    os.close(terminal.master)


@pytest.mark.root
def test_an_interrupt_is_its_end(terminal: Terminal) -> None:
    terminal.read_until("by traffic")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(30) == 0
    os.close(terminal.master)


@pytest.mark.root
def test_a_terminal_that_is_closed_is_its_end(terminal: Terminal) -> None:
    """Without SIGHUP, as under nohup or when the terminal is not its own."""
    terminal.read_until("by traffic")
    os.close(terminal.master)
    terminal.process.wait(30)


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "standard output is not a terminal; add --once"),
        (("--json",), "--json prints one reading; add --once"),
        (("--once", "--interval", "0"), "--interval is 0; it must be from 0.1 to 3600 seconds"),
        (("--once", "--interval", "nan"), "--interval is nan; it must be from 0.1 to 3600 seconds"),
    ],
)
def test_arguments_that_do_not_go_together(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    argv = [sys.executable, "-m", "cni_sriov_bond.ctl", "--state-dir", str(tmp_path), "top", *words]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"sriov-bondctl: {reason}\n")
