"""The rules of the design that a machine can hold: layers, doors, names."""

import ast
import re
from pathlib import Path

import pytest

from cni_sriov_bond import config, edge, errors
from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "cni_sriov_bond"
# From the bottom up. A module imports from levels below its own, never sideways and never up.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("", "errors"),
    ("jsontext", "wire", "log", "schema", "store"),
    ("bonding",),
    ("bondrules", "overrides"),
    ("config", "result", "netns", "neighbour", "inventory", "leases", "quarantine"),
    ("netlink", "debts", "pool"),
    ("sriov", "bond", "ipam", "addresses"),
    ("release",),
    ("reclaim", "readiness"),
    ("claim",),
    ("plugin", "edge"),
    ("delegate",),
    ("admin",),
    ("__main__",),
)
ADMIN_LEVELS: tuple[tuple[str, ...], ...] = (
    ("",),
    ("text",),
    ("documents", "hostfile_schema"),
    ("schemacheck",),
    ("hostfile", "networkfile", "nic", "provisioned", "links", "recover", "udevrules"),
    ("check", "refusals", "vfs", "status"),
    ("provision", "screen"),
    ("__main__",),
)
DELEGATE_LEVELS: tuple[tuple[str, ...], ...] = (
    ("",),
    ("schema", "ranges"),
    ("index",),
    ("request",),
    ("reservations",),
    ("verbs",),
    ("__main__",),
)
PACKAGES = {"admin": ADMIN_LEVELS, "delegate": DELEGATE_LEVELS}
SOURCES = sorted(PACKAGE.rglob("*.py"))
# What the plugin's own calls load: everything but the operator's command.
PLUGIN = [path for path in SOURCES if "admin" not in path.parts]


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> list[str]:
    """Give every module of ours that a file names in an import, for types too: they are dependencies of the reader."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "cni_sriov_bond":
            found += [
                alias.name if (PACKAGE / f"{alias.name}.py").exists() or alias.name in PACKAGES else "" for alias in node.names
            ]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cni_sriov_bond."):
            module = (node.module or "").removeprefix("cni_sriov_bond.")
            if module in PACKAGES:
                found += [f"{module}.{alias.name}" for alias in node.names]
            else:
                found.append(module)
        elif isinstance(node, ast.Import):
            found += [
                alias.name.removeprefix("cni_sriov_bond.") for alias in node.names if alias.name.startswith("cni_sriov_bond")
            ]
    return found


def level(module: str, levels: tuple[tuple[str, ...], ...]) -> int:
    [found] = [number for number, names in enumerate(levels) if module in names]
    return found


def calls(path: Path) -> set[str]:
    """Give the last names of everything that a file calls, with its object where it has one."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
    return found


