"""The command as a process: exit status, output, and a repair."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from cni_sriov_bond.doctor import run
from tests import measured
from tests.ctl.strict import violations
from tests.support import REPOSITORY, make_pool

pytestmark = pytest.mark.root


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command from the sources, and as it is built, with a state directory of its own and no host file."""
    argv = measured.command("cni_sriov_bond.ctl")
    if request.param == "frozen":
        argv = [str(request.getfixturevalue("frozen") / "usr/local/sbin/sriov-bondctl")]
    return [*argv, "--state-dir", str(tmp_path / "state"), "--config", str(tmp_path / "none.toml"), "doctor"]


def execute(command: list[str], *words: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    argv = [*command, *words]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=-1, text=True, cwd=REPOSITORY, check=False, timeout=60
    )


def test_a_host_without_a_host_file_has_status_3_and_is_told_what_to_do(command: list[str], tmp_path: Path) -> None:
    make_pool(tmp_path / "state")
    done = execute(command)
    assert done.returncode == 3
    assert all(line.startswith("doctor: checking took ") for line in done.stderr.splitlines()), "on a slow machine"
    assert f"FAIL  host-file       there is no {tmp_path}/none.toml; write it, e.g. `pools.db = " in done.stdout
    assert f"{len(run.CHECKS)} checks: " in done.stdout.splitlines()[-1]
    assert all(f" {check.name} " in done.stdout for check in run.CHECKS)


def test_json_is_one_document_by_its_schema(command: list[str]) -> None:
    done = execute(command, "--json", "--fix")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert violations("doctor", document) == []
    assert {finding["check"] for finding in document["findings"]} == {check.name for check in run.CHECKS}


def test_a_safe_repair_is_done_without_a_question_and_said(command: list[str], tmp_path: Path) -> None:
    state = tmp_path / "state"
    make_pool(state)
    state.chmod(0o755)
    done = execute(command, "--fix")
    assert f"FAIL  state-dir       {state} has the mode 0755" in done.stdout
    assert f"  done  set the mode of {state} to 0700" in done.stdout
    assert state.stat().st_mode & 0o777 == 0o700
    assert "FAIL  state-dir" not in done.stdout.partition("repairs\n")[2]


def test_what_is_not_safe_is_left_where_nobody_can_be_asked(command: list[str], tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "state")
    quarantined = Path(pool.path, "quarantine")
    quarantined.mkdir()
    (quarantined / "cbond1").write_text('{"reason": "lost"}')
    done = execute(command, "--fix")
    assert "  left  run `sriov-bondctl release db/cbond1`: it was not allowed" in done.stdout
    assert (quarantined / "cbond1").exists()


@pytest.mark.parametrize("kind", ["full", "unread"])
def test_an_output_that_nobody_takes_is_no_traceback(command: list[str], kind: str) -> None:
    if kind == "full":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        read, output = os.pipe()
        os.close(read)
    done = execute(command, stdout=output)
    os.close(output)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("doctor: checking took ")]
    assert said == (["sriov-bondctl: No space left on device"] if kind == "full" else [])


def test_wrong_arguments_have_status_2(command: list[str]) -> None:
    assert execute(command, "--mend").returncode == 2
    done = execute(command, "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sriov-bondctl: --yes answers the questions of --fix; give both\n"
