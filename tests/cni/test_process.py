"""Invalid input to the process: one JSON error that names the object, status 1, no traceback, and nothing changed."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.errors import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    INVALID_NETNS,
    IO_FAILURE,
    TRY_AGAIN_LATER,
)
from cni_sriov_bond.pool.record import DelegateCall
from tests.fuzz import process
from tests.fuzz.case import Case
from tests.lab.waiting import wait_until
from tests.support import REPOSITORY, SECONDS, Answer, Plugin, lease, make_pool, program, temporary_netns

# -- standard input (C1 to C11, contract 4, 1 to 11)


@pytest.mark.parametrize(
    ("stdin", "code", "message"),
    [
        (b"", DECODING_FAILURE, "unexpected end of JSON input"),
        (b" \n", DECODING_FAILURE, "unexpected end of JSON input"),
        (b"{", DECODING_FAILURE, "error unmarshall network config: "),
        (b'{"name":"net1"', DECODING_FAILURE, "error unmarshall network config: "),
        (b'{"name":"net1"}{"name":"net1"}', DECODING_FAILURE, "more text after the JSON document, at character 15"),
        (b'{"name":"net1"} x', DECODING_FAILURE, "more text after the JSON document"),
        (b'\xef\xbb\xbf{"name":"net1"}', DECODING_FAILURE, "no JSON value at character 0"),
        ('{"name":"net1"}'.encode("utf-16"), DECODING_FAILURE, "no JSON value at character 0"),
        (b"[]", DECODING_FAILURE, "it is not a JSON object"),
        (b'"x"', DECODING_FAILURE, "it is not a JSON object"),
        (b"5", DECODING_FAILURE, "it is not a JSON object"),
        (b"true", DECODING_FAILURE, "it is not a JSON object"),
        (b"null", INVALID_CONFIG, "missing network name"),
        (b"{}", INVALID_CONFIG, "missing network name"),
        (b'{"name":"net1","x":NaN}', DECODING_FAILURE, "NaN is not JSON"),
        (b'{"name":"net1","x":-Infinity}', DECODING_FAILURE, "-Infinity is not JSON"),
        (b'{"name":"net1","x":' + b"[" * 20000 + b"]" * 20000 + b"}", DECODING_FAILURE, "exceeded max depth"),
        (b'{"name":"net1","x":' + b"9" * 5000 + b"}", DECODING_FAILURE, "error unmarshall network config"),
        (b'{"name":5}', DECODING_FAILURE, "name must be a string"),
        (b'{"name":"net1","cniVersion":1}', DECODING_FAILURE, "cniVersion must be a string"),
        (b'{"name":"../x"}', INVALID_CONFIG, "invalid characters found in network name ../x"),
        (b'{"name":"\\ud800"}', INVALID_CONFIG, "invalid characters found in network name \ud800"),
        (b'{"name":"a\xff"}', INVALID_CONFIG, "invalid characters found in network name a\ufffd"),
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_input_that_is_not_a_config_is_refused(
    plugin: Plugin, state: Path, verb: str, stdin: bytes, code: int, message: str
) -> None:
    """Each is an error with the right code and a reason (C1, C2, C3, C5, C10, C11)."""
    assert message in plugin.run(verb, stdin).error(code, "1.1.0")


def test_twenty_megabytes_are_refused_and_not_waited_for(plugin: Plugin, state: Path) -> None:
    """A config above the limit is refused without reading the rest (contract 4, 3)."""
    stdin = plugin.config(x="y" * 20_000_000)
    assert "larger than 1 MiB" in plugin.run("ADD", stdin).error(DECODING_FAILURE, "1.1.0")


def test_a_config_below_the_limit_is_read_whole(plugin: Plugin, state: Path) -> None:
    """Nearly a megabyte is read, and the error is of a later check."""
    stdin = plugin.config(x="y" * 1_000_000)
    assert "CNI_NETNS '/none' does not exist" in plugin.run("ADD", stdin).error(INVALID_NETNS)


@pytest.mark.parametrize("shape", ['"x":{}}}', '"vlan":{}}}', '"prevResult":{{"interfaces":[{{"x":{}}}]}}}}'])
def test_no_depth_of_nesting_is_a_bug(plugin: Plugin, state: Path, shape: str) -> None:
    """Also around Python's recursion limit, whichever step reaches it, the call is refused (C11)."""
    for depth in range(960, 1002):
        text = shape.format("[" * depth + "]" * depth)
        answer = plugin.run(
            "ADD", b'{"cniVersion":"1.0.0","name":"net1","type":"sriov-bond","stateDir":"/none",' + text.encode()
        )
        assert answer.status == 1
        document = json.loads(answer.out)
        assert document["code"] in (DECODING_FAILURE, INVALID_CONFIG, INVALID_NETNS), document


