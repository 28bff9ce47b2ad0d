"""An index of a network's reservations, so that they need not all be read: the addresses of an owner, and which are allocated.

On disk, below the data directory::

    .sriov-bond/NAME/state        the boot and the stamp for which the rest is true
    .sriov-bond/NAME/owners/KEY   the addresses of one attachment, a line each; KEY is a hash of it
    .sriov-bond/NAME/taken/F-N    one bit for each of the N-th 32768 addresses of family F, set when it is taken

The reservations themselves are the truth. The index is valid while the directory that holds them has the time of change that we
gave it: whatever else changes the directory (host-local, an operator, one of us that was killed at its work) gives it
another, and so does a reboot. Then the index is made anew. So it need not be written in any careful order, nor synced.
Looking for a free address reads 4 KiB for each 32768 that are taken without a gap, however many there are.
"""

import posix as os  # os itself costs a call 4 million instructions
from time import time_ns

from cni_sriov_bond import files
from cni_sriov_bond.cni.address import to_number
from cni_sriov_bond.errors import IO_FAILURE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_sriov_bond.cni.address import Ip

_SHIFT = 15
_CHUNK = 1 << _SHIFT
_BYTES = _CHUNK // 8


def key(container_id: str, ifname: str) -> str:
    """Return the name of an owner's file."""
    return files.digest(f"{container_id}\0{ifname}").hex()[:32]


class Index:
    """The index of one network. Creating the value reads nothing."""

    __slots__ = ("_root", "_subject")

    def __init__(self, data_dir: str, name: str, subject: str) -> None:
        self._root = f"{data_dir}/.sriov-bond/{name}"
        self._subject = subject

    def is_true(self) -> bool:
        """Return whether no other program has changed the reservations since ``sign``."""
        expected = f"{files.boot_id()} {os.stat(self._subject).st_mtime_ns}\n"
        return _read(f"{self._root}/state") == expected.encode()

    def sign(self) -> None:
        """Mark the index as valid: the last step under the lock.

        The stamp has a nanosecond that the kernel's clock for files, which ticks every few milliseconds, does not show.
        """
        stamp = time_ns()
        try:
            os.utime(self._subject, ns=(stamp, stamp))
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot stamp {self._subject}: {failed.strerror}") from None
        _write(f"{self._root}/state", f"{files.boot_id()} {stamp}\n".encode())

    def remake(self, reservations: "Iterable[tuple[Ip, str, str]]") -> None:
        """Rebuild the index from all reservations: address, the same as text, and the owner's key."""
        files.unlink(f"{self._root}/state")
        parent = self._root.rpartition("/")[0]
        for path in (parent, self._root, f"{self._root}/owners", f"{self._root}/taken"):
            files.make_directory(path)
        for directory in ("owners", "taken"):
            for file in os.listdir(f"{self._root}/{directory}"):
                files.unlink(f"{self._root}/{directory}/{file}")
        self._fill(reservations)

    def _fill(self, reservations: "Iterable[tuple[Ip, str, str]]") -> None:
        owners: dict[str, list[str]] = {}
        taken: dict[str, bytearray] = {}
        for (family, value), text, owner in reservations:
            owners.setdefault(owner, []).append(text)
            bits = taken.setdefault(f"{family}-{value >> _SHIFT:x}", bytearray(_BYTES))
            bits[(value % _CHUNK) // 8] |= 1 << value % 8
        for owner, texts in owners.items():
            self.own(owner, texts)
        for name, bits in taken.items():
            _write(f"{self._root}/taken/{name}", bytes(bits))

    def owned(self, owner: str) -> list[str]:
        """Return the addresses of an owner, as text.

        :raises CniError: IO_FAILURE, also when another program wrote the file.
        """
        path = f"{self._root}/owners/{owner}"
        texts = _read(path).decode("utf-8", "replace").split()
        try:
            for text in texts:
                to_number(text)
        except ValueError as wrong:
            raise CniError(IO_FAILURE, f"the index file {path} is damaged: {wrong}; delete {self._root}") from None
        return texts

    def own(self, owner: str, texts: list[str]) -> None:
        """Set the addresses of an owner."""
        if texts:
            _write(f"{self._root}/owners/{owner}", "".join(f"{text}\n" for text in texts).encode())
        else:
            files.unlink(f"{self._root}/owners/{owner}")

    def mark(self, address: "Ip", taken: bool) -> None:
        """Record an address as allocated or free."""
        family, value = address
        place, bit = (value % _CHUNK) // 8, 1 << value % 8
        fd = _open(f"{self._root}/taken/{family}-{value >> _SHIFT:x}", os.O_RDWR | os.O_CREAT)
        try:
            now = (os.pread(fd, 1, place) or b"\0")[0]
            os.pwrite(fd, bytes([now | bit if taken else now & ~bit]), place)
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot write the index {self._root}: {failed.strerror}") from None
        finally:
            os.close(fd)

    def first_free(self, family: int, begin: int, end: int) -> int | None:
        """Return the first free address from ``begin`` to ``end``, or None."""
        while begin <= end:
            last = min(end, begin | _CHUNK - 1)
            bits = int.from_bytes(_read(f"{self._root}/taken/{family}-{begin >> _SHIFT:x}"), "little")
            free = ~(bits >> begin % _CHUNK) & (1 << last - begin + 1) - 1
            if free:
                return begin + (free & -free).bit_length() - 1
            begin = last + 1
        return None


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot open {path}: {failed.strerror}") from None


def _read(path: str) -> bytes:
    """Read a file of ours, which is small; return nothing when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = b""
            while part := os.read(fd, 65536):
                data += part
            return data
        finally:
            os.close(fd)
    except FileNotFoundError:
        return b""
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read {path}: {failed.strerror}") from None


def overwrite(path: str, text: str) -> None:
    """Write a file in place: at any time it has its old or its new text, the new one followed by zeros for a moment.

    Replacing it, by rename or after cutting it to nothing, would make ext4 start its disk: 0.5 ms against 0.01.

    :raises CniError: IO_FAILURE.
    """
    _write(path, text.encode())


def _write(path: str, data: bytes) -> None:
    fd = _open(path, os.O_WRONLY | os.O_CREAT)
    try:
        more = os.fstat(fd).st_size - len(data)
        padded = data + bytes(max(more, 0))
        if os.pwrite(fd, padded, 0) < len(padded):
            raise CniError(IO_FAILURE, f"cannot write {path}: the disk is full")
        if more > 0:
            os.ftruncate(fd, len(data))
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot write {path}: {failed.strerror}") from None
    finally:
        os.close(fd)
