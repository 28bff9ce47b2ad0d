"""The rules of the design that a machine can hold: layers, doors, names."""

import ast
import re
from pathlib import Path

import pytest

from cni_sriov_bond import errors
from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "cni_sriov_bond"
GROUND = "ground"
# The rooms from the bottom up. A module imports from rooms below its own, and from its own room as long as there is no cycle.
FLOORS: tuple[tuple[str, ...], ...] = (
    (GROUND,),
    ("cni", "pool"),
    ("kernel",),
    ("network",),
    ("plugin", "ipam"),
    ("ctl",),
    ("__main__",),
)
ROOMS = [room for rooms in FLOORS for room in rooms]
# Rooms that a room never imports, though they are below it.
NEVER = {"ipam": {"kernel", "pool"}, "kernel": {"pool"}}
MOST_LINES = 350
SOURCES = sorted(PACKAGE.rglob("*.py"))
# What the plugin's own calls load: everything but the operator's command.
PLUGIN = [path for path in SOURCES if "ctl" not in path.parts]


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    """Return the room of a module: its package, or for a module at the top the ground, or the entry."""
    if path.parent != PACKAGE:
        return path.parent.name
    return "__main__" if path.stem == "__main__" else GROUND


def floor_of(room: str) -> int:
    [floor] = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> list[Path]:
    """Return every module of ours that a file names in an import, for types too: a reader depends on them as well."""
    modules = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            base = PACKAGE.joinpath(*(node.module or "").split(".")[1:])
            for alias in node.names:
                candidates = (
                    base / f"{alias.name}.py",
                    base / alias.name / "__init__.py",
                    base.with_suffix(".py"),
                    base / "__init__.py",
                )
                modules.append(next(candidate for candidate in candidates if candidate.exists()))
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith(PACKAGE.name) for alias in node.names), "write `from ... import`"
    return modules


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


def test_every_package_is_a_room() -> None:
    """A new room is given its floor here before it is used."""
    assert sorted({room_of(path) for path in SOURCES}) == sorted(ROOMS)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_down(path: Path) -> None:
    """No module imports from a room that is beside or above its own."""
    room = room_of(path)
    rooms = {room_of(imported): name(imported) for imported in imports(path)} if path.stem != "__init__" else {}
    wrong = {other: module for other, module in rooms.items() if other != room and floor_of(other) >= floor_of(room)}
    assert wrong == {}


@pytest.mark.parametrize(("room", "never"), NEVER.items())
def test_a_room_does_not_know_what_is_not_its_business(room: str, never: set[str]) -> None:
    """Our IPAM plugin serves any plugin on any machine; the kernel's side knows no leases, and the pool no kernel."""
    for path in (PACKAGE / room).glob("*.py"):
        assert {room_of(imported) for imported in imports(path)} & never == set(), name(path)


def test_there_are_no_cycles() -> None:
    """Inside a room too, one module can be read before the other."""
    graph = {path: set(imports(path)) - {path} for path in SOURCES}
    while leaves := [path for path, needs in graph.items() if not needs & graph.keys()]:
        for path in leaves:
            del graph[path]
    assert [name(path) for path in graph] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_module_is_too_long(path: Path) -> None:
    """What is longer has more than one reason to change."""
    assert len(path.read_text().splitlines()) <= MOST_LINES


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
    assert found == ["cni/invoke.py"]


def test_only_store_takes_file_locks() -> None:
    """Locks are one module's, so that their order can be read in one place."""
    assert users(SOURCES, "fcntl.flock", "fcntl.lockf", "fcntl.LOCK_EX", "flock", "lockf") == ["files.py"]


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
    assert found == ["cni/process.py", "ctl/__main__.py", "ctl/screen.py"]


def test_only_the_edges_read_the_environment() -> None:
    """Everything below is given what it needs."""
    pattern = re.compile(r"\b(os|posix)\.(environ|environb|getenv)\b")
    assert [name(path) for path in SOURCES if pattern.search(path.read_text())] == ["cni/process.py", "ctl/__main__.py"]


def test_only_the_edges_end_the_process() -> None:
    """An exit status is decided in one place of each program."""
    found = users(SOURCES, "sys.exit", "exit", "quit", "os._exit", "posix._exit")
    found += [name(path) for path in SOURCES if "SystemExit" in path.read_text()]
    assert found == ["__main__.py", "cni/process.py", "ctl/__main__.py", "ipam/__main__.py"]


def test_only_two_modules_open_netlink_sockets() -> None:
    """The plugin has its own, and what the operator's command only reads is read through pyroute2."""
    assert users(SOURCES, "_socket.AF_NETLINK", "socket.AF_NETLINK", "pyroute2") == ["ctl/links.py", "kernel/netlink.py"]


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
    assert set(found) == {"cni/result.py", "ctl/networkfile.py"}


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
    assert found == ["cni/process.py"]


# -- errors and words


ERRORS = ("CniError", "DamagedLeaseError", "DelegateError", "InvalidConfigError", "KernelError")


def test_every_error_of_ours_is_a_cni_error() -> None:
    """A class of exception is defined in one module and has a code, so that the edge can tell it."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and any(base.endswith(("Error", "Exception")) for base in bases):
                found[node.name] = name(path)
    assert found == dict.fromkeys(ERRORS, "errors.py")
    assert issubclass(errors.KernelError, errors.CniError)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_raised_is_a_cni_error_or_a_value_error(path: Path) -> None:
    """Pure readers raise ValueError for their caller to turn into words; everybody else raises a CniError."""
    readers = {"jsontext.py", "pool/record.py", "cni/address.py", "cni/result.py", "ipam/ranges.py", "ipam/request.py"}
    wrong = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            raised = ast.unparse(node.exc.func)
            allowed = raised in (*ERRORS, "_failure", "_unsupported_version", "_vanished")
            if not allowed and not (raised == "ValueError" and name(path) in readers):
                wrong.append(f"line {node.lineno}: {raised}")
    assert wrong == []


def test_error_codes_are_distinct_and_in_their_range() -> None:
    """No two of our errors share a code; from 100 on they are ours, below the specification's."""
    codes = {key: value for key, value in vars(errors).items() if key.isupper() and type(value) is int}
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
    assert set(said) <= {"master"}  # the field's name, never a sentence


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


def test_versions_are_listed_once() -> None:
    """VERSION, the check of a config and every error have one list."""
    lists = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Tuple | ast.List | ast.Set) and {"0.2.0", "1.0.0"} <= {
                part.value for part in node.elts if isinstance(part, ast.Constant)
            }:
                lists.append(name(path))
    assert lists == ["__init__.py"]


def test_nothing_is_left_to_do() -> None:
    """What is not finished is not in the code."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [name(path) for path in SOURCES if marks.search(path.read_text())] == []


@pytest.mark.parametrize("path", PLUGIN, ids=name)
def test_no_error_of_ours_is_one_that_go_cni_swallows(path: Path) -> None:
    """containerd and nerdctl take a DEL that failed with these words for done; the kernel's own begin with a capital."""
    texts = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if "not found" in text or "no such file or directory" in text] == []
