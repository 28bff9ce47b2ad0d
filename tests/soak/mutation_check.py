"""Mutations that the oracle must detect: the product without one of the safeguards against two owners of a bond."""

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.soak.soak import REPOSITORY, Load

if TYPE_CHECKING:
    from pathlib import Path

_NO_LOCK = 'os.open("/dev/null", os.O_RDONLY)'


@dataclass(frozen=True)
class Mutation:
    """A change of one file.

    :param seen: phrases; a fault must contain one of them.
    :param on_disk: keep the pool on a disk, so that kills hit processes waiting for fsync.
    :param also: (file, old, new) of more changes.
    """

    name: str
    file: str
    old: str
    new: str
    seen: tuple[str, ...]
    bonds: int = 7
    kills: float = 20.0
    on_disk: bool = False
    also: tuple[tuple[str, str, str], ...] = ()

    def __str__(self) -> str:
        return self.name

    def load(self, seed: int) -> Load:
        """Return a load that shows it. On a disk what remains is seen at the end; else the load ends at the first fault."""
        return Load(300 if self.on_disk else 20_000, seed, bonds=self.bonds, kills=self.kills)

    def package(self, directory: "Path") -> "Path":
        """Copy the product with the change applied, and return the directory of the copy."""
        copy = directory / "cni_sriov_bond"
        shutil.copytree(REPOSITORY / "cni_sriov_bond", copy, ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in ((self.file, self.old, self.new), *self.also):
            path = copy / file
            text = path.read_text()
            if text.count(old) != 1:
                raise AssertionError(f"{file} has {old!r} {text.count(old)} times, not once: update the mutation")
            path.write_text(text.replace(old, new))
        return directory


MUTATIONS = (
    Mutation(
        "no lock of the pool and of the state directory",
        "pool/pool.py",
        'return files.locked(f"{self.path}/lock", f"pool {self.name}", seconds)',
        f"return {_NO_LOCK}",
        ("two owners",),
        also=(
            (
                "pool/acquisition.py",
                'files.locked_directory(pool.state_dir, f"the directory {pool.state_dir}", deadline.left())',
                _NO_LOCK,
            ),
        ),
    ),
    Mutation(
        "no lock of a bond",
        "pool/pool.py",
        'return files.locked(f"{self.path}/bonds/{name}", f"bond {name} of pool {self.name}", seconds)',
        f"return {_NO_LOCK}",
        ("two processes work on",),
    ),
    Mutation(
        "records written in place",
        "files.py",
        'temporary = f"{directory}/.{name}.{os.getpid()}"',
        'temporary = f"{directory}/{name}"',
        ("damaged", "cannot be read"),
    ),
    Mutation(
        "a state changed in two steps",
        "pool/lease.py",
        '            files.rename(self._leases, f"{self._leases}/{self.entry.file}", path)\n',
        '            with open(f"{self._leases}/{self.entry.file}") as file:\n'
        "                text = file.read()\n"
        '            os.unlink(f"{self._leases}/{self.entry.file}")\n'
        '            with open(path, "w") as file:\n'
        "                file.write(text)\n",
        ("is lost", "damaged", "cannot be read"),
    ),
    Mutation(
        "attachment not checked",
        "pool/acquisition.py",
        "        if entry.key == attachment.key:\n",
        "        if False:\n",
        ("two owners",),
    ),
    Mutation(
        "pending DELs not checked",
        "pool/acquisition.py",
        "if pool.pending.holds(attachment.key):",
        "if False:",
        ("has a pending DEL",),
    ),
    Mutation(
        "leftovers deleted without a lock",
        "pool/pool.py",
        "                lock = self.try_bond(bond)\n",
        f"                lock = {_NO_LOCK}\n",
        ("No such file or directory",),
    ),
    Mutation(
        "leftovers not removed",
        "pool/lease.py",
        "names = [name for name in os.listdir(directory) if leftover_of(name) == bond]",
        "names: list[str] = []",
        ("was not removed",),
        kills=100.0,
        on_disk=True,
    ),
    Mutation(
        "quarantine not checked again",
        "pool/acquisition.py",
        'return not files.exists(f"{self._pool.path}/{QUARANTINE}/{name}")',
        "return True",
        ("in quarantine",),
        bonds=3,
        kills=100.0,
    ),
)
