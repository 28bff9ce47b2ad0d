"""What is left of the contract's rules that a process without VFs can show; docs/contract.md says which test has which rule."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond import CNI_VERSIONS as VERSIONS
from cni_sriov_bond.errors import DELEGATE_FAILED, INVALID_CONFIG, INVALID_ENVIRONMENT
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import DelegateCall
from tests.support import Answer, Plugin, lease, make_pool, program

EVERY_VARIABLE = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH")


def test_e8_an_empty_variable_is_missing(plugin: Plugin) -> None:
    words = plugin.run("ADD", changes=dict.fromkeys(EVERY_VARIABLE, "")).error(INVALID_ENVIRONMENT, "1.1.0")
    assert f"[{','.join(EVERY_VARIABLE)}] missing" in words


def test_e12_variables_of_others_are_passed_on(plugin: Plugin, tmp_path: Path) -> None:
    program(plugin.cni_path, "ipam", f'echo "$TRACEPARENT $CAP_ARGS $NETCONFPATH" >{tmp_path}/said')
    answer = plugin.run("DEL", plugin.config(ipam={"type": "ipam"}), TRACEPARENT="00-1", CAP_ARGS="{}", NETCONFPATH="/etc")
    assert (answer.status, (tmp_path / "said").read_text()) == (0, "00-1 {} /etc\n")


def test_i2_what_was_leased_is_deleted_in_the_callers_surroundings(plugin: Plugin, tmp_path: Path) -> None:
    """The lease has what names the attachment; where plugins are by now, and all else, is the caller's."""
    where = make_pool(plugin.state)
    program(plugin.cni_path, "ipam", f"env >{tmp_path}/said")
    recorded = {"CNI_PATH": "/opt/old/bin", "CNI_NETNS": "/proc/7/ns/net", "CNI_ARGS": "IP=10.0.0.5"}
    taken = lease(where, delegate=DelegateCall("ipam", recorded, "{}"))
    taken.save(READY)
    taken.close()
    around = {"CNI_NETNS": "/none", "CNI_ARGS": "FOO", "PATH": os.environ["PATH"], "TRACEPARENT": "00-1", "HOME": "/h"}
    answer = plugin.run("DEL", changes={**around})
    assert answer == Answer(0, "", "")
    said = set((tmp_path / "said").read_text().splitlines())
    assert {"TRACEPARENT=00-1", "HOME=/h", "CNI_ARGS=IP=10.0.0.5", "CNI_COMMAND=DEL", "CNI_NETNS="} <= said
    assert f"CNI_PATH={plugin.cni_path}:/opt/old/bin" in said
    assert where.entries() == []


def test_c8_keys_are_known_by_their_letters(plugin: Plugin) -> None:
    assert "missing network name" in plugin.run("ADD", b'{"NAME":"n","CNIVERSION":"1.0.0"}').error(INVALID_CONFIG, "1.1.0")


def test_c9_the_last_of_two_keys_wins(plugin: Plugin) -> None:
    stdin = b'{"name":"../x","vlan":5000,"vlan":5,"type":"sriov-bond","stateDir":"/none","name":"n"}'
    assert plugin.run("DEL", stdin) == Answer(0, "", "")


@pytest.mark.parametrize("version", VERSIONS)
def test_v2_every_version_is_served(plugin: Plugin, version: str) -> None:
    make_pool(plugin.state)
    assert plugin.run("DEL", plugin.config(cniVersion=version)) == Answer(0, "", "")


SPOILED: list[dict[str, Any]] = [
    {"vlan": 4095}, {"mode": "fast"}, {"mac": "zz"}, {"vlanQoS": 3}, {"dns": []}, {"prevResult": "x"}, {"primary": 5},
    {"ipam": "x"}, {"ipam": {"type": 5}}, {"logLevel": "warn"}, {"logFile": "a\0b"},
]  # fmt: skip


