"""How many calls there were, how long they took, and with which codes they failed: a file of counters of a fixed size.

`sriov-bondctl up` creates it and `sriov-bondctl metrics` reads it. The plugin adds to it when a call has ended, with one write,
so that a kill leaves no half of a call in it. It is not synced: a power cut may lose the last counts. A call never fails, and
never waits for more than 50 ms, because of its counters.

The file: MAGIC, then for each of COMMANDS unsigned 64-bit numbers in the machine's byte order: a number for each of BUCKETS
and one for longer calls, the sum of the durations in microseconds, and a number for each of CODES and one for all other codes.
"""

import posix as os
from _struct import pack, unpack

from cni_sriov_bond import errors, files
from cni_sriov_bond.errors import IO_FAILURE, CniError

FILE = "call-counters"
MAGIC = b"calls 1\n"
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
# Upper bounds in seconds. An ADD takes 0.1 to 1 s, and longer if no port has carrier yet; its deadline is 110 s.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# CNI's codes, and ours. An IPAM plugin may have others.
CODES = (1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51, 100, 101, 102, 103, 104, 105, errors.INTERNAL)
OTHER = 0  # stands for all codes that are not in CODES
_LOCK_SECONDS = 0.05
_BUCKETS = len(BUCKETS) + 1
_NUMBERS = _BUCKETS + 1 + len(CODES) + 1  # of a command
_FORMAT = f"={_NUMBERS}Q"
_BLOCK = 8 * _NUMBERS
_SIZE = len(MAGIC) + len(COMMANDS) * _BLOCK


class CommandCounters:
    """The counters of one command.

    :ivar durations: the number of calls for each of BUCKETS, without those of the buckets before, and that of longer calls.
    :ivar seconds: the sum of all durations.
    :ivar failures: the number of failed calls by code; OTHER is for all codes that are not in CODES.
    """

    __slots__ = ("durations", "failures", "seconds")

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.durations = numbers[:_BUCKETS]
        self.seconds = numbers[_BUCKETS] / 1e6
        self.failures = dict(zip((*CODES, OTHER), numbers[_BUCKETS + 1 :], strict=True))


def create(state_dir: str) -> None:
    """Create the file with all counters 0, unless there is a valid one.

    :raises CniError: IO_FAILURE.
    """
    try:
        valid = bool(_content(state_dir))
    except FileNotFoundError:
        valid = False
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read {state_dir}/{FILE}: {failed.strerror}") from None
    if not valid:
        files.write(state_dir, FILE, MAGIC.decode().ljust(_SIZE, "\0"))


def remove_unless(pools: list[str], state_dir: str) -> None:
    """Remove the file, if it exists, unless there are pools left.

    :raises CniError: IO_FAILURE when it cannot be removed.
    """
    if not pools:
        files.unlink(f"{state_dir}/{FILE}")


def add(state_dir: object, command: str, seconds: float, code: int | None) -> None:
    """Count a call. Whatever prevents it is ignored: a file that is missing or damaged, or a full disk.

    :param state_dir: as the config has it, unchecked; None for the default.
    :param seconds: how long it took.
    :param code: with which code it failed, or None if it succeeded.
    """
    directory = files.STATE_DIR if state_dir is None else state_dir
    if command not in COMMANDS or not isinstance(directory, str):
        return
    try:
        fd = files.locked_existing(f"{directory}/{FILE}", "the counters of calls", _LOCK_SECONDS)
    except (CniError, OSError, ValueError):
        return
    try:
        _add(fd, COMMANDS.index(command), seconds, code)
    except OSError:
        pass
    finally:
        files.unlock(fd)


def read(state_dir: str) -> dict[str, CommandCounters]:
    """Return the counters by command, or nothing if `up` has not created the file, or it is damaged.

    :raises OSError: when the file exists and cannot be read.
    """
    try:
        data = _content(state_dir)
    except FileNotFoundError:
        return {}
    blocks = range(len(MAGIC), len(data), _BLOCK)
    return {
        command: CommandCounters(unpack(_FORMAT, data[start : start + _BLOCK]))
        for command, start in zip(COMMANDS, blocks, strict=False)
    }


def _content(state_dir: str) -> bytes:
    """Return the content of the file, or b"" if it is damaged.

    :raises OSError: when it cannot be read.
    """
    fd = os.open(f"{state_dir}/{FILE}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _SIZE + 1)
    finally:
        os.close(fd)
    return data if len(data) == _SIZE and data.startswith(MAGIC) else b""


def _add(fd: int, command: int, seconds: float, code: int | None) -> None:
    if os.fstat(fd).st_size != _SIZE or os.pread(fd, len(MAGIC), 0) != MAGIC:
        return
    offset = len(MAGIC) + command * _BLOCK
    numbers = list(unpack(_FORMAT, os.pread(fd, _BLOCK, offset)))
    changes = [(sum(seconds > bound for bound in BUCKETS), 1), (_BUCKETS, int(seconds * 1e6))]
    if code is not None:
        changes.append((_BUCKETS + 1 + (CODES.index(code) if code in CODES else len(CODES)), 1))
    for position, increment in changes:
        numbers[position] = (numbers[position] + increment) % (1 << 64)
    os.pwrite(fd, pack(_FORMAT, *numbers), offset)
