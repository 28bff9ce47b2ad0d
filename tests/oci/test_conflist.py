"""Network files are found and read as the CNI library does."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci.conflist import load, parse


def write(folder: Path, file: str, /, **document: Any) -> Path:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def load_list(folder: Path, /, **keys: Any) -> Any:
    write(folder, "db.conflist", name="db", **{"plugins": [{"type": "a"}], **keys})
    return load(str(folder), "db")


def test_the_first_list_with_the_name_inside_is_taken(tmp_path: Path) -> None:
    """In the order of file names; a single plugin's file comes after all lists."""
    write(tmp_path, "10-x.conf", name="db", type="single")
    write(tmp_path, "20-a.conflist", name="other", plugins=[{"type": "x"}])
    write(tmp_path, "30-b.conflist", name="db", plugins=[{"type": "first"}])
    write(tmp_path, "40-c.conflist", name="db", plugins=[{"type": "later"}])
    assert [plugin.type for plugin in load(str(tmp_path), "db").plugins] == ["first"]


@pytest.mark.parametrize("extension", ["conf", "json"])
def test_a_single_plugin_becomes_a_list(tmp_path: Path, extension: str) -> None:
    write(tmp_path, f"db.{extension}", name="db", cniVersion="1.0.0", type="single", vlan=7)
    network = load(str(tmp_path), "db")
    assert (network.name, network.version, network.plugins[0].config["vlan"]) == ("db", "1.0.0", 7)
    assert parse(network.text, "of the cache") == network


@pytest.mark.parametrize(
    ("keys", "version"),
    [
        ({}, "0.1.0"),
        ({"cniVersion": "1.0.0"}, "1.0.0"),
        ({"cniVersion": "0.4.0", "cniVersions": ["1.0.0", "0.3.1"]}, "1.0.0"),
        ({"cniVersion": "1.0.0", "cniVersions": ["1.1.0", "9.0.0"]}, "1.1.0"),
        ({"cniVersions": ["0.4.0"]}, "0.4.0"),
    ],
)
def test_the_highest_version_that_is_known_counts(tmp_path: Path, keys: dict[str, Any], version: str) -> None:
    assert load_list(tmp_path, **keys).version == version


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("true", True), (False, False), ("false", False), (None, False)])
def test_disable_check_is_a_boolean_or_its_word(tmp_path: Path, value: object, expected: bool) -> None:
    assert load_list(tmp_path, disableCheck=value).disable_check is expected


def test_capabilities_are_those_that_are_true(tmp_path: Path) -> None:
    plugins = [{"type": "a", "capabilities": {"ips": True, "mac": False}}]
    assert load_list(tmp_path, plugins=plugins).plugins[0].capabilities == {"ips"}


def test_plugins_of_a_directory_are_appended(tmp_path: Path) -> None:
    """As libcni 1.3 does, unless the list says otherwise. The text that is cached has them too."""
    write(tmp_path, "db/20.conf", type="c")
    write(tmp_path, "db/10.conf", type="b")
    network = load_list(tmp_path)
    assert [plugin.type for plugin in network.plugins] == ["a", "b", "c"]
    assert parse(network.text, "of the cache", str(tmp_path)).plugins == network.plugins
    assert [plugin.type for plugin in load_list(tmp_path, loadOnlyInlinedPlugins=True).plugins] == ["a"]
    assert [plugin.type for plugin in load_list(tmp_path, plugins=None).plugins] == ["b", "c"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"plugins": []}, "the list has no plugin"),
        ({"plugins": None, "loadOnlyInlinedPlugins": True}, "the list has no plugin"),
        ({"plugins": ["a"]}, "plugins must be a list of objects"),
        ({"plugins": [{"type": "../a"}]}, "the plugin type '../a' must be the name of an executable"),
        ({"plugins": [{"type": "a", "capabilities": []}]}, None),
        ({"plugins": [{"type": "a", "capabilities": [1]}]}, "capabilities of a must be an object"),
        ({"cniVersion": "7"}, "cniVersion '7' is not supported"),
        ({"cniVersion": 7}, "cniVersion must be a string"),
        ({"disableCheck": "maybe"}, "disableCheck must be true or false, not 'maybe'"),
    ],
)
def test_an_invalid_list_is_refused(tmp_path: Path, keys: dict[str, Any], words: str | None) -> None:
    if words is None:
        assert load_list(tmp_path, **keys)
        return
    with pytest.raises(CniError, match=r"db.conflist is not valid: ") as refused:
        load_list(tmp_path, **keys)
    assert words in refused.value.msg


def test_a_file_that_cannot_be_parsed_stops_the_search(tmp_path: Path) -> None:
    (tmp_path / "00.conflist").write_text("{")
    with pytest.raises(CniError, match=r"00\.conflist is not valid"):
        load_list(tmp_path)


def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    load_list(tmp_path)
    with pytest.raises(CniError, match=r"there is no network 'nope' in .*; it has db"):
        load(str(tmp_path), "nope")
    with pytest.raises(CniError, match="it has no network"):
        load(str(tmp_path / "missing"), "db")
    with pytest.raises(CniError, match="must consist of"):
        load(str(tmp_path), "../db")


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    """Its plugins are run as root."""
    load_list(tmp_path)
    (tmp_path / "db.conflist").chmod(0o666)
    with pytest.raises(CniError, match="can be changed by other users; run `chmod go-w"):
        load(str(tmp_path), "db")
