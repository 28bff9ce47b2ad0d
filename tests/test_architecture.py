"""The rules of the architecture: layers, single points of access to the system, errors and names."""

import ast
import re
from pathlib import Path

import pytest

from cni_sriov_bond import errors
from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "cni_sriov_bond"
TESTS = REPOSITORY / "tests"
GROUND = "ground"
# The packages ("rooms") from the bottom up. A module imports from rooms below its own, and from its own if that makes no cycle.
FLOORS: tuple[tuple[str, ...], ...] = (
    (GROUND,),
    ("cni", "pool"),
    ("kernel",),
    ("network",),
    ("plugin", "ipam"),
    ("oci",),
    ("ctl",),
    ("doctor",),
    ("commands",),
    ("__main__",),
)
ROOMS = [room for rooms in FLOORS for room in rooms]
# Rooms below a room that it must not import either.
NEVER = {"ipam": {"kernel", "pool"}, "kernel": {"pool"}}
MOST_LINES = 350
SOURCES = sorted(PACKAGE.rglob("*.py"))
# What calls of the plugin import: everything except sriov-bondctl and the OCI hook.
PLUGIN = [path for path in SOURCES if not {"ctl", "doctor", "oci"} & set(path.parts)]


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    """Return the room of a module: its package, or for a module at the top the ground, or the entry.

    The entry of sriov-bondctl is in the room of its commands, which import from everywhere.
    """
    if path == PACKAGE / "ctl/__main__.py":
        return "commands"
    if path.parent != PACKAGE:
        return path.parent.name
    return "__main__" if path.stem == "__main__" else GROUND


def floor_of(room: str) -> int:
    [floor] = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    return floor


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> list[Path]:
    """Return every module of the package that a file imports, also for types only: a reader depends on those too."""
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
    """Return every function that a file calls, as it is written, e.g. ``os.fork``."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            names.add(ast.unparse(node.func))
    return names


def foreign(path: Path) -> set[str]:
    """Return every name that a file imports, as module and as module.name."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


# -- layers


def test_every_package_is_a_room() -> None:
    """A new room must be added to FLOORS first."""
    assert sorted({room_of(path) for path in SOURCES}) == sorted(ROOMS)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_down(path: Path) -> None:
    """No module imports from another room on its own floor or above."""
    room = room_of(path)
    rooms = {room_of(imported): name(imported) for imported in imports(path)} if path.stem != "__init__" else {}
    wrong = {other: module for other, module in rooms.items() if other != room and floor_of(other) >= floor_of(room)}
    assert wrong == {}


@pytest.mark.parametrize(("room", "never"), NEVER.items())
def test_a_room_does_not_import_what_it_must_not_know(room: str, never: set[str]) -> None:
    """Our IPAM plugin works with any plugin on any machine; kernel code knows no leases, and the pool no kernel."""
    for path in (PACKAGE / room).glob("*.py"):
        assert {room_of(imported) for imported in imports(path)} & never == set(), name(path)


def test_there_are_no_cycles() -> None:
    """Modules of one room can be read in an order too."""
    graph = {path: set(imports(path)) - {path} for path in SOURCES}
    while leaves := [path for path, needs in graph.items() if not needs & graph.keys()]:
        for path in leaves:
            del graph[path]
    assert [name(path) for path in graph] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_module_is_too_long(path: Path) -> None:
    """A longer module has more than one responsibility."""
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_checkers_share_no_code_with_the_product() -> None:
    """A mistake in shared code would be noticed by neither."""
    checkers = [
        *(REPOSITORY / "tests/lab/inside").glob("*.py"),
        *(REPOSITORY / f"tests/soak/{name}.py" for name in ("ownership_oracle", "counters")),
    ]
    assert len(checkers) >= 6
    assert [str(path) for path in checkers if imports(path) or "cni_sriov_bond" in path.read_text()] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_are_absolute(path: Path) -> None:
    """The import itself names the module."""
    assert not [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("path", PLUGIN, ids=name)
def test_the_plugin_imports_nothing_expensive(path: Path) -> None:
    """Importing any of these takes longer than the work of a call."""
    expensive = {
        "argparse", "asyncio", "collections", "ctypes", "dataclasses", "enum", "fcntl.lockf", "functools", "hashlib", "inspect",
        "ipaddress", "json", "jsonschema", "logging", "pathlib", "pyroute2", "re", "rich", "shutil", "socket", "subprocess",
        "tempfile", "threading", "traceback", "typing", "uuid",
    }  # fmt: skip
    imported = set()
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported & expensive == set()


# -- tests

# Modules without a test file of their own, by the reason.
WITHOUT_TESTS = {
    "it has only names, values or messages": (
        "errors", "kernel/objects", "plugin/context", "ctl/text", "ipam/schema",
    ),
    "it starts a program, whose process is tested: cni/test_process, test_startup, ipam": ("__main__", "ipam/__main__"),
    "it is a step of a call of the plugin, which is tested as a process and in the lab": ( "plugin/forward",
    ),
    "it is a part of `sriov-bondctl check`: ctl/test_check_files": (
        "ctl/check", "ctl/documents", "ctl/networkfile", "ctl/schemacheck",
    ),
    "it is a step of `sriov-bondctl up` or `down`: ctl/test_provision": (
        "ctl/refusals", "ctl/udevrules", "ctl/locks", "ctl/removal", "ctl/vfdriver",
    ),
}  # fmt: skip


def has_logic(path: Path) -> bool:
    """Return whether a module defines a function or a class; a package's ``__init__`` need not be tested by itself."""
    return path.stem != "__init__" and any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in tree(path).body)


