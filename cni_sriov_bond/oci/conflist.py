"""Find and read a network file as the CNI library does (libcni 1.1 to 1.3, conf.go and api.go)."""

import os
from typing import Any, NamedTuple

from cni_sriov_bond import CNI_VERSIONS, jsontext
from cni_sriov_bond.cni.call import is_name
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.oci.site import require_trusted

_LISTS, _SINGLE = (".conflist",), (".conf", ".json")
_DEFAULT_VERSION = "0.1.0"
_TRUE, _FALSE = (True, "true"), (None, False, "false")

Document = dict[str, Any]


class Plugin(NamedTuple):
    """One plugin of a network.

    :ivar config: its object in the file.
    :ivar capabilities: those that it declares true.
    """

    type: str
    config: dict[str, Any]
    capabilities: frozenset[str]


class NetworkList(NamedTuple):
    """A network: plugins in the order of their ADDs.

    :ivar version: the CNI version of all calls.
    :ivar text: the text of the list, for the cache; that of a single plugin as a list.
    :ivar disable_check: CHECK then succeeds without a call.
    """

    name: str
    version: str
    plugins: tuple[Plugin, ...]
    text: str
    disable_check: bool


def load(directory: str, name: str) -> NetworkList:
    """Return the network of a name: of the first file, in the order of names, that has it inside; lists come first.

    :raises CniError: INVALID_CONFIG when there is none, or a file before it cannot be read or is not valid.
    """
    if not is_name(name):
        raise CniError(INVALID_CONFIG, f"the network name {name!r} must consist of letters, digits, '_', '.' and '-'")
    known = []
    for extensions in (_LISTS, _SINGLE):
        for path in _files(directory, extensions):
            document = _read(path)
            if extensions == _SINGLE:
                document = _as_list(document)
            if document.get("name") == name:
                return parse(jsontext.dumps(document), path, directory)
            known.append(str(document.get("name")))
    have = f"it has {', '.join(sorted(known))}" if known else "it has no network"
    raise CniError(INVALID_CONFIG, f"there is no network {name!r} in {directory}; {have}")


def parse(text: str, path: str, directory: str = "") -> NetworkList:
    """Return the network in the text of a list.

    :param path: where it is from, for errors.
    :param directory: where plugins that are not inlined are looked for, in a directory of the network's name (libcni 1.3).
    :raises CniError: INVALID_CONFIG when it is not valid.
    """
    document = _object(text, path)
    name = document.get("name")
    if not isinstance(name, str) or not is_name(name):
        raise _invalid(path, f"the name {name!r} must consist of letters, digits, '_', '.' and '-'")
    entries = document.get("plugins") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _invalid(path, "plugins must be a list of objects")
    inlined_only = document.get("loadOnlyInlinedPlugins") is True
    if not inlined_only and directory:
        entries = entries + [_read(file) for file in _files(f"{directory}/{name}", (".conf",))]
        document["plugins"] = entries
        # The cached list is complete, so that a DEL needs no other file.
        document["loadOnlyInlinedPlugins"] = True
    if not entries:
        raise _invalid(path, "the list has no plugin; add plugins")
    plugins = tuple(_plugin(entry, path) for entry in entries)
    disable_check = _switch(document, "disableCheck", path)
    return NetworkList(name, _version(document, path), plugins, jsontext.dumps(document), disable_check)


def _files(directory: str, extensions: tuple[str, ...]) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as failed:
        raise CniError(INVALID_CONFIG, f"cannot list {directory}: {failed.strerror}") from None
    return [f"{directory}/{name}" for name in names if os.path.splitext(name)[1] in extensions]


def _read(path: str) -> dict[str, Any]:
    try:
        require_trusted(os.path.dirname(path), "the directory")
        require_trusted(path, "the network file")
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as failed:
        raise CniError(INVALID_CONFIG, f"cannot read the network file {path}: {failed.strerror}") from None
    return _object(text, path)


def _object(text: str, path: str) -> dict[str, Any]:
    try:
        document = jsontext.loads(text)
    except ValueError as wrong:
        raise _invalid(path, str(wrong)) from None
    if not isinstance(document, dict):
        raise _invalid(path, "it is not a JSON object")
    return document


def _as_list(document: Document) -> Document:
    """Return a single plugin's config as a list (conf.go, ConfListFromConf)."""
    document_as_list = {key: document[key] for key in ("name", "cniVersion") if key in document}
    return document_as_list | {"plugins": [document], "loadOnlyInlinedPlugins": True}


def _plugin(entry: dict[str, Any], path: str) -> Plugin:
    kind = entry.get("type")
    if not isinstance(kind, str) or not kind or "/" in kind or kind in (".", ".."):
        raise _invalid(path, f"the plugin type {kind!r} must be the name of an executable")
    capabilities = entry.get("capabilities") or {}
    if not isinstance(capabilities, dict):
        raise _invalid(path, f"capabilities of {kind} must be an object")
    return Plugin(kind, entry, frozenset(key for key, value in capabilities.items() if value is True))


def _version(document: dict[str, Any], path: str) -> str:
    """Return the highest version of ``cniVersion`` and ``cniVersions`` that we know, or ``cniVersion`` if we know none."""
    version, others = document.get("cniVersion") or _DEFAULT_VERSION, document.get("cniVersions") or []
    if not isinstance(version, str) or not isinstance(others, list):
        raise _invalid(path, "cniVersion must be a string, and cniVersions a list")
    known = [other for other in CNI_VERSIONS if other == version or other in others]
    if not known:
        raise _invalid(path, f"cniVersion {version!r} is not supported; it may be {', '.join(CNI_VERSIONS)}")
    return known[-1]


def _switch(document: dict[str, Any], key: str, path: str) -> bool:
    value = document.get(key)
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise _invalid(path, f"{key} must be true or false, not {value!r}")


def _invalid(path: str, reason: str) -> CniError:
    return CniError(INVALID_CONFIG, f"the network file {path} is not valid: {reason}")
