"""The cache of results, in the form of the CNI library."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.oci import results
from cni_sriov_bond.oci.site import Site

OF = ("db", "c1", "eth0")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(str(tmp_path / "state-oci"))
    made.make_directories()
    return made


def test_a_result_is_cached_as_libcni_does(site: Site) -> None:
    values: dict[str, Any] = {"config": '{"name": "db"}', "netns": "/n", "args": "IgnoreUnknown=1;MAC=a=b"}
    values["capabilities"] = {"ips": ["a"]}
    results.write(site, *OF, **values, result={"ips": []})
    [file] = Path(site.directory("results")).iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("db-c1-eth0", 0o600)
    assert json.loads(file.read_text()) == {
        "kind": "cniCacheV1",
        "containerId": "c1",
        "config": base64.b64encode(b'{"name": "db"}').decode(),
        "ifName": "eth0",
        "networkName": "db",
        "netns": "/n",
        "cniArgs": [["IgnoreUnknown", "1"], ["MAC", "a=b"]],
        "capabilityArgs": {"ips": ["a"]},
        "result": {"ips": []},
    }
    assert results.read(site, *OF) == {"ips": []}
    results.remove(site, *OF)
    results.remove(site, *OF)
    assert results.read(site, *OF) is None


def test_what_is_empty_is_left_out(site: Site) -> None:
    results.write(site, *OF, config="{}", netns="/n", args="", capabilities={}, result={})
    document = json.loads((Path(site.directory("results")) / "db-c1-eth0").read_text())
    assert sorted(document) == ["config", "containerId", "ifName", "kind", "netns", "networkName", "result"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "other", "result": {}}', '{"kind": "cniCacheV1", "result": 7}'])
def test_an_unreadable_file_counts_as_none(site: Site, text: str) -> None:
    (Path(site.directory("results")) / "db-c1-eth0").write_text(text)
    assert results.read(site, *OF) is None
