"""What the commands print with --json, against the schemas that `sriov-bondctl schema` prints."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cni_sriov_bond.ctl import outputs, rates
from cni_sriov_bond.ctl.__main__ import parser
from cni_sriov_bond.ctl.commands import schema
from cni_sriov_bond.ctl.eventlog import PortEvent
from cni_sriov_bond.ctl.story import Happening
from tests.ctl.samples import bond, detail, event, free, snapshot
from tests.ctl.strict import parsers, violations
from tests.support import REPOSITORY, change_inventory, lease, make_pool, ready


@pytest.mark.parametrize("command", outputs.OUTPUTS)
def test_a_schema_is_one(command: str) -> None:
    Draft202012Validator.check_schema(outputs.schema(command))


def test_every_command_but_schema_has_json_and_a_schema() -> None:
    """And `schema`, which prints JSON anyway, offers all, though it does not import them to say so."""
    commands = parsers(parser())
    with_json = [name for name, command in commands.items() if "--json" in command._option_string_actions]
    assert sorted(with_json) == sorted(outputs.OUTPUTS) == sorted(set(commands) - {"schema", "metrics"})
    assert [*schema._OUTPUTS] == [*outputs.OUTPUTS]


def test_a_missing_key_and_an_unknown_one_are_violations() -> None:
    """The tests of the other outputs rely on it; for programs unknown keys are allowed."""
    assert violations("down", {"pools": [{"name": "db"}]}) == []
    assert "'name' is a required property" in violations("down", {"pools": [{}]})[0]
    assert "'more' was unexpected" in violations("down", {"pools": [{"name": "db", "more": 1}]})[0]
    assert not list(Draft202012Validator(outputs.schema("down")).iter_errors({"pools": [{"name": "db", "more": 1}]}))


def test_show() -> None:
    for shown in (detail(), free(), detail()._replace(live=bond(link=None), ports=free().ports)):
        assert violations("show", json.loads(json.dumps({"bonds": [shown.to_json()]}))) == []
    value = detail().to_json()
    assert (value["lease"]["age"], value["lease"]["caller"], value["failovers"]) == (8000.0, "containerd[7]", 1)
    assert value["link"]["options"]["fail_over_mac"] == "active"
    assert value["ports"][0]["settings"]["vlan"] == 100


def test_top() -> None:
    top = rates.between(snapshot(0.0, bond()), snapshot(2.0, bond(factor=2), bond("cbond2", "c2", link=None)))
    assert violations("top", json.loads(json.dumps(top.to_json()))) == []
    first, second = top.to_json()["bonds"]
    assert (first["active"], first["rates"]["rx_bits"], second["absence"]) == (
        [2],
        4000.0,
        "the namespace of its container is gone",
    )


def test_log() -> None:
    happenings = [
        Happening(1.0, "db", "cbond1", action=event()),
        Happening(1.0, "db", "cbond1", action=event(error="no bond", code=11)),
        Happening(2.0, "db", "cbond1", port=PortEvent(2.0, "VF11", "failed", "link status definitely down"), nic="NIC 1"),
    ]
    assert violations("log", json.loads(json.dumps({"events": [one.to_json() for one in happenings]}))) == []


def printed(state: Path, *words: str) -> tuple[int, Any]:
    """Return the exit status of a command, and what it printed as JSON."""
    argv = [sys.executable, "-m", "cni_sriov_bond.ctl", *words, "--state-dir", str(state)]
    done = subprocess.run(argv, stdout=-1, text=True, cwd=REPOSITORY, check=False, timeout=60, env=dict(os.environ))
    return done.returncode, json.loads(done.stdout)


@pytest.mark.root
def test_the_commands(tmp_path: Path) -> None:
    """Of a pool with a free bond, an interrupted call, a container that is gone, and a NIC that is missing."""
    nic = {"pci": "ffff:01:00.0", "name": "enp1s0", "number": 1, "made_vfs": True, "brought_up": False}
    state = tmp_path / "state"
    pool = make_pool(state)
    change_inventory(pool, nics=[nic])
    lease(pool, "c1").close()
    ready(pool, "c2")
    (tmp_path / "good.conflist").write_text('{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "sriov-bond"}]}')
    (tmp_path / "bad.toml").write_text("x = 1\n")
    for exit_status, words in (
        (0, ("status", "--json")),
        (0, ("show", "cbond1", "cbond2", "cbond3", "--json")),
        (0, ("top", "--once", "--interval", "0.1", "--json")),
        (3, ("check", str(tmp_path / "good.conflist"), str(tmp_path / "bad.toml"), "--json")),
        (0, ("gc", "--json")),
        (0, ("log", "c1", "--json")),
    ):
        done, document = printed(state, *words)
        assert (done, violations(words[0], document)) == (exit_status, []), words
    events = printed(state, "log", "c1", "--json")[1]["events"]
    assert [(one["action"], one["program"], one["error"]) for one in events] == [("release", "sriov-bondctl", None)]
    done, document = printed(tmp_path / "none", "down", "--json")
    assert (done, document) == (0, {"pools": []})
