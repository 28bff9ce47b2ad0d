"""Docker: its runtime entry for sriov-bond, and a version that keeps tasks with generic resources."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from cni_sriov_bond.doctor import runtimes
from cni_sriov_bond.doctor.check import Check, Finding, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host

SUBJECT = "Docker"
_FILE = "/etc/docker/daemon.json"
_RUNTIME = "sriov-bond"
_SECONDS = 5
# moby#44378 (swarmkit 770a4d305): the constraint enforcer shut down tasks that hold generic resources.
_SOUND = (23, 0, 2)
_NO_DOCKER = "Docker is not installed"
_CONFIG = "run `sriov-bondctl docker config --write` and restart dockerd"


def _daemon(host: Host) -> tuple[dict[str, Any], str]:
    """Return the content of daemon.json, or why it cannot be read."""
    octets = host.tree.octets(_FILE)
    if not octets.strip():
        return {}, ""
    try:
        value = json.loads(octets)
    except (ValueError, RecursionError) as wrong:
        return {}, f"{_FILE} is not valid JSON: {wrong}"
    return (value, "") if isinstance(value, dict) else ({}, f"{_FILE} is not a JSON object")


def runtime(host: Host) -> Iterator[Finding]:
    """Check Docker's runtime entry."""
    if not runtimes.program(host.tree, "dockerd"):
        yield skipped(_NO_DOCKER)
        return
    value, problem = _daemon(host)
    entries = value.get("runtimes")
    entry = entries.get(_RUNTIME) if isinstance(entries, dict) else None
    path = entry.get("path") if isinstance(entry, dict) else None
    if problem:
        yield failure(_FILE, problem, "correct it: dockerd does not start with it")
    elif entry is None:
        sentence = f"Docker has no runtime {_RUNTIME}, so `docker run --runtime {_RUNTIME}` is refused"
        yield warning(_FILE, sentence, _CONFIG)
    elif not isinstance(path, str) or not path:
        yield failure(_FILE, f"Docker's runtime {_RUNTIME} in {_FILE} has no path", _CONFIG)
    else:
        # A path without a directory is looked up by dockerd.
        full = path if "/" in path else runtimes.program(host.tree, path)
        if full and os.access(host.tree.path(full), os.X_OK):
            yield passed(_FILE, f"Docker's runtime {_RUNTIME} is {full}")
        else:
            yield failure(
                _FILE, f"Docker's runtime {_RUNTIME} is {path}, which cannot be executed", f"install it, or {_CONFIG}"
            )


def version(host: Host) -> Iterator[Finding]:
    """Check that Docker keeps Swarm's tasks that hold generic resources, where the node has any."""
    program = runtimes.program(host.tree, "dockerd")
    if not program:
        yield skipped(_NO_DOCKER)
        return
    number = _version(host.tree.path(program))
    if number is None:
        yield warning("", f"{program} does not tell its version", f"run `{program} --version`")
        return
    text = ".".join(map(str, number))
    if number >= _SOUND:
        yield passed("", f"Docker is {text}")
    elif _daemon(host)[0].get("node-generic-resources"):
        yield failure(
            "",
            f"Docker {text} shuts down Swarm tasks that hold generic resources when its node is updated",
            "install Docker 23.0.2 or newer, or do not use generic resources",
        )
    else:
        yield warning(
            "",
            f"Docker {text} is too old for generic resources of Swarm: it shuts down their tasks when the node is updated",
            "install Docker 23.0.2 or newer before you use `node-generic-resources`",
        )


def _version(program: str) -> tuple[int, ...] | None:
    try:
        done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    match = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(part or 0) for part in match.groups()) if match else None


CHECKS = (
    Check("docker-runtime", SUBJECT, "Docker has the runtime sriov-bond, which can be executed", runtime),
    Check("docker-version", SUBJECT, "Docker keeps Swarm tasks that hold generic resources (23.0.2)", version),
)
