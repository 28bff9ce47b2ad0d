"""The cache of downloads and builds, shared by all checkouts on this machine."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def root() -> Path:
    """Return the directory, which also has the venvs of `dev`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sriov-bond"


def log(name: str) -> Path:
    """Return the path of a log file."""
    path = root() / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> "Iterator[None]":
    """Hold a lock against other runs of `./dev`. The kernel releases it when the process ends."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another ./dev", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entry(name: str, make: "Callable[[Path], None]") -> Path:
    """Return the directory ``name``, created by ``make`` if it does not exist. It is never incomplete."""
    path = root() / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".unfinished", dir=path.parent))
    try:
        make(scratch)
        scratch.chmod(0o755)
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return path


def sweep() -> None:
    """Remove incomplete directories of interrupted runs. The caller holds the lock."""
    for path in root().glob("*.unfinished"):
        shutil.rmtree(path, ignore_errors=True)


def digest(paths: "Iterable[Path]", *more: str) -> str:
    """Return a short hash of the names and contents of files, and of further strings."""
    hasher = hashlib.sha256()
    for path in sorted(paths):
        hasher.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        hasher.update(path.read_bytes())
    hasher.update("\0".join(more).encode())
    return hasher.hexdigest()[:12]
