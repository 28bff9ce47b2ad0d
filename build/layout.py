"""Content and paths of the built tree: constants for the recipe, the build and its tests."""

import tomllib
from pathlib import Path
from typing import NamedTuple

CONTENTS = "opt/cni/bin/_sriov-bond"
DOCUMENTS = "usr/share/doc/sriov-bond"
UNITS = "usr/local/lib/systemd/system"

# The bootloader puts this name first into sys.path. Here it is a directory, not an archive: CPython imports from a directory
# in a tenth of the instructions.
LIBRARY = "base_library.zip"


class Executable(NamedTuple):
    """One program of the tree.

    :param path: its path in the tree.
    :param entry: the module whose ``main()`` returns the exit status.
    :param short_lived: no garbage collection, and end by ``_exit``: finalising the interpreter would take a quarter of the
        time of a VERSION call.
    :param behind_link: put the program into CONTENTS and a symbolic link at ``path``, for a program that is not a plugin.
    """

    path: str
    entry: str
    short_lived: bool
    behind_link: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


_PROJECT = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]


def _executable(path: str, *, short_lived: bool, behind_link: bool) -> Executable:
    """Return a program; its entry is the one in pyproject.toml."""
    module, _, function = _PROJECT["scripts"][path.rpartition("/")[2]].partition(":")
    assert function == "main"
    return Executable(path, module, short_lived, behind_link)


EXECUTABLES = (
    _executable("opt/cni/bin/sriov-bond", short_lived=True, behind_link=False),
    _executable("opt/cni/bin/sriov-bond-ipam", short_lived=True, behind_link=False),
    _executable("usr/local/sbin/sriov-bondctl", short_lived=False, behind_link=True),
    _executable("usr/local/sbin/sriov-bond-hook", short_lived=True, behind_link=True),
)

# The runtime for Docker, which is no Python; its program is in CONTENTS, beside sriov-bond-hook, which it executes.
LAUNCHER = "usr/local/sbin/sriov-bond-runtime"

# Not used, and large: each needs libraries of megabytes, or is rich's syntax highlighting or Markdown.
EXCLUDED = (
    "_bz2", "_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "_curses",
    "_hashlib", "_lzma", "_multibytecodec", "_sqlite3", "_ssl", "_tkinter", "_uuid", "doctest", "ftplib",
    "importlib.metadata", "lib2to3", "markdown_it", "mdurl", "pdb", "pydoc", "pygments", "readline", "setuptools",
    "smtplib", "tkinter", "webbrowser", "xml", "xmlrpc",
)  # fmt: skip

# Packages that sriov-bondctl imports late, and packages with data files: PyInstaller analyses imports only.
LATE = ("jsonschema", "prometheus_client", "pyroute2", "rich")
WITH_DATA = ("jsonschema_specifications",)

# Compiled into every program (freeze.py), with all their submodules.
PACKAGES = ("cni_sriov_bond",)
ENCODINGS = ("__init__", "ascii", "cp437", "idna", "latin_1", "punycode", "utf_8", "utf_8_sig")
