"""What an ADD refuses before it leases a bond."""

import os
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, INVALID_NETNS
from tests.support import Plugin, temporary_netns


@pytest.mark.parametrize("kind", ["../x", "/bin/sh", "sriov-bond", "host-local"])
def test_an_impossible_delegate_is_refused_before_anything_is_done(plugin: Plugin, state: Path, kind: str) -> None:
    """A path, ourselves, or a missing plugin is refused with its name (contract 4, 28 and 30)."""
    assert kind in plugin.run("ADD", plugin.config(ipam={"type": kind})).error(INVALID_CONFIG)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_old_versions_without_addresses_are_refused_before_anything_is_done(plugin: Plugin, state: Path, version: str) -> None:
    """Their result needs an address (A9)."""
    assert "must have an address" in plugin.run("ADD", plugin.config(cniVersion=version)).error(INVALID_CONFIG, version)


@pytest.mark.parametrize(
    "before", [{"cniVersion": "9.9.9"}, {"ips": [{"address": "x"}]}, {"ips": [None]}, {"interfaces": [5]}, {"routes": "x"}]
)
def test_an_invalid_prevresult_is_refused_at_add(plugin: Plugin, state: Path, before: dict[str, Any]) -> None:
    """The output of an earlier plugin must be a result (contract 4, 27)."""
    answer = plugin.run("ADD", plugin.config(prevResult=before))
    assert "prevResult of network 'net1' is not a valid CNI result" in answer.error(DECODING_FAILURE)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["file", "missing", "directory", "fifo", "own", "device"])
def test_a_path_that_is_no_container_is_refused(plugin: Plugin, state: Path, tmp_path: Path, kind: str) -> None:
    """A path that leads to no namespace, or to our own, is refused with the reason, without waiting."""
    paths = {"own": "/proc/self/ns/net", "device": "/dev/null"}
    (tmp_path / "file").write_text("")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    path = paths.get(kind, str(tmp_path / kind))
    words = plugin.run("ADD", CNI_NETNS=path).error(INVALID_NETNS)
    assert f"CNI_NETNS {path!r}" in words
    said = {"missing": "does not exist", "own": "is the namespace of the plugin itself"}
    assert said.get(kind, "is not a network namespace") in words


@pytest.mark.root
def test_an_interface_name_in_use_is_refused(plugin: Plugin, state: Path) -> None:
    """A device of that name stays as it is (A2)."""
    with temporary_netns() as container:
        container.theirs.link("add", ifname="eth0", kind="ifb")
        words = plugin.run("ADD", CNI_NETNS=container.path).error(101)
        assert f"the container {container.path} has a device eth0 already" in words
        assert sorted(link.name for link in container.ours.links()) == ["eth0", "lo"]
