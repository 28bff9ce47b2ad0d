"""The built tree: its content, that it runs from any directory, and that nothing outside affects it."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
from pathlib import Path

import pytest

from tests.support import contents

pytestmark = pytest.mark.frozen

CHECKOUT = Path(__file__).resolve().parent.parent
PLUGIN = "opt/cni/bin/sriov-bond"
COMMAND = "usr/local/sbin/sriov-bondctl"
CONTENTS = "opt/cni/bin/_sriov-bond"
LIBRARY = f"{CONTENTS}/base_library.zip"
NEWEST_GLIBC = {"3.11": (2, 36), "3.13": (2, 41)}[sysconfig.get_python_version()]  # of the Debian release that builds it
ELF = b"\x7fELF"


@pytest.fixture
def copied(frozen: Path, tmp_path: Path) -> Path:
    """Return a copy of the tree in another directory."""
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
    assert {"rich", "pyinstaller", "libffi8", "libgcc-s1"} <= {path.name for path in (documents / "licences").iterdir()}
    samples = contents(CHECKOUT / "conf")
    units = {name: data for name, data in samples.items() if name.startswith("systemd/")}
    assert contents(documents / "examples") == {name: data for name, data in samples.items() if name not in units}
    installed = contents(frozen / "usr/local/lib/systemd/system")
    assert {f"systemd/{name}": data for name, data in installed.items()} == units


def test_links_of_the_documents_lead_to_files_of_the_tree(frozen: Path) -> None:
    """An operator who has only the tarball can follow every link of its documents, but for those into the sources."""
    documents = frozen / "usr/share/doc/sriov-bond"
    broken = []
    for page in documents.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / link).exists():
                broken.append(f"{page.relative_to(documents)}: {link}")
    assert broken == []


def test_plugins_directory_shows_plugins_only(frozen: Path) -> None:
    programs = {path.name for path in (frozen / "opt/cni/bin").iterdir() if path.is_file()}
    assert programs <= {"sriov-bond", "sriov-bond-ipam"}


def test_modes_and_links(frozen: Path) -> None:
    programs = {path.resolve() for path in (frozen / "opt/cni/bin").iterdir() if path.is_file()}
    programs |= {path.resolve() for path in (frozen / COMMAND).parent.iterdir()}
    for path in frozen.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            assert not path.readlink().is_absolute(), path
            assert frozen in path.resolve().parents, path
        else:
            assert mode == (0o755 if path.is_dir() or path in programs else 0o644), path


def test_needs_only_glibc_of_the_system(frozen: Path) -> None:
    """Every other library is in the tree; no symbol version is newer than the oldest supported system's."""
    beside = {path.name for path in (frozen / CONTENTS).iterdir()}
    for path in files(frozen):
        if path.read_bytes()[:4] != ELF:
            continue
        shown = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout
        needed = set(re.findall(r"NEEDED +(\S+)", shown)) - beside
        assert all(re.match(r"(libc|libm|libpthread|ld-linux[\w-]*)\.so\.\d", name) for name in needed), (path, needed)
        for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", shown):
            assert (int(major), int(minor)) <= NEWEST_GLIBC, path