def test_tests_mirror_the_package() -> None:
    """The tests of cni/call are in tests/cni/test_call.py, those of a module at the top in tests."""
    untested = {module for modules in WITHOUT_TESTS.values() for module in modules}
    # A command declares its arguments and prints what another module returns: ctl/test_main runs each.
    tested = [path for path in SOURCES if has_logic(path) and path.parent.name != "commands"]
    modules = [path.relative_to(PACKAGE).with_suffix("") for path in tested]
    expected = {str(module): module.parent / f"test_{module.name.strip('_')}.py" for module in modules}
    missing = [f"{module} has no tests/{file}" for module, file in expected.items() if not (TESTS / file).is_file()]
    assert [line for line in missing if line.split()[0] not in untested] == []
    assert sorted(untested - {line.split()[0] for line in missing}) == [], "the list names modules that have tests, or are gone"


# -- single points of access


def users(paths: list[Path], *names: str) -> list[str]:
    """Return the files that import or call any of the names."""
    return [name(path) for path in paths if (foreign(path) | calls(path)) & set(names)]


def test_only_invoke_starts_processes() -> None:
    """One module of the plugin starts programs."""
    starters = ("posix_spawn", "posix_spawnp", "fork", "forkpty", "system", "popen", "execv", "execve", "execvp", "execl")
    modules = users(
        PLUGIN, "subprocess", "multiprocessing", *starters, *(f"os.{starter}" for starter in starters), "posix.fork"
    )
    assert modules == ["cni/invoke.py"]


def test_only_files_takes_file_locks() -> None:
    """One module takes all locks."""
    assert users(SOURCES, "fcntl.flock", "fcntl.lockf", "fcntl.LOCK_EX", "flock", "lockf") == ["files.py"]


