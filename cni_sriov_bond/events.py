"""The log of events: who attached or released which bond, when, in which steps, and why it failed.

An event goes to the journal, as one datagram of fields (systemd.io, "Native Journal Protocol"), or without a journal to a file
of limited size, as one line of JSON. It is written when all work is done and the result has been sent, and never waited for: a
journal that is busy is passed over for the file. What cannot be written must not fail a call, so it is dropped. `sriov-bondctl
log` reads both.

A host on which no pool was ever created has no state directory, and no events are written there.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM
from _socket import socket as Socket
from time import monotonic, time

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.errors import CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.log import Log

JOURNAL = "/run/systemd/journal/socket"
MESSAGE_ID = "0a7c0f7ad4cd4bd4a8b96b28be9a8c5e"  # of all our events (journalctl MESSAGE_ID=...)
# The field of the journal that has the event as in the file. The other fields are for journalctl's own filters.
FIELD = "SRIOV_BOND_EVENT"
MOST_BYTES = 2 << 20  # of the file; with the one before it there are at most twice as many, some 5,000 events
_MOST_TEXT = 2000  # characters of an error, and of each step
_PRIORITY_ERROR, _PRIORITY_INFO = "3", "6"  # syslog(3)


def file_of(state_dir: str) -> str:
    """Return the path of the file for the events of a state directory; that before it ends in ``.1``."""
    return "/var/log/sriov-bond.log" if state_dir == files.STATE_DIR else f"{state_dir}.log"


class Subject:
    """What an event is about. A text that is not known is empty."""

    __slots__ = ("bond", "container_id", "ifname", "network", "pool")

    def __init__(self, pool: str = "", bond: str = "", network: str = "", container_id: str = "", ifname: str = "") -> None:
        self.pool = pool
        self.bond = bond
        self.network = network
        self.container_id = container_id
        self.ifname = ifname


class Action:
    """An action that has begun, such as the ADD of a container; ``end`` writes its event.

    :param log: the log of the call. Its steps from now on are those of the action.
    :param name: ADD, DEL or another word.
    """

    __slots__ = ("_began", "_clock", "_first", "_log", "name")

    def __init__(self, log: "Log", name: str) -> None:
        self.name = name
        self._log = log
        self._began = time()
        self._clock = monotonic()
        self._first = len(log.steps)

    def end(self, state_dir: str, subject: Subject, failed: BaseException | None = None) -> None:
        """Write the event.

        :param failed: why the action failed, or None.
        """
        try:
            if not files.exists(state_dir):
                return
        except CniError:
            return
        value: dict[str, object] = {
            "time": round(self._began, 3),
            "seconds": round(monotonic() - self._clock, 4),
            "program": self._log.program,
            "pid": os.getpid(),
            "caller": caller(),
            "action": self.name,
            "pool": subject.pool,
            "bond": subject.bond,
            "network": subject.network,
            "container_id": subject.container_id,
            "ifname": subject.ifname,
            "steps": [[round(at - self._clock, 4), _line(text)] for at, text in self._log.steps[self._first :]],
        }
        if failed is not None:
            value["error"] = _line(_reason(failed))
            value["code"] = failed.code if isinstance(failed, CniError) else 0
        text = jsontext.dumps(value)
        if not _to_journal(_fields(value, text, state_dir)):
            _to_file(file_of(state_dir), f"{text}\n".encode())


def caller() -> str:
    """Return who started this process, as NAME[PID]: containerd, dockerd, a shell."""
    pid = os.getppid()
    try:
        fd = os.open(f"/proc/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            name = os.read(fd, 64).decode("utf-8", "replace").strip()
        finally:
            os.close(fd)
    except OSError:  # it has ended
        name = ""
    return f"{name}[{pid}]"


def _reason(failed: BaseException) -> str:
    if isinstance(failed, CniError):
        return f"{failed.msg} ({failed.details})" if failed.details else failed.msg
    return f"{type(failed).__name__} {failed}".rstrip()


def _line(text: str) -> str:
    return text.replace("\n", " ")[:_MOST_TEXT]


def _fields(value: dict[str, object], text: str, state_dir: str) -> bytes:
    """Return an event as the fields of a journal entry; none of the values has a line break."""
    network, owner = value["network"], f"{value['container_id']} {value['ifname']}".strip()
    message = f"{value['action']} {owner or value['bond']}"
    message += f" of network {network}" if network else ""
    message += f", bond {value['bond']} of pool {value['pool']}" if value["bond"] else ""
    message += f": failed: {value['error']}" if "error" in value else f": done in {value['seconds']} s"
    fields = {
        "MESSAGE": _line(message),
        "PRIORITY": _PRIORITY_ERROR if "error" in value else _PRIORITY_INFO,
        "SYSLOG_IDENTIFIER": value["program"],
        "MESSAGE_ID": MESSAGE_ID,
        "SRIOV_BOND_STATE_DIR": state_dir,
        FIELD: text,
    }
    for name in ("action", "pool", "bond", "network", "container_id", "ifname"):
        fields[f"SRIOV_BOND_{name.upper()}"] = value[name]
    return "".join(f"{name}={content}\n" for name, content in fields.items()).encode("utf-8", "replace")


def _to_journal(fields: bytes) -> bool:
    """Send an entry to the journal, and return whether it took it: there may be none, or it may be too busy to wait for."""
    try:
        journal = Socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            journal.sendto(fields, MSG_DONTWAIT, JOURNAL)
        finally:
            journal.close()
    except OSError:
        return False
    return True


def _to_file(path: str, line: bytes) -> None:
    try:
        # O_NONBLOCK: a FIFO without a reader must not block the call. One write: lines of several processes do not mix.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, line)
            # Under the lock of this very file: another process may have renamed it by now, and the path is that of a new one.
            if os.fstat(fd).st_size > MOST_BYTES and files.try_lock(fd) and os.stat(path).st_ino == os.fstat(fd).st_ino:
                os.rename(path, f"{path}.1")
        finally:
            os.close(fd)
    except OSError:
        pass