def test_runs_from_another_directory_and_through_a_link(copied: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(copied / PLUGIN)
    for program in (copied / PLUGIN, link):
        answer = call(program, CNI_COMMAND="VERSION")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert '"supportedVersions"' in answer.stdout
    shown = subprocess.run([copied / COMMAND, "--version"], env={}, capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_every_file_that_is_loaded_is_in_the_tree(copied: Path) -> None:
    """Nothing is loaded from an installed Python or from a library path in the environment."""
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
        {"_PYI_PARENT_PROCESS_LEVEL": "invalid", "_PYI_LINUX_PROCESS_NAME": "x", "PYINSTALLER_RESET_ENVIRONMENT": "1"},
        {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere", "PYTHONINSPECT": "1"},
        {"LC_ALL": "tr_TR.ISO-8859-9", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-16"},
    ],
    ids=["inherited", "invalid", "python", "locale"],
)
def test_environment_of_the_caller_does_not_matter(frozen: Path, hostile: dict[str, str]) -> None:
    usual = call(frozen / PLUGIN, CNI_COMMAND="VERSION")
    assert usual.returncode == 0
    answer = call(frozen / PLUGIN, CNI_COMMAND="VERSION", **hostile)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, usual.stdout, "")


def test_leaves_no_temporary_directory(frozen: Path, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("_MEI*"))
    assert call(frozen / PLUGIN, CNI_COMMAND="VERSION", TMPDIR=str(tmp_path)).returncode == 0
    assert not list(tmp_path.iterdir())
    assert set(Path("/tmp").glob("_MEI*")) == before


def test_works_with_standard_streams_closed(frozen: Path) -> None:
    """Bootloader and interpreter must not reuse the number of a closed standard stream for a file."""
    done = subprocess.run(["/bin/sh", "-c", f"CNI_COMMAND=VERSION exec '{frozen / PLUGIN}' <&- 2>&-"], capture_output=True)
    assert done.returncode == 0
    assert b"supportedVersions" in done.stdout


def test_tarball_is_the_tree(frozen: Path) -> None:
    """Except for directories that a host has: tar would replace a symbolic link by one, or change its mode."""
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
    """A build whose result exists changes nothing. It has no tools in PATH here, so building would fail."""
    before = (frozen / PLUGIN).stat()
    command = [sys.executable, str(CHECKOUT / "build/build.py")]
    done = subprocess.run(command, env={"PATH": "/nowhere"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), "sources were changed while the tests ran"
    assert "nothing changed" in done.stdout
    assert (frozen / PLUGIN).stat() == before


def test_library_holds_what_is_listed(frozen: Path) -> None:
    """So a module that a new version adds, or that leaks from the build's environment, is noticed."""
    python = sysconfig.get_python_version()
    lines = [line.split() for line in (CHECKOUT / "tests/tree.txt").read_text().splitlines() if line and line[0] != "#"]
    listed = {name for name, *only in lines if not only or python in only}
    assert {path.name.partition(".")[0] for path in (frozen / LIBRARY).iterdir()} == listed


def test_what_sriov_bondctl_imports_late_works_from_the_tree_alone(frozen: Path) -> None:
    """With only the tree's library: the metaschemas are files, and TLS and SQLite are replaced by stand-ins."""
    code = """
        import sys
        sys.path[:], before = [sys.argv[1]], set(sys.modules)
        import jsonschema, pyroute2
        jsonschema.Draft202012Validator.check_schema({"type": "object"})
        assert [error.message for error in jsonschema.Draft202012Validator({"type": "object"}).iter_errors([])]
        with pyroute2.IPRoute() as route:
            assert "lo" in [link.get("ifname") for link in route.get_links()]
        specs = [getattr(sys.modules[name], "__spec__", None) for name in set(sys.modules) - before]
        outside = [spec.origin for spec in specs if spec and spec.has_location and not spec.origin.startswith(sys.argv[1])]
        assert not outside, outside
    """
    command = [sys.executable, "-I", "-S", "-c", textwrap.dedent(code), str(frozen / LIBRARY)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_programs_and_libpython_are_hardened(frozen: Path) -> None:
    """As Debian hardens its own programs, and with an explicit kind of build id."""
    libraries = list((frozen / CONTENTS).glob("libpython*"))
    for path in [frozen / PLUGIN, (frozen / COMMAND).resolve(), *libraries]:
        shown = subprocess.run(["readelf", "-hldn", "-W", path], capture_output=True, text=True, check=True).stdout
        assert re.search(r"Type: +DYN", shown), path  # a program of this type is position-independent
        assert "GNU_RELRO" in shown, path
        assert re.search(r"GNU_STACK .* RW +0x", shown), path
        assert re.search(r"Build ID: [0-9a-f]{40}\n", shown), path
        if path not in libraries:
            assert re.search(r"FLAGS_1.*\bNOW\b.*\bPIE\b", shown), path


def test_libpython_brings_its_libraries(frozen: Path) -> None:
    """Linked here it has expat and zlib inside, and start-up is faster. Debian 13's own finds them beside it."""
    [library] = (frozen / CONTENTS).glob("libpython*")
    shown = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    needed = {name for name in re.findall(r"NEEDED.*\[(.+)\]", shown) if not re.match(r"libc\.|libm\.|ld-linux", name)}
    assert needed == {"3.11": set(), "3.13": {"libexpat.so.1", "libz.so.1"}}[sysconfig.get_python_version()]
    assert {path.name for path in (frozen / CONTENTS).glob("lib*.so*")} == needed | {
        library.name,
        "libffi.so.8",
        "libgcc_s.so.1",
    }


def test_parts_are_named_with_versions_and_licences(frozen: Path) -> None:
    """In the SBOM for vulnerability scanners, on the licence page, and by the texts of the licences."""
    documents = frozen / "usr/share/doc/sriov-bond"
    bom = json.loads((documents / "sriov-bond.cdx.json").read_text())
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "sriov-bond")
    parts = {part["purl"].partition("@")[0]: part for part in bom["components"]}
    python = {name.removeprefix("pkg:pypi/"): part for name, part in parts.items() if name.startswith("pkg:pypi/")}
    locked = dict(re.findall(r"^([\w-]+)==(\S+)", (CHECKOUT / "lock/build.txt").read_text(), re.MULTILINE))
    assert {"rich", "pyroute2", "jsonschema", "attrs", "rpds-py", "pyinstaller", "shtab"} <= set(python)
    assert {name: part["version"] for name, part in python.items()} == {name: locked[name] for name in python}
    debian = {name.rpartition("/")[2] for name in parts if name.startswith("pkg:deb/debian/")}
    assert {f"python{sysconfig.get_python_version()}", "expat", "zlib", "libffi"} < debian
    assert "pkg:cargo/rpds" in parts
    page = (documents / "docs/licences.md").read_text()
    texts = {path.name.lower().replace("_", "-") for path in (documents / "licences").iterdir()}
    for name in (*debian, *texts):
        unversioned = re.sub(r"^(?:lib)?(python|gcc)-?\d.*", r"\1", name)
        assert f"`{unversioned}`" in page, name
    assert set(python) <= texts


def test_two_builds_are_the_same_bytes(frozen: Path, tmp_path: Path) -> None:
    """Independent of directory, time, hash seed, umask and the order of files in a directory."""
    checkout = tmp_path / "a checkout of another name"
    checkout.mkdir()
    for name in sorted(os.listdir(CHECKOUT), reverse=True):
        if (CHECKOUT / name).is_dir() and name in ("build", "cni_sriov_bond", "conf", "docs", "lock"):
            shutil.copytree(CHECKOUT / name, checkout / name, copy_function=shutil.copyfile)
        elif name in ("pyproject.toml", "LICENSE") or name.endswith(".md"):
            shutil.copyfile(CHECKOUT / name, checkout / name)
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(checkout / "build/build.py")]
    done = subprocess.run(command, env=environment, umask=0o077, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first, second = (next(dist.glob("*.tar.gz")) for dist in (frozen.parent, checkout / "dist"))
    other = checkout / "dist/root"
    names = [{str(path.relative_to(tree)) for path in tree.rglob("*")} for tree in (frozen, other)]
    assert names[0] == names[1]
    differ = [path for path in files(frozen) if path.read_bytes() != (other / path.relative_to(frozen)).read_bytes()]
    assert not differ
    assert first.read_bytes() == second.read_bytes()


def test_source_distribution_is_fetched_by_its_hash_and_not_run(tmp_path: Path) -> None:
    """From the index that pip is configured for. Its build back end, which `pip download` would run, is not run."""
    name, version, marker = "pyinstaller", "6.22.3", tmp_path / "ran"
    source, target = tmp_path / f"{name}-{version}", tmp_path / "fetched"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(marker)!r}, 'w')")
    (source / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    index = tmp_path / "index"
    index.mkdir()
    archive = index / f"{source.name}.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source, source.name)
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}

    def fetch(sha256: str, wanted: str = version) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(CHECKOUT / "build/fetch.py"), name, wanted, sha256, str(target)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    refused = fetch("0" * 64)
    assert refused.returncode == 1
    assert f"{archive.as_uri()} has the SHA-256" in refused.stderr
    absent = fetch("0" * 64, "6.22.4")
    assert absent.returncode == 1
    assert "of pyinstaller 6.22.4 cannot be fetched" in absent.stderr
    assert not target.exists()
    assert fetch(hashlib.sha256(archive.read_bytes()).hexdigest()).returncode == 0
    assert target.read_bytes() == archive.read_bytes()
    assert not marker.exists()


