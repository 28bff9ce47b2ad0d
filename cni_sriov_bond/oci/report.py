"""What the hook says: one line on standard error, and the same in the journal.

crun, youki and podman drop a hook's standard error. Docker takes the runtime's whole error text for its message.
"""

import _socket
import os

_LONGEST = 400
# dockerd looks for these phrases in the error of a start, and then reports that the command cannot be run (daemon/errors.go).
_PHRASES = (
    ("permission denied", "not permitted"),
    ("no such file or directory", "does not exist"),
    ("is not a directory", "is no folder"),
    ("not a directory", "no folder"),
    ("is a directory", "is a folder"),
    ("executable file not found", "no such program"),
)
_JOURNAL = "/run/systemd/journal/socket"
_SYSLOG = "/dev/log"
ERROR, WARNING = 3, 4  # syslog(3)
_DAEMON = 3 << 3


def line(text: str) -> str:
    """Return a text as one line of at most 400 characters without the phrases that Docker misunderstands."""
    words = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    for phrase, other in _PHRASES:
        position = words.lower().find(phrase)
        while position >= 0:
            words = f"{words[:position]}{other}{words[position + len(phrase) :]}"
            position = words.lower().find(phrase)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."


def fail(text: str, container_id: str = "") -> None:
    """Write why the hook fails to standard error and to the journal; neither failing to take it matters."""
    words = line(f"sriov-bond: {text}")
    try:
        os.write(2, f"{words}\n".encode("utf-8", "replace"))
    except OSError:
        pass
    to_journal(words, ERROR, container_id)


def warn(text: str, container_id: str = "") -> None:
    """Write a warning to the journal only: what a hook that succeeds writes is shown to nobody."""
    to_journal(line(f"sriov-bond: {text}"), WARNING, container_id)


def to_journal(text: str, priority: int, container_id: str) -> None:
    """Send a line to systemd's journal, or else to syslog, if there is one."""
    fields = f"MESSAGE={text}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=sriov-bond-hook\n"
    if container_id:
        fields += f"SRIOV_BOND_CONTAINER={container_id}\n"
    if not _send(_JOURNAL, fields):
        _send(_SYSLOG, f"<{_DAEMON | priority}>sriov-bond-hook[{os.getpid()}]: {text}")


def _send(path: str, datagram: str) -> bool:
    try:
        socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    except OSError:
        return False
    try:
        socket.connect(path)
        socket.send(datagram.encode("utf-8", "replace"))
    except OSError:
        return False
    finally:
        socket.close()
    return True
