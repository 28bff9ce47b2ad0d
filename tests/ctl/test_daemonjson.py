"""The lines for dockerd's config file, and how they are merged into it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.ctl import daemonjson
from cni_sriov_bond.errors import CniError

LINES = daemonjson.settings(["cbond1", "cbond2"], swarm=True)
PROGRAM = "/usr/local/sbin/sriov-bond-runtime"


def merged(old: object) -> dict[str, Any]:
    text = old if isinstance(old, str) else json.dumps(old)
    document: dict[str, Any] = json.loads(daemonjson.merge(text, LINES).text)
    return document


def test_lines_for_swarm_and_without() -> None:
    assert LINES == {
        "runtimes": {"sriov-bond": {"path": PROGRAM}},
        "default-runtime": "sriov-bond",
        "node-generic-resources": ["sriov_bond=cbond1", "sriov_bond=cbond2"],
    }
    assert daemonjson.settings([], swarm=False) == {"runtimes": {"sriov-bond": {"path": PROGRAM}}}


@pytest.mark.parametrize("old", ["", "  \n", "{}"])
def test_an_empty_file_gets_the_lines(old: str) -> None:
    assert merged(old) == LINES


def test_everything_else_stays() -> None:
    old = {
        "log-opts": {"max-size": "10m"},
        "runtimes": {"nvidia": {"path": "/n"}, "sriov-bond": {"path": "/old", "runtimeArgs": ["--x"]}},
        "node-generic-resources": ["NVIDIA-GPU=u1", "sriov_bond=old", "sriov-bond=older"],
        "default-runtime": "runc",
        "x": 9223372036854775808,
    }
    new = merged(old)
    assert new["runtimes"] == {"nvidia": {"path": "/n"}, "sriov-bond": {"path": PROGRAM}}
    assert new["node-generic-resources"] == ["NVIDIA-GPU=u1", "sriov_bond=cbond1", "sriov_bond=cbond2"]
    assert (new["default-runtime"], new["log-opts"], new["x"]) == ("sriov-bond", {"max-size": "10m"}, 1 << 63)
    assert list(new)[:2] == ["log-opts", "runtimes"]


def test_a_second_time_nothing_changes() -> None:
    once = daemonjson.merge('{\n    "debug": true\n}\n', LINES)
    assert once.changed
    assert once.text.startswith('{\n    "debug": true,\n    "runtimes"'), "the file's indentation stays"
    assert daemonjson.merge(once.text, LINES) == (once.text, False)


@pytest.mark.parametrize(
    ("old", "problem"),
    [
        ("{", "/etc/docker/daemon.json is not valid JSON: .*; correct it first"),
        ("[]", "is not a JSON object; correct it first"),
        ({"runtimes": []}, r"runtimes in /etc/docker/daemon.json must be an object, not \[\]"),
        ({"node-generic-resources": "a=b"}, 'node-generic-resources in .* must be a list, not "a=b"'),
        ({"default-runtime": "nvidia"}, r'has default-runtime "nvidia"; remove it, and set runtime in \[docker\]'),
    ],
)
def test_a_file_that_cannot_be_merged_is_an_error(old: object, problem: str) -> None:
    with pytest.raises(CniError, match=problem):
        merged(old)


def test_another_default_runtime_stays_without_swarm() -> None:
    lines = daemonjson.settings([], swarm=False)
    assert json.loads(daemonjson.merge('{"default-runtime": "nvidia"}', lines).text)["default-runtime"] == "nvidia"


def test_the_file_is_written_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "daemon.json"
    assert daemonjson.read(str(path)) == ""
    daemonjson.write(str(path), "{}\n")
    path.chmod(0o600)
    daemonjson.write(str(path), '{"a": 1}\n')
    assert (daemonjson.read(str(path)), path.stat().st_mode & 0o777) == ('{"a": 1}\n', 0o600)
    assert os.listdir(path.parent) == ["daemon.json"]


def test_files_that_cannot_be_read_or_written_are_errors(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_bytes(b"\xff")
    with pytest.raises(CniError, match=r"cannot read .*: it is not UTF-8"):
        daemonjson.read(str(tmp_path / "daemon.json"))
    with pytest.raises(CniError, match=r"cannot read .*: Is a directory"):
        daemonjson.read(str(tmp_path))
    with pytest.raises(CniError, match=r"cannot write .*/daemon\.json/x: "):
        daemonjson.write(str(tmp_path / "daemon.json" / "x"), "{}")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["/usr/sbin/dockerd", "-H", "fd://"], ""),
        (["dockerd", "--default-runtime=nvidia"], "--default-runtime"),
        (["/usr/bin/dockerd", "--add-runtime", "x=/y"], "--add-runtime"),
        (["sh", "--default-runtime=nvidia"], ""),
        ([], ""),
    ],
)
def test_options_of_a_running_dockerd(tmp_path: Path, words: list[str], option: str) -> None:
    """It refuses to start if its file has them too."""
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "cmdline").write_bytes("\0".join([*words, ""]).encode())
    (tmp_path / "version").touch()
    assert daemonjson.on_command_line(LINES, str(tmp_path)) == option
    assert daemonjson.on_command_line(LINES) == ""