def writes_standard_output(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    if function == "Console":  # rich writes to standard output by default
        return not any(keyword.arg == "stderr" for keyword in call.keywords)
    if function in ("os.write", "posix.write", "_write", "_print"):
        return ast.unparse(call.args[0]) == "1"
    return function == "print" and not any(ast.unparse(keyword) == "file=sys.stderr" for keyword in call.keywords)


def test_only_the_edges_write_standard_output() -> None:
    """One module prints a plugin's results; those of sriov-bondctl are printed by its commands and its screen."""
    modules = []
    for path in SOURCES:
        if room_of(path) == "commands":
            continue
        written = any(writes_standard_output(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
        if written or "sys.stdout" in path.read_text():
            modules.append(name(path))
    assert modules == ["cni/process.py", "ctl/screen.py", "oci/__main__.py"]


def test_only_the_edges_read_the_environment() -> None:
    """Everything else gets what it needs as arguments."""
    pattern = re.compile(r"\b(os|posix)\.(environ|environb|getenv)\b")
    assert [name(path) for path in SOURCES if pattern.search(path.read_text())] == ["cni/process.py", "ctl/__main__.py"]


def test_only_the_edges_end_the_process() -> None:
    """One module of each program decides its exit status."""
    modules = users(SOURCES, "sys.exit", "exit", "quit", "os._exit", "posix._exit")
    modules += [name(path) for path in SOURCES if "SystemExit" in path.read_text()]
    assert modules == ["__main__.py", "cni/process.py", "ctl/__main__.py", "ipam/__main__.py", "oci/__main__.py"]


def test_only_two_modules_open_netlink_sockets() -> None:
    """The plugin has its own codec; sriov-bondctl reads link facts through pyroute2."""
    assert users(SOURCES, "_socket.AF_NETLINK", "socket.AF_NETLINK", "pyroute2") == ["ctl/links.py", "kernel/netlink.py"]


def test_only_result_builds_documents() -> None:
    """One module writes documents of the protocol, which have a cniVersion; that of VERSION is a constant.

    `sriov-bondctl check` has the schema of a network file, and adds the list's version to a plugin's config as a runtime does.
    """
    modules = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Dict) and any(
                isinstance(key, ast.Constant) and key.value == "cniVersion" for key in node.keys
            ):
                modules.append(name(path))
    assert set(modules) == {"cni/result.py", "ctl/networkfile.py"}


def test_only_the_edges_catch_everything() -> None:
    """Catching everything hides bugs. Only cni/process does it, and doctor, of which a check that fails is one line of its
    report; undoing an ADD re-raises the exception.
    """
    modules = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            ):
                raises = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if not raises:
                    modules.append(name(path))
    assert modules == ["cni/process.py", "doctor/run.py"]


# -- errors and words


ERRORS = ("CniError", "DamagedLeaseError", "DelegateError", "InvalidConfigError", "KernelError")


def test_every_error_of_ours_is_a_cni_error() -> None:
    """Exceptions are defined in one module and have a code, so that cni/process can report them."""
    classes = {}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.ClassDef) and any(base.endswith(("Error", "Exception")) for base in bases):
                classes[node.name] = name(path)
    assert classes == dict.fromkeys(ERRORS, "errors.py")
    assert issubclass(errors.KernelError, errors.CniError)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_raised_is_a_cni_error_or_a_value_error(path: Path) -> None:
    """Parsers raise ValueError, which their caller turns into an error; all other modules raise a CniError."""
    parsers = {
        "jsontext.py", "pool/record.py", "cni/address.py", "cni/result.py", "ipam/ranges.py", "ipam/request.py",
        "oci/attachment.py", "oci/spec.py",
    }  # fmt: skip
    wrong = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            raised = ast.unparse(node.exc.func)
            allowed = raised in (*ERRORS, "_failure", "_invalid", "_unsupported_version", "_disappeared")
            if not allowed and not (raised == "ValueError" and name(path) in parsers):
                wrong.append(f"line {node.lineno}: {raised}")
    assert wrong == []


def test_error_codes_are_distinct_and_in_their_range() -> None:
    """No two errors share a code. Codes from 100 are ours, those below are the specification's."""
    codes = {key: value for key, value in vars(errors).items() if key.isupper() and type(value) is int}
    assert len(set(codes.values())) == len(codes)
    specified = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}
    assert all(value in specified or 100 <= value < 200 for value in codes.values())


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_ports_are_called_ports(path: Path) -> None:
    """The kernel's old terms for ports are used only as names of its attributes."""
    kernel_names = {
        "IFLA_MASTER", "IFLA_INFO_SLAVE_DATA", "bond_enslave", "all_slaves_active", "packets_per_slave",
        "master", "_read_master",  # the field for IFLA_MASTER
        "bonding_masters",  # a file in /sys/class/net
        "allSlavesActive",  # a key of bond-cni
    }  # fmt: skip
    text = path.read_text()
    names = {word for word in re.findall(r"\w+", text) if re.search("slave|master", word, re.IGNORECASE)}
    assert names <= kernel_names
    texts = [
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\bmaster\b", node.value)
    ]
    assert set(texts) <= {"master"}  # only as the name of a field


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_everything_public_has_a_docstring(path: Path) -> None:
    """Public modules, classes and functions have a docstring."""
    module = tree(path)
    undocumented = [] if ast.get_docstring(module) else ["the module"]
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") and not ast.get_docstring(node):
            setter = any(ast.unparse(decorator).endswith(".setter") for decorator in node.decorator_list)
            undocumented += [] if setter else [node.name]
    local = {
        inner.name
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.ClassDef) and node.name.startswith("_"))
        for inner in ast.walk(node)
        if isinstance(inner, ast.FunctionDef) and inner is not node
    }
    assert set(undocumented) - local == set()


def test_versions_are_listed_once() -> None:
    """VERSION, the check of configs and all errors use the same list."""
    lists = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Tuple | ast.List | ast.Set) and {"0.2.0", "1.0.0"} <= {
                part.value for part in node.elts if isinstance(part, ast.Constant)
            }:
                lists.append(name(path))
    assert lists == ["__init__.py"]


def test_nothing_is_left_to_do() -> None:
    """The code has no marks for unfinished work."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [name(path) for path in SOURCES if marks.search(path.read_text())] == []


@pytest.mark.parametrize("path", PLUGIN, ids=name)
def test_no_error_of_ours_is_one_that_go_cni_swallows(path: Path) -> None:
    """containerd and nerdctl ignore a failed DEL whose error contains these phrases; the kernel's begin with a capital."""
    texts = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if "not found" in text or "no such file or directory" in text] == []
