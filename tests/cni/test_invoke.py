"""A delegate is a foreign program: it gets what the specification requires, and cannot block or crash the call."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from cni_sriov_bond.cni import invoke
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.errors import DELEGATE_FAILED, INVALID_CONFIG, TRY_AGAIN_LATER, CniError
from tests.support import REPOSITORY, own_namespace, program

CONFIG = b' {"name":"net1", "x":"\xff\xfe\x00","ipam":{"type":"ipam"}}\n'
ANSWER = '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}'


def run(path: Path, verb: str = "ADD", config: bytes = CONFIG, seconds: float = 20.0, **environ: str) -> str:
    return Delegates({}).run(str(path), verb, environ, config, seconds)


def failure(path: Path, **more: Any) -> CniError:
    with pytest.raises(CniError) as failed:
        run(path, **more)
    return failed.value


# -- finding it (I1, I11)


def test_the_first_file_of_that_name_is_taken(tmp_path: Path) -> None:
    """Directories are searched in order; empty elements, missing directories, and directories of that name are skipped."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "ipam").mkdir()
    for name in ("b", "c"):
        program(tmp_path / name, "ipam", "exit 0")
    path = f"::{tmp_path}/nowhere:{tmp_path}/a:{tmp_path}/b:{tmp_path}/c:"
    assert invoke.find("ipam", path) == f"{tmp_path}/b/ipam"


def test_a_link_is_followed(tmp_path: Path) -> None:
    """Plugins may be links to one program."""
    program(tmp_path, "all", "exit 0")
    (tmp_path / "ipam").symlink_to("all")
    assert invoke.find("ipam", str(tmp_path)) == f"{tmp_path}/ipam"


@pytest.mark.parametrize("kind", ["../ipam", "/bin/sh", "a/b", ".", "..", "a\0b", "a\ud800"])
def test_a_name_that_is_a_path_is_refused(kind: str, tmp_path: Path) -> None:
    """The delegate is searched in CNI_PATH only (contract 4, 30)."""
    with pytest.raises(CniError, match="invalid plugin name") as refused:
        invoke.find(kind, str(tmp_path))
    assert refused.value.code == INVALID_CONFIG
    assert repr(kind) in refused.value.msg


def test_we_are_not_our_own_delegate(tmp_path: Path) -> None:
    """The plugin's own name as ipam.type is refused even if such a file exists (I11)."""
    program(tmp_path, "sriov-bond", "exit 0")
    with pytest.raises(CniError, match=r"ipam.type is sriov-bond itself") as refused:
        invoke.find("sriov-bond", str(tmp_path))
    assert refused.value.code == INVALID_CONFIG


def test_a_missing_delegate_is_reported_with_the_directories(tmp_path: Path) -> None:
    """The error names the plugin and the directories (contract 4, 28)."""
    with pytest.raises(CniError, match=rf"failed to find plugin 'host-local' in path \[{tmp_path} /x\]") as refused:
        invoke.find("host-local", f"{tmp_path}:/x")
    assert refused.value.code == INVALID_CONFIG


# -- what it gets (I2, I3)


def test_it_gets_our_environment_except_the_verb(tmp_path: Path) -> None:
    """Every variable is passed on unchanged, also with invalid UTF-8, and CNI_COMMAND is the verb."""
    path = program(tmp_path, "ipam", "import os,json; print(json.dumps({k.decode('latin-1'): v.decode('latin-1') "
                   "for k, v in os.environb.items() if k != b'LC_CTYPE'}))", f"{sys.executable} -I")  # fmt: skip
    variables = {
        "CNI_COMMAND": "ADD",
        "CNI_ARGS": "IgnoreUnknown=1;A=b=c",
        "TRACEPARENT": "00-1",
        "ODD": "\udcff\n=",
        "EMPTY": "",
    }
    answer = json.loads(Delegates({}).run(str(path), "DEL", variables, CONFIG))
    assert answer == {**variables, "CNI_COMMAND": "DEL", "ODD": "\xff\n="}


def test_it_gets_an_empty_environment_if_ours_is_empty(tmp_path: Path) -> None:
    """Only the verb is added to the environment."""
    path = program(tmp_path, "ipam", "cat /proc/$$/environ")
    assert run(path) == "CNI_COMMAND=ADD\0"


