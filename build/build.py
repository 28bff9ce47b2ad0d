"""Build the executables: ``python build/build.py`` writes dist/root and a tarball of it.

If no source changed since the last build, it does nothing. It needs Debian's python3, gcc, and the packages that an error
names. pip installs into a virtual environment that only the build uses (environment.py).
"""

import ctypes
import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import time
from fcntl import LOCK_EX, flock
from pathlib import Path

import bom
import environment
import licences
import native
from errors import BuildError
from layout import CONTENTS, DOCUMENTS, EXECUTABLES, LAUNCHER, LIBRARY, UNITS

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TREE = DIST / "root"
WORK = DIST / "work"
EPOCH = 1_700_000_000  # every file's time in the tarball: two builds of the same sources are the same bytes
TOP = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")  # documents
SOURCES = ("cni_sriov_bond", "build", "conf", "docs", "lock/build.txt", "pyproject.toml", *TOP)
COMPILER = ("gcc", "binutils", "libc6-dev")
AT_FDCWD, RENAME_EXCHANGE = -100, 2


def main() -> int:
    began = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        with (DIST / ".lock").open("w") as lock:
            flock(lock, LOCK_EX)
            _build(began)
    except BuildError as failed:
        print(f"build: {failed}", file=sys.stderr)
        return 1
    return 0


def _build(began: float) -> None:
    stamp, wanted = DIST / ".stamp", fingerprint()
    tarball = DIST / f"sriov-bond-{_version()}-linux-{native.architecture()}.tar.gz"
    if stamp.is_file() and stamp.read_text() == wanted and TREE.is_dir() and tarball.is_file():
        print(f"build: nothing changed, {TREE.relative_to(ROOT)} is up to date")
        return
    native.check_tools()
    for log in WORK.glob("*.log"):
        log.unlink()
    stamp.unlink(missing_ok=True)
    python = environment.python(WORK / "environment.log")
    print("build: bootloader and libpython", flush=True)
    library, linked = native.libpython(WORK)
    loader = native.bootloader(WORK, native.sources(WORK, python), run_path=not linked)
    print("build: collecting with PyInstaller", flush=True)
    bin_directory = _freeze(python, loader, library, linked)
    print("build: laying out the tree", flush=True)
    _replace(_lay_out(bin_directory, python))
    print("build: packing the tarball")
    pack(TREE, tarball)
    stamp.write_text(wanted)
    files = [file for file in TREE.rglob("*") if file.is_file() and not file.is_symlink()]
    size, seconds = sum(file.stat().st_size for file in files) / 1e6, time.monotonic() - began
    print(f"build: {TREE.relative_to(ROOT)} has {len(files)} files, {size:.1f} MB; {tarball.name}; {seconds:.0f} s")


def fingerprint() -> str:
    """Return a hash of all that the result depends on: sources, recipe, locked versions, interpreter, Debian packages."""
    total = hashlib.sha256(f"{sys.version} {environment.INTERPRETER}".encode())
    for name in SOURCES:
        top = ROOT / name
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                total.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    total.update(repr(bom.installed(*bom.DEBIAN, *COMPILER)).encode())
    return total.hexdigest()


def _version() -> str:
    text = (ROOT / "cni_sriov_bond" / "__init__.py").read_text()
    return text.partition('VERSION = "')[2].partition('"')[0]


def _freeze(python: str, loader: Path, library: Path, linked: bool) -> Path:
    """Run PyInstaller on the recipe and return the directory that it wrote."""
    shutil.rmtree(WORK / "recipe", ignore_errors=True)  # its cache does not notice every change of the recipe
    command = [python, "-m", "PyInstaller", str(ROOT / "build" / "recipe.spec"), "--noconfirm", "--log-level=WARN"]
    command += ["--distpath", str(WORK / "collected"), "--workpath", str(WORK)]
    environment.run(
        command,
        WORK / "pyinstaller.log",
        "PyInstaller",
        SRIOV_BOND_BOOTLOADER=str(loader),
        SRIOV_BOND_LIBPYTHON=str(library),
        SRIOV_BOND_LINKED=str(int(linked)),
        PYTHONHASHSEED="0",
        SOURCE_DATE_EPOCH=str(EPOCH),
    )
    return WORK / "collected" / "bin"


def _lay_out(bin_directory: Path, python: str) -> Path:
    """Arrange programs, contents and documents as they are installed; PyInstaller writes programs to two directories."""
    tree = WORK / "root"
    shutil.rmtree(tree, ignore_errors=True)
    contents = tree / CONTENTS
    contents.parent.mkdir(parents=True)
    shutil.copytree(bin_directory / contents.name, contents)
    for executable in EXECUTABLES:
        path = tree / executable.path
        program = contents / executable.name if executable.behind_link else path
        shutil.copyfile(WORK / "recipe" / executable.name, program)
        if executable.behind_link:
            _link(path, program)
    launcher = contents / Path(LAUNCHER).name
    shutil.copyfile(native.launcher(WORK), launcher)
    _link(tree / LAUNCHER, launcher)
    documents = tree / DOCUMENTS
    shutil.copytree(ROOT / "conf", documents / "examples", ignore=shutil.ignore_patterns("systemd"))
    shutil.copytree(ROOT / "conf/systemd", tree / UNITS)
    shutil.copytree(ROOT / "docs", documents / "docs")
    for name in TOP:
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, documents / name)
    manual = [python, str(ROOT / "build" / "manual.py"), str(tree)]
    environment.run(manual, WORK / "manual.log", "writing the man page and the completion")
    distributions = licences.distributions(contents / LIBRARY, python)
    licences.collect(distributions, documents / "licences")
    (documents / bom.NAME).write_text(bom.document(_version(), distributions))
    programs = {tree / executable.path for executable in EXECUTABLES} | {launcher}
    programs |= {contents / executable.name for executable in EXECUTABLES if executable.behind_link}
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
    return tree


def _link(path: Path, program: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(program, path.parent))


def _replace(tree: Path) -> None:
    """Exchange the old tree for the new one in one system call, so that no process sees a part of a tree."""
    if not TREE.exists():
        tree.rename(TREE)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(tree), AT_FDCWD, os.fsencode(TREE), RENAME_EXCHANGE):
        raise BuildError(f"cannot replace {TREE}: {os.strerror(ctypes.get_errno())}")
    shutil.rmtree(tree)


def pack(tree: Path, tarball: Path) -> None:
    """Write the tree as a tarball whose bytes depend only on the tree.

    It contains only directories that no other package has. tar would change the mode of another, or replace it where it is a
    symbolic link (such as /opt on a separate disk).
    """
    new = tarball.with_suffix(".new")
    with (
        new.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, EPOCH) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in sorted(tree.rglob("*"), key=lambda path: path.parts):
            if path.is_dir() and not any(str(path.relative_to(tree)).startswith(ours) for ours in (CONTENTS, DOCUMENTS)):
                continue
            archive.add(path, str(path.relative_to(tree)), recursive=False, filter=_anonymous)
    new.rename(tarball)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = EPOCH
    return member


if __name__ == "__main__":
    sys.exit(main())
