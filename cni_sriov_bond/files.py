"""Locked files and files that are replaced as a whole: what the pool of bonds and the IPAM delegate are kept in."""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import EACCES, EROFS
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from time import monotonic, sleep

from cni_sriov_bond.errors import IO_FAILURE, TRY_AGAIN_LATER, CniError

try:
    from _sha256 import sha256 as _sha256  # the C module alone: hashlib loads OpenSSL
except ImportError:  # Python 3.12 renamed it
    from _sha2 import sha256 as _sha256

LOCK_SECONDS = 30.0
STATE_DIR = "/var/lib/cni/sriov-bond"


def digest(text: str) -> bytes:
    """Give the SHA-256 of a text."""
    found: bytes = _sha256(text.encode("utf-8", "surrogateescape")).digest()
    return found


def boot_id() -> str:
    """Give the kernel's id of this boot: a lease of another one is history, not a debt."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def is_path(text: str) -> bool:
    """Tell whether a text can be a path; JSON can say NUL and half of a surrogate pair, which no path has."""
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def exists(path: str) -> bool:
    """Tell whether a path leads anywhere.

    :raises CniError: IO_FAILURE when that cannot be seen, which does not mean that it does not.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot look at {path}: {failed.strerror}") from None
    return True


def locked(path: str, what: str, seconds: float = LOCK_SECONDS) -> int:
    """Lock a file, made where it is missing, and give the descriptor to close.

    :param what: the words for what it protects.
    :raises CniError: TRY_AGAIN_LATER naming who holds it, after ``seconds``; IO_FAILURE when there can be no lock.
    """
    deadline = monotonic() + seconds
    fd = _open_lock(path)
    pause = 0.001
    while True:
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # `down` took the pool away while we waited: nobody else would see this lock
            fd = _open_lock(path)
            continue
        except BlockingIOError:
            if monotonic() >= deadline:
                holder = _holder(os.fstat(fd).st_ino)
                os.close(fd)
                raise CniError(TRY_AGAIN_LATER, f"{what} is in use by {holder}; try again later") from None
        sleep(pause)
        pause = min(pause * 2, 0.05)


def unlock(fd: int) -> None:
    """Give up a lock, also for every process that has inherited its descriptor, and close that (flock(2): LOCK_UN)."""
    try:
        flock(fd, LOCK_UN)
    except OSError:
        pass  # what the lock was for is done, and closing gives it up where nobody has inherited it
    os.close(fd)


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        hint = "; is the state directory writable?" if failed.errno in (EROFS, EACCES) else ""
        raise CniError(IO_FAILURE, f"cannot open the lock {path}: {failed.strerror}{hint}") from None


def _holder(inode: int) -> str:
    """Return the words for the process that took a lock; if that has ended, another has inherited the descriptor."""
    pid = _taker(inode)
    if not pid:
        return "another process"
    name = _text(f"/proc/{pid}/comm").strip()
    return f"process {pid} ({name})" if name else f"a process that inherited it from process {pid}, which has ended"


def _taker(inode: int) -> str:
    """Return the pid that /proc/locks has for a flock: ``N: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF``."""
    for line in _text("/proc/locks").splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return words[4]
    return ""


def _text(path: str) -> str:
    """Read a file of /proc; what has ended meanwhile has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write(directory: str, name: str, text: str, durable: bool = True) -> None:
    """Replace a file as a whole; with ``durable`` its bytes are on disk before its name is.

    :raises CniError: IO_FAILURE, the file being the old one.
    """
    temporary = f"{directory}/.{name}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            data = text.encode()
            while data:
                data = data[os.write(fd, data) :]
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, f"{directory}/{name}")
    except OSError as failed:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # what stopped the writing may stop this too
        raise CniError(IO_FAILURE, f"cannot write {directory}/{name}: {failed.strerror}") from None


def sync(directory: str) -> None:
    """Have the names in a directory on disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink(path: str) -> None:
    """Delete a file that may be gone already.

    :raises CniError: IO_FAILURE when it stays.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot delete {path}: {failed.strerror}") from None


def listed(directory: str) -> list[str]:
    """Give the names in a directory; one that is not there has none.

    :raises CniError: IO_FAILURE when it cannot be listed.
    """
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot list {directory}: {failed.strerror}") from None


def make_directory(path: str) -> None:
    """Make a directory, for root alone, if it is not there.

    :raises CniError: IO_FAILURE.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot make the directory {path}: {failed.strerror}") from None