def test_what_is_shown_of_a_long_name_is_short(plugin: Plugin, state: Path) -> None:
    """A config of half a megabyte does not make a message of that size, which runtimes would log."""
    answer = plugin.run("ADD", plugin.config(name="é" * 100_000))
    assert "invalid characters found in network name éé" in answer.error(INVALID_CONFIG, "1.1.0")
    assert answer.out.count("\\u00e9") == 4000
    assert "... (96000 more characters)" in answer.out


@pytest.mark.parametrize("key", ["stateDir", "logFile"])
@pytest.mark.parametrize("path", ["/x\0", "/x\ud800"])
def test_an_invalid_path_is_reported(plugin: Plugin, state: Path, key: str, path: str) -> None:
    """JSON text may have characters that a path cannot."""
    assert f"{key} {path!r} is not a valid path" in plugin.run("ADD", plugin.config(**{key: path})).error(INVALID_CONFIG)


def test_a_log_without_a_reader_does_not_block_the_call(plugin: Plugin, state: Path, tmp_path: Path) -> None:
    """A FIFO without a reader is a log that cannot be written."""
    os.mkfifo(tmp_path / "log")
    stdin = plugin.config(logFile=str(tmp_path / "log"), logLevel="debug", Vlan=1)
    assert "'/none' does not exist" in plugin.run("ADD", stdin).error(INVALID_NETNS)


def test_an_input_that_is_a_directory_is_reported(frozen: Path, tmp_path: Path) -> None:
    """CPython would not start with it; the built plugin does, and reports it like any unreadable input (C12)."""
    for name in ("sriov-bond", "sriov-bond-ipam"):
        environ = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_PATH": str(tmp_path)}
        directory = os.open("/", os.O_RDONLY)
        done = subprocess.run([frozen / "opt/cni/bin" / name], stdin=directory, capture_output=True, env=environ, check=False)
        os.close(directory)
        answer = Answer(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "error reading from stdin: Bad file descriptor" in answer.error(IO_FAILURE, "1.1.0")


def test_an_input_that_cannot_be_read_is_reported(plugin: Plugin, state: Path) -> None:
    """A read error on standard input is an error of its own (C12)."""
    answer = plugin.run("ADD", prefix=("sh", "-c", 'exec "$@" 0>/dev/null', "sh"))
    assert "error reading from stdin: Bad file descriptor" in answer.error(IO_FAILURE, "1.1.0")


# -- the environment (E1 to E10, contract 4, 12 to 15)


@pytest.mark.parametrize("verb", [None, ""])
def test_without_a_command_name_and_versions_are_printed(plugin: Plugin, verb: str | None) -> None:
    """Without CNI_COMMAND the plugin prints its name and versions on standard error (E1)."""
    answer = plugin.run("", b"", CNI_COMMAND=verb)
    assert (answer.status, answer.out) == (0, "")
    assert answer.err == f"CNI sriov-bond plugin\nCNI protocol versions supported: {', '.join(VERSIONS)}\n"


def test_an_empty_environment_is_a_call_without_a_command(plugin: Plugin) -> None:
    """It needs no variable, not even PATH (E1, contract 4, 12)."""
    done = subprocess.run(plugin.argv, input=b"", capture_output=True, env={}, cwd=REPOSITORY, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"CNI protocol versions supported" in done.stderr


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ],
)
def test_all_missing_variables_of_a_command_are_named(plugin: Plugin, verb: str, names: str) -> None:
    """All missing variables are in one message, before the input is read (E3, E4, E5, E7, E8)."""
    none: dict[str, str | None] = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"))
    answer = plugin.run(verb, b"garbage", changes=none)
    assert f"required env variables [{names}] missing" in answer.error(INVALID_ENVIRONMENT, "1.1.0")


