"""Every sample in conf/ is loaded by what would load it on a host."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cni_sriov_bond import CNI_VERSIONS
from cni_sriov_bond.cni.call import check_version, parse_json
from cni_sriov_bond.ctl import daemonjson, hostfile
from cni_sriov_bond.network import config
from cni_sriov_bond.network.schema import NETWORK
from cni_sriov_bond.oci.site import CREATE_TIMEOUT, POSTSTOP_TIMEOUT
from tests.support import REPOSITORY

SAMPLES = sorted(path for path in (REPOSITORY / "conf").rglob("*") if path.is_file())
NETWORKS = [path for path in SAMPLES if path.suffix == ".conflist"]
CONTAINERD = [path for path in SAMPLES if path.name == "containerd-runtime.toml"]
DAEMON_JSON = [path for path in SAMPLES if path.name == "daemon.json"]
HOST_FILES = [path for path in SAMPLES if path.suffix == ".toml" and path not in CONTAINERD]
HOOKS = [path for path in SAMPLES if path.parent.name == "hooks.d"]
# Loaded by tests/test_units.py and tests/ctl/test_metrics.py.
ELSEWHERE = [path for path in SAMPLES if path.parent.name in ("systemd", "grafana")]


def name(path: Path) -> str:
    return path.name


def load(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def ours(path: Path) -> list[config.Network]:
    """Parse our plugins of a list as the runtime would give them to us, with the list's name and version in them."""
    value, found = load(path), []
    for plugin in value["plugins"]:
        if plugin["type"] == "sriov-bond":
            given = {**plugin, "name": value["name"], "cniVersion": value["cniVersion"]}
            data = json.dumps(given).encode()
            document = parse_json(data)
            found.append(config.parse_network(data, document, check_version(document, "ADD")))
    return found


def test_there_are_samples_of_every_kind_and_no_others() -> None:
    """No sample is of a kind that no test loads: networks are lists, never .conf (contract 0.8)."""
    assert NETWORKS
    assert HOST_FILES
    assert sorted([*NETWORKS, *HOST_FILES, *HOOKS, *CONTAINERD, *DAEMON_JSON, *ELSEWHERE]) == SAMPLES


@pytest.mark.parametrize("path", NETWORKS, ids=name)
def test_a_sample_network_is_taken_by_the_plugin(path: Path) -> None:
    """Each sample has our plugin, every key of it is one of ours, and the plugin takes it."""
    networks = ours(path)
    assert networks
    known = {*NETWORK["properties"], "capabilities", "args", "runtimeConfig"}
    for plugin in load(path)["plugins"]:
        if plugin["type"] == "sriov-bond":
            assert set(plugin) <= known
            jsonschema.Draft202012Validator(NETWORK).validate(plugin)


@pytest.mark.parametrize("path", NETWORKS, ids=name)
def test_a_sample_network_is_safe_beside_every_runtime(path: Path) -> None:
    """Version 1.0.0 for old runtimes, no nerdctlID (prune would delete the file), no name of a containerd namespace."""
    value = load(path)
    assert value["cniVersion"] == "1.0.0"
    assert set(value.get("cniVersions", [])) <= set(CNI_VERSIONS)
    assert "nerdctlID" not in value
    assert value["name"] not in ("default", "k8s.io", "moby")


def test_sample_networks_have_names_of_their_own() -> None:
    """All samples may lie in one directory: runtimes take the first of two networks with one name."""
    names = [load(path)["name"] for path in NETWORKS]
    assert len(names) == len(set(names))


def test_sample_networks_give_no_address_twice() -> None:
    """All may be copied: two networks on one VLAN of a pool must not have one subnet, for each knows only its own addresses."""
    seen: set[tuple[int, str]] = set()
    for path in NETWORKS:
        [plugin] = [plugin for plugin in load(path)["plugins"] if plugin["type"] == "sriov-bond"]
        ipam = plugin.get("ipam", {})
        ranges = [(plugin["vlan"], one["subnet"]) for part in ipam.get("ranges", []) for one in part]
        for used in ranges + [(one["vlan"], one["subnet"]) for one in ipam.get("subnets", [])]:
            assert used not in seen
            seen.add(used)
        vlans = {plugin["vlan"], *plugin.get("vlanAllowed", [])}
        assert {one["vlan"] for one in ipam.get("subnets", [])} <= vlans, "one that can be chosen"
        assert ipam.get("type", "sriov-bond-ipam") == "sriov-bond-ipam", "which is there"


@pytest.mark.parametrize("path", HOST_FILES, ids=name)
def test_a_sample_host_file_is_taken(path: Path) -> None:
    """The host file as it is shipped makes a pool of two NICs."""
    plans = hostfile.read(str(path))
    assert all(len(plan.pfs) == 2 for plan in plans)


@pytest.mark.parametrize("path", HOST_FILES, ids=name)
def test_what_a_sample_host_file_comments_out_is_true(path: Path, tmp_path: Path) -> None:
    """Settings that are shown as defaults are the defaults: with and without them the file says the same."""
    text = path.read_text()
    said = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert said != text
    (tmp_path / path.name).write_text(said)
    assert hostfile.read(str(tmp_path / path.name)) == hostfile.read(str(path))


def test_sample_hooks_are_run_for_annotations_of_ours(frozen: Path) -> None:
    """One for each stage, in the form of oci-hooks(5): podman ignores a hook without its program, and anchors no pattern."""
    hooks = {stage: load(path) for path in HOOKS for stage in load(path)["stages"]}
    assert sorted(hooks) == ["createRuntime", "poststop"]
    for stage, hook in hooks.items():
        assert sorted(hook) == ["hook", "stages", "version", "when"]
        assert (frozen / hook["hook"]["path"].lstrip("/")).exists()
        assert hook["hook"]["args"] == [Path(hook["hook"]["path"]).name, stage]
        [(key, value)] = hook["when"]["annotations"].items()
        assert [bool(re.search(key, f"sriov-bond.{name}")) for name in ("network", "ip", "networks")] == [True, True, False]
        assert not re.search(key, "x.sriov-bond.network")
        assert value == "^.+$"
    assert hooks["createRuntime"]["hook"]["timeout"] == CREATE_TIMEOUT
    assert hooks["poststop"]["hook"]["timeout"] == POSTSTOP_TIMEOUT


def test_networks_name_pools_of_the_host_file() -> None:
    """The samples fit together: each network leases from a pool that the sample host file makes."""
    pools = {plan.name for path in HOST_FILES for plan in hostfile.read(str(path))}
    assert {network.pool for path in NETWORKS for network in ours(path)} <= pools | {""}


def test_the_sample_for_dockerd_is_what_the_command_writes() -> None:
    """`sriov-bondctl docker config` for a pool of three bonds."""
    [path] = DAEMON_JSON
    assert load(path) == daemonjson.settings(["cbond1", "cbond2", "cbond3"], swarm=True)


def test_the_sample_for_containerd_names_the_installed_runtime() -> None:
    """A drop-in without runtime_type keeps all containers from starting."""
    [path] = CONTAINERD
    runtimes = tomllib.loads(path.read_text())["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["sriov-bond"]["runtime_type"] == "io.containerd.runc.v2"
    assert runtimes["sriov-bond"]["options"] == {"BinaryName": daemonjson.PROGRAMS[0]}
