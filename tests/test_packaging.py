"""The project as pip installs it, and the versions that are locked."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cni_sriov_bond import VERSION

CHECKOUT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of the checkout, built with the locked setuptools and without an index."""
    directory = tmp_path_factory.mktemp("wheel")
    sources = directory / "sources"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("cni_sriov_bond", "build", "pyproject.toml", "README.md", "LICENSE"):
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, sources / name, ignore=ignored)
        else:
            shutil.copyfile(CHECKOUT / name, sources / name)
    recipe = sorted((sources / "build").rglob("*"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory), str(sources))
    assert sorted((sources / "build").rglob("*")) == recipe, "setuptools must not work in the directory of the build's recipe"
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Return the directory of programs of a virtual environment with the wheel in it.

    Its dependencies are taken from the environment of the tests; another test checks that there are no others.
    """
    environment = wheel.parent / "venv"
    venv.create(environment, symlinks=True)
    pip("--python", str(environment / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    library = sysconfig.get_path("purelib", "venv", {"base": str(environment)})
    Path(library, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin"


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def run(program: Path, *arguments: str, **environment: str) -> str:
    """Run a console script from a directory without sources, and return its output."""
    command = [str(program), *arguments]
    done = subprocess.run(command, env=environment, cwd=program.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_wheel_has_every_module_and_the_marker_of_types(wheel: Path) -> None:
    modules = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "cni_sriov_bond").rglob("*.py")}
    with zipfile.ZipFile(wheel) as packed:
        packed_files = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert packed_files == modules | {"cni_sriov_bond/py.typed"}


def test_wheel_says_version_and_dependencies_of_the_sources(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        [name] = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(packed.read(name).decode())
    assert (metadata["Name"], metadata["Version"]) == ("cni-sriov-bond", VERSION)
    required = {Requirement(line) for line in metadata.get_all("Requires-Dist", [])}
    assert required == {Requirement(line) for line in PYPROJECT["project"]["dependencies"]}
    assert {requirement.name for requirement in required} == {"jsonschema", "prometheus-client", "pyroute2", "rich"}


def test_console_scripts_run(installed: Path) -> None:
    assert run(installed / "sriov-bondctl", "--version") == f"sriov-bondctl {VERSION}\n"
    for plugin in ("sriov-bond", "sriov-bond-ipam"):
        assert '"supportedVersions":["0.1.0",' in run(installed / plugin, CNI_COMMAND="VERSION")
    imported = run(installed / "python", "-c", "import cni_sriov_bond; print(cni_sriov_bond.__file__)")
    assert Path(imported).is_relative_to(installed.parent)


def pinned(name: str) -> dict[str, str]:
    """Return the versions in a lock file; each must have hashes."""
    versions: dict[str, str] = {}
    for entry in re.split(r"\n(?=\w)", (CHECKOUT / "lock" / f"{name}.txt").read_text()):
        if pin := re.match(r"([\w.-]+)==(\S+)", entry):
            assert "--hash=sha256:" in entry, pin[0]
            versions[canonicalize_name(pin[1])] = pin[2]
    return versions


@pytest.mark.parametrize("name", ["build", "dev"])
def test_locked_versions_are_in_the_ranges_of_pyproject(name: str) -> None:
    groups = PYPROJECT["dependency-groups"]
    ranges = [*PYPROJECT["project"]["dependencies"], *groups["build"], *(groups["dev"] if name == "dev" else [])]
    versions = pinned(name)
    for requirement in (Requirement(line) for line in ranges if isinstance(line, str)):
        assert versions.get(canonicalize_name(requirement.name), "") in requirement.specifier, f"{requirement}: run ./dev lock"


def test_what_is_frozen_is_what_the_tests_import() -> None:
    build, dev = pinned("build"), pinned("dev")
    assert {name: dev.get(name) for name in build} == build


def test_no_lock_file_names_an_index() -> None:
    for path in (CHECKOUT / "lock").iterdir():
        assert "://" not in path.read_text(), path
