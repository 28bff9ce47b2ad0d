"""Record which process or attachment owns which bond, and report two owners as soon as they exist.

This code shares nothing with the product. There are two kinds of ownership, each with marks in the oracle's directory:

- A process *works* on a bond while it has it locked. Its mark is a POSIX record lock. When a process is killed, the kernel
  releases these while it closes its files, and the product's flock only after that: a kill never looks like two owners.
- An attachment *owns* a bond from the end of acquire to the beginning of release, also after its process was killed. Its mark
  is a symbolic link, because creating and reading one is atomic. It is created after the lease and removed before it, and
  its value is never reused. So at any instant a mark without its lease, or with another lease, is a fault.
"""

import fcntl
import json
import os
import struct
from pathlib import Path

LOCKS, BONDS, ATTACHMENTS, QUARANTINE = "locks", "bonds", "attachments", "quarantine"
FAULTS = "faults"
# A lease is written three times, and has at most four names, one after the other.
_LISTINGS = 10
# The fields of struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"


class OwnershipOracle:
    """One process's access to the oracle's directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._faults = os.open(f"{directory}/{FAULTS}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._locks: dict[str, int] = {}

    def fault(self, message: str) -> None:
        """Record that a rule is broken."""
        os.write(self._faults, f"{message}\n".encode())

    def begin_work(self, bond: str) -> None:
        """Mark that this process has a bond locked."""
        if bond not in self._locks:  # never closed: closing any descriptor of a file releases the process's record locks on it
            self._locks[bond] = os.open(f"{self.directory}/{LOCKS}/{bond}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._locks[bond], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            other = struct.unpack(_FLOCK, fcntl.fcntl(self._locks[bond], fcntl.F_GETLK, request))[4]
            self.fault(f"two processes work on {bond}: {other} and {os.getpid()}")

    def end_work(self, bond: str) -> None:
        """Remove the mark, before the bond is unlocked."""
        fcntl.lockf(self._locks[bond], fcntl.LOCK_UN)

    def own(self, bond: str, attachment: str, lease: str) -> None:
        """Mark that an attachment owns a bond by a lease that has just been acquired."""
        if os.path.lexists(f"{self.directory}/{QUARANTINE}/{bond}"):
            self.fault(f"{bond} was leased to {lease} while it was in quarantine")
        for kind, name in ((BONDS, bond), (ATTACHMENTS, attachment)):
            path = f"{self.directory}/{kind}/{name}"
            try:
                os.symlink(lease, path)
            except FileExistsError:
                self.fault(f"two owners: {name} of {kind} is owned by {owner(path)}, and was leased to {lease}")

    def release(self, bond: str, attachment: str, lease: str) -> None:
        """Remove the marks, before the lease is released. A killed process may have removed some of them."""
        for path in (f"{self.directory}/{BONDS}/{bond}", f"{self.directory}/{ATTACHMENTS}/{attachment}"):
            if owner(path) != lease:
                continue
            try:
                os.unlink(path)
            except FileNotFoundError:
                self.fault(f"two processes work on {bond}: {lease} is released twice at the same time")

    def check_owner(self, bond: str, lease: str, state: str) -> None:
        """Check a lease that this process has locked: no other lease owns the bond.

        The mark may be missing: a process can be killed between lease and mark.
        """
        marked = owner(f"{self.directory}/{BONDS}/{bond}")
        if marked not in (lease, ""):
            self.fault(f"two owners: {bond} is leased as {state} by {lease}, but owned by {marked}")

    def begin_quarantine(self, bond: str) -> None:
        """Mark that a bond is in quarantine; called with the bond locked."""
        try:
            os.symlink("quarantine", f"{self.directory}/{QUARANTINE}/{bond}")
        except FileExistsError:
            pass

    def end_quarantine(self, bond: str) -> None:
        """Remove that mark, before the bond leaves the quarantine."""
        try:
            os.unlink(f"{self.directory}/{QUARANTINE}/{bond}")
        except FileNotFoundError:
            pass


def owner(path: str) -> str:
    """Return the value of a mark, or "" if there is none."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def prepare(directory: Path) -> None:
    """Create the oracle's directory."""
    for kind in (LOCKS, BONDS, ATTACHMENTS, QUARANTINE):
        (directory / kind).mkdir(parents=True)
    (directory / FAULTS).touch()


