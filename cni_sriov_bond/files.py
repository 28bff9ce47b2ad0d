"""File locks, and files that are replaced atomically. The pool and our IPAM plugin keep their state in them."""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import EACCES, EBADF, EROFS
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from time import monotonic, sleep

from cni_sriov_bond.errors import IO_FAILURE, TRY_AGAIN_LATER, CniError

try:
    from _sha256 import sha256 as _sha256  # the C module alone: hashlib loads OpenSSL
except ImportError:  # Python 3.12 renamed it
    from _sha2 import sha256 as _sha256

LOCK_SECONDS = 30.0
# How long a listing or a rename waits for the names of a directory, which others lock for microseconds.
_NAMES_SECONDS = 5.0
_boot_ids: list[str] = []  # the result of boot_id, after its first call
STATE_DIR = "/var/lib/cni/sriov-bond"


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text."""
    octets: bytes = _sha256(text.encode("utf-8", "surrogateescape")).digest()
    return octets


def boot_id() -> str:
    """Return the kernel's id of this boot. A lease with another id is from before a reboot, which ended its container.

    It is read once: no process outlives its boot, and every record that is read asks for it.
    """
    if not _boot_ids:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            _boot_ids.append(file.read().strip())
    return _boot_ids[0]


def is_path(text: str) -> bool:
    """Return whether a text can be a path: JSON text may have NUL or a lone surrogate, which a path cannot."""
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def exists(path: str) -> bool:
    """Return whether a path exists.

    :raises CniError: IO_FAILURE when that is unknown, e.g. without permission; then the path may exist.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot access {path}: {failed.strerror}") from None
    return True


def locked(path: str, subject: str, seconds: float = LOCK_SECONDS) -> int:
    """Lock a file, created if it is missing, and return its descriptor; ``unlock`` releases it.

    Only `down` deletes lock files, holding them: two processes could else lock two files of one name.

    :param subject: what the lock protects, for the error.
    :raises CniError: TRY_AGAIN_LATER with the holder after ``seconds``; IO_FAILURE when the file cannot be opened.
    """
    deadline = monotonic() + seconds
    while True:
        fd = _open_lock(path)
        _wait_for_lock(fd, subject, deadline)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # `down` removed the pool while we waited: no other process would see this lock


def locked_existing(path: str, subject: str, seconds: float = LOCK_SECONDS) -> int:
    """Lock a file that exists, and return its descriptor, open for reading and writing; ``unlock`` releases it.

    :param subject: what the lock protects, for the error.
    :raises CniError: TRY_AGAIN_LATER with the holder after ``seconds``.
    :raises OSError: when the file cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    _wait_for_lock(fd, subject, monotonic() + seconds)
    return fd


def locked_directory(path: str, subject: str, seconds: float = LOCK_SECONDS) -> int:
    """Lock a directory, which needs no file of its own for it, and return its descriptor; close it to unlock.

    NFS cannot lock directories, because a lock there needs a descriptor for writing (flock(2), "NFS details"). On it the
    directory stays unlocked.

    :param subject: what the lock protects, for the error.
    :raises CniError: TRY_AGAIN_LATER with the holder after ``seconds``.
    :raises OSError: when the directory cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        _wait_for_lock(fd, subject, monotonic() + seconds)
    except OSError as failed:
        if failed.errno != EBADF:
            os.close(fd)
            raise
    return fd


def _wait_for_lock(fd: int, subject: str, deadline: float) -> None:
    """Lock an open file; at the deadline close it and raise an error."""
    pause = 0.001
    while True:
        try:
            flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                from cni_sriov_bond import lock_holder  # only this error needs it

                holder = lock_holder.describe(os.fstat(fd).st_ino)
                os.close(fd)
                raise CniError(TRY_AGAIN_LATER, f"{subject} is in use by {holder}; try again later") from None
        else:
            return
        sleep(pause)
        pause = min(pause * 2, 0.05)


def try_lock(fd: int) -> bool:
    """Lock an open file if no other process has it locked, and return whether it is; closing it unlocks it."""
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError:
        return False
    return True


def unlock(fd: int) -> None:
    """Release a lock and close its descriptor. LOCK_UN releases it also for processes that inherited the descriptor."""
    try:
        flock(fd, LOCK_UN)
    except OSError:
        pass  # closing releases it too, unless a process inherited the descriptor
    os.close(fd)


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        hint = "; is the state directory writable?" if failed.errno in (EROFS, EACCES) else ""
        raise CniError(IO_FAILURE, f"cannot open the lock {path}: {failed.strerror}{hint}") from None


def write(directory: str, name: str, text: str, durable: bool = True) -> None:
    """Replace a file atomically: a reader sees the old or the new content, never a part.

    :param durable: whether to sync the content before the rename. Else a power cut may leave the new name on an empty file.
    :raises CniError: IO_FAILURE; then the file is unchanged.
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
        rename(directory, temporary, f"{directory}/{name}")
    except OSError as failed:
        _discard(temporary)
        raise CniError(IO_FAILURE, f"cannot write {directory}/{name}: {failed.strerror}") from None
    except CniError:
        _discard(temporary)
        raise


def _discard(temporary: str) -> None:
    try:
        os.unlink(temporary)
    except OSError:
        pass  # what made the write fail may prevent this too


def rename(directory: str, old: str, new: str) -> None:
    """Rename a file, while no process lists its directory by ``listed``.

    A directory is read in parts. Whether a name that was added since the first part is returned is unspecified (POSIX,
    readdir), so a listing could return neither the old nor the new name. On ext4 14 of 254 listings of 600 files did so.

    :param old, new: paths; the old one is in ``directory``.
    :raises CniError: TRY_AGAIN_LATER when a process keeps the names locked.
    :raises OSError: when the kernel refuses.
    """
    lock = _lock_names(directory)
    try:
        os.rename(old, new)
    finally:
        os.close(lock)


def _lock_names(directory: str) -> int:
    return locked_directory(directory, f"the directory {directory}", _NAMES_SECONDS)


def sync(directory: str) -> None:
    """Sync a directory, so that created, renamed and deleted names in it survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink(path: str) -> None:
    """Delete a file, if it exists.

    :raises CniError: IO_FAILURE when it cannot be deleted.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot delete {path}: {failed.strerror}") from None


def listed(directory: str) -> list[str]:
    """Return the names in a directory; none if there is no such directory.

    A file that ``rename`` or ``write`` renames meanwhile is not missed. What is not in the list may have been created since.

    :raises CniError: IO_FAILURE when it cannot be listed, TRY_AGAIN_LATER when a process keeps the names locked.
    """
    try:
        lock = _lock_names(directory)
        try:
            return os.listdir(lock)
        finally:
            os.close(lock)
    except FileNotFoundError:
        return []
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot list {directory}: {failed.strerror}") from None


def make_directory(path: str) -> None:
    """Create a directory of mode 0700, if it does not exist.

    :raises CniError: IO_FAILURE when it cannot be created.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot create the directory {path}: {failed.strerror}") from None
