"""An index of a network's reservations: which addresses an attachment has, and which are taken, without reading all files.

On disk, below the data directory::

    .sriov-bond/NAME/state        the boot id and the time stamp for which the rest is current
    .sriov-bond/NAME/owners/KEY   the addresses of one attachment, a line each; KEY is a hash of it
    .sriov-bond/NAME/taken/F-N    a bit for each address of the N-th 32768 of family F, set when it is taken

The reservations themselves are authoritative. The index is current while their directory has the modification time that
``mark_current`` gave it. Every other change of the directory gives it another time: by host-local, by an operator, or by a
process of ours that was killed. After a reboot the boot id differs. In these cases the index is rebuilt, so it needs neither
an order of writes nor fsync. A search for a free address reads 4 KiB for each 32768 addresses that are taken without a gap.
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
    """Return the name of an attachment's file in the index."""
    return files.digest(f"{container_id}\0{ifname}").hex()[:32]


class Index:
    """The index of one network. The constructor reads nothing.

    :param directory: the directory that holds the reservations.
    """

    __slots__ = ("_directory", "_root")

    def __init__(self, data_dir: str, name: str, directory: str) -> None:
        self._root = f"{data_dir}/.sriov-bond/{name}"
        self._directory = directory

    def is_current(self) -> bool:
        """Return whether nothing else has changed the reservations since ``mark_current``."""
        expected = f"{files.boot_id()} {os.stat(self._directory).st_mtime_ns}\n"
        return _read(f"{self._root}/state") == expected.encode()

    def mark_current(self) -> None:
        """Record that the index is current. Call it after the last change, under the lock.

        The stamp has all its nanoseconds. Before Linux 6.13 the kernel stamps changes from a clock that ticks every few
        milliseconds, so a change by somebody else in the same tick would not differ from a stamp of that clock.

        :raises CniError: IO_FAILURE.
        """
        stamp = time_ns()
        try:
            os.utime(self._directory, ns=(stamp, stamp))
        except OSError as error:
            raise CniError(IO_FAILURE, f"cannot set the time of {self._directory}: {error.strerror}") from None
        _write(f"{self._root}/state", f"{files.boot_id()} {stamp}\n".encode())

    def rebuild(self, reservations: "Iterable[tuple[Ip, str, str]]") -> None:
        """Replace the index.

        :param reservations: every reservation: address, address as text, and the key of its owner.
        """
        # First: a process that is killed in between must not leave an index that counts as current.
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
            self.set_addresses(owner, texts)
        for name, bits in taken.items():
            _write(f"{self._root}/taken/{name}", bytes(bits))

    def addresses_of(self, owner: str) -> list[str]:
        """Return the addresses of an owner, as text.

        :raises CniError: IO_FAILURE, also when the file is damaged.
        """
        path = f"{self._root}/owners/{owner}"
        texts = _read(path).decode("utf-8", "replace").split()
        try:
            for text in texts:
                to_number(text)
        except ValueError as invalid:
            raise CniError(IO_FAILURE, f"the index file {path} is damaged: {invalid}; delete {self._root}") from None
        return texts

    def set_addresses(self, owner: str, texts: list[str]) -> None:
        """Set the addresses of an owner."""
        if texts:
            _write(f"{self._root}/owners/{owner}", "".join(f"{text}\n" for text in texts).encode())
        else:
            files.unlink(f"{self._root}/owners/{owner}")

    def set_taken(self, address: "Ip", taken: bool) -> None:
        """Record an address as taken or free.

        :raises CniError: IO_FAILURE.
        """
        family, value = address
        offset, bit = (value % _CHUNK) // 8, 1 << value % 8
        fd = _open(f"{self._root}/taken/{family}-{value >> _SHIFT:x}", os.O_RDWR | os.O_CREAT)
        try:
            byte = (os.pread(fd, 1, offset) or b"\0")[0]
            os.pwrite(fd, bytes([byte | bit if taken else byte & ~bit]), offset)
        except OSError as error:
            raise CniError(IO_FAILURE, f"cannot write the index {self._root}: {error.strerror}") from None
        finally:
            os.close(fd)

    def first_free(self, family: int, begin: int, end: int) -> int | None:
        """Return the first address from ``begin`` to ``end`` that is not taken, or None."""
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
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot open {path}: {error.strerror}") from None


def _read(path: str) -> bytes:
    """Return the bytes of a file of the index, or none if it does not exist."""
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
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot read {path}: {error.strerror}") from None


def overwrite(path: str, text: str) -> None:
    """Write a file in place. A reader sees the old text, or the new text, for a moment with zero bytes behind it.

    ext4 starts a disk write when a file is replaced by a rename or truncated first: 0.5 ms instead of 0.01 ms.

    :raises CniError: IO_FAILURE.
    """
    _write(path, text.encode())


def _write(path: str, data: bytes) -> None:
    fd = _open(path, os.O_WRONLY | os.O_CREAT)
    try:
        surplus = os.fstat(fd).st_size - len(data)
        padded = data + bytes(max(surplus, 0))
        if os.pwrite(fd, padded, 0) < len(padded):
            raise CniError(IO_FAILURE, f"cannot write {path}: the disk is full")
        if surplus > 0:
            os.ftruncate(fd, len(data))
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot write {path}: {error.strerror}") from None
    finally:
        os.close(fd)
