"""`./dev lab`: a shell in the guest at this terminal, or a script with its output and exit status."""

import contextlib
import os
import select
import shlex
import shutil
import socket
import sys
import termios
import threading
import tty
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Guest

SCRIPT_DEADLINE = 1800.0
WELCOME = r"""
echo "A guest with NICs enp1s0 (switch A) and enp2s0 (switch B), 7 VFs each; peers are in netns 'world':"
ip -n world -br addr show dev br0.100; ip -n world -br addr show dev br0.200
echo "Ctrl-D ends it."
exec bash --norc -i
"""


def at_terminal() -> bool:
    """Return whether standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def script(guest: "Guest", arguments: list[str], origin: Path) -> int:
    """Run a script of this machine in the guest, which has this machine's files at the same paths.

    An executable file is executed directly: by its first line, or as a program. Anything else is run by bash.
    """
    path = (origin / arguments[0]).resolve()
    if not path.is_file():
        print(f"dev: no such script: {path}", file=sys.stderr)
        return 2
    with path.open("rb") as file:
        is_executable = os.access(path, os.X_OK) and file.read(4).startswith((b"#!", b"\x7fELF"))
    return _run(guest, [*([] if is_executable else ["bash"]), str(path), *arguments[1:]], str(path.parent))


def interact(guest: "Guest") -> int:
    """Run a shell in the guest, at a terminal or with commands from standard input."""
    terminal = guest.machine.channels.terminal
    if terminal is None:
        return _run(guest, ["bash", "-s"], "/root", sys.stdin.buffer.read())
    columns, lines = shutil.get_terminal_size()
    welcome = shlex.quote(f"stty cols {columns} rows {lines}; export PS1='guest# '\n{WELCOME}")
    process = guest.spawn(
        f"setsid -c bash -c {welcome} <>/dev/hvc0 >&0 2>&1",
        env={"TERM": os.environ.get("TERM", "linux")},
        cwd="/root",
    )
    ended = threading.Event()
    status = 0

    def wait() -> None:
        nonlocal status
        try:
            status = process.wait().status
        finally:
            ended.set()

    threading.Thread(target=wait, daemon=True).start()
    with _raw_terminal():
        _bridge(terminal, ended)
    return status


def _run(guest: "Guest", argv: list[str], folder: str, stdin: bytes = b"") -> int:
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}

    def show(name: str, data: bytes) -> None:
        streams[name].write(data)
        streams[name].flush()

    return guest.run(argv, cwd=folder, stdin=stdin, timeout=SCRIPT_DEADLINE, listener=show).status


@contextlib.contextmanager
def _raw_terminal() -> "Iterator[None]":
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _bridge(terminal: socket.socket, ended: threading.Event) -> None:
    """Copy bytes between this terminal and the guest's until its shell ends."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    while not ended.is_set():
        ready, _, _ = select.select([keyboard, terminal], [], [], 0.2)
        if keyboard in ready:
            terminal.sendall(os.read(keyboard, 4096))
        if terminal in ready:
            if not (data := terminal.recv(65536)):
                return
            os.write(screen, data)
