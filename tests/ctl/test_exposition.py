"""How the metrics get out: the file, HTTP, and what is refused."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cni_sriov_bond.ctl import exposition
from cni_sriov_bond.errors import CniError
from tests import measured
from tests.support import REPOSITORY, make_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root
FIRST = "# HELP sriov_bond_build_info "


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command from the sources, and as it is built, for a state directory with a pool."""
    (tmp_path / "state").mkdir()
    make_pool(tmp_path / "state")
    program = measured.command("cni_sriov_bond.ctl")
    if request.param == "frozen":
        program = [str(request.getfixturevalue("frozen") / "usr/local/sbin/sriov-bondctl")]
    return [*program, "metrics", "--state-dir", str(tmp_path / "state")]


def run(command: list[str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*command, *words], capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9779", "127.0.0.1", 9779), (":80", "", 80), ("[::1]:65535", "::1", 65535), ("a.example:1", "a.example", 1)],
)
def test_an_endpoint(text: str, host: str, port: int) -> None:
    assert exposition.endpoint(text) == (host, port)
    assert str(exposition.endpoint(text)) == text


@pytest.mark.parametrize(
    "text", ["", "9779", "127.0.0.1", "127.0.0.1:", "::1:80", "[::1]", "[1.2.3.4]:80", "a:0", "a:65536", "a:-1", "a:²"]
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(CniError, match="is not ADDR:PORT, such as"):
        exposition.endpoint(text)


def test_the_file_is_replaced_whole_and_can_be_read_by_all(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "sriov-bond.prom"
    file.write_text("old")
    before = file.stat().st_ino
    previous = os.umask(0o077)
    try:
        done = run(command, "--textfile", str(file))
    finally:
        os.umask(previous)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_text().startswith(FIRST)
    assert file.stat().st_ino != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [file.name]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--textfile", "/none/a.prom"), 1, "sriov-bondctl: cannot write /none/a.prom: No such file or directory"),
        (("--textfile", "/tmp/a.txt"), 1, "--textfile /tmp/a.txt must end in .prom: node_exporter reads no other files"),
        (("--listen", "9779"), 1, "sriov-bondctl: --listen 9779 is not ADDR:PORT, such as 127.0.0.1:9779 or [::1]:9779"),
        (("--listen", "192.0.2.1:9779"), 1, "sriov-bondctl: cannot listen on 192.0.2.1:9779: Cannot assign requested address"),
        (("--listen", ":1", "--textfile", "a.prom"), 2, "argument --textfile: not allowed with argument --listen"),
    ],
)  # fmt: skip
def test_what_is_refused(command: list[str], words: tuple[str, ...], status: int, message: str) -> None:
    done = run(command, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines()[-1].endswith(message)


@contextlib.contextmanager
def serving(command: list[str], host: str = "127.0.0.1") -> "Iterator[tuple[int, subprocess.Popen[str]]]":
    """Serve the metrics for the duration of the block; return port and process."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        port = free.getsockname()[1]
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    argv = [*command, "--listen", name]
    with subprocess.Popen(argv, stdout=-1, stderr=-1, text=True, cwd=REPOSITORY) as process:
        assert process.stderr
        assert process.stderr.readline() == f"serving metrics on {name}\n"
        yield port, process
        process.kill()


def get(port: int, host: str = "127.0.0.1") -> str:
    name = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{name}:{port}/metrics", timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_scrape_has_the_present_state(command: list[str], tmp_path: Path, host: str) -> None:
    with serving(command, host) as (port, process):
        assert 'pool="db"' in get(port, host)
        assert 'pool="later"' not in get(port, host)
        make_pool(tmp_path / "state", "later")
        assert 'pool="later"' in get(port, host)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize("command", ["module"], indirect=True)
def test_a_client_that_goes_away_or_says_nothing_harms_no_other(command: list[str]) -> None:
    """One that says nothing keeps the next one waiting for five seconds at most."""
    with serving(command) as (port, process):
        socket.create_connection(("127.0.0.1", port)).close()
        with socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.2)
            began = time.monotonic()
            assert get(port).startswith(FIRST)
            assert time.monotonic() - began < 10
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert err == ""


def test_what_cannot_be_read_is_reported_once(command: list[str], tmp_path: Path) -> None:
    with serving(command) as (port, process):
        make_pool(tmp_path / "state", "bad")
        (tmp_path / "state/bad/pool.json").write_text("{")
        for _ in range(3):
            assert "sriov_bond_unreadable_objects 1.0" in get(port)
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert len(err.splitlines()) == 1
        assert err.startswith("sriov-bondctl: ")
