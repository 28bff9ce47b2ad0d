"""The plugins: where the runtimes look, executable, and of one version."""

import os
from collections.abc import Iterator

from cni_sriov_bond import files
from cni_sriov_bond.ctl.networkfile import DELEGATE, PLUGIN
from cni_sriov_bond.doctor import repairs, runtimes
from cni_sriov_bond.doctor.check import Check, Finding, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host

SUBJECT = "plugins"
_OURS = (PLUGIN, DELEGATE)
# The hook runs network files too, and looks where the usual runtimes do.
_ANY = runtimes.Runtime("the usual directory", (runtimes.DEFAULT_PLUGINS,))


def present(host: Host) -> Iterator[Finding]:
    """Check that each runtime finds every plugin that a network of ours needs, and may execute it."""
    needed: dict[str, list[str]] = {PLUGIN: []}
    for network in host.networks:
        for kind in network.types:
            needed.setdefault(kind, []).append(network.name)
    for runtime in runtimes.installed(host.tree) or [_ANY]:
        for kind, names in needed.items():
            yield _present(host, runtime, kind, f", which network {names[0]} needs" if names else "")


def _present(host: Host, runtime: runtimes.Runtime, kind: str, needed: str) -> Finding:
    paths = [f"{directory}/{kind}" for directory in runtime.plugins]
    path = next((path for path in paths if os.path.exists(host.tree.path(path))), "")
    where = " or ".join(runtime.plugins)
    if not path:
        remedy = f"install it there, or a link to it{'' if kind in _OURS else ' (the package of the CNI reference plugins)'}"
        sentence = f"{where} has no {kind}" if runtime is _ANY else f"{runtime.name} finds no {kind} in {where}"
        return failure(kind, f"{sentence}{needed}", remedy)
    if not (os.path.isfile(host.tree.path(path)) and os.stat(host.tree.path(path)).st_mode & 0o111):
        return failure(
            path,
            f"{path} is not executable{needed}",
            f"run `chmod 755 {path}`",
            repairs.make_executable(host, path, kind in _OURS),
        )
    return passed(path, f"there is {path}" if runtime is _ANY else f"{runtime.name} finds {path}")


def versions(host: Host) -> Iterator[Finding]:
    """Look for copies of the plugin that differ: two runtimes then run two versions on one pool."""
    digests: dict[str, list[str]] = {}
    for directory in runtimes.plugin_directories(host.tree):
        path = f"{directory}/{PLUGIN}"
        octets = host.tree.octets(path)
        if octets:
            digests.setdefault(files.digest(octets.decode("latin-1")).hex(), []).append(path)
    copies = [path for paths in digests.values() for path in paths]
    if len(digests) > 1:
        yield warning(
            "",
            f"there are {len(digests)} versions of {PLUGIN}: {', '.join(copies)}",
            f"keep the newest, and replace the others by links to it: `ln -sf {runtimes.DEFAULT_PLUGINS}/{PLUGIN} PATH`",
        )
    elif copies:
        yield passed("", f"there is one version of {PLUGIN}")
    else:
        yield skipped(f"no runtime's directory has {PLUGIN}")


CHECKS = (
    Check("plugin", SUBJECT, "each runtime finds the plugins that the networks need, and may execute them", present),
    Check("plugin-version", SUBJECT, "there is one version of the plugin", versions),
)
