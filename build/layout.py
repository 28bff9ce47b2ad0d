"""What the built tree holds and where: data for the recipe, the build and its tests."""

from typing import NamedTuple

CONTENTS = "opt/cni/bin/_sriov-bond"
DOCUMENTS = "usr/share/doc/sriov-bond"

# The bootloader fixes this name as the first entry of sys.path. Here it is a plain directory: CPython's importer reads
# files of a directory in a tenth of the instructions that it needs for those of a zip.
LIBRARY = "base_library.zip"


class Executable(NamedTuple):
    """One program of the tree.

    :param path: where it is found, in the tree.
    :param entry: the module whose ``main()`` gives the exit status.
    :param short_lived: collect no garbage and leave by ``_exit``: tearing down the interpreter would cost a quarter of
        a VERSION call.
    :param behind_link: keep the program among the contents and put a link at ``path``, for a program that is no plugin.
    """

    path: str
    entry: str
    short_lived: bool
    behind_link: bool

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


EXECUTABLES = (
    Executable("opt/cni/bin/sriov-bond", "cni_sriov_bond.__main__", short_lived=True, behind_link=False),
    Executable("opt/cni/bin/sriov-bond-ipam", "cni_sriov_bond.ipam.__main__", short_lived=True, behind_link=False),
    Executable("usr/local/sbin/sriov-bondctl", "cni_sriov_bond.ctl.__main__", short_lived=False, behind_link=True),
)

# Nothing of ours uses these, and each would bring much: libraries of megabytes, or rich's syntax colouring and Markdown.
EXCLUDED = (
    "_bz2", "_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "_curses",
    "_hashlib", "_lzma", "_multibytecodec", "_ssl", "_tkinter", "doctest", "lib2to3", "markdown_it", "mdurl", "pdb",
    "pydoc", "pygments", "readline", "setuptools", "sqlite3", "ssl", "tkinter", "unittest", "xml",
)  # fmt: skip

# Compiled into every program (freeze.py), with all their submodules.
PACKAGES = ("cni_sriov_bond",)
ENCODINGS = ("__init__", "ascii", "cp437", "idna", "latin_1", "punycode", "utf_8", "utf_8_sig")
