"""The config.json of a container, of which only the hooks change."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import spec
from tests.oci.launcher import container

HOOK = "/usr/local/sbin/sriov-bond-hook"
OTHER = {"path": "/usr/bin/other", "args": ["other", "x"]}
DOCKER_20 = {"prestart": [{"path": "/proc/7/exe", "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "id", "key"]}]}
# What re-encoding would change: escapes of Go, large and long numbers, order, spaces, keys without meaning, repeated keys.
ODD = (
    '{ "ociVersion":"9.9","process" : {"args":["a\\u003cb\\/c\\u2028"],"big":9223372036854775808,"x":1.50,"e":1E+2},\n'
    '"linux":{"new":[1, {}],"namespaces":[{"type":"network"}],"digits":%s}, "z":null,"text":"h\xe4\udc80", "a":{"k":1,"k":2}}\n'
) % ("7" * 5000)


def changed(text: str) -> str:
    return spec.with_hooks(spec.parse(text), HOOK, ["--network", "db"])


def hooks_in(text: str) -> dict[str, Any]:
    hooks: dict[str, Any] = json.loads(text, parse_int=str)["hooks"]
    return hooks


def test_hooks_are_complete() -> None:
    """Absolute path, explicit environment and timeout, the request as arguments."""
    assert hooks_in(changed("{}")) == {
        "createRuntime": [
            {
                "path": HOOK,
                "args": ["sriov-bond-hook", "createRuntime", "--network", "db"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "timeout": "120",
            }
        ],
        "poststop": [
            {
                "path": HOOK,
                "args": ["sriov-bond-hook", "poststop"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "timeout": "10",
            }
        ],
    }


@pytest.mark.parametrize("text", ["{}", " { } ", ODD, '{"a":1}', '{"a":{}}\n', '{"hooked":{"hooks":1}}'])
def test_only_hooks_are_added(text: str) -> None:
    """Without the member that was added, the text is the old one, byte for byte."""
    new = changed(text)
    start = new.index('"hooks":{"createRuntime"')
    separator = start - 1 if new[start - 1] == "," else start
    _, end = json.JSONDecoder(parse_int=str).raw_decode(new, new.index("{", start))
    assert new[:separator] + new[end:] == text
    assert json.loads(new, parse_int=str)["hooks"]


@pytest.mark.parametrize("place", ['{"hooks":%s,"b":1}', '{"a":1, "hooks" : %s}', '{"a":1,"hooks":%s ,"b":"hooks"}'])
@pytest.mark.parametrize(
    "old", ["null", "{}", json.dumps(DOCKER_20), json.dumps({"poststop": [OTHER], "createRuntime": [OTHER]})]
)
def test_only_the_value_of_hooks_is_replaced(place: str, old: str) -> None:
    before, after = place.split("%s")
    new = changed(place % old)
    assert new.startswith(before) and new.endswith(after)
    others = json.loads(old) or {}
    hooks = hooks_in(new)
    assert hooks["createRuntime"][:-1] == others.get("createRuntime", [])
    assert hooks["poststop"][1:] == others.get("poststop", [])
    assert hooks.get("prestart") == others.get("prestart")


def test_hooks_are_there_once() -> None:
    """A second time, as at a restore, nothing changes; another request or another path replaces ours."""
    once = changed(json.dumps({"hooks": {"poststop": [OTHER]}}))
    assert changed(once) == once
    other = hooks_in(spec.with_hooks(spec.parse(once), "/usr/bin/sriov-bond-hook", ["--network", "web"]))
    assert [entry["path"] for entry in other["createRuntime"]] == ["/usr/bin/sriov-bond-hook"]
    assert other["createRuntime"][0]["args"][-1] == "web"
    assert [entry["path"] for entry in other["poststop"]] == ["/usr/bin/sriov-bond-hook", "/usr/bin/other"]


@pytest.mark.parametrize("hooks", ["[]", "3", '{"createRuntime":{}}', '{"poststop":"x"}'])
def test_hooks_that_are_no_lists_are_refused(hooks: str) -> None:
    with pytest.raises(CniError, match=r"hooks in the container's config\.json is not an object of lists"):
        changed(f'{{"hooks":{hooks}}}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,}',
        "{,}",
        "{1:2}",
        '{"a":1}}',
        '{"a":NaN}',
        "{} x",
        '{"a":1 "b":2}',
    ],
)
def test_other_text_than_an_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(CniError, match=r"the container's .*/config\.json is not valid JSON: "):
        spec.read(str(path))


def test_deep_nesting_and_missing_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a":' + "[" * 100_000)
    with pytest.raises(CniError, match="nested too deeply"):
        spec.read(str(path))
    with pytest.raises(CniError, match=r"cannot read the container's .*/none: No such file"):
        spec.read(str(tmp_path / "none"))


@pytest.mark.parametrize("part", [{}, {"process": None}, {"process": {"env": "x"}}, {"process": [1], "annotations": []}])
def test_missing_and_odd_parts_are_empty(part: dict[str, Any]) -> None:
    container = spec.parse(json.dumps(part))
    assert (container.environment, container.annotations) == ([], {})
    assert container.problem()


def test_parts_are_read() -> None:
    document = container("A=1", "A=2") | {"annotations": {"x": "y", "n": 3}}
    document["process"]["env"].append(5)
    read = spec.parse(json.dumps(document))
    assert read.environment == ["PATH=/bin", "A=1", "A=2"]
    assert read.annotations == {"x": "y"}
    assert read.problem() == ""


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ([], r"it is in the host's network \(--network host\); use --network none"),
        ([{"type": "network", "path": "/proc/77/ns/net"}], r"another container \(--network container:NAME\)"),
        (
            [{"type": "network", "path": "/run/netns/cni-1"}],
            r"joins a network namespace that exists already \('/run/netns/cni-1'\)",
        ),
        ([{"type": "network", "path": "/proc/self/ns/net"}], r"it is in the host's network \(--network host\)"),
        ([{"type": "network", "path": 3}], "exists already"),
    ],
)
def test_a_container_without_a_network_of_its_own_can_have_no_bond(network: list[dict[str, Any]], problem: str) -> None:
    document = container()
    document["linux"]["namespaces"] = [{"type": "mount"}, *network]
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(spec.parse(json.dumps(document)).problem())


def test_five_megabytes_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"process": {"env": [f"V{number}={'x' * 1000}" for number in range(5000)]}}))
    spec.write(str(path), changed(spec.read(str(path)).text))
    assert len(spec.read(str(path)).environment) == 5000


def test_the_file_is_replaced_with_its_mode_and_owner(tmp_path: Path) -> None:
    """Through a symbolic link, the file that it leads to."""
    path, link = tmp_path / "config.json", tmp_path / "link"
    path.write_text("{}")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 4321)
    link.symlink_to(path)
    before = path.stat()
    spec.write(str(link), '{"text":"h\xe4\udc80"}')
    after = path.stat()
    assert link.is_symlink()
    assert path.read_bytes() == b'{"text":"h\xc3\xa4\x80"}'
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert sorted(os.listdir(tmp_path)) == ["config.json", "link"]


def test_a_file_that_cannot_be_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    (tmp_path / f"config.json.sriov-bond.{os.getpid()}").mkdir()  # no file can be created there
    with pytest.raises(CniError, match=r"cannot add hooks to the container's .*/config.json: "):
        spec.write(str(path), "{ }")
    assert path.read_text() == "{}"
