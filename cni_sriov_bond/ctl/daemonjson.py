"""What daemon.json, dockerd's config file, needs for sriov-bond: the runtime, and the bonds as Swarm's generic resources."""

import json
import os
from typing import Any, NamedTuple

from cni_sriov_bond.ctl.text import JsonObject, shown
from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, IO_FAILURE, CniError
from cni_sriov_bond.oci.rewrite import rewrite

PATH = "/etc/docker/daemon.json"
RUNTIME = "sriov-bond"
# Where the runtime is installed: from the tarball, or by a package.
PROGRAMS = ("/usr/local/sbin/sriov-bond-runtime", "/usr/bin/sriov-bond-runtime")
# Without a dash, so that a shell in the container can read DOCKER_RESOURCE_SRIOV_BOND. The other is understood too.
KIND, OTHER_KIND = "sriov_bond", "sriov-bond"
_RESOURCES = "node-generic-resources"
# dockerd does not start if an option is both on its command line and in its file.
_FLAGS = {"--add-runtime": "runtimes", "--default-runtime": "default-runtime", "--node-generic-resource": _RESOURCES}


class Merged(NamedTuple):
    """The new text of daemon.json.

    :param changed: whether it says anything else than the old one.
    """

    text: str
    changed: bool


def settings(bonds: list[str], *, swarm: bool) -> JsonObject:
    """Return the lines for daemon.json.

    :param bonds: the names of the pool's bonds.
    :param swarm: with those that only Swarm needs. Its services cannot name a runtime, so the default one must be ours.
    """
    lines: JsonObject = {"runtimes": {RUNTIME: {"path": program()}}}
    if swarm:
        lines |= {"default-runtime": RUNTIME, _RESOURCES: [f"{KIND}={bond}" for bond in bonds]}
    return lines


def program() -> str:
    """Return the path of the installed runtime; that of the tarball if none is installed."""
    return next((path for path in PROGRAMS if os.path.exists(path)), PROGRAMS[0])


def merge(old: str, lines: JsonObject, path: str = PATH) -> Merged:
    """Return daemon.json with our lines; everything else in it stays.

    :param old: its text, "" if there is no such file.
    :raises CniError: DECODING_FAILURE when it is not a JSON object, INVALID_CONFIG when another default runtime is in it.
    """
    try:
        document = json.loads(old) if old.strip() else {}
    except (ValueError, RecursionError) as wrong:
        raise CniError(DECODING_FAILURE, f"{path} is not valid JSON: {wrong}; correct it first") from None
    for key, kind, name in (("runtimes", dict, "an object"), (_RESOURCES, list, "a list")):
        if isinstance(document, dict) and not isinstance(document.get(key), kind | None):
            raise CniError(INVALID_CONFIG, f"{key} in {path} must be {name}, not {shown(document[key])}; correct it first")
    if not isinstance(document, dict):
        raise CniError(DECODING_FAILURE, f"{path} is not a JSON object; correct it first")
    default = document.get("default-runtime")
    if "default-runtime" in lines and default not in (None, RUNTIME, "runc"):
        raise CniError(
            INVALID_CONFIG,
            f"{path} has default-runtime {shown(default)}; remove it, and set runtime in [docker] of the host file to the path "
            "of that runtime, which sriov-bond-runtime then executes",
        )
    merged = {**document, **lines, "runtimes": {**(document.get("runtimes") or {}), **lines["runtimes"]}}
    if _RESOURCES in lines:
        merged[_RESOURCES] = [*_of_others(document.get(_RESOURCES) or []), *lines[_RESOURCES]]
    return Merged(json.dumps(merged, indent=_indent(old), ensure_ascii=False) + "\n", merged != document)


def read(path: str) -> str:
    """Return the text of daemon.json, or "" if there is none.

    :raises CniError: IO_FAILURE when it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as failed:
        reason = failed.strerror if isinstance(failed, OSError) else "it is not UTF-8"
        raise CniError(IO_FAILURE, f"cannot read {path}: {reason}") from None


def write(path: str, text: str) -> None:
    """Replace daemon.json in one step; the new file has mode and owner of the old one.

    :raises CniError: IO_FAILURE; then it is unchanged.
    """
    path = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        rewrite(path, text, durable=True)
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot write {path}: {failed.strerror}") from None


def on_command_line(lines: JsonObject, processes: str = "/proc") -> str:
    """Return an option of the running dockerd that our lines repeat, or "".

    :param processes: the directory with the command lines.
    """
    for name in os.listdir(processes):
        try:
            with open(f"{processes}/{name}/cmdline", "rb") as file:
                words = file.read().decode("utf-8", "replace").split("\0")
        except OSError:
            continue  # no process, or one that has ended
        if os.path.basename(words[0]) == "dockerd":
            options = [word.partition("=")[0] for word in words[1:]]
            found = [option for option in options if _FLAGS.get(option) in lines]
            if found:
                return found[0]
    return ""


def _of_others(resources: list[Any]) -> list[Any]:
    return [entry for entry in resources if str(entry).partition("=")[0] not in (KIND, OTHER_KIND)]


def _indent(text: str) -> int:
    """Return the indentation of a document, which is that of its first key; Docker's documentation has two spaces."""
    lines = [line for line in text.splitlines() if line.lstrip().startswith('"')]
    return (len(lines[0]) - len(lines[0].lstrip(" "))) or 2 if lines else 2
