"""A library that makes rare events happen in a process, see shim.c: a torn listing, and setns() that fails."""

import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


def build(directory: Path) -> Path:
    """Compile the library."""
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


class TornListing:
    """``with TornListing(shim, directory, change) as torn:`` runs ``change`` in the middle of the next listing of leases.

    That is the first listing by a process that was started with ``torn.environ``.

    :param shim: the library.
    :param directory: where it and this process signal each other.
    :param change: called as soon as the listing has begun; the listing goes on when it returns, or after a second.
    """

    def __init__(self, shim: Path, directory: Path, change: "Callable[[], None]") -> None:
        self.environ = {"LD_PRELOAD": str(shim), "SHIM_TORN": str(directory)}
        self._directory = directory
        self._change = change
        self._thread = threading.Thread(target=self._run)
        self._failed: list[BaseException] = []

    def __enter__(self) -> "TornListing":
        self._directory.mkdir(exist_ok=True)
        (self._directory / "armed").touch()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._failed:
            raise self._failed[0]
        assert not (self._directory / "armed").exists(), "no process has listed the leases"

    def _run(self) -> None:
        try:
            wait_until(lambda: (self._directory / "listing").exists(), "a listing of leases")
            self._change()
        except BaseException as failed:
            self._failed.append(failed)
        finally:
            (self._directory / "go").touch()
