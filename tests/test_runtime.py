"""sriov-bond-runtime (build/runtime.c) with a runtime that writes down how it was started."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.oci.launcher import Launcher, compile_launcher, hooks_of

if TYPE_CHECKING:
    from collections.abc import Callable

ASKS = "SRIOV_BOND_NETWORK=db"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_launcher(tmp_path_factory.mktemp("launcher"))


@pytest.fixture
def launcher(compiled: Path, tmp_path: Path) -> Launcher:
    return Launcher(compiled, tmp_path)


def words(text: str) -> list[str]:
    return [word.replace("'", "") for word in text.split()]


# -- what passes through

PASSED = [
    "", "--version", "--help", "features", "state X", "exec --pid-file p X sh -c create", "nosuch create", "kill X 9",
    "-", "--",
    "--root create --log f --log-format json state X",
    "--root=create start X",
    "-root create delete --force X",
    "--rootless= list",
    "--log create --debug --systemd-cgroup ps X",
    "--cgroup-manager create start X",
    "--newoption value start X",
    "-- start create",
    "update --bundle . X",
    "checkpoint --work-path create X",
]  # fmt: skip


@pytest.mark.parametrize("line", PASSED)
def test_other_verbs_are_passed_on_unchanged(launcher: Launcher, line: str) -> None:
    """The bundle's config.json requests a network, so one that was looked at would be changed."""
    config = launcher.config(ASKS)
    before = config.read_bytes()
    done = launcher.run(*words(line))
    assert done.runtime
    assert (done.runtime["name"], done.runtime["arguments"]) == ("runc", words(line))
    assert (done.status, done.out, done.err) == (17, "the runtime's output\n", "the runtime's errors\n")
    assert config.read_bytes() == before


STARTED = [
    "create X", "run X", "restore --image-path i X", "--root create create X", "create --bundle . X", "create X --bundle .",
    "--log {log} --log-format json --systemd-cgroup create --pid-file p --console-socket s --no-pivot X",
    "--newoption value create X", "--newflag create X", "-- create X", "--log= create X", "--rootless= create X",
]  # fmt: skip


@pytest.mark.parametrize("line", STARTED)
def test_hooks_are_added_for_a_start(launcher: Launcher, line: str) -> None:
    config = launcher.config(ASKS)
    arguments = words(line.format(log=launcher.log))
    done = launcher.run(*arguments)
    assert done.runtime
    assert (done.status, done.err, done.runtime["arguments"]) == (17, "the runtime's errors\n", arguments)
    [created] = hooks_of(config)["createRuntime"]
    assert created["args"] == ["sriov-bond-hook", "createRuntime", "--network", "db"]
    assert created["path"] == str(launcher.bin / "sriov-bond-hook")


@pytest.mark.parametrize(
    "line", ["-b=DIR", "-b DIR", "-bundle DIR", "-bundle=DIR", "--bundle=DIR", "--bundle DIR", "--bundle /x --bundle DIR"]
)
@pytest.mark.parametrize("relative", [False, True])
def test_bundle_is_found(launcher: Launcher, tmp_path: Path, line: str, relative: bool) -> None:
    other = tmp_path / "create"
    other.mkdir()
    config = launcher.config(ASKS, directory=other)
    untouched = launcher.config(ASKS)
    launcher.run("create", *line.replace("DIR", "../create" if relative else str(other)).split(), "X")
    assert "createRuntime" in hooks_of(config)
    assert hooks_of(untouched) == {}


def test_an_empty_bundle_is_the_working_directory(launcher: Launcher) -> None:
    config = launcher.config(ASKS)
    launcher.run("create", "--bundle", "", "X")
    assert "createRuntime" in hooks_of(config)


def test_config_of_crun_may_have_another_name(launcher: Launcher, tmp_path: Path) -> None:
    other = launcher.config(ASKS).rename(launcher.bundle / "other.json")
    launcher.run("create", "--bundle", launcher.bundle, "--config", "other.json", "X", cwd=tmp_path)
    assert "createRuntime" in hooks_of(other)


@pytest.mark.parametrize("last", ["--bundle", "--log", "--root"])
def test_an_option_without_its_value_is_left_to_the_runtime(launcher: Launcher, last: str) -> None:
    done = launcher.run("create", last)
    assert done.runtime and done.runtime["arguments"] == ["create", last]