@pytest.mark.parametrize("size", [0, 1, 100, 65536, 65537, 1000000])
def test_it_reads_the_unchanged_bytes_of_the_config(tmp_path: Path, size: int) -> None:
    """It reads the bytes that we read, of any size."""
    config = os.urandom(size)
    path = program(tmp_path, "ipam", f"cat > {tmp_path}/got")
    run(path, config=config)
    assert (tmp_path / "got").read_bytes() == config


def test_it_inherits_no_descriptor(tmp_path: Path) -> None:
    """Locks, sockets and namespaces are not inherited: it has three pipes only (P6)."""
    body = """
        import os
        for fd in os.listdir("/proc/self/fd"):
            if os.path.exists(f"/proc/self/fd/{fd}"):
                print(fd)
        """
    path = program(tmp_path, "ipam", body, f"{sys.executable} -I")
    inherited = {
        fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(int(fd))
    }
    with (tmp_path / "open").open("w"), own_namespace():
        assert set(run(path).split()) == {"0", "1", "2"} | inherited


def test_it_has_the_signals_of_a_fresh_process(tmp_path: Path) -> None:
    """Python ignores SIGPIPE; a delegate that relies on it must not hang in a pipeline."""
    path = program(tmp_path, "ipam", "grep SigIgn /proc/self/status")
    ignored = int(run(path).split()[1], 16)
    assert not ignored >> (signal.SIGPIPE - 1) & 1
    assert not ignored >> (signal.SIGXFSZ - 1) & 1


# -- what it returns (I6, I8, I9)


