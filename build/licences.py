"""The licence texts of third-party parts in the built tree: most licences require that their text is distributed too."""

import shutil
import sys
from importlib.metadata import Distribution
from pathlib import Path

import environment
from errors import BuildError

# Debian packages whose code is in libpython or copied. The copyright file of a package covers all that it contains.
DEBIAN = (f"libpython3.{sys.version_info.minor}-minimal", "libexpat1", "zlib1g", "libffi8", "libgcc-s1")
OTHERS = ("pyinstaller", "shtab")  # the bootloader, and the text of the completion scripts
NAMES = ("licen", "copying", "notice", "authors")


def distributions(library: Path, python: str) -> list[Distribution]:
    """Return the distributions whose modules are in ``library``, and those of which the tree has other parts, by name."""
    modules = {path.name.partition(".")[0] for path in library.iterdir()}
    chosen = {
        distribution.name: distribution
        for distribution in environment.distributions(python)
        if distribution.name in OTHERS
        or modules & {file.parts[0].partition(".")[0] for file in distribution.files or () if file.suffix in (".py", ".so")}
    }
    return [chosen[name] for name in sorted(chosen)]


def collect(distributions: list[Distribution], target: Path) -> None:
    """Copy the texts to ``target``, one directory for each distribution or package.

    :raises BuildError: when one has no text.
    """
    for distribution in distributions:
        files = distribution.files or ()
        texts = [Path(str(file.locate())) for file in files if file.name.lower().startswith(NAMES) and file.suffix != ".py"]
        # The authors and licences of libraries in other languages that a binary module contains (PEP 770).
        texts += [Path(str(file.locate())) for file in files if file.parts[-2:-1] == ("sboms",)]
        _copy(texts, target / distribution.name)
    for package in DEBIAN:
        _copy([Path("/usr/share/doc", package, "copyright")], target / package)


def _copy(texts: list[Path], target: Path) -> None:
    if not texts or not all(text.is_file() for text in texts):
        raise BuildError(f"no licence text of {target.name} is installed, so the tree must not be distributed")
    target.mkdir(parents=True)
    for text in texts:
        shutil.copyfile(text, target / text.name)