@pytest.mark.parametrize("environment", [["PATH=/bin"], ["SRIOV=1", "BOND=1"]])
def test_a_container_that_requests_nothing_needs_no_hook_program(launcher: Launcher, environment: list[str]) -> None:
    (launcher.bin / "sriov-bond-hook").unlink()
    config = launcher.config(*environment)
    status = config.stat()
    done = launcher.run("create", "X")
    assert done.runtime and done.status == 17
    assert config.stat() == status


@pytest.mark.parametrize("text", [None, "", "no JSON", "{}"])
def test_a_config_that_cannot_request_is_left_to_the_runtime(launcher: Launcher, text: str | None) -> None:
    if text is not None:
        (launcher.bundle / "config.json").write_text(text)
    assert launcher.run("create", "X").runtime


@pytest.mark.parametrize("mark", ["annotation", "SRIOV_BOND", "SRIOV-BOND"])
def test_each_kind_of_request_is_noticed(launcher: Launcher, mark: str) -> None:
    launcher.configure('[docker]\nnetwork = "db"\n')
    if mark == "annotation":
        config = launcher.config(annotations={"sriov-bond.network": "db"})
    else:
        config = launcher.config(f"DOCKER_RESOURCE_{mark}=cbond2")
    launcher.run("create", "X")
    assert "createRuntime" in hooks_of(config)


# -- it is the same process


@pytest.mark.parametrize("environment", [[], [ASKS]], ids=["passed on", "prepared"])
def test_the_runtime_is_this_process(launcher: Launcher, tmp_path: Path, environment: list[str]) -> None:
    """It has the pid, the descriptors, the directory, the environment, the signals and the bytes of the arguments."""
    launcher.config(*environment)
    launcher.environment |= {"LD_LIBRARY_PATH": "/nowhere", "_PYI_ARCHIVE_FILE": "x", "LISTEN_FDS": "1", "LC_ALL": "C"}
    read, write = os.pipe()
    socket = tmp_path / "fd7"
    socket.touch()
    fd = os.open(socket, os.O_RDONLY)
    odd = os.fsdecode(b"odd\xff\xc3")
    done = launcher.run("create", "--console-socket", odd, "--", "--", "X", pass_fds=(read, write, fd))
    for number in (read, write):
        os.close(number)
    runtime = done.runtime
    assert runtime and done.pid == runtime["pid"]
    assert runtime["arguments"] == ["create", "--console-socket", odd, "--", "--", "X"]
    assert runtime["directory"] == str(launcher.bundle)
    changed_by_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {k: v for k, v in runtime["environment"].items() if k not in changed_by_shell} | {"LC_CTYPE": ""} == {
        **launcher.environment,
        "LC_CTYPE": "",
    }
    assert runtime["descriptors"][str(fd)] == str(socket)
    assert {str(read), str(write), "0", "1", "2"} <= set(runtime["descriptors"])
    assert not runtime["ignored"] & (1 << (signal.SIGTERM - 1))
    os.close(fd)


