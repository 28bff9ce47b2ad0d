"""The licences of what others wrote and the tree holds: most ask that their text goes where the code goes."""

import shutil
import sys
from importlib.metadata import Distribution
from pathlib import Path

import environment
from errors import BuildError

# Whose code is in libpython and beside it, by Debian package; a package's own file says it for all that it contains.
DEBIAN = (f"libpython3.{sys.version_info.minor}-minimal", "libexpat1", "zlib1g", "libffi8", "libgcc-s1")
NAMES = ("licen", "copying", "notice", "authors")


def distributions(library: Path, python: str) -> list[Distribution]:
    """Return the distributions whose modules are in ``library``, and PyInstaller, by name."""
    inside = {path.name.partition(".")[0] for path in library.iterdir()}
    chosen = {
        distribution.name: distribution
        for distribution in environment.distributions(python)
        if distribution.name == "pyinstaller"
        or inside & {file.parts[0].partition(".")[0] for file in distribution.files or () if file.suffix in (".py", ".so")}
    }
    return [chosen[name] for name in sorted(chosen)]


def collect(inside: list[Distribution], target: Path) -> None:
    """Write the texts to ``target``, one directory for each distribution or package.

    :raises BuildError: when one has no text.
    """
    for distribution in inside:
        files = distribution.files or ()
        texts = [Path(str(file.locate())) for file in files if file.name.lower().startswith(NAMES) and file.suffix != ".py"]
        # Which libraries of other languages a binary module has inside, and by whom under which licence (PEP 770).
        texts += [Path(str(file.locate())) for file in files if file.parts[-2:-1] == ("sboms",)]
        _copy(texts, target / distribution.name)
    for package in DEBIAN:
        _copy([Path("/usr/share/doc", package, "copyright")], target / package)


def _copy(texts: list[Path], target: Path) -> None:
    if not texts or not all(text.is_file() for text in texts):
        raise BuildError(f"no licence text of {target.name} is installed, so the tree must not be handed on")
    target.mkdir(parents=True)
    for text in texts:
        shutil.copyfile(text, target / text.name)
