"""The two native parts that are built here: PyInstaller's bootloader and libpython, both from unchanged code."""

import hashlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import freeze

HERE = Path(__file__).parent
PYINSTALLER = "6.22.3"
SDIST_SHA256 = "05eb2f5615503e72939a7224d68b4aff572c6b0438ee4a17d0a4b481f399362d"
NEEDED = ("gcc", "objcopy")
PACKAGES = "gcc binutils libpython3-dev zlib1g-dev libexpat1-dev"

_HARDENED = ("-O2", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro", "-Wl,-z,now", "-s")
_FEATURES = ("STRNLEN", "STRNDUP", "WCSDUP", "MKDTEMP", "UNSETENV")


class BuildError(Exception):
    """The build cannot go on; the text says what to do."""


def run(command: list[str], log: Path, what: str) -> None:
    """Run a tool with its output in ``log``; on failure show its tail."""
    with log.open("ab") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BuildError(f"{tail}\n{what} failed with status {done.returncode}; all of its output: {log}")


def check_tools() -> None:
    """Refuse an interpreter or a machine that cannot build, before anything is started."""
    try:
        installed = importlib.metadata.version("pyinstaller")
    except importlib.metadata.PackageNotFoundError:
        installed = "none"
    if installed != PYINSTALLER:
        raise BuildError(f"this recipe is for PyInstaller {PYINSTALLER} ({installed} is installed): pip install '.[dev]'")
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing or not _archive().is_file():
        what = " ".join(missing) or f"the static library of {sys.executable} ({_archive().name})"
        raise BuildError(
            f"{what} is missing: build with Debian's own python3 in a virtual environment, after 'apt install {PACKAGES}'"
        )


def bootloader(work: Path) -> Path:
    """Compile the bootloader of the pinned PyInstaller with our environment and our frozen modules linked in."""
    sources = [*sorted(_sources(work).glob("*.c")), HERE / "bootloader_env.c", HERE / "bootloader_frozen.c"]
    (work / "frozen_modules.h").write_text(freeze.table(HERE.parent))
    target = work / "bootloader"
    command = ["gcc", "-w", *_HARDENED, "-DNDEBUG", "-D_REENTRANT", "-D_DEFAULT_SOURCE", "-D_GNU_SOURCE"]
    command += [f"-DHAVE_{feature}" for feature in _FEATURES]
    command += [f"-Wl,--wrap=pyi_{call}" for call in ("getenv", "setenv", "unsetenv", "pyconfig_preinit_python")]
    command += [f"-I{work}", f"-I{sysconfig.get_path('include')}", "-o", str(target), *map(str, sources)]
    run([*command, "-l:libz.a", "-ldl"], work / "native.log", "compiling the bootloader")
    return target


def libpython(work: Path) -> Path:
    """Link Debian's position-independent libpython again, for a start that is faster and needs no LD_LIBRARY_PATH.

    -Bsymbolic turns 12 000 symbol look-ups at every start into plain additions. expat and zlib go inside: two files
    less to open. The old kind of run path (not RUNPATH) serves the extension modules too that libpython loads, so
    that ``_ctypes`` finds our libffi.
    """
    soname = str(sysconfig.get_config_var("INSTSONAME"))
    target = work / f"libpython-{_digest(_archive(), HERE / 'native.py')}" / soname
    if target.is_file():
        return target
    target.parent.mkdir(exist_ok=True)
    command = ["gcc", "-shared", *_HARDENED, "-Wl,-O1", "-Wl,--hash-style=gnu", "-Wl,-Bsymbolic", f"-Wl,-soname,{soname}"]
    command += ["-Wl,--disable-new-dtags,-rpath,$ORIGIN", "-Wl,--exclude-libs=libexpat.a:libz.a", "-o", f"{target}.new"]
    command += ["-Wl,--whole-archive", str(_archive()), "-Wl,--no-whole-archive", "-l:libexpat.a", "-l:libz.a", "-lm"]
    run([*command, "-ldl"], work / "native.log", "linking libpython")
    return Path(f"{target}.new").rename(target)


def architecture() -> str:
    """Name the machine as container software does."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _archive() -> Path:
    version = sysconfig.get_config_var("LDVERSION")
    return Path(str(sysconfig.get_config_var("LIBPL")), f"libpython{version}-pic.a")


def _sources(work: Path) -> Path:
    """Fetch PyInstaller's source distribution once, by its hash, and unpack the bootloader's sources."""
    target = work / f"pyinstaller-{PYINSTALLER}" / "bootloader" / "src"
    if target.is_dir():
        return target
    requirement = work / "bootloader.txt"
    requirement.write_text(f"pyinstaller=={PYINSTALLER} --hash=sha256:{SDIST_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "pyinstaller"]
    run([*pip, "--dest", str(work), "-r", str(requirement)], work / "native.log", "fetching PyInstaller's sources")
    prefix = f"pyinstaller-{PYINSTALLER}/bootloader/src/"
    unpacked = work / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(work / f"pyinstaller-{PYINSTALLER}.tar.gz") as archive:  # its hash is known: no need of a filter
        archive.extractall(unpacked, [member for member in archive if member.name.startswith(prefix)])
    target.parent.mkdir(parents=True, exist_ok=True)
    return (unpacked / prefix).rename(target)


def _digest(*files: Path) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