def test_its_answer_is_what_it_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its output is returned unchanged; its standard error goes to ours, and nothing to our standard output (I9)."""
    path = program(tmp_path, "ipam", f"echo warn >&2; echo '{ANSWER}'")
    assert run(path) == ANSWER + "\n"
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "warn\n")


@pytest.mark.parametrize("code", [1, 11, 999])
def test_its_own_error_is_kept(tmp_path: Path, code: int) -> None:
    """Code, msg and details are passed on as they are: 11 stays 11 (I6)."""
    answer = json.dumps({"cniVersion": "1.0.0", "code": code, "msg": "no addresses \u00e9", "details": "range full"})
    path = program(tmp_path, "ipam", f"cat >/dev/null; echo '{answer}'; echo noise >&2; exit 1")
    failed = failure(path)
    assert (failed.code, failed.msg, failed.details) == (code, "no addresses \u00e9", "range full")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo no space left >&2; exit 3", "failed with status 3 at ADD: no space left"),
        ("echo usage: ipam; exit 2", "failed with status 2 at ADD: usage: ipam"),
        ("exit 1", "failed with status 1 at ADD"),
        ('echo \'{"code":0,"msg":"permission denied"}\'; exit 1', "failed with status 1 at ADD: {"),
        ("echo '[]'; exit 1", "failed with status 1 at ADD: []"),
        ("kill -SEGV $$", "was killed by signal 11 at ADD"),
        ("kill -KILL $$", "was killed by signal 9 at ADD"),
        (f"echo '{ANSWER}'; exit 1", "failed with status 1 at ADD"),
    ],
)
def test_a_failure_without_an_error_document_is_described(tmp_path: Path, body: str, message: str) -> None:
    """The message has the plugin, how it failed, the verb, and the end of its output (contract 4, 32)."""
    failed = failure(program(tmp_path, "ipam", body))
    assert failed.code == DELEGATE_FAILED
    assert failed.msg.startswith(f"the IPAM plugin ipam {message}")


@pytest.mark.parametrize("code", ["true", "-1", "0", "1.5", '"7"', "4294967296", "null", "[]"])
def test_a_code_that_go_cannot_read_is_ignored(tmp_path: Path, code: str) -> None:
    """Go reads an unsigned int; a code that it cannot read would hide the failure."""
    failed = failure(program(tmp_path, "ipam", f"""echo '{{"code":{code},"msg":"m"}}'; exit 1"""))
    assert failed.code == DELEGATE_FAILED
    assert failed.msg.startswith("the IPAM plugin ipam failed with status 1 at ADD: {")


@pytest.mark.parametrize("rest", ["", ',"msg":""', ',"msg":" "', ',"msg":null', ',"msg":{"a":1},"details":[1]', ',"details":5'])
def test_a_code_without_a_message_gets_ours(tmp_path: Path, rest: str) -> None:
    """Its code is kept, and the message says which plugin failed and how."""
    failed = failure(program(tmp_path, "ipam", f"""echo '{{"code":11{rest}}}'; exit 1"""))
    assert (failed.code, failed.details) == (11, "")
    assert failed.msg.startswith("the IPAM plugin ipam failed with status 1 at ADD: {")


def test_only_the_end_of_long_output_is_reported(tmp_path: Path) -> None:
    """Of a long trace the message has the end, where the reason is."""
    failed = failure(program(tmp_path, "ipam", "seq 1 1000 >&2; echo the reason >&2; exit 1"))
    assert failed.msg.endswith("the reason")
    assert len(failed.msg) < 500


def test_a_program_that_cannot_be_run_is_reported(tmp_path: Path) -> None:
    """A file that is not executable, or has no interpreter, is reported with the reason (contract 4, 31)."""
    path = program(tmp_path, "ipam", "exit 0")
    path.chmod(0o644)
    failed = failure(path)
    assert (failed.code, failed.msg) == (DELEGATE_FAILED, f"cannot run the IPAM plugin {path}: Permission denied")
    failed = failure(program(tmp_path, "other", "exit 0", interpreter="/no/such/shell"))
    assert failed.msg == f"cannot run the IPAM plugin {tmp_path}/other: No such file or directory"


@pytest.mark.parametrize("seconds", [20.0, 0.3])
def test_a_program_that_is_being_written_is_waited_for(tmp_path: Path, seconds: float) -> None:
    """A plugin may be replaced during a call: the start is retried, as libcni does (P7)."""
    path = tmp_path / "ipam"
    shutil.copy("/bin/echo", path)
    writer = path.open("r+b")  # the kernel then says ETXTBSY
    if seconds > 1:
        threading.Timer(0.5, writer.close).start()
        assert run(path, seconds=seconds) == "\n"
    else:
        message = failure(path, seconds=seconds).msg
        writer.close()
        assert message == f"cannot run the IPAM plugin {path}: Text file busy"


def test_descriptors_are_closed_in_every_case(tmp_path: Path) -> None:
    """Success, failure, a kill and a program that cannot be run leave no pipe open and no child unwaited."""
    before = sorted(os.listdir("/proc/self/fd"))
    children = Path("/proc/thread-self/children").read_text()
    run(program(tmp_path, "good", "cat"))
    failure(program(tmp_path, "bad", "exit 1"))
    failure(program(tmp_path, "slow", "exec tail -f /dev/null"), seconds=0.1)
    failure(tmp_path / "nowhere")
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert Path("/proc/thread-self/children").read_text() == children


# -- how it may misbehave (contract 4, 35)


def test_one_that_hangs_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """It is killed at the time limit, and the error says so with the code to try again."""
    path = program(tmp_path, "ipam", f"echo $$ > {tmp_path}/pid; exec tail -f /dev/null")
    start = monotonic()
    failed = failure(path, seconds=1.0)
    assert 1.0 <= monotonic() - start < 5
    assert (failed.code, failed.msg) == (
        TRY_AGAIN_LATER,
        "the IPAM plugin ipam did not answer within 1 s at ADD and was killed",
    )
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_standard_error_of_one_that_hangs_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its last output on standard error is the operator's best hint."""
    failure(program(tmp_path, "ipam", "echo waiting for dhcp >&2; exec tail -f /dev/null"), seconds=0.5)
    assert capfd.readouterr().err == "waiting for dhcp\n"


def test_one_that_prints_without_end_is_killed(tmp_path: Path) -> None:
    """After a megabyte it is killed, before it fills our memory; the code does not say to try again."""
    failed = failure(program(tmp_path, "ipam", "cat >/dev/null; exec yes"))
    assert (failed.code, failed.msg) == (DELEGATE_FAILED, "the IPAM plugin ipam printed more than 1 MiB at ADD and was killed")