@pytest.mark.parametrize("verb", ["DEL", "GC"])
@pytest.mark.parametrize("spoiled", SPOILED, ids=str)
def test_d10_a_spoiled_config_keeps_nothing(plugin: Plugin, verb: str, spoiled: dict[str, Any]) -> None:
    """Edited while containers run, or checked by a stricter version: what these verbs do not use is not looked at."""
    where = make_pool(plugin.state)
    taken = lease(where)
    taken.save(READY)
    taken.close()
    answer = plugin.run(verb, plugin.config(cniVersion="1.1.0", **{"cni.dev/valid-attachments": []}, **spoiled))
    assert (answer.status, answer.out) == (0, "")
    told = {"ipam", "logLevel", "logFile"} & set(spoiled)
    assert all(re.search(rf"ignored at {verb}: {key}\b.*; correct network 'net1'", answer.err) for key in told), answer.err
    assert bool(answer.err) == bool(told)
    assert where.entries() == []


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_d10_a_state_directory_that_is_none_is_told(plugin: Plugin, verb: str) -> None:
    """Nothing can be found without it, and to say that all is given back would be a lie."""
    for wrong in (5, "a\0b"):
        words = plugin.run(verb, plugin.config(cniVersion="1.1.0", stateDir=wrong)).error(INVALID_CONFIG, "1.1.0")
        assert "stateDir" in words


def test_i1_the_first_file_in_cni_path_is_the_delegate(plugin: Plugin, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"bin{number}").mkdir()
    (tmp_path / "bin1/ipam").mkdir()
    for number in (2, 3):
        program(tmp_path / f"bin{number}", "ipam", f"echo {number} >>{tmp_path}/said")
    path = f":{tmp_path}/bin1::/none:{tmp_path}/bin2:{tmp_path}/bin3"
    assert plugin.run("DEL", plugin.config(ipam={"type": "ipam"}), CNI_PATH=path, PATH=tmp_path.as_posix()).status == 0
    assert (tmp_path / "said").read_text() == "2\n"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("""echo '{"code":11,"msg":"busy"}'; exit 1""", 11, "busy"),
        ("echo no space >&2; exit 3", DELEGATE_FAILED, "failed with status 3 at DEL: no space"),
        ("echo garbage; exit 1", DELEGATE_FAILED, "failed with status 1 at DEL: garbage"),
        ("kill -9 $$", DELEGATE_FAILED, "was killed by signal 9 at DEL"),
    ],
)
def test_i6_a_delegates_failure_is_ours(plugin: Plugin, script: str, code: int, words: str) -> None:
    make_pool(plugin.state)
    program(plugin.cni_path, "ipam", script)
    assert words in plugin.run("DEL", plugin.config(ipam={"type": "ipam"})).error(code)


@pytest.mark.parametrize("said", ["", "garbage", "{}", "null", '{"code":5}'])
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_i8_what_a_delegate_prints_at_other_verbs_is_not_looked_at(plugin: Plugin, verb: str, said: str) -> None:
    make_pool(plugin.state)
    program(plugin.cni_path, "ipam", f"echo '{said}'")
    assert plugin.run(verb, plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"})) == Answer(0, "", "")


@pytest.mark.parametrize("ipam", [None, {}, {"type": ""}, {"type": None, "subnet": "10.0.0.0/24"}])
def test_i10_without_a_type_there_is_no_delegate(plugin: Plugin, ipam: Any) -> None:
    make_pool(plugin.state)
    assert plugin.run("DEL", plugin.config(ipam=ipam)) == Answer(0, "", "")


def test_d10_another_config_at_del_frees_what_was_leased(plugin: Plugin, tmp_path: Path) -> None:
    where = make_pool(plugin.state)
    program(plugin.cni_path, "ipam", f"cat >{tmp_path}/said; env | grep ^CNI_ARGS >>{tmp_path}/said")
    environ = {"CNI_PATH": str(plugin.cni_path), "CNI_ARGS": "IP=10.0.0.5"}
    kept = DelegateCall("ipam", environ, json.dumps({"name": "net1"}))
    taken = lease(where, delegate=kept)
    taken.save(READY)
    taken.close()
    stdin = plugin.config(pool="web", vlan=7, mode="802.3ad", ipam={"type": "another"})
    assert plugin.run("DEL", stdin, CNI_ARGS="FOO", CNI_NETNS="", PATH=os.environ["PATH"]).status == 0
    assert (tmp_path / "said").read_text() == '{"name": "net1"}CNI_ARGS=IP=10.0.0.5\n'
    assert where.entries() == []