@pytest.mark.parametrize("verb", ["NOPE", "add", "ADD "])
def test_an_unknown_command_is_reported_after_the_config_is_read(plugin: Plugin, state: Path, verb: str) -> None:
    """Commands are compared exactly; invalid JSON is reported first (E2)."""
    assert f"unknown CNI_COMMAND: {verb}" in plugin.run(verb).error(INVALID_ENVIRONMENT, "1.1.0")
    assert "unexpected end" in plugin.run(verb, b"").error(DECODING_FAILURE, "1.1.0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CNI_CONTAINERID": "../../etc"}, "invalid characters in containerID ../../etc"),
        ({"CNI_CONTAINERID": "_a"}, "invalid characters in containerID _a"),
        ({"CNI_CONTAINERID": "ab\n"}, "invalid characters in containerID ab\n"),
        ({"CNI_CONTAINERID": "a\udcff"}, "invalid characters in containerID a\udcff"),
        ({"CNI_IFNAME": "a234567890123456"}, "'a234567890123456' is longer than 15 bytes"),
        ({"CNI_IFNAME": "é" * 8}, "is longer than 15 bytes"),
        ({"CNI_IFNAME": "a/b"}, "'a/b' is not valid for a network device"),
        ({"CNI_IFNAME": ".."}, "'..' is not valid for a network device"),
        ({"CNI_IFNAME": "a:b"}, "'a:b' is not valid for a network device"),
        ({"CNI_IFNAME": "a\u00a0b"}, "is not valid for a network device"),
        ({"CNI_IFNAME": "lo"}, "lo is the container's loopback"),
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_invalid_names_are_refused(
    plugin: Plugin, state: Path, verb: str, changes: dict[str, str | None], message: str
) -> None:
    """Container ids and interface names are checked before they are used (E9, E10)."""
    assert message in plugin.run(verb, changes=changes).error(INVALID_ENVIRONMENT, "1.1.0")


def test_a_long_container_id_is_accepted(plugin: Plugin, state: Path) -> None:
    """Four kilobytes of valid characters are a container id; it is not used as a file name (contract 4, 14)."""
    assert plugin.run("DEL", CNI_CONTAINERID="x" * 4096) == Answer(0, "", "")


# -- the config's version and keys (C4, C6, C13)


@pytest.mark.parametrize("version", ["9.9.9", "1.0", "banana"])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_an_unsupported_version_is_reported_with_the_supported_ones(
    plugin: Plugin, state: Path, verb: str, version: str
) -> None:
    """The message is that of the reference plugins, the details have both sides (C6)."""
    message = plugin.run(verb, plugin.config(cniVersion=version)).error(INCOMPATIBLE_VERSION, "1.1.0")
    assert message.startswith(f'incompatible CNI versions config is "{version}", plugin supports ["0.1.0" ')


@pytest.mark.parametrize("verb", ["CHECK", "GC", "STATUS"])
def test_the_later_verbs_are_refused_to_old_versions(plugin: Plugin, state: Path, verb: str) -> None:
    """Each of them is newer than some versions, and requires a version of numbers (C6, G1, K1, S1)."""
    message = plugin.run(verb, plugin.config(cniVersion="0.3.1")).error(INCOMPATIBLE_VERSION, "1.1.0")
    assert message.startswith(f"config version does not allow {verb} ")
    assert "'banana'" in plugin.run(verb, plugin.config(cniVersion="banana")).error(DECODING_FAILURE, "1.1.0")
    assert "plugin supports" in plugin.run(verb, plugin.config(cniVersion="9.9.9")).error(INCOMPATIBLE_VERSION, "1.1.0")


