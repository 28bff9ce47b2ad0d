"""What the referee must see: the product with one of the things left out that keep a bond from having two owners."""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.soak.soak import REPOSITORY, Load

if TYPE_CHECKING:
    from pathlib import Path

_NO_LOCK = 'os.open("/dev/null", os.O_RDONLY)'


@dataclass(frozen=True)
class Mutant:
    """A change of one file.

    :param seen: words of which one must be in a fault.
    :param on_disk: that a kill meets a writer who waits for a disk.
    """

    name: str
    file: str
    old: str
    new: str
    seen: tuple[str, ...]
    bonds: int = 7
    kills: float = 20.0
    on_disk: bool = False

    def __str__(self) -> str:
        return self.name

    def load(self, seed: int) -> Load:
        """Give the load that shows it: on a disk what stays is seen at the end, else it ends with the first fault."""
        return Load(300 if self.on_disk else 20_000, seed, bonds=self.bonds, kills=self.kills)

    def package(self, directory: "Path") -> "Path":
        """Make a copy of the product with the change in it, and give the folder that holds it."""
        spoiled = directory / "cni_sriov_bond"
        shutil.copytree(REPOSITORY / "cni_sriov_bond", spoiled, ignore=shutil.ignore_patterns("__pycache__"))
        path = spoiled / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise AssertionError(
                f"{self.file} has {self.old!r} {text.count(self.old)} times, not once: the mutant is out of date"
            )
        path.write_text(text.replace(self.old, self.new))
        return directory


MUTANTS = (
    Mutant(
        "no lock of the pool",
        "pool/pool.py",
        'return files.locked(f"{self.path}/lock", f"pool {self.name}", seconds)',
        f"return {_NO_LOCK}",
        ("two owners",),
    ),
    Mutant(
        "no lock of a bond",
        "pool/pool.py",
        'return files.locked(f"{self.path}/bonds/{name}", f"bond {name} of pool {self.name}", seconds)',
        f"return {_NO_LOCK}",
        ("two processes work on",),
    ),
    Mutant(
        "records written in place",
        "files.py",
        'temporary = f"{directory}/.{name}.{os.getpid()}"',
        'temporary = f"{directory}/{name}"',
        ("damaged", "cannot be read"),
    ),
    Mutant(
        "a state changed in two steps",
        "pool/lease.py",
        '            os.rename(f"{self._leases}/{self.entry.file}", path)\n',
        '            with open(f"{self._leases}/{self.entry.file}") as file:\n'
        "                text = file.read()\n"
        '            os.unlink(f"{self._leases}/{self.entry.file}")\n'
        '            with open(path, "w") as file:\n'
        "                file.write(text)\n",
        ("is lost", "damaged", "cannot be read"),
    ),
    Mutant(
        "no look at the attachment",
        "pool/pool.py",
        "            if entry.key == attachment.key:\n",
        "            if False:\n",
        ("two owners",),
    ),
    Mutant(
        "no look at pending DELs",
        "pool/pool.py",
        "if self.pending.holds(attachment.key):",
        "if False:",
        ("is owed a DEL",),
    ),
    Mutant(
        "leftovers deleted without a lock",
        "pool/pool.py",
        "                lock = self._try_bond(bond)\n",
        f"                lock = {_NO_LOCK}\n",
        ("No such file or directory",),
    ),
    Mutant(
        "leftovers kept",
        "pool/lease.py",
        "names = [name for name in os.listdir(directory) if leftover_of(name) == bond]",
        "names: list[str] = []",
        ("stayed",),
        kills=100.0,
        on_disk=True,
    ),
    Mutant(
        "no second look at the quarantine",
        "pool/pool.py",
        'if files.exists(f"{self.path}/{QUARANTINE}/{bond.name}"):',
        "if False:",
        ("in quarantine",),
        bonds=3,
        kills=100.0,
    ),
)
