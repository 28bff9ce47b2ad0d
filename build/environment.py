"""The virtual environment that is frozen: what lock/build.txt names and nothing else.

What a developer has installed beside it would be collected too, where a module of the product imports it if it can.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from errors import BuildError

LOCK = Path(__file__).resolve().parent.parent / "lock" / "build.txt"
# The interpreter below any virtual environment: its library is linked, and its modules are collected.
INTERPRETER = os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def run(command: list[str], log: Path, what: str, cwd: Path | None = None, **environment: str) -> None:
    """Run a tool with its output in ``log``; on failure show its end.

    Python's own variables do not reach it: a PYTHONPATH would be collected.

    :raises BuildError: with the last lines of the log.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("ab") as output:
        done = subprocess.run(
            command, cwd=cwd, env=inherited | environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildError(f"{tail}\n{what} failed with status {done.returncode}; all of its output: {log}")


def cache() -> Path:
    """Return the directory that keeps what no checkout has to make twice; `./dev` has its own things there too."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sriov-bond")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def python(log: Path) -> str:
    """Return the interpreter of the build's virtual environment, after making it if it is not there."""
    key = hashlib.sha256(f"{sys.version} {INTERPRETER}".encode() + LOCK.read_bytes()).hexdigest()[:12]
    directory = cache() / f"build-venv-{key}"
    interpreter = str(directory / "bin" / "python")
    with (cache() / "build-venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = directory / ".complete"
        if not complete.exists():
            print("build: Python packages to build with (once)", flush=True)
            # An interrupted one is cleared. It is made in place, for its path is in its own files.
            run([INTERPRETER, "-m", "venv", "--clear", str(directory)], log, "making a virtual environment")
            pip = [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
            run([*pip, "--require-hashes", "-r", str(LOCK)], log, "installing the Python packages of lock/build.txt")
            complete.touch()
    return interpreter


def distributions(interpreter: str) -> Iterator[importlib.metadata.Distribution]:
    """Yield each distribution that the virtual environment has."""
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = Path(interpreter).parent.parent / "lib" / library / "site-packages"
    return iter(importlib.metadata.distributions(path=[str(packages)]))