@pytest.mark.parametrize("version", [None, ""])
def test_an_answer_without_a_version_is_of_the_first(plugin: Plugin, state: Path, version: str | None) -> None:
    """Without a version answers have version 0.1.0, also errors (C4)."""
    answer = plugin.run("ADD", plugin.config(cniVersion=version, vlan=5000))
    assert "vlan" in answer.error(INVALID_CONFIG, "0.1.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_are_of_the_configs_version(plugin: Plugin, state: Path, version: str) -> None:
    """An error answers in the version that was asked for."""
    assert "4095" in plugin.run("ADD", plugin.config(cniVersion=version, vlan=4095)).error(INVALID_CONFIG, version)


def test_all_mistakes_in_a_config_are_one_error(plugin: Plugin, state: Path) -> None:
    """The operator corrects the file once (C13)."""
    stdin = plugin.config(vlan=4095, mode="fast", mtu="9000", ipam=[], spoofchk=True)
    message = plugin.run("ADD", stdin).error(INVALID_CONFIG)
    for part in ("network 'net1'", "vlan must be from 0 to 4094, not 4095", "mode must be one of", "mtu must be a whole number",
                 "ipam must be an object", "spoofchk must be one of on, off, leave, not true"):  # fmt: skip
        assert part in message


def test_a_misspelled_key_is_a_warning_and_not_an_error(plugin: Plugin, state: Path) -> None:
    """Unknown keys are ignored, but ADD logs a hint for a known key in another spelling (C7)."""
    answer = plugin.run("ADD", plugin.config(Vlan=100))
    assert "CNI_NETNS '/none' does not exist" in answer.error(INVALID_NETNS)
    assert answer.err == "sriov-bond ADD c1 eth0: warning: the key 'Vlan' is unknown and ignored; did you mean vlan?\n"
    assert plugin.run("DEL", plugin.config(Vlan=100)) == Answer(0, "", "")


@pytest.mark.parametrize("value", ["\ud800", "x\n\t\x00", "\u2028", "é" * 1000])
def test_unusual_text_in_a_value_is_shown_escaped(plugin: Plugin, state: Path, value: str) -> None:
    """A lone surrogate or control characters are shown in the message, on one line of ASCII (contract 4, 7)."""
    answer = plugin.run("ADD", plugin.config(mode=value))
    assert "mode must be one of" in answer.error(INVALID_CONFIG)
    assert answer.out.isascii()


# -- what an attachment chooses (contract 4, 37 to 41)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("FOO", "CNI_ARGS: invalid pair 'FOO'"),
        ("MAC=01:00:00:00:00:01", "CNI_ARGS MAC '01:00:00:00:00:01' is not a unicast MAC"),
        ("IgnoreUnknown=1;VLAN=200", "CNI_ARGS VLAN requests VLAN 200, which is not in the network's vlanAllowed"),
    ],
)
def test_bad_arguments_stop_an_add_and_nothing_else(plugin: Plugin, state: Path, args: str, message: str) -> None:
    """An ADD reports them before it does anything; a DEL with the same arguments succeeds (D10)."""
    stdin = plugin.config(vlan=100, vlanAllowed=["101-199"])
    assert message in plugin.run("ADD", stdin, CNI_ARGS=args).error(INVALID_ENVIRONMENT)
    assert plugin.run("DEL", stdin, CNI_ARGS=args) == Answer(0, "", "")


# -- the pool (A6, contract 4, 46)


def test_an_interrupted_call_says_so(plugin: Plugin, state: Path, tmp_path: Path) -> None:
    """Ctrl-C at cnitool is one error document, and its delegate does not live on."""
    program(plugin.cni_path, "ipam", f"echo $$ >{tmp_path}/pid; exec sleep 60")
    environ = plugin.environ("DEL", {"PATH": os.environ["PATH"]})
    with subprocess.Popen(plugin.argv, stdin=-1, stdout=-1, stderr=-1, env=environ, cwd=REPOSITORY) as process:
        assert process.stdin
        process.stdin.write(plugin.config(ipam={"type": "ipam"}))
        process.stdin.close()
        process.stdin = None
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"), "the delegate to run")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert Answer(process.returncode, out.decode(), err.decode()).error(TRY_AGAIN_LATER).strip() == "the call was interrupted"
    assert err == b""
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


# -- VERSION, and streams that are not there (V1, P8, contract 4, 5 and 43)


def test_version_needs_no_input_and_no_variable(plugin: Plugin) -> None:
    """The answer depends neither on standard input nor on other variables (V1, E6)."""
    expected = f'{{"cniVersion":"1.1.0","supportedVersions":{json.dumps(VERSIONS, separators=(",", ":"))}}}\n'
    for stdin in (b"", b"garbage", b'{"cniVersion":"9.9.9"}'):
        assert plugin.run("VERSION", stdin, CNI_CONTAINERID="", CNI_NETNS="dummy", CNI_PATH="dummy") == Answer(0, expected, "")
    done = subprocess.run(
        plugin.argv, input=b"", capture_output=True, env={"CNI_COMMAND": "VERSION"}, cwd=REPOSITORY, timeout=SECONDS, check=True
    )
    assert done.stdout.decode() == expected