def test_a_signal_that_is_sent_early_reaches_the_runtime(launcher: Launcher) -> None:
    """The shim's parent-death signal and its kills are for the pid, which stays the same."""
    launcher.config(ASKS)
    (launcher.runtimes / "runc").write_text("#!/bin/sh\necho started\nexec sleep 60\n")
    process = subprocess.Popen(
        [launcher.path, "create", "X"], env=launcher.environment, cwd=launcher.bundle, stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"started\n"
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    process.stdout.close()


# -- which runtime


def test_crun_is_used_without_runc(launcher: Launcher) -> None:
    (launcher.runtimes / "runc").unlink()
    launcher.environment["PATH"] = str(launcher.runtimes)
    launcher.runtime("crun")
    done = launcher.run("start", "X")
    assert done.runtime and done.runtime["name"] == "crun"


def test_without_any_runtime_it_says_so(launcher: Launcher) -> None:
    launcher.environment["PATH"] = f"relative::{launcher.bin}"
    done = launcher.run("--log", launcher.log, "--log-format", "json", "start", "X")
    assert (done.status, done.runtime) == (1, None)
    assert done.err.startswith("sriov-bond-runtime: neither runc nor crun is installed; ")
    assert launcher.errors() == [done.err.strip()]


@pytest.mark.parametrize(
    "text",
    [
        '[docker]\nruntime = "PATH"\n',
        "docker.runtime = 'PATH' # comment\n",
        'docker = { network = "x", runtime = "PATH" }\n',
        'runtime = "/a"\n[pools.docker]\nruntime = "/b"\n[ docker ]\n# runtime = "/c"\n"runtime"="PATH"',
        '[pools.db]\npfs = [\n  "a", # runtime = "/x"\n  "b",\n]\n'
        '[docker]\nnetworks = [\n "runtime",\n]\nruntime = "PATH"\n[x]\nruntime="/y"\n',
        '[docker]\r\nruntime = "PATH"\r\n',
        "'docker'.runtime = \"PATH\"",
    ],
)
def test_configured_runtime_is_used(launcher: Launcher, text: str) -> None:
    other = launcher.runtime("other")
    launcher.configure(text.replace("PATH", str(other)))
    done = launcher.run("start", "X")
    assert done.runtime and done.runtime["name"] == "other"


@pytest.mark.parametrize(
    "text",
    [
        '[pools.docker]\nruntime = "/nowhere"\n', '[other]\ndocker.runtime = "/nowhere"\n',
        '[docker]\nnetworks = ["runtime", "=", "/nowhere"]\n', '#[docker]\nruntime = "/nowhere"\n',
        'x = """\n[docker]\nruntime = "/nowhere"\n"""\n', "", "[docker", 'runtime = "',
        '[docker]\nruntime = ', "\"\\", "'''", "\xff",
        '[docker]\nnetwork = ""\n',
    ],
)  # fmt: skip
def test_other_keys_name_no_runtime(launcher: Launcher, text: str) -> None:
    launcher.configure(text)
    done = launcher.run("start", "X")
    assert done.runtime and done.runtime["name"] == "runc"


def test_a_name_is_looked_for_on_the_path(launcher: Launcher) -> None:
    launcher.runtime("youki")
    launcher.configure('[docker]\nruntime = "youki"\n')
    done = launcher.run("start", "X")
    assert done.runtime and done.runtime["name"] == "youki"


REFUSED: list[tuple[str, str]] = [
    ('runtime = "SELF"', "is sriov-bond-runtime itself; set runtime in [docker] to runc or crun"),
    ('runtime = "LINK"', "is sriov-bond-runtime itself"),
    ('runtime = "/nowhere/runc"', "the runtime /nowhere/runc of "),
    ('runtime = "relative/runc"', "is not a program; correct runtime in [docker]"),
    ('runtime = "/etc"', "is not a program; correct runtime in [docker]"),
    ('runtime = "/etc/passwd"', "is not a program; correct runtime in [docker]"),
    ('runtime = "nosuch"', "is in no directory of PATH; install it, or correct runtime in [docker]"),
    ('runtime = "/usr/\\u0062in/runc"', "must be a string on one line without escapes"),
    ('runtime = """/usr/bin/runc"""', "must be a string on one line without escapes"),
]


@pytest.mark.parametrize(("line", "problem"), REFUSED)
def test_a_wrong_runtime_is_an_error(launcher: Launcher, line: str, problem: str) -> None:
    link = launcher.bin / "link"
    os.link(launcher.path, link)
    line = line.replace("SELF", str(launcher.path)).replace("LINK", str(link))
    launcher.configure(f"[docker]\n{line}\n")
    done = launcher.run("--log", launcher.log, "--log-format=json", "start", "X")
    assert (done.status, done.runtime) == (1, None)
    assert problem in done.err and done.err.count("\n") == 1
    assert launcher.errors() == [done.err.strip()]


def test_a_program_of_the_name_runc_that_is_the_launcher_is_skipped(launcher: Launcher) -> None:
    """An administrator replaced runc by sriov-bond-runtime; PATH has the original further on."""
    (launcher.bin / "runc").symlink_to(launcher.path)
    launcher.environment["PATH"] = f"{launcher.bin}:{launcher.runtimes}:/usr/bin:/bin"
    done = launcher.run("start", "X")
    assert done.runtime and done.runtime["name"] == "runc"


def test_a_host_file_that_others_may_write_names_no_runtime(launcher: Launcher) -> None:
    launcher.configure(f'[docker]\nruntime = "{launcher.runtime("other")}"\n')
    launcher.host_file.chmod(0o666)
    done = launcher.run("start", "X")
    assert done.status == 1 and "but others than root can write it; run: chown root:root, chmod 644" in done.err


# -- errors


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "it, or its interpreter, is missing"),
        (lambda path: path.write_text("#!/nowhere\n"), "it, or its interpreter, is missing"),
        (lambda path: path.chmod(0o644), "it may not be executed"),
        (lambda path: path.write_bytes(b"\x7fELF"), "it is not a program of this machine"),
    ],
)
def test_a_hook_that_cannot_run_is_an_error(launcher: Launcher, damage: "Callable[[Path], None]", problem: str) -> None:
    launcher.config(ASKS)
    damage(launcher.bin / "sriov-bond-hook")
    done = launcher.run("--log", launcher.log, "--log-format", "json", "create", "X")
    assert (done.status, done.runtime) == (1, None)
    assert launcher.errors() == [done.err.strip()]
    assert problem in done.err and done.err.endswith("; install sriov-bond again\n")


