"""The operator's command as a process: what goes where, and what one bad pool costs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cni_sriov_bond.ctl import links
from cni_sriov_bond.pool.record import DelegateCall
from tests import measured
from tests.lab.waiting import wait_until
from tests.support import (
    REPOSITORY,
    bond_entry,
    change_inventory,
    inodes_of,
    lease,
    make_pool,
    program,
)

pytestmark = pytest.mark.root


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def command(request: pytest.FixtureRequest) -> list[str]:
    """The command from the sources, and as it is built."""
    if request.param == "module":
        return measured.command("cni_sriov_bond.ctl")
    return [str(request.getfixturevalue("frozen") / "usr/local/sbin/sriov-bondctl")]


def run(command: list[str], state: Path, *words: str, stdout: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    argv = [*command, "--state-dir", str(state), *words]
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # pytest sets it
    return subprocess.run(argv, stdout=stdout, stderr=-1, env=environ, text=True, cwd=REPOSITORY, check=False, timeout=60)


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


@pytest.mark.parametrize("words", [("status",), ("status", "--json")])
def test_status_changes_nothing_and_names_the_command(command: list[str], tmp_path: Path, words: tuple[str, ...]) -> None:
    """What was interrupted and what is pending stays as it is, and no IPAM plugin is run."""
    state = tmp_path / "state"
    pool = make_pool(state, size=4)
    program(tmp_path, "ipam", f"touch {tmp_path}/asked")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(tmp_path)}, "{}")
    for number, kind in enumerate(("adding", "draining", "pending"), 1):
        taken = lease(pool, f"c{number}", delegate=delegate)
        taken.make_pending() if kind == "pending" else taken.save(kind)
        taken.close()
    running = lease(pool, "running", delegate=delegate)
    Path(pool.leases, f".cbond4.{running.entry.key}.adding.12345").write_text("{")
    before = {path: path.stat() for path in state.rglob("*")}
    done = run(command, state, *words)
    running.close()
    assert (done.returncode, done.stderr) == (0, "")
    after = {path: path.stat() for path in state.rglob("*")}
    assert {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in after.items()} == {
        path: (stat.st_mtime_ns, stat.st_ino) for path, stat in before.items()
    }
    assert not (tmp_path / "asked").exists()
    waiting = {
        "cbond1": "its ADD or DEL was interrupted; run `sriov-bondctl gc` to finish it",
        "cbond2": "it is to be released; run `sriov-bondctl gc` to finish it",
    }
    if "--json" in words:
        [shown] = json.loads(done.stdout)["pools"]
        assert {bond["name"]: bond["waiting"] for bond in shown["bonds"] if "waiting" in bond} == waiting
        assert shown["pending"] == 1
    else:
        for name, sentence in waiting.items():
            assert f"{name}: {sentence}\n" in done.stdout
        assert "an IPAM DEL is pending; run `sriov-bondctl gc`" in done.stdout
        assert "cbond3: " not in done.stdout


def test_each_failure_is_a_line(command: list[str], tmp_path: Path) -> None:
    """Two pools that cannot be created, and none keeps the other from being tried."""
    path = tmp_path / "sriov-bond.toml"
    path.write_text('[pools.a]\npfs = ["none1", "none2"]\n[pools.b]\npfs = ["none3", "none4"]\n')
    done = run(command, tmp_path / "state", "up", "--config", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.split(";")[0] for line in lines] == [f"sriov-bondctl: there is no NIC {name}" for name in ("none1", "none3")]


def test_status_for_programs_has_what_the_table_has(command: list[str], tmp_path: Path) -> None:
    """A pool whose NIC is missing: every key is there, and what is not known is null."""
    where = make_pool(tmp_path, "db", 1)
    nic = {"pci": "ffff:01:00.0", "name": "enp1s0", "number": 1, "made_vfs": True, "brought_up": False}
    change_inventory(where, nics=[nic])
    done = run(command, tmp_path, "status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    [pool] = json.loads(done.stdout)["pools"]
    assert [key for key, value in pool.items() if key not in ("nics", "bonds")] == ["name", "this_boot", "pending"]
    assert pool["nics"] == [links.Nic("ffff:01:00.0", "enp1s0", 1).to_json()]
    [bond] = pool["bonds"]
    assert sorted(bond) == ["mac", "name", "ports", "problem", "state"]
    assert bond["ports"][0] == {**bond_entry(1)["ports"][0], "device": "", "active": None, "link": None}
    assert "VF11 and VF21 are not in the host, though the bond is not leased" in bond["problem"]


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (("--version",), set()),
        (("--help",), set()),
        (("status", "--json"), set()),
        (("status",), {"rich"}),
        (("gc",), set()),
        (("schema",), set()),
        (("metrics",), set()),
        (("schema", "top"), set()),
        (("top", "--once", "--interval", "0.1"), {"rich"}),
        (("top", "--once", "--interval", "0.1", "--json"), set()),
        (("check", "conf/db.conflist"), {"jsonschema"}),
        (("check", "conf/sriov-bond.toml"), {"jsonschema"}),
    ],
)
def test_a_command_imports_what_it_needs(tmp_path: Path, words: tuple[str, ...], heavy: set[str]) -> None:
    """pyroute2 takes over 100 ms and jsonschema 70; without a pool there is no NIC to read."""
    code = (
        "import sys\nfrom cni_sriov_bond.ctl.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*{'pyroute2', 'jsonschema', 'rich', 'asyncio'} & set(sys.modules), file=sys.stderr)"
    )
    done = run([sys.executable, "-c", code], tmp_path, *words)
    assert set(done.stderr.split()) == heavy


@pytest.mark.parametrize("before", [True, False])
def test_locations_stand_before_or_after_the_command(command: list[str], tmp_path: Path, before: bool) -> None:
    make_pool(tmp_path / "state")
    config = tmp_path / "host.toml"
    config.write_text("[pools.a]\npfs = []\n")
    locations = ["--state-dir", str(tmp_path / "state"), "--config", str(config)]
    for word, ends in (("status", 0), ("up", 1)):
        argv = [*command, *locations, word] if before else [*command, word, *locations]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=60)
        assert done.returncode == ends
        assert ("pool db" if word == "status" else str(config)) in done.stdout + done.stderr


def test_down_reads_the_inventory_under_the_lock(command: list[str], tmp_path: Path) -> None:
    """`up` may rewrite it while `down` waits, and other NICs are then to be set down."""
    pool = make_pool(tmp_path, "test", 1)
    nic = {"pci": "ffff:01:00.0", "name": "old1", "number": 1, "made_vfs": True, "brought_up": True}
    change_inventory(pool, nics=[nic])
    lock = pool.lock()
    inode = os.fstat(lock).st_ino
    argv = [*command, "--state-dir", str(tmp_path), "down", "test"]
    with subprocess.Popen(argv, stdout=-1, stderr=-1, text=True, cwd=REPOSITORY) as process:
        wait_until(lambda: inode in inodes_of(process.pid), "down to wait for the lock")
        change_inventory(pool, nics=[{**nic, "name": "new1"}])
        os.close(lock)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "nothing of new1 is removed" in err) == (0, True), err


def test_without_pools_every_command_says_so(command: list[str], tmp_path: Path) -> None:
    for word in ("status", "gc", "down"):
        done = run(command, tmp_path, word)
        assert (done.returncode, done.stderr) == (0, "")
        assert "no pool" in done.stdout


def test_up_waits_for_a_nic_as_long_as_it_is_told(command: list[str], tmp_path: Path) -> None:
    """It says once that it tries again, and at the end what is missing of each pool."""
    config = tmp_path / "host.toml"
    config.write_text('[pools]\na = {pfs = ["no1", "no2"], vfs = 2}\nb = {pfs = ["no3", "no4"], vfs = 2}\n')
    began = time.monotonic()
    done = run(command, tmp_path / "state", "up", "--config", str(config), "--wait", "2")
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line.partition(";")[0].removeprefix("sriov-bondctl: ") for line in done.stderr.splitlines()]
    assert lines == ["there is no NIC no1", "there is no NIC no3", "trying again for 2 s", lines[0], lines[1]]
    assert 2 <= time.monotonic() - began < 10


def test_up_does_not_wait_for_what_time_does_not_cure(command: list[str], tmp_path: Path) -> None:
    config = tmp_path / "host.toml"
    config.write_text("[pools.a]\npfs = 1\n")
    began = time.monotonic()
    for words, message in (
        (("--wait", "3600"), "pools.a"),
        (("--wait", "3601"), "--wait must be from 0 to 3600 seconds, not 3601"),
        (("--wait", "-1"), "--wait must be from 0 to 3600 seconds, not -1"),
        (("--wait", "5", "nosuch"), "nosuch"),
    ):
        if "nosuch" in words:
            config.write_text('[pools]\na = {pfs = ["no1", "no2"], vfs = 2}\n')
        done = run(command, tmp_path / "state", "up", "--config", str(config), *words)
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - began < 60
