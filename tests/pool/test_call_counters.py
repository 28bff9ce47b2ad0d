"""The counters of calls: what is counted, by many at once, and what never happens because of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.pool import call_counters
from cni_sriov_bond.pool.call_counters import BUCKETS, CODES, OTHER
from tests.support import REPOSITORY, Plugin, holder, make_pool

_ADD_MANY = """
import sys
from cni_sriov_bond.pool import call_counters
for _ in range(200):
    call_counters.add(sys.argv[1], "ADD", 0.3, 11)
"""


@pytest.fixture
def state_dir(tmp_path: Path) -> str:
    call_counters.create(str(tmp_path))
    return str(tmp_path)


def file(state_dir: str) -> Path:
    return Path(state_dir, call_counters.FILE)


def test_a_call_is_counted_by_duration_and_code(state_dir: str) -> None:
    call_counters.add(state_dir, "ADD", 0.3, None)
    call_counters.add(state_dir, "ADD", 0.3, 11)
    call_counters.add(state_dir, "ADD", 500.0, 999)
    call_counters.add(state_dir, "DEL", BUCKETS[0], None)
    counters = call_counters.read(state_dir)
    durations = [0] * (len(BUCKETS) + 1)
    durations[BUCKETS.index(0.5)], durations[-1] = 2, 1
    assert counters["ADD"].durations == tuple(durations)
    assert counters["ADD"].seconds == pytest.approx(500.6)
    assert {code: number for code, number in counters["ADD"].failures.items() if number} == {11: 1, OTHER: 1}
    assert counters["DEL"].durations == (1, *[0] * len(BUCKETS)), "a bound belongs to its bucket (le)"
    assert sum(counters["DEL"].failures.values()) == sum(counters["CHECK"].durations) == 0


def test_every_code_of_ours_has_a_counter() -> None:
    from cni_sriov_bond import errors

    codes = {value for name, value in vars(errors).items() if name.isupper() and type(value) is int}
    assert codes <= set(CODES)


def test_many_processes_count_at_once(state_dir: str) -> None:
    """None waits for long, and none overwrites the counts of another."""
    command = [sys.executable, "-c", _ADD_MANY, state_dir]
    running = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    counters = call_counters.read(state_dir)["ADD"]
    assert (sum(counters.durations), counters.failures[11]) == (800, 800)
    assert counters.seconds == pytest.approx(240)


def test_the_file_keeps_its_size(state_dir: str) -> None:
    size = file(state_dir).stat().st_size
    for command in (*call_counters.COMMANDS, "VERSION", "anything"):
        call_counters.add(state_dir, command, 1.0, 7)
    assert file(state_dir).stat().st_size == size < 4096
    assert file(state_dir).stat().st_mode & 0o777 == 0o600


def test_a_valid_file_is_kept_and_a_damaged_one_replaced(state_dir: str) -> None:
    call_counters.add(state_dir, "ADD", 1.0, None)
    call_counters.create(state_dir)
    assert sum(call_counters.read(state_dir)["ADD"].durations) == 1
    for damage in (b"", b"x" * 100, file(state_dir).read_bytes()[:-1], b"calls 2\n" + file(state_dir).read_bytes()[8:]):
        file(state_dir).write_bytes(damage)
        call_counters.add(state_dir, "ADD", 1.0, None)
        assert file(state_dir).read_bytes() == damage
        assert call_counters.read(state_dir) == {}
        call_counters.create(state_dir)
        assert sum(call_counters.read(state_dir)["ADD"].durations) == 0


@pytest.mark.parametrize("obstacle", ["no directory", "no file", "a directory", "a FIFO", "a locked file", "NUL in the path"])
def test_what_prevents_it_neither_fails_nor_delays_a_call(tmp_path: Path, obstacle: str) -> None:
    state_dir, began = str(tmp_path), time.monotonic()
    if obstacle == "no directory":
        state_dir += "/none"
    elif obstacle == "a directory":
        file(state_dir).mkdir()
    elif obstacle == "a FIFO":
        os.mkfifo(file(state_dir))
    elif obstacle == "NUL in the path":
        state_dir += "\0"
    if obstacle == "a locked file":
        call_counters.create(state_dir)
        with holder(str(file(state_dir))):
            began = time.monotonic()
            call_counters.add(state_dir, "ADD", 1.0, None)
        assert sum(call_counters.read(state_dir)["ADD"].durations) == 0
    else:
        call_counters.add(state_dir, "ADD", 1.0, None)
    assert time.monotonic() - began < 2
    assert obstacle != "no file" or not file(state_dir).exists(), "only `up` creates it"


def test_it_is_removed_with_the_last_pool(state_dir: str) -> None:
    call_counters.remove_unless(["db"], state_dir)
    assert file(state_dir).exists()
    call_counters.remove_unless([], state_dir)
    call_counters.remove_unless([], state_dir)
    assert not file(state_dir).exists()


def test_a_directory_that_cannot_be_written_is_an_error_of_up(tmp_path: Path) -> None:
    with pytest.raises(CniError, match="cannot write"):
        call_counters.create(str(tmp_path / "none"))


@pytest.mark.root
def test_the_plugin_counts_its_calls(plugin: Plugin) -> None:
    """An ADD of a namespace that is none fails with code 8, and a DEL of an unknown container succeeds."""
    make_pool(plugin.state, "db", 2)
    call_counters.create(str(plugin.state))
    for _ in range(2):
        plugin.run("ADD").error(8)
    plugin.run("ADD", plugin.config(vlan=5000)).error(7)
    plugin.run("ADD", plugin.config(stateDir=5)).error(7)
    assert plugin.run("DEL").status == 0
    counters = call_counters.read(str(plugin.state))
    assert {code: number for code, number in counters["ADD"].failures.items() if number} == {8: 2, 7: 1}
    assert (sum(counters["ADD"].durations), sum(counters["DEL"].durations)) == (3, 1)
    assert sum(counters["DEL"].failures.values()) == 0
    assert 0 < counters["ADD"].seconds < 60
