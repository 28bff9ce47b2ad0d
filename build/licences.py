"""The licences of what others wrote and the tree holds: most ask that their text goes where the code goes."""

import importlib.metadata
import shutil
import sys
from pathlib import Path

from native import BuildError

# Whose code is in libpython and beside it, by Debian package; a package's own file says it for all that it contains.
DEBIAN = (f"libpython3.{sys.version_info.minor}-minimal", "libexpat1", "zlib1g", "libffi8")
NAMES = ("licen", "copying", "notice", "authors")


def collect(library: Path, target: Path) -> None:
    """Put them into ``target``, one directory for each distribution or package whose modules are in ``library``."""
    owners = importlib.metadata.packages_distributions()
    inside = {path.name.partition(".")[0] for path in library.iterdir()}
    for name in sorted({owner for module in inside for owner in owners.get(module, ())} | {"pyinstaller"}):
        files = importlib.metadata.files(name) or []
        texts = [Path(str(file.locate())) for file in files if file.name.lower().startswith(NAMES) and file.suffix != ".py"]
        _copy(texts, target / name)
    for package in DEBIAN:
        _copy([Path("/usr/share/doc", package, "copyright")], target / package)


def _copy(texts: list[Path], target: Path) -> None:
    if not texts or not all(text.is_file() for text in texts):
        raise BuildError(f"no licence text of {target.name} is installed, so the tree must not be handed on")
    target.mkdir(parents=True)
    for text in texts:
        shutil.copyfile(text, target / text.name)
