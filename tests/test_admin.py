"""The operator's command as a process: what goes where, and what one bad pool costs."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import measured
from tests.support import REPOSITORY, make_pool

pytestmark = pytest.mark.root


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def command(request: pytest.FixtureRequest) -> list[str]:
    """The command from the sources, and as it is built."""
    if request.param == "module":
        return measured.command("cni_sriov_bond.admin")
    return [str(request.getfixturevalue("frozen") / "usr/local/sbin/sriov-bondctl")]


def run(command: list[str], state: Path, *words: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    argv = [*command, "--state-dir", str(state), *words]
    return subprocess.run(argv, stdout=stdout, stderr=-1, text=True, cwd=REPOSITORY, check=False, timeout=60)


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("gc",)])
@pytest.mark.parametrize("kind", ["full", "unread"])
def test_an_output_that_nobody_takes_is_no_traceback(command: list[str], tmp_path: Path, words: tuple[str], kind: str) -> None:
    """The status tells it, and of a full disk a sentence; whoever closed the pipe has had enough."""
    make_pool(tmp_path)
    if kind == "full":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        read, output = os.pipe()
        os.close(read)
    done = run(command, tmp_path, *words, stdout=output)
    os.close(output)
    assert done.returncode == 1
    assert done.stderr == ("sriov-bondctl: No space left on device\n" if kind == "full" else "")


def test_one_bad_pool_does_not_hide_the_others(command: list[str], tmp_path: Path) -> None:
    make_pool(tmp_path, "good")
    Path(make_pool(tmp_path, "bad").path, "pool.json").write_text("{")
    for words in (("status",), ("status", "--json")):
        done = run(command, tmp_path, *words)
        assert done.returncode == 1
        assert "bad/pool.json is damaged" in done.stderr
        assert "cbond3" in done.stdout
    assert [pool["name"] for pool in json.loads(done.stdout)["pools"]] == ["good"]


def test_without_pools_every_command_says_so(command: list[str], tmp_path: Path) -> None:
    for word in ("status", "gc", "down"):
        done = run(command, tmp_path, word)
        assert (done.returncode, done.stderr) == (0, "")
        assert "no pool" in done.stdout
