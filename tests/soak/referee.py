"""Who owns which bond, as those who use the pool believe it: two owners at once are seen at the instant.

Nothing here is the product's. There are two kinds of owning, and a mark for each in the referee's own directory:

- A process *works* on a bond while it has it locked. Its mark is a POSIX record lock: the kernel drops those of a dying
  process while it closes its files, and the product's flock only after that, so that a kill never looks like two owners.
- An attachment *owns* a bond from the end of acquiring to the begin of giving back, over the death of processes. Its mark is
  a symbolic link: made, read and exclusive in one step. It is made after the lease and removed before it, and its
  value is never used again, so that at every instant a mark without its lease, or a lease of another, is a fault.
"""

import fcntl
import json
import os
import struct
from pathlib import Path

LOCKS, BONDS, ATTACHMENTS, ASIDE = "locks", "bonds", "attachments", "aside"
FAULTS = "faults"
# struct flock: what comes first in it, on Linux for 64 bits, is l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = "hhqqi4x"


class Referee:
    """One process's hand in the referee's directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._faults = os.open(f"{directory}/{FAULTS}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._locks: dict[str, int] = {}

    def fault(self, words: str) -> None:
        """Write down that a rule is broken."""
        os.write(self._faults, f"{words}\n".encode())

    def begin_work(self, bond: str) -> None:
        """Mark that this process has a bond locked."""
        if bond not in self._locks:  # opened once and never closed: closing any descriptor would drop the lock
            self._locks[bond] = os.open(f"{self.directory}/{LOCKS}/{bond}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._locks[bond], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            other = struct.unpack(_FLOCK, fcntl.fcntl(self._locks[bond], fcntl.F_GETLK, asked))[4]
            self.fault(f"two processes work on {bond}: {other} and {os.getpid()}")

    def end_work(self, bond: str) -> None:
        """Take the mark back, before the bond is unlocked."""
        fcntl.lockf(self._locks[bond], fcntl.LOCK_UN)

    def own(self, bond: str, attachment: str, lease: str) -> None:
        """Mark that an attachment owns a bond by a lease that has just been acquired."""
        if os.path.lexists(f"{self.directory}/{ASIDE}/{bond}"):
            self.fault(f"{bond} was handed out to {lease} while it was in quarantine")
        for kind, name in ((BONDS, bond), (ATTACHMENTS, attachment)):
            path = f"{self.directory}/{kind}/{name}"
            try:
                os.symlink(lease, path)
            except FileExistsError:
                self.fault(f"two owners: {name} of {kind} is {owner(path)}'s, and was given to {lease}")

    def disown(self, bond: str, attachment: str, lease: str) -> None:
        """Take the marks back, before the lease is given back; a process that died between may have begun."""
        for path in (f"{self.directory}/{BONDS}/{bond}", f"{self.directory}/{ATTACHMENTS}/{attachment}"):
            if owner(path) != lease:
                continue
            try:
                os.unlink(path)
            except FileNotFoundError:
                self.fault(f"two processes work on {bond}: {lease} is given back twice at once")

    def found(self, bond: str, lease: str, state: str) -> None:
        """Judge a lease that this process has locked: the bond is its own, or nobody's after a death as it came or went."""
        marked = owner(f"{self.directory}/{BONDS}/{bond}")
        if marked not in (lease, ""):
            self.fault(f"two owners: {bond} is leased as {state} by {lease}, but it is {marked}'s")

    def begin_aside(self, bond: str) -> None:
        """Mark that a bond is in quarantine; called with the bond locked."""
        try:
            os.symlink("quarantine", f"{self.directory}/{ASIDE}/{bond}")
        except FileExistsError:
            pass

    def end_aside(self, bond: str) -> None:
        """Take that mark back, before the bond is out of quarantine."""
        try:
            os.unlink(f"{self.directory}/{ASIDE}/{bond}")
        except FileNotFoundError:
            pass


def owner(path: str) -> str:
    """Give whose a mark is, or "" where there is none."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def prepare(directory: Path) -> None:
    """Make the referee's directory."""
    for kind in (LOCKS, BONDS, ATTACHMENTS, ASIDE):
        (directory / kind).mkdir(parents=True)
    (directory / FAULTS).touch()


class Watch:
    """Looks at the pool's files and the marks from outside, again and again."""

    def __init__(self, directory: Path, pool: Path) -> None:
        self._directory = directory
        self._leases = pool / "leases"
        self.looks = 0
        self.faults: list[str] = []

    def look(self) -> None:
        """Look once at everything."""
        self.looks += 1
        before = self._marks()
        files = sorted(os.listdir(self._leases))  # one getdents, so of one instant: the directory is small
        again = self._marks()
        leased = {name.split(".")[0] for name in files if not name.startswith(".")}
        for bond, lease in before.items():
            if again.get(bond) == lease and bond not in leased:
                self.faults.append(f"{bond} is lost: {lease} owns it, and there is no lease of it")
        self._two_owners([name for name in files if not name.startswith(".")])
        self.faults += (self._directory / FAULTS).read_text().splitlines()

    def _marks(self) -> dict[str, str]:
        folder = self._directory / BONDS
        return {bond: lease for bond in os.listdir(folder) if (lease := owner(f"{folder}/{bond}"))}

    def _two_owners(self, files: list[str]) -> None:
        """Compare the leases that one listing has: no bond twice, no attachment twice."""
        for place, what in ((0, "bond"), (1, "attachment")):
            seen: dict[str, str] = {}
            for file in files:
                part = file.split(".")[place]
                other = seen.setdefault(part, file)
                if other != file and self._both(other, file):
                    self.faults.append(f"two owners: the {what} {part} has the leases {other} and {file}")

    def _both(self, one: str, other: str) -> bool:
        """Tell whether two leases, and not two states of one, were there at one instant."""
        first, second = self.lease(one), self.lease(other)
        return bool(first and second and first != second and self.lease(one) == first)

    def lease(self, file: str) -> str:
        """Give the name that a record has for its lease, or "" when the file is gone."""
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
    """Say what is wrong now that every process has ended: records, marks without their lease, locks."""
    watch = Watch(directory, pool)
    watch.look()
    leases = {watch.lease(path.name): path.name for path in (pool / "leases").iterdir() if not path.name.startswith(".")}
    faults = watch.faults
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
                faults.append(f"{path.name} is locked, and every process has ended")
    return faults


def emptied(pool: Path, given: list[str], inventory: bytes) -> list[str]:
    """Say what is wrong after all leases were given back.

    :param given: the bonds that the pool gave to as many attachments as it could, after that.
    :param inventory: what the pool was made with.
    """
    names = [bond["name"] for bond in json.loads(inventory)["bonds"]]
    faults = [f"{name} is lost: the empty pool does not give it any more" for name in names if name not in given]
    if len(given) != len(set(given)):
        faults.append(f"two owners: the empty pool gave {given}")
    kept = {pool / "pool.json", pool / "lock", pool / "pending" / "lock", *(pool / "bonds" / name for name in names)}
    faults += [f"{path.relative_to(pool)} stayed" for path in pool.rglob("*") if path.is_file() and path not in kept]
    if (pool / "pool.json").read_bytes() != inventory:
        faults.append("the inventory is another")
    return faults
