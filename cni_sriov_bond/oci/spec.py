"""The config.json of a container: what it says of the request, and our hooks in it.

Only the text of the key ``hooks`` is replaced. All else keeps its bytes: keys that this version of the specification does not
have, numbers above 2^63, and escapes. NVIDIA's wrapper re-encoded the document, and containers failed after an update of Docker
for the fields that were lost (nvidia-container-runtime#157).
"""

import json
import os
from typing import Any, NamedTuple

from cni_sriov_bond.errors import DECODING_FAILURE, INVALID_CONFIG, IO_FAILURE, CniError
from cni_sriov_bond.oci.rewrite import rewrite
from cni_sriov_bond.oci.site import CREATE_TIMEOUT, POSTSTOP_TIMEOUT

_OWN = "/proc/self/ns/net"
_SPACE = " \t\n\r"
_NAME = "sriov-bond-hook"
_ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]


class Spec(NamedTuple):
    """A config.json.

    :param text: the whole file. Bytes that are not UTF-8 are lone surrogates, as by the error handler surrogateescape.
    :param value: the document.
    :param hooks: where in the text the value of ``hooks`` starts and ends; both are the end of the last member without it.
    """

    text: str
    value: dict[str, Any]
    hooks: tuple[int, int]

    @property
    def environment(self) -> list[str]:
        """The variables of the container's process, as NAME=value."""
        process = self.value.get("process")
        env = process.get("env") if isinstance(process, dict) else None
        return [entry for entry in env if isinstance(entry, str)] if isinstance(env, list) else []

    @property
    def annotations(self) -> dict[str, str]:
        """The container's annotations."""
        annotations = self.value.get("annotations")
        items = annotations.items() if isinstance(annotations, dict) else ()
        return {key: value for key, value in items if isinstance(value, str)}

    def problem(self) -> str:
        """Return why the container cannot have a bond, or "" if the runtime creates a network namespace for it.

        In host mode Docker 20.10 gives a path, ``/var/run/docker/netns/default``; newer ones leave the namespace out.
        """
        linux = self.value.get("linux")
        namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
        entries = [entry for entry in namespaces if isinstance(entry, dict)] if isinstance(namespaces, list) else []
        networks = [entry for entry in entries if entry.get("type") == "network"]
        path = networks[-1].get("path") if networks else _OWN
        if not path:
            return ""
        if isinstance(path, str) and _is_own(path):
            return "it is in the host's network (--network host); use --network none"
        if isinstance(path, str) and path.startswith("/proc/"):
            return "it shares the network of another container (--network container:NAME); request it for that container"
        return (
            f"it joins a network namespace that exists already ({path!a:.80}), such as that of a pod or of a bridge network; "
            "use --network none"
        )


def read(path: str) -> Spec:
    """Read a config.json.

    :raises CniError: IO_FAILURE when it cannot be read, DECODING_FAILURE when it is not a JSON object.
    """
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8", "surrogateescape")
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read the container's {path}: {failed.strerror}") from None
    try:
        return parse(text)
    except RecursionError:
        raise CniError(DECODING_FAILURE, f"the container's {path} is nested too deeply") from None
    except ValueError as wrong:
        raise CniError(DECODING_FAILURE, f"the container's {path} is not valid JSON: {wrong}") from None


def parse(text: str) -> Spec:
    """Return the document of a text.

    :raises ValueError: when it is not a JSON object; RecursionError when it is nested too deeply.
    """
    # No number is used, and int() has a limit of digits.
    decoder = json.JSONDecoder(parse_int=float, parse_constant=_constant)
    value: dict[str, Any] = {}
    at = _skip(text, 0, "{")
    hooks = at, at
    while not (not value and text[_space(text, at) :][:1] == "}"):
        key, at = decoder.raw_decode(text, _space(text, at))
        if not isinstance(key, str):
            raise ValueError(f"a key is not a string, at character {at}")
        start = _space(text, _skip(text, at, ":"))
        value[key], at = decoder.raw_decode(text, start)
        if key == "hooks":
            hooks = start, at
        elif "hooks" not in value:
            hooks = at, at
        at = _space(text, at)
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[_skip(text, at, "}") :].strip(_SPACE):
        raise ValueError("more text after the document")
    return Spec(text, value, hooks)


def with_hooks(spec: Spec, hook: str, arguments: list[str]) -> str:
    """Return the text with our hooks, once: createRuntime as the last one, poststop as the first.

    A runtime runs poststop hooks in order, and runc stops at the first that fails. Our createRuntime comes after those that
    others use to prepare the namespace.

    :param hook: the path of sriov-bond-hook.
    :param arguments: the request.
    :raises CniError: INVALID_CONFIG when ``hooks`` is not an object of lists.
    """
    start, end = spec.hooks
    hooks = json.loads(spec.text[start:end]) if end > start else None
    hooks = {} if hooks is None else hooks
    if not isinstance(hooks, dict) or not all(isinstance(entries, list | None) for entries in hooks.values()):
        raise CniError(INVALID_CONFIG, "hooks in the container's config.json is not an object of lists")
    created = _entry(hook, ["createRuntime", *arguments], CREATE_TIMEOUT)
    removed = _entry(hook, ["poststop"], POSTSTOP_TIMEOUT)
    changed = {
        **hooks,
        "createRuntime": [*_of_others(hooks, "createRuntime"), created],
        "poststop": [removed, *_of_others(hooks, "poststop")],
    }
    if changed == hooks:
        return spec.text
    text = json.dumps(changed, separators=(",", ":"))
    if end == start:
        text = f'{"," if spec.value else ""}"hooks":{text}'
    return spec.text[:start] + text + spec.text[end:]


def write(path: str, text: str) -> None:
    """Replace a config.json in one step; the new file has the mode and owner of the old one.

    :raises CniError: IO_FAILURE when it cannot be written; then it is unchanged.
    """
    try:
        rewrite(path, text, durable=False)
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot add hooks to the container's {path}: {failed.strerror}") from None


def _is_own(path: str) -> bool:
    try:
        return os.path.samefile(path, _OWN)
    except (OSError, ValueError):
        return False


def _constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _space(text: str, at: int) -> int:
    """Return the position of the next character that is not white space."""
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _skip(text: str, at: int, mark: str) -> int:
    at = _space(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"'{mark}' is missing at character {at}")
    return at + 1


def _entry(hook: str, arguments: list[str], timeout: int) -> dict[str, object]:
    return {"path": hook, "args": [_NAME, *arguments], "env": _ENVIRONMENT, "timeout": timeout}


def _of_others(hooks: dict[str, Any], stage: str) -> list[Any]:
    entries = hooks.get(stage) or []
    return [entry for entry in entries if not (isinstance(entry, dict) and _is_ours(entry))]


def _is_ours(entry: dict[str, Any]) -> bool:
    path = entry.get("path")
    return isinstance(path, str) and os.path.basename(path) == _NAME