def foreign(path: Path) -> set[str]:
    """Give every name that a file imports from elsewhere, as module and as module.name."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# -- layers


def test_every_module_has_its_place() -> None:
    """A new module is given a level here before it is used."""
    modules = {path.stem if path.stem != "__init__" else "" for path in PACKAGE.glob("*.py")} | set(PACKAGES)
    assert sorted(modules) == sorted(one for names in LEVELS for one in names)
    for package, levels in PACKAGES.items():
        modules = {path.stem if path.stem != "__init__" else "" for path in (PACKAGE / package).glob("*.py")}
        assert sorted(modules) == sorted(one for names in levels for one in names)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_down(path: Path) -> None:
    """No module imports one of its own level or above."""
    stem = path.stem if path.stem != "__init__" else ""
    wrong = []
    for imported in imports(path):
        inside, _, below = imported.partition(".")
        if path.parent == PACKAGE:
            if level(inside, LEVELS) >= level(stem, LEVELS):
                wrong.append(imported)
        elif below and inside == path.parent.name:
            levels = PACKAGES[inside]
            if level(below, levels) >= level(stem, levels):
                wrong.append(imported)
        elif level(inside, LEVELS) >= level(path.parent.name, LEVELS):
            wrong.append(imported)
    assert wrong == []


def test_the_delegate_has_nothing_of_the_kernel() -> None:
    """It serves any plugin on any machine: of ours it knows what reads, checks, answers and keeps files."""
    found = {one for path in (PACKAGE / "delegate").glob("*.py") for one in imports(path) if "." not in one}
    assert found <= {"", "config", "edge", "errors", "result", "schema", "store"}


def test_those_who_judge_share_no_code_with_the_product() -> None:
    """A mistake in both would be seen by neither."""
    judges = [
        *(REPOSITORY / "tests/lab/inside").glob("*.py"),
        *(REPOSITORY / f"tests/soak/{one}.py" for one in ("referee", "tally")),
    ]
    assert len(judges) >= 6
    assert [str(path) for path in judges if imports(path) or "cni_sriov_bond" in path.read_text()] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_are_absolute(path: Path) -> None:
    """Where a name comes from can be read where it is imported."""
    assert not [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("path", PLUGIN, ids=name)
def test_the_plugins_path_imports_only_the_cheap(path: Path) -> None:
    """Each of these costs a call more than its own work does (design.md, startup)."""
    dear = {
        "argparse", "asyncio", "collections", "ctypes", "dataclasses", "enum", "fcntl.lockf", "functools", "hashlib", "inspect",
        "ipaddress", "json", "jsonschema", "logging", "pathlib", "pyroute2", "re", "rich", "shutil", "socket", "subprocess",
        "tempfile", "threading", "traceback", "typing", "uuid",
    }  # fmt: skip
    found = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    assert found & dear == set()


# -- doors


def users(paths: list[Path], *names: str) -> list[str]:
    """Give the files that import or call any of some names."""
    return [name(path) for path in paths if (foreign(path) | calls(path)) & set(names)]


def test_only_ipam_starts_processes() -> None:
    """On the plugin's path there is one place that starts a program."""
    starters = ("posix_spawn", "posix_spawnp", "fork", "forkpty", "system", "popen", "execv", "execve", "execvp", "execl")
    found = users(PLUGIN, "subprocess", "multiprocessing", *starters, *(f"os.{one}" for one in starters), "posix.fork")
    assert found == ["ipam.py"]


def test_only_store_takes_file_locks() -> None:
    """Locks are one module's, so that their order can be read in one place."""
    assert users(SOURCES, "fcntl.flock", "fcntl.lockf", "fcntl.LOCK_EX", "flock", "lockf") == ["store.py"]