def test_refuses_a_data_file_in_the_package(tmp_path: Path) -> None:
    """A frozen package has no directory, so the file would be missing at run time."""
    package = tmp_path / "cni_sriov_bond"
    package.mkdir()
    (package / "__init__.py").touch()
    code = "import freeze, pathlib, sys; freeze.table(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "build")}
    assert subprocess.run(command, env=environment).returncode == 0
    (package / "schema.json").touch()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{package / 'schema.json'} cannot be read from a frozen package" in done.stderr


def test_what_is_for_types_alone_is_not_frozen() -> None:
    """It costs every ADD a million instructions. A NamedTuple is made of its annotations, so a class keeps them."""
    source = """
from typing import NamedTuple
TYPE_CHECKING = False
if TYPE_CHECKING:
    import for_types
class Pair(NamedTuple):
    left: int
def function(first: "for_types.A", /, second: int, *rest: int, last: str = "", **more: int) -> "for_types.B":
    return for_types
"""
    code = (
        "import freeze, sys\n"
        "names = {}\n"
        "code = compile(freeze._without_types(sys.stdin.read()), 'source.py', 'exec')\n"
        "exec(code, names)\n"
        "print(names['function'].__annotations__, names['Pair']._fields, 'for_types' in code.co_names, code.co_firstlineno,\n"
        "      names['function'].__code__.co_firstlineno)"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "build")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=source, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{} ('left',) False 1 8\n"


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
