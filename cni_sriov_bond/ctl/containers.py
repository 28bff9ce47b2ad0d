"""Which container an operator names: by a name or id of Docker or podman, a process id, or the path of a network namespace."""

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cni_sriov_bond.cni.call import is_name
from cni_sriov_bond.ctl import dockersocket
from cni_sriov_bond.ctl.text import shown
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_NETNS, IO_FAILURE, CniError
from cni_sriov_bond.kernel import netns

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")

_PODMAN_SECONDS = 20.0
_LONGEST_PID = 7  # pid_max is at most 2^22; a longer number is the beginning of an id


class Container(NamedTuple):
    """A container.

    :param id: the engine's id, so that the engine's hook detaches what is attached by it; or "pid-N", or "netns-NAME".
    :param label: for people, e.g. "container db1 of Docker".
    :param netns: the path of its network namespace, or "" if it is stopped.
    :param pid: its first process, or 0.
    :param status: the engine's word, e.g. "running" or "exited".
    :param network_mode: the engine's, e.g. "none", "host" or "container:ID".
    """

    id: str
    label: str
    netns: str
    pid: int
    status: str = "running"
    network_mode: str = ""


def find(name: str, docker: str = dockersocket.SOCKET) -> Container:
    """Return the container that a name means, running or not.

    :param docker: the path of dockerd's socket.
    :raises CniError: INVALID_CONFIG when there is none, IO_FAILURE when an engine does not answer.
    """
    if "/" in name:
        return _of_path(name)
    if name.isascii() and name.isdecimal() and len(name) <= _LONGEST_PID:
        return _of_pid(int(name))
    if not is_name(name):
        raise CniError(
            INVALID_CONFIG,
            f"{shown(name)} is not a container; use a name or id of Docker or podman, a process id, or the path of a namespace",
        )
    return _of_engine(name, docker)


def by_id_or_name(look_up: "Callable[[str], Found]", name: str, docker: str = dockersocket.SOCKET) -> "Found":
    """Look a name up; if that finds nothing, look up the id of the container that has this name at an engine.

    :param look_up: takes a bond's name or a container's id; raises CniError with INVALID_CONFIG when it finds nothing.
    :param docker: the path of dockerd's socket.
    :raises CniError: that of the first look-up, when no engine has the name or answers.
    """
    try:
        return look_up(name)
    except CniError as unknown:
        if unknown.code != INVALID_CONFIG or not is_name(name):
            raise
        try:
            identifier = _of_engine(name, docker).id
        except CniError:
            raise unknown from None
        return look_up(identifier)


def require_own_network(container: Container) -> None:
    """Refuse a container that is stopped, or whose network namespace is not its own.

    :raises CniError: INVALID_NETNS saying what to do instead.
    """
    mode = container.network_mode
    if mode == "host":
        raise CniError(
            INVALID_NETNS, f"{container.label} is in the host's network; start it with --network none, and attach it then"
        )
    if mode.startswith("container:"):
        other = mode.partition(":")[2]
        raise CniError(
            INVALID_NETNS, f"{container.label} shares the network of container {other[:12]}; attach that one, and both have it"
        )
    if mode.startswith("ns:"):
        raise CniError(INVALID_NETNS, f"{container.label} joined the network namespace {mode[3:]}; attach that path")
    if not container.netns:
        raise CniError(INVALID_NETNS, f"{container.label} is not running (it is {container.status}); start it first")
    if _is_own(container.netns, container.label):
        raise CniError(INVALID_NETNS, f"{container.label} is in the host's network, where VFs need no attaching")


def _of_path(path: str) -> Container:
    full = os.path.abspath(path)
    _is_own(full, full)
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", os.path.basename(full))[:64]
    return Container(f"netns-{name}", f"the network namespace {full}", full, 0)


def _of_pid(pid: int) -> Container:
    if not os.path.exists(f"/proc/{pid}"):
        raise CniError(INVALID_CONFIG, f"there is no process {pid}; for a container whose name is a number, use its id")
    path = f"/proc/{pid}/ns/net"
    _is_own(path, f"process {pid}")
    return Container(f"pid-{pid}", f"process {pid}", path, pid)


def _is_own(path: str, subject: str) -> bool:
    """Return whether the namespace at a path is this process's own.

    :raises CniError: INVALID_NETNS when there is no network namespace at the path, IO_FAILURE when it cannot be opened.
    """
    theirs = netns.find(path)
    if theirs is None:
        raise CniError(INVALID_NETNS, f"{subject} is no network namespace, or has none any more")
    own = netns.own()
    try:
        return theirs.same(own)
    finally:
        own.close()
        theirs.close()


def _of_engine(name: str, docker: str) -> Container:
    podman = shutil.which("podman")
    if podman and not os.path.exists(docker):
        description, engine = _of_podman(podman, name), "podman"
        engines = "podman"
    else:
        description, engine = dockersocket.inspect(name, docker), "Docker"
        engines = "Docker"
        if description is None and podman:
            description, engine = _of_podman(podman, name), "podman"
            engines = "Docker and podman"
    if description is None:
        verb = "have" if " and " in engines else "has"
        raise CniError(INVALID_CONFIG, f"{engines} {verb} no container {name}; use its name or id, a process id, or a path")
    return _from_description(name, engine, description)


def _from_description(name: str, engine: str, description: dict[str, Any]) -> Container:
    """Return the container of what ``inspect`` of Docker or podman shows; podman has Docker's keys."""
    state, config = description.get("State"), description.get("HostConfig")
    identifier = description.get("Id")
    if (
        not isinstance(state, dict)
        or not isinstance(config, dict)
        or not isinstance(identifier, str)
        or not is_name(identifier)
    ):
        raise CniError(IO_FAILURE, f"{engine} describes the container {name} in a form that is not known")
    pid = state.get("Pid")
    running = state.get("Running") is True and isinstance(pid, int) and pid > 0
    number = pid if running and isinstance(pid, int) else 0
    path = f"/proc/{number}/ns/net" if number else ""
    status = str(state.get("Status") or "stopped")
    return Container(identifier, f"container {name} of {engine}", path, number, status, str(config.get("NetworkMode") or ""))


def _of_podman(podman: str, name: str) -> dict[str, Any] | None:
    try:
        done = subprocess.run(
            [podman, "container", "inspect", "--format", "json", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PODMAN_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise CniError(IO_FAILURE, f"podman does not describe the container {name}: {failed}") from None
    errors = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0 and "no such container" in errors.lower():
        return None
    try:
        entries = json.loads(done.stdout) if done.returncode == 0 else None
    except ValueError:
        entries = None
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        lines = errors.strip().splitlines()
        raise CniError(
            IO_FAILURE, f"podman does not describe the container {name}: {shown(lines[-1] if lines else 'no reason')}"
        )
    return entries[0]
