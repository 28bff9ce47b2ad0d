"""Where the runtimes of this host look for plugins and for network files: their defaults, and their config files."""

import tomllib
from typing import Any, NamedTuple

from cni_sriov_bond.doctor.tree import Tree

DEFAULT_NETWORKS, DEFAULT_PLUGINS = "/etc/cni/net.d", "/opt/cni/bin"
_BIN = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin")
# containers-common's defaults of `cni_plugin_dirs` (common/pkg/config/default.go).
_PODMAN = ("/usr/local/libexec/cni", "/usr/libexec/cni", "/usr/local/lib/cni", "/usr/lib/cni", "/opt/cni/bin")


class Runtime(NamedTuple):
    """A program that runs plugins, and the directories in which it looks for them, the first first."""

    name: str
    plugins: tuple[str, ...]
    networks: str = DEFAULT_NETWORKS


def program(tree: Tree, name: str) -> str:
    """Return the path of an installed program, or ""."""
    return next((f"{directory}/{name}" for directory in _BIN if tree.exists(f"{directory}/{name}")), "")


def installed(tree: Tree) -> list[Runtime]:
    """Return the runtimes of this host."""
    found = []
    if program(tree, "containerd"):
        found.append(_containerd(tree))
    if program(tree, "crio"):
        found.append(_crio(tree))
    if program(tree, "podman") and _uses_cni(tree):
        found.append(Runtime("podman", _strings(_engine(tree).get("cni_plugin_dirs")) or _PODMAN))
    if program(tree, "nerdctl"):
        path = _toml(tree, "/etc/nerdctl/nerdctl.toml").get("cni_path")
        found.append(Runtime("nerdctl", (path,) if isinstance(path, str) and path else (DEFAULT_PLUGINS,)))
    return found


def plugin_directories(tree: Tree) -> list[str]:
    """Return every directory in which a runtime looks, or the usual one where there is no runtime."""
    directories = [directory for runtime in installed(tree) for directory in runtime.plugins]
    return list(dict.fromkeys([*directories, DEFAULT_PLUGINS]))


def network_directories(tree: Tree) -> list[str]:
    """Return every directory of network files, the usual one first."""
    return list(dict.fromkeys([DEFAULT_NETWORKS, *(runtime.networks for runtime in installed(tree))]))


def _containerd(tree: Tree) -> Runtime:
    """Return what the CRI plugin of containerd is told: version 1 and 2 have ``bin_dir``, 3 has ``bin_dirs`` too."""
    plugins = _toml(tree, "/etc/containerd/config.toml").get("plugins")
    cni: dict[str, Any] = {}
    for name in ("io.containerd.grpc.v1.cri", "cri", "io.containerd.cri.v1.runtime"):
        part = plugins.get(name) if isinstance(plugins, dict) else None
        if isinstance(part, dict) and isinstance(part.get("cni"), dict):
            cni = part["cni"]
    directories = _strings(cni.get("bin_dirs")) or _strings([cni.get("bin_dir")]) or (DEFAULT_PLUGINS,)
    networks = cni.get("conf_dir")
    return Runtime("containerd", directories, networks if isinstance(networks, str) and networks else DEFAULT_NETWORKS)


def _crio(tree: Tree) -> Runtime:
    network: dict[str, Any] = {}
    drop_ins = [f"/etc/crio/crio.conf.d/{name}" for name in tree.listed("/etc/crio/crio.conf.d")]
    for path in ("/etc/crio/crio.conf", *drop_ins):
        crio = _toml(tree, path).get("crio")
        part = crio.get("network") if isinstance(crio, dict) else None
        network |= part if isinstance(part, dict) else {}
    networks = network.get("network_dir")
    directories = _strings(network.get("plugin_dirs")) or (DEFAULT_PLUGINS,)
    return Runtime("crio", directories, networks if isinstance(networks, str) and networks else f"{DEFAULT_NETWORKS}")


def _engine(tree: Tree) -> dict[str, Any]:
    part = _toml(tree, "/etc/containers/containers.conf").get("network")
    return part if isinstance(part, dict) else {}


def _uses_cni(tree: Tree) -> bool:
    """Return whether podman has CNI as its network back end; from version 5 on it has none."""
    backend = _engine(tree).get("network_backend")
    return backend == "cni" or (backend is None and tree.exists("/usr/lib/cni") and not program(tree, "netavark"))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(part for part in value if isinstance(part, str) and part) if isinstance(value, list) else ()


def _toml(tree: Tree, path: str) -> dict[str, Any]:
    """Return a config file of a runtime; one that is missing or wrong is empty: the runtime itself reports it."""
    try:
        return tomllib.loads(tree.octets(path).decode())
    except (ValueError, RecursionError):
        return {}
