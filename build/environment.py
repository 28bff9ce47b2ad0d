"""The virtual environment that is frozen: the packages of lock/build.txt and no others.

Another installed package would be frozen too, if a module of the product imports it optionally.
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
# The interpreter that virtual environments are based on: its library is linked, and its modules are frozen.
INTERPRETER = os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def run(command: list[str], log: Path, action: str, cwd: Path | None = None, **environment: str) -> None:
    """Run a tool with its output in ``log``.

    Its environment has no variables of Python: modules of a PYTHONPATH would be frozen.

    :param action: what the tool does, as the subject of an error.
    :raises BuildError: with the last lines of the log.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("ab") as output:
        done = subprocess.run(
            command, cwd=cwd, env=inherited | environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildError(f"{tail}\n{action} failed with status {done.returncode}; all of its output: {log}")


def cache() -> Path:
    """Return the directory for what all checkouts share; `./dev` uses it too."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sriov-bond")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def python(log: Path) -> str:
    """Return the interpreter of the build's virtual environment, which is created if it does not exist."""
    key = hashlib.sha256(f"{sys.version} {INTERPRETER}".encode() + LOCK.read_bytes()).hexdigest()[:12]
    directory = cache() / f"build-venv-{key}"
    interpreter = str(directory / "bin" / "python")
    with (cache() / "build-venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = directory / ".complete"
        if not complete.exists():
            print("build: Python packages to build with (once)", flush=True)
            # --clear removes an interrupted one. It cannot be created elsewhere and renamed: its files contain its path.
            run([INTERPRETER, "-m", "venv", "--clear", str(directory)], log, "creating a virtual environment")
            pip = [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
            run([*pip, "--require-hashes", "-r", str(LOCK)], log, "installing the Python packages of lock/build.txt")
            complete.touch()
    return interpreter


def distributions(interpreter: str) -> Iterator[importlib.metadata.Distribution]:
    """Return the distributions in the virtual environment."""
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = Path(interpreter).parent.parent / "lib" / library / "site-packages"
    return iter(importlib.metadata.distributions(path=[str(packages)]))