def test_errors_are_appended_to_a_log_of_either_format(launcher: Launcher) -> None:
    (launcher.runtimes / "runc").unlink()
    launcher.environment["PATH"] = "/"
    launcher.log.write_text('{"level":"info","msg":"first","time":"t"}\n')
    launcher.run("--log", launcher.log, "--log-format", "json", "start", "X")
    assert len(launcher.log.read_text().splitlines()) == 2
    launcher.log.unlink()
    launcher.run("--log", launcher.log, "start", "X")
    assert launcher.log.read_text().count(' level=error msg="sriov-bond-runtime: neither') == 1


def test_hostile_host_files_and_arguments_do_not_crash_it(launcher: Launcher) -> None:
    """The sanitizers end the process with another status than the runtime's and its own."""
    chance = random.Random(7)
    parts = [
        "[docker]",
        "docker",
        "runtime",
        "network",
        "=",
        ".",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        '"""',
        "'''",
        "\n",
        "#",
        " ",
        "\\",
        "a",
    ]
    options = [
        "--bundle",
        "-b",
        "--log",
        "--log=",
        "create",
        "run",
        "--",
        "-",
        "--root",
        "--x",
        "--bundle=",
        "",
        "=",
        "--=",
        "state",
    ]
    launcher.config(ASKS)
    (launcher.runtimes / "runc").write_text("#!/bin/sh\nexit 17\n")
    for _ in range(150):
        launcher.configure("".join(chance.choices(parts, k=chance.randint(0, 30))))
        done = launcher.run(*chance.choices(options, k=chance.randint(0, 8)))
        assert done.status in (17, 1), (launcher.host_file.read_text(), done)
        assert "Sanitizer" not in done.err and "runtime error" not in done.err, done.err


# -- killed


@pytest.mark.parametrize(
    ("call", "number", "has_hooks"),
    [("write", 1, False), ("fchown", 1, False), ("fchmod", 1, False), ("rename", 1, False), ("execve", 3, True)],
)
def test_a_kill_leaves_a_whole_config(launcher: Launcher, call: str, number: int, has_hooks: bool) -> None:
    """Killed at a call by which the hooks are added, or when the runtime is executed: nothing is attached.

    The file beside config.json goes with the bundle, which the engine removes after a failed create.
    """
    config = launcher.config(ASKS)
    inject = f"inject={call}:signal=KILL:when={number}"
    done = launcher.run("create", "X", prefix=("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject))
    assert done.runtime is None
    assert json.loads(config.read_text())["process"]["env"][1] == ASKS
    assert ("createRuntime" in hooks_of(config)) == has_hooks


# -- cost


@pytest.mark.measures
def test_it_costs_no_more_than_another_program(tmp_path: Path) -> None:
    """The quickest of many starts, beside those of the program that it executes: containerd starts it at each `docker exec`."""
    compiled = compile_launcher(tmp_path, "-O2")
    (tmp_path / "runc").symlink_to("/bin/true")
    seconds = {
        name: min(start(program, tmp_path) for _ in range(100)) for name, program in (("it", compiled), ("true", "/bin/true"))
    }
    assert seconds["it"] < 3 * seconds["true"], seconds


def start(program: Path | str, path: Path) -> float:
    """Return the seconds from the start of a program to its end."""
    began = time.perf_counter()
    pid = os.posix_spawn(program, [str(program), "exec", "X"], {"PATH": str(path)})
    os.waitpid(pid, 0)
    return time.perf_counter() - began