class Monitor:
    """Compares the pool's files with the marks from outside, repeatedly."""

    def __init__(self, directory: Path, pool: Path) -> None:
        self._directory = directory
        self._leases = pool / "leases"
        self.checks = 0
        self.faults: list[str] = []

    def check(self) -> None:
        """Compare everything once."""
        self.checks += 1
        before = self._marks()
        files = self._files()
        leased = {file.split(".")[0] for file in files}
        for bond, lease in before.items():
            if bond not in leased and self._is_lost(bond, lease):
                self.faults.append(f"{bond} is lost: {lease} owns it, and there is no lease of it")
        self._two_owners(files)
        self.faults += (self._directory / FAULTS).read_text().splitlines()

    def _files(self) -> list[str]:
        return sorted(name for name in os.listdir(self._leases) if not name.startswith("."))

    def _is_lost(self, bond: str, lease: str) -> bool:
        """Return whether no listing shows a bond that a lease owns all the time.

        A listing is not atomic: it may miss a file that is renamed or rewritten meanwhile. So one that does not show it proves
        nothing. But every file is renamed and rewritten fewer times than it is looked for here.
        """
        for _ in range(_LISTINGS):
            if any(file.split(".")[0] == bond for file in self._files()):
                return False
            if owner(f"{self._directory}/{BONDS}/{bond}") != lease:
                return False
        return True

    def _marks(self) -> dict[str, str]:
        folder = self._directory / BONDS
        return {bond: lease for bond in os.listdir(folder) if (lease := owner(f"{folder}/{bond}"))}

    def _two_owners(self, files: list[str]) -> None:
        """Check one listing: no bond and no attachment has two leases."""
        for index, kind in ((0, "bond"), (1, "attachment")):
            seen: dict[str, str] = {}
            for file in files:
                part = file.split(".")[index]
                other = seen.setdefault(part, file)
                if other != file and self._coexist(other, file):
                    self.faults.append(f"two owners: the {kind} {part} has the leases {other} and {file}")

    def _coexist(self, file: str, other: str) -> bool:
        """Return whether two files are two leases that exist at the same time, not two states of one lease."""
        first, second = self.lease(file), self.lease(other)
        return bool(first and second and first != second and self.lease(file) == first)

    def lease(self, file: str) -> str:
        """Return the soak's name in a lease's record, or "" if the file does not exist any more."""
        try:
            text = (self._leases / file).read_text()
        except FileNotFoundError:
            return ""
        try:
            return str(json.loads(text)["delegate"]["environ"]["SOAK_NAME"])
        except (ValueError, KeyError, TypeError) as damaged:
            self.faults.append(f"{file} cannot be read ({damaged!r}): {text!r}")
            return ""


def at_rest(directory: Path, pool: Path) -> list[str]:
    """Return the faults after every process has ended: damaged records, marks without a lease, held locks."""
    monitor = Monitor(directory, pool)
    monitor.check()
    leases = {monitor.lease(path.name): path.name for path in (pool / "leases").iterdir() if not path.name.startswith(".")}
    faults = monitor.faults
    for bond in os.listdir(directory / BONDS):
        lease = owner(f"{directory}/{BONDS}/{bond}")
        if not leases.get(lease, "").startswith(f"{bond}."):
            faults.append(f"{bond} is lost: {lease} owns it, and its lease is gone")
    for path in (pool / "pending").iterdir():
        if path.name != "lock":
            json.loads(path.read_text())
    for path in (pool / "lock", pool / "pending" / "lock", *(pool / "bonds").iterdir()):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                faults.append(f"{path.name} is still locked after every process has ended")
    return faults


def emptied(pool: Path, leased: list[str], inventory: bytes) -> list[str]:
    """Return the faults after everything was released.

    :param leased: the bonds that could be leased afterwards.
    :param inventory: the inventory that the pool was created with.
    """
    names = [bond["name"] for bond in json.loads(inventory)["bonds"]]
    faults = [f"{name} is lost: the empty pool does not lease it any more" for name in names if name not in leased]
    if len(leased) != len(set(leased)):
        faults.append(f"two owners: the empty pool leased {leased}")
    expected = {pool / "pool.json", pool / "lock", pool / "pending" / "lock", *(pool / "bonds" / name for name in names)}
    faults += [
        f"{path.relative_to(pool)} was not removed" for path in pool.rglob("*") if path.is_file() and path not in expected
    ]
    if (pool / "pool.json").read_bytes() != inventory:
        faults.append("the inventory has changed")
    return faults