def test_version_does_not_wait_for_its_input(plugin: Plugin) -> None:
    """An input that is never closed does not block it (P8, contract 4, 5)."""
    environ = plugin.environ("VERSION", {})
    with subprocess.Popen(plugin.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=REPOSITORY) as process:
        assert process.wait(timeout=SECONDS) == 0
        assert process.stdout
        assert json.loads(process.stdout.read())["supportedVersions"] == list(VERSIONS)


@pytest.mark.parametrize("verb", ["VERSION", "ADD", "CHECK", "NOPE"])
@pytest.mark.parametrize("kind", ["closed", "full", "unread"])
def test_an_output_that_cannot_be_written_fails(plugin: Plugin, state: Path, verb: str, kind: str) -> None:
    """With standard output closed, full or without a reader the status is 1, and standard error has the reason (P3)."""
    if kind == "unread":
        read, output = os.pipe()
        os.close(read)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    prefix = ["sh", "-c", 'exec "$@" >&-', "sh"] if kind == "closed" else []
    done = subprocess.run(
        [*prefix, *plugin.argv],
        input=plugin.config(vlan=5000),
        stdout=output,
        stderr=subprocess.PIPE,
        env=plugin.environ(verb, {}),
        cwd=REPOSITORY,
        timeout=SECONDS,
        check=False,
    )
    os.close(output)
    assert done.returncode == 1
    reasons = {"VERSION": b"", "NOPE": b"unknown CNI_COMMAND: NOPE\n"}
    assert re.fullmatch(reasons.get(verb, rb"[^\n]*5000[^\n]*\n"), done.stderr), done.stderr


@pytest.mark.root
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_do_not_become_our_files(plugin: Plugin, state: Path, closed: str) -> None:
    """A file that we open must not get the number of a closed stream: an error would be written into a lock or a lease."""
    with temporary_netns() as container:
        script = f'"$@" {closed}; exit $?'
        answer = plugin.run("ADD", prefix=("sh", "-c", script, "sh"), CNI_NETNS=container.path)
    assert answer.status == 1
    empty = [path for path in plugin.state.rglob("*") if path.is_file() and path.name in ("lock", "cbond1")]
    assert all(path.stat().st_size == 0 for path in empty)
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("error", ["2>&-", "2>/dev/full"])
def test_standard_error_of_a_delegate_needs_no_reader(plugin: Plugin, error: str) -> None:
    """With standard error closed they went into the bond's lock file, which had its number. They must not fail the call."""
    pool = make_pool(plugin.state, "db", 1)
    environ = {"CNI_PATH": str(plugin.cni_path), "PATH": os.environ["PATH"]}
    for container_id in ("c1", "c2"):
        taken = lease(pool, container_id, delegate=DelegateCall("ipam", environ, "{}"))
        taken.save("ready")
        taken.close()
        program(plugin.cni_path, "ipam", "echo loud >&2")
        answer = plugin.run("DEL", prefix=("sh", "-c", f'"$@" {error}; exit $?', "sh"), CNI_CONTAINERID=container_id)
        assert answer == Answer(0, "", "")
        assert Path(pool.path, "bonds/cbond1").read_bytes() == b""


def test_a_variable_without_a_name_is_not_passed_on(frozen: Path, plugin: Plugin) -> None:
    """An entry "=x" of the environment, which a shell can leave, does not prevent the start of a delegate."""
    program(plugin.cni_path, "ipam", "exit 0")
    usual = [f"{key}={value}".encode() for key, value in plugin.environ("DEL", {"PATH": os.environ["PATH"]}).items()]
    call = Case("sriov-bond", [b"=x", b"nothing", *usual], plugin.config(ipam={"type": "ipam"}))
    outcome = process.run(str(frozen / "opt/cni/bin/sriov-bond"), call, SECONDS)
    assert (outcome.status, outcome.out, outcome.err) == (0, b"", b"")


def test_a_killed_plugin_leaves_nothing_behind(plugin: Plugin, state: Path) -> None:
    """Killed while it waits for input, it has changed nothing, and no other process is left (P6)."""
    environ = plugin.environ("ADD", {})
    with subprocess.Popen(plugin.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=REPOSITORY) as process:
        process.send_signal(signal.SIGKILL)
        assert process.stdout
        assert process.stdout.read() == b""  # the end comes only when every holder of the pipe is gone
        assert process.wait(timeout=SECONDS) == -signal.SIGKILL
