"""The native parts that are built: PyInstaller's bootloader and libpython, both from unmodified code, and runtime.c."""

import hashlib
import platform
import shutil
import sysconfig
import tarfile
from pathlib import Path

import bom
import environment
import freeze
from errors import BuildError
from layout import CONTENTS

HERE = Path(__file__).parent
PYINSTALLER = "6.22.3"
SDIST_SHA256 = "05eb2f5615503e72939a7224d68b4aff572c6b0438ee4a17d0a4b481f399362d"
NEEDED = ("gcc", "objcopy")
PACKAGES = "gcc libc6-dev binutils libpython3-dev zlib1g-dev libexpat1-dev"

_X86 = ("-fcf-protection",) if platform.machine() == "x86_64" else ()
_COMPILED = ("-O2", "-fstack-protector-strong", "-fstack-clash-protection", *_X86, "-D_FORTIFY_SOURCE=2")
# The build id is explicit, because distributions' compilers differ in whether they write one, and of which kind.
_LINKED = ("-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,--build-id=sha1", "-s")
_DEFINED = ("NDEBUG", "_REENTRANT", "_DEFAULT_SOURCE", "_GNU_SOURCE")
_FEATURES = ("STRNLEN", "STRNDUP", "WCSDUP", "MKDTEMP", "UNSETENV")
_STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")


def check_tools() -> None:
    """Check that tools and libraries are installed, before anything is started.

    :raises BuildError: naming what is missing, and the packages to install.
    """
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing or not _archive().is_file() or len(bom.installed(*bom.DEBIAN)) < len(bom.DEBIAN):
        names = " ".join(missing) or f"a library for {environment.INTERPRETER} ({_archive().name}, libexpat.a or libz.a)"
        raise BuildError(
            f"{names} is missing: build with Debian's own python3 in a virtual environment, after 'apt install {PACKAGES}'"
        )


def bootloader(work: Path, sources: Path, run_path: bool) -> Path:
    """Compile the bootloader of the pinned PyInstaller, and link bootloader_*.c into it.

    :param sources: the directory of PyInstaller's sources. They are compiled without warnings; in our own files a warning
        is an error.
    :param run_path: let libraries find others in our directory, for a libpython that has no such path itself. This costs
        some system calls at every start.
    """
    objects = work / "objects"
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir()
    (work / "frozen_modules.h").write_text(freeze.table(HERE.parent))
    compiler = ["gcc", "-c", "-fPIE", *_COMPILED, f"-I{work}", f"-isystem{sysconfig.get_path('include')}"]
    theirs = ["-w", *(f"-D{name}" for name in _DEFINED), *(f"-DHAVE_{feature}" for feature in _FEATURES)]
    log = work / "native.log"
    environment.run([*compiler, *theirs, *_paths(sources)], log, "compiling PyInstaller's bootloader", cwd=objects)
    environment.run(
        [*compiler, *_STRICT, "-D_GNU_SOURCE", *_paths(HERE, "bootloader_*.c")],
        log,
        "compiling build/bootloader_*.c",
        cwd=objects,
    )
    target = work / "bootloader"
    command = ["gcc", "-pie", *_LINKED, "-o", str(target), *sorted(str(file) for file in objects.iterdir())]
    command += [f"-Wl,--wrap=pyi_{call}" for call in ("getenv", "setenv", "unsetenv", "pyconfig_preinit_python")]
    if run_path:  # RPATH, not RUNPATH: it applies to all libraries that the program loads
        command.append(f"-Wl,--disable-new-dtags,-rpath,$ORIGIN/{Path(CONTENTS).name}:$ORIGIN")
    environment.run([*command, "-l:libz.a", "-ldl"], log, "linking the bootloader")
    return target


def launcher(work: Path) -> Path:
    """Compile sriov-bond-runtime."""
    target = work / "sriov-bond-runtime"
    command = [
        "gcc",
        "-pie",
        "-fPIE",
        *_STRICT,
        "-D_GNU_SOURCE",
        *_COMPILED,
        *_LINKED,
        "-o",
        str(target),
        str(HERE / "runtime.c"),
    ]
    environment.run(command, work / "native.log", "compiling build/runtime.c")
    return target


def libpython(work: Path) -> tuple[Path, bool]:
    """Link libpython from Debian's position-independent archive, so that it starts faster and needs no LD_LIBRARY_PATH.

    With -Bsymbolic 12 000 symbol look-ups at every start become additions. expat and zlib are linked in, which saves
    opening two files. The run path is an RPATH, not a RUNPATH: it then applies to the extension modules that libpython
    loads, so that ``_ctypes`` finds the libffi of the tree.

    On Debian 13 this cannot be linked: its libexpat.a is not position-independent, and its libpython archive lacks the
    objects of HACL. With -z defs the linker reports the latter, and Debian's own libpython is used instead. Without it
    the error would occur at run time.

    :return: the library, and whether it was linked here.
    :raises BuildError: when it cannot be linked on Debian 12.
    """
    soname = str(sysconfig.get_config_var("INSTSONAME"))
    target = work / f"libpython-{digest(_archive(), HERE / 'native.py')}" / soname
    if target.is_file():
        return target, True
    target.parent.mkdir(exist_ok=True)
    command = ["gcc", "-shared", *_LINKED, "-Wl,-O1", "-Wl,--hash-style=gnu", "-Wl,-Bsymbolic", f"-Wl,-soname,{soname}"]
    command += ["-Wl,--disable-new-dtags,-rpath,$ORIGIN", "-Wl,--exclude-libs=libexpat.a:libz.a", "-o", f"{target}.new"]
    command += ["-Wl,--whole-archive", str(_archive()), "-Wl,--no-whole-archive", "-l:libexpat.a", "-l:libz.a", "-lm"]
    log = work / "native.log"
    try:
        environment.run([*command, "-ldl"], log, "linking libpython")
    except BuildError:
        debian = Path(str(sysconfig.get_config_var("LIBDIR")), soname)
        if sysconfig.get_python_version() == "3.11" or not debian.is_file():
            raise
        print(f"build: {_archive().name} cannot be linked (see {log}): using {debian}, with which programs start more slowly")
        return debian, False
    return Path(f"{target}.new").rename(target), True


def architecture() -> str:
    """Return the name of this machine's architecture in container software."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sources(work: Path, python: str) -> Path:
    """Return the directory of the bootloader's sources; download PyInstaller's source distribution if it is not cached.

    :param python: the interpreter whose pip downloads it.
    """
    archive = environment.cache() / f"pyinstaller-{PYINSTALLER}.tar.gz"
    if not archive.is_file() or hashlib.sha256(archive.read_bytes()).hexdigest() != SDIST_SHA256:
        command = [python, str(HERE / "fetch.py"), "pyinstaller", PYINSTALLER, SDIST_SHA256, str(archive)]
        environment.run(command, work / "native.log", "fetching PyInstaller's sources")
    prefix = f"pyinstaller-{PYINSTALLER}/bootloader/src/"
    unpacked = work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as packed:  # its hash is checked, so it needs no filter
        packed.extractall(unpacked, [member for member in packed if member.name.startswith(prefix)])
    return unpacked / prefix


def digest(*files: Path) -> str:
    """Return a short hash of files' contents."""
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]


def _archive() -> Path:
    version = sysconfig.get_config_var("LDVERSION")
    return Path(str(sysconfig.get_config_var("LIBPL")), f"libpython{version}-pic.a")


def _paths(directory: Path, pattern: str = "*.c") -> list[str]:
    return sorted(str(file) for file in directory.glob(pattern))
