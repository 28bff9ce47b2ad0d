"""The built tree: what is in it, that it runs from anywhere, and that it touches nothing of its surroundings."""

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.frozen

CHECKOUT = Path(__file__).resolve().parent.parent
PLUGIN = "opt/cni/bin/sriov-bond"
COMMAND = "usr/local/sbin/sriov-bondctl"
CONTENTS = "opt/cni/bin/_sriov-bond"
NEWEST_GLIBC = (2, 36)  # Debian 12's, which the tree is built on


@pytest.fixture
def copied(frozen: Path, tmp_path: Path) -> Path:
    """Return a copy of the tree in another place."""
    return Path(shutil.copytree(frozen, tmp_path / "elsewhere", symlinks=True))


def files(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]


def call(program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def test_has_programs_documents_and_samples(frozen: Path) -> None:
    documents = frozen / "usr/share/doc/sriov-bond"
    for path in (PLUGIN, COMMAND, f"{CONTENTS}/libffi.so.8"):
        assert (frozen / path).is_file(), path
    assert (documents / "LICENSE").read_bytes() == (CHECKOUT / "LICENSE").read_bytes()
    assert {"rich", "pyinstaller", "libffi8"} <= {path.name for path in (documents / "licences").iterdir()}
    samples = {path.name: path.read_bytes() for path in (CHECKOUT / "conf").iterdir()}
    assert {path.name: path.read_bytes() for path in (documents / "examples").iterdir()} == samples


def test_plugins_directory_shows_plugins_only(frozen: Path) -> None:
    programs = {path.name for path in (frozen / "opt/cni/bin").iterdir() if path.is_file()}
    assert programs <= {"sriov-bond", "sriov-bond-ipam"}


def test_modes_and_links(frozen: Path) -> None:
    programs = {path.resolve() for path in (frozen / "opt/cni/bin").iterdir() if path.is_file()}
    programs.add((frozen / COMMAND).resolve())
    for path in frozen.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            assert not path.readlink().is_absolute(), path
            assert frozen in path.resolve().parents, path
        else:
            assert mode == (0o755 if path.is_dir() or path in programs else 0o644), path


def test_needs_only_glibc_of_the_system(frozen: Path) -> None:
    """Every other library is in the tree; no symbol version is newer than that of the oldest system we promise."""
    beside = {path.name for path in (frozen / CONTENTS).iterdir()}
    for path in files(frozen):
        if path.read_bytes()[:4] != b"\x7fELF":
            continue
        shown = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout
        needed = set(re.findall(r"NEEDED +(\S+)", shown)) - beside
        assert all(re.match(r"(libc|libm|ld-linux[\w-]*|libgcc_s)\.so\.\d", name) for name in needed), (path, needed)
        for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", shown):
            assert (int(major), int(minor)) <= NEWEST_GLIBC, path


def test_runs_from_another_place_and_through_a_link(copied: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(copied / PLUGIN)
    for program in (copied / PLUGIN, link):
        answer = call(program, CNI_COMMAND="VERSION")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert '"supportedVersions"' in answer.stdout
    shown = subprocess.run([copied / COMMAND, "--version"], env={}, capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_every_file_that_is_loaded_is_in_the_tree(copied: Path) -> None:
    """Nothing comes from an installed Python or from a library path that someone has set."""
    trace = subprocess.run(
        [copied / PLUGIN],
        env={"CNI_COMMAND": "VERSION", "LD_DEBUG": "files", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    loaded = set(re.findall(r"calling init: (\S+)", trace))
    assert any(Path(name).parent == copied / CONTENTS for name in loaded)
    outside = {Path(name).name for name in loaded if copied not in Path(name).parents}
    assert {name.partition(".")[0] for name in outside} <= {"libc", "libm", "ld-linux-x86-64", "ld-linux-aarch64"}


@pytest.mark.parametrize(
    "hostile",
    [
        {"_PYI_ARCHIVE_FILE": "/nowhere", "_PYI_APPLICATION_HOME_DIR": "/nowhere", "_PYI_PARENT_PROCESS_LEVEL": "0"},
        {"_PYI_PARENT_PROCESS_LEVEL": "rubbish", "_PYI_LINUX_PROCESS_NAME": "x", "PYINSTALLER_RESET_ENVIRONMENT": "1"},
        {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere", "PYTHONINSPECT": "1"},
        {"LC_ALL": "tr_TR.ISO-8859-9", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-16"},
    ],
    ids=["inherited", "rubbish", "python", "locale"],
)
def test_environment_of_the_caller_does_not_matter(frozen: Path, hostile: dict[str, str]) -> None:
    plain = call(frozen / PLUGIN, CNI_COMMAND="VERSION")
    assert plain.returncode == 0
    answer = call(frozen / PLUGIN, CNI_COMMAND="VERSION", **hostile)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, plain.stdout, "")


def test_leaves_no_temporary_directory(frozen: Path, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("_MEI*"))
    assert call(frozen / PLUGIN, CNI_COMMAND="VERSION", TMPDIR=str(tmp_path)).returncode == 0
    assert not list(tmp_path.iterdir())
    assert set(Path("/tmp").glob("_MEI*")) == before


def test_works_with_standard_streams_closed(frozen: Path) -> None:
    """The bootloader and the interpreter must not take a closed descriptor's number for a file of theirs."""
    done = subprocess.run(["/bin/sh", "-c", f"CNI_COMMAND=VERSION exec '{frozen / PLUGIN}' <&- 2>&-"], capture_output=True)
    assert done.returncode == 0
    assert b"supportedVersions" in done.stdout


def test_tarball_is_the_tree(frozen: Path) -> None:
    """But for directories that the host has: tar would replace a link by one, or change its mode."""
    (tarball,) = frozen.parent.glob("sriov-bond-*-linux-*.tar.gz")
    version = re.search(r'VERSION = "(.+)"', (CHECKOUT / "cni_sriov_bond/__init__.py").read_text())
    assert version
    assert tarball.name.startswith(f"sriov-bond-{version[1]}-linux-")
    with tarfile.open(tarball) as archive:
        members = {member.name: member for member in archive}
        ours = ("opt/cni/bin/_sriov-bond", "usr/share/doc/sriov-bond")
        packed = [path for path in frozen.rglob("*") if path.is_symlink() or not path.is_dir()]
        packed += [path for part in ours for path in (frozen / part, *(frozen / part).rglob("*")) if path.is_dir()]
        assert set(members) == {str(path.relative_to(frozen)) for path in packed}
        for name, member in members.items():
            path = frozen / name
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")
            if member.isfile():
                assert member.mode == stat.S_IMODE(path.stat().st_mode)
                content = archive.extractfile(member)
                assert content
                assert content.read() == path.read_bytes()
            elif member.issym():
                assert member.linkname == os.readlink(path)
            else:
                assert member.isdir()


def test_names_nothing_of_the_machine_it_was_built_on(frozen: Path) -> None:
    for path in files(frozen):
        assert os.fsencode(CHECKOUT) + b"/" not in path.read_bytes(), path


def test_building_again_does_nothing(frozen: Path) -> None:
    """A build that finds its result leaves it alone. Without tools in PATH it could do nothing else but fail."""
    before = (frozen / PLUGIN).stat()
    command = [sys.executable, str(CHECKOUT / "build/build.py")]
    done = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), "sources were changed while the tests ran"
    assert "nothing changed" in done.stdout
    assert (frozen / PLUGIN).stat() == before


def test_says_what_is_missing(tmp_path: Path) -> None:
    """A machine without a compiler gets one sentence and no traceback."""
    checkout = tmp_path / "checkout"
    for name in ("build", "cni_sriov_bond", "conf"):
        shutil.copytree(CHECKOUT / name, checkout / name)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copyfile(CHECKOUT / name, checkout / name)
    command = [sys.executable, str(checkout / "build/build.py")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"build: gcc objcopy is missing: build with .* 'apt install [\w -]+'\n", done.stderr)


def test_library_is_of_the_interpreter_that_the_tests_run_in(frozen: Path) -> None:
    assert (frozen / CONTENTS / str(sysconfig.get_config_var("INSTSONAME"))).is_file()