def test_large_output_and_large_input_do_not_deadlock(tmp_path: Path) -> None:
    """It may print before it reads, and read while it prints, more than a pipe holds."""
    config = bytes(500000)
    path = program(tmp_path, "ipam", "head -c 300000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' x >&2; wc -c")
    assert run(path, config=config).removeprefix("x" * 300000).strip() == "500000"


@pytest.mark.parametrize("body", ["exec echo '{}'", "exec <&-; echo '{}'", "head -c 1 >/dev/null; echo '{}'"])
def test_one_that_does_not_read_its_input_is_not_an_error(tmp_path: Path, body: str) -> None:
    """It may leave a config that is larger than a pipe unread (P8)."""
    assert run(program(tmp_path, "ipam", body), config=bytes(1000000)) == "{}\n"


def test_a_daemon_that_it_starts_does_not_block_the_call(tmp_path: Path) -> None:
    """The call ends when the process ends, not when its pipes close, and has all of its output (P6)."""
    path = program(tmp_path, "ipam", f"tail -f /dev/null & echo $! > {tmp_path}/pid; echo '{ANSWER}'; exit 0")
    start = monotonic()
    try:
        assert run(path, seconds=30) == ANSWER + "\n"
        assert monotonic() - start < 10
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_an_answer_larger_than_a_pipe_is_complete(tmp_path: Path) -> None:
    """Output that is still in the pipe when the process ends is read."""
    path = program(tmp_path, "ipam", "head -c 900000 /dev/zero | tr '\\0' x")
    for _ in range(5):
        assert run(path) == "x" * 900000


# -- the lock of the bond


@pytest.mark.parametrize("locked", [True, False])
def test_it_inherits_the_lock_of_the_bond(tmp_path: Path, locked: bool) -> None:
    """A delegate that runs longer than we do keeps the bond locked, so that nobody frees what it still allocates."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    listed = f"for fd in 3 4 5 6 7 8 9; do readlink /proc/$$/fd/$fd; done >>{tmp_path}/fds; echo '{ANSWER}'"
    path = program(tmp_path, "ipam", listed)
    Delegates({}).run(str(path), "ADD", {"PATH": os.environ["PATH"]}, CONFIG, 20.0, lock if locked else -1)
    os.close(lock)
    os.close(other)
    # Not the shell's own script, nor what whoever started the tests has left open.
    answer = [line for line in (tmp_path / "fds").read_text().split() if line in (f"{tmp_path}/lock", f"{tmp_path}/other")]
    assert answer == ([f"{tmp_path}/lock"] if locked else [])


# An ADD that runs our own delegate in a forked child, which fails before the delegate's entry has caught anything.
FORKED = """
import os, sys
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.errors import CniError

def entry(environ, streams):
    raise KeyboardInterrupt

try:
    Delegates({}, entry).run(sys.argv[1], "ADD", {}, b"", 10.0)
except CniError as failed:
    os.write(1, f"{failed.msg}\\n".encode())
finally:
    os.write(1, b"undone\\n")
"""


def test_a_forked_delegate_never_runs_the_undo_of_its_add(tmp_path: Path) -> None:
    """The child has the stack of the ADD: an exception in it ends the child, and only the parent undoes."""
    executable = tmp_path / "sriov-bond-ipam"  # of the same build as this process, as far as that is looked at
    executable.write_bytes(Path("/proc/self/exe").read_bytes()[:1024])
    argv = [sys.executable, "-c", FORKED, str(executable)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)
    assert done.stdout.splitlines() == ["the IPAM plugin sriov-bond-ipam failed with status 1 at ADD", "undone"]


def test_a_program_that_hangs_is_killed(tmp_path: Path) -> None:
    """One of the system, such as modprobe; it has no input, no output, and not our environment."""
    began = monotonic()
    assert invoke.run_program(str(program(tmp_path, "hangs", "exec sleep 60")), seconds=0.2) is None
    assert monotonic() - began < 5
    assert invoke.run_program(str(program(tmp_path, "reads", "cat; env | grep -c CNI_; exit 7")), seconds=20) == 7
    assert invoke.run_program(f"{tmp_path}/none", seconds=20) is None