def writes_standard_output(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    if function == "Console":  # rich's; without a word it is on standard output
        return not any(keyword.arg == "stderr" for keyword in call.keywords)
    if function in ("os.write", "posix.write", "_write", "_say"):
        return ast.unparse(call.args[0]) == "1"
    return function == "print" and not any(ast.unparse(keyword) == "file=sys.stderr" for keyword in call.keywords)


def test_only_the_edges_write_standard_output() -> None:
    """The result is printed in one place; the operator's command has its own two."""
    found = []
    for path in SOURCES:
        written = any(writes_standard_output(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
        if written or "sys.stdout" in path.read_text():
            found.append(name(path))
    assert found == ["admin/__main__.py", "admin/screen.py", "edge.py"]


def test_only_the_edges_read_the_environment() -> None:
    """Everything below is given what it needs."""
    pattern = re.compile(r"\b(os|posix)\.(environ|environb|getenv)\b")
    assert [name(path) for path in SOURCES if pattern.search(path.read_text())] == ["admin/__main__.py", "edge.py"]


def test_only_the_edges_end_the_process() -> None:
    """An exit status is decided in one place of each program."""
    found = users(SOURCES, "sys.exit", "exit", "quit", "os._exit", "posix._exit")
    found += [name(path) for path in SOURCES if "SystemExit" in path.read_text()]
    assert found == ["__main__.py", "admin/__main__.py", "delegate/__main__.py", "edge.py"]


def test_only_two_modules_open_netlink_sockets() -> None:
    """The plugin has its own, and what the operator's command only reads is read through pyroute2."""
    assert users(SOURCES, "_socket.AF_NETLINK", "socket.AF_NETLINK", "pyroute2") == ["admin/links.py", "netlink.py"]


def test_only_result_builds_documents() -> None:
    """A document of the protocol has a cniVersion, and one module writes those; VERSION's is a constant text.

    `sriov-bondctl check` has the schema of a network file, and gives a plugin's config the list's version as a runtime does.
    """
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Dict) and any(
                isinstance(key, ast.Constant) and key.value == "cniVersion" for key in node.keys
            ):
                found.append(name(path))
    assert set(found) == {"result.py", "admin/networkfile.py"}


def test_only_the_edges_catch_everything() -> None:
    """A handler of every exception hides bugs: one is at the edge, and undoing an ADD raises again what it caught."""
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            ):
                raises = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if not raises:
                    found.append(name(path))
    assert found == ["edge.py"]


# -- errors and words


def test_every_error_of_ours_is_a_cni_error() -> None:
    """A class of exception is defined in one module and has a code, so that the edge can tell it."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and any(base.endswith(("Error", "Exception")) for base in bases):
                found[node.name] = name(path)
    assert found == dict.fromkeys(("CniError", "DelegateError", "KernelError"), "errors.py")
    assert issubclass(errors.KernelError, errors.CniError)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_raised_is_a_cni_error_or_a_value_error(path: Path) -> None:
    """Pure readers raise ValueError for their caller to turn into words; everybody else raises a CniError."""
    readers = {"jsontext.py", "result.py"}
    wrong = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            raised = ast.unparse(node.exc.func)
            allowed = raised in ("CniError", "KernelError", "_failure", "inventory.foreign", "foreign")
            if not allowed and not (raised == "ValueError" and name(path) in readers):
                wrong.append(f"line {node.lineno}: {raised}")
    assert wrong == []


def test_error_codes_are_distinct_and_in_their_range() -> None:
    """No two of our errors share a code; from 100 on they are ours, below the specification's."""
    codes = {key: value for key, value in vars(errors).items() if key.isupper()}
    assert len(set(codes.values())) == len(codes)
    specified = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}
    assert all(value in specified or 100 <= value < 200 for value in codes.values())


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_ports_are_called_ports(path: Path) -> None:
    """The old words for a bond's ports are the kernel's attribute names alone."""
    kernels = {
        "IFLA_MASTER", "IFLA_INFO_SLAVE_DATA", "all_slaves_active", "packets_per_slave",
        "master", "_read_master",  # what IFLA_MASTER says, as a field
    }  # fmt: skip
    text = path.read_text()
    words = {word for word in re.findall(r"\w+", text) if re.search("slave|master", word, re.IGNORECASE)}
    assert words <= kernels
    said = [
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\bmaster\b", node.value)
    ]
    assert said in ([], ["master"])  # the slot's name, never a sentence


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_everything_public_is_explained(path: Path) -> None:
    """Modules, classes and functions that others use have a docstring."""
    module = tree(path)
    bare = [] if ast.get_docstring(module) else ["the module"]
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            setter = any(ast.unparse(one).endswith(".setter") for one in node.decorator_list)
            bare += [] if setter else [node.name]
    inside = {
        inner.name
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.ClassDef) and node.name.startswith("_"))
        for inner in ast.walk(node)
        if isinstance(inner, ast.FunctionDef) and inner is not node
    }
    assert set(bare) - inside == set()


def test_versions_are_one_list() -> None:
    """VERSION answers from a list of its own, to import nothing; it is the config's."""
    assert config.VERSIONS == edge._VERSIONS


def test_nothing_is_left_to_do() -> None:
    """What is not finished is not in the code."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [name(path) for path in SOURCES if marks.search(path.read_text())] == []


@pytest.mark.parametrize("path", PLUGIN, ids=name)
def test_no_error_of_ours_is_one_that_go_cni_swallows(path: Path) -> None:
    """containerd and nerdctl take a DEL that failed with these words for done; the kernel's own begin with a capital."""
    texts = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if "not found" in text or "no such file or directory" in text] == []
