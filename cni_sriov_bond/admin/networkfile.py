"""Network files of a CNI runtime: a list of plugins (.conflist) or a single one (.conf, .json).

What is checked is the list itself, our plugin, and our IPAM plugin wherever it is used; other plugins know their own keys.
"""

import json
import re
from typing import Any

from cni_sriov_bond import config, schema
from cni_sriov_bond.admin import schemacheck
from cni_sriov_bond.admin.documents import Mistake
from cni_sriov_bond.admin.text import JsonObject, Path
from cni_sriov_bond.bonding import OPTIONS
from cni_sriov_bond.delegate import request
from cni_sriov_bond.delegate.schema import IPAM
from cni_sriov_bond.errors import CniError

# The bonding options, and the names that some of them have in other plugins and kernels.
_OPTIONS = frozenset((*OPTIONS, "failOverMac", "num_grat_arp", "num_unsol_na"))
PLUGIN, DELEGATE = "sriov-bond", "sriov-bond-ipam"
_DIALECT = schema.NETWORK["$schema"]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*(?![\s\S])"
_SWITCH = {"enum": [True, False, "true", "false"]}  # libcni takes both forms

_VERSION = {"enum": list(config.VERSIONS), "description": "the CNI version"}
_COMMON: JsonObject = {
    "name": {
        "type": "string",
        "pattern": _NAME,
        "description": "the network's name",
        "errorMessage": {"pattern": "must be of letters, digits, '_', '.' and '-'"},
    },
    "cniVersion": _VERSION,
}
LIST: JsonObject = {
    "type": "object",
    "required": ["name", "plugins"],
    "properties": {
        **_COMMON,
        "cniVersions": {"type": "array", "items": _VERSION, "description": "the CNI versions to choose from"},
        "disableCheck": _SWITCH,
        "disableGC": _SWITCH,
        "loadOnlyInlinedPlugins": {"type": "boolean"},
        "plugins": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string", "minLength": 1, "description": "the plugin's executable"}},
            },
            "description": "the plugins in the order of their ADDs",
        },
    },
}
SINGLE: JsonObject = {
    "type": "object",
    "required": ["name", "type"],
    "properties": {**_COMMON, "type": {"type": "string", "minLength": 1, "description": "the plugin's executable"}},
}
IPAM_SCHEMA: JsonObject = {
    "$schema": _DIALECT,
    "title": "sriov-bond-ipam: the ipam part of a network",
    "type": "object",
    "required": ["type"],
    "properties": IPAM,
}


def file_schema() -> JsonObject:
    """Return the schema of a network file for editors: a list or a single plugin, and in it our plugins."""
    plugins = {
        "allOf": [
            _where({"type": {"const": PLUGIN}}, ["type"], {"$ref": "#/$defs/plugin"}),
            _where(
                {"ipam": {"type": "object", "required": ["type"], "properties": {"type": {"const": DELEGATE}}}},
                ["ipam"],
                {"properties": {"ipam": {"$ref": "#/$defs/ipam"}}},
            ),
        ]
    }
    parts = LIST["properties"]["plugins"]
    of_list = {**LIST, "properties": {**LIST["properties"], "plugins": {**parts, "items": {**parts["items"], **plugins}}}}
    return {
        "$schema": _DIALECT,
        "title": "network file with sriov-bond",
        "type": "object",
        **_where({}, ["plugins"], of_list),
        "else": {**SINGLE, **plugins},
        "$defs": {"plugin": _without_dialect(schema.NETWORK), "ipam": _without_dialect(IPAM_SCHEMA)},
    }


def _where(properties: JsonObject, required: list[str], then: JsonObject) -> JsonObject:
    return {"if": {"properties": properties, "required": required}, "then": then}


def _without_dialect(part: JsonObject) -> JsonObject:
    return {key: value for key, value in part.items() if key != "$schema"}


def mistakes(value: Any, is_list: bool) -> list[Mistake]:
    """Return everything that is wrong in a network file's document.

    :param is_list: whether the file's name says that it is a list of plugins.
    """
    if isinstance(value, dict) and not is_list and "plugins" in value:
        return [Mistake(("plugins",), "is in lists only; give the file a name that ends in .conflist")]
    found = schemacheck.mistakes(value, LIST if is_list else SINGLE)
    if not isinstance(value, dict):
        return found
    plugins: list[tuple[Path, Any]] = [((), value)]
    if is_list:
        entries = value.get("plugins")
        plugins = [(("plugins", index), plugin) for index, plugin in enumerate(entries if isinstance(entries, list) else ())]
    for path, plugin in plugins:
        if isinstance(plugin, dict):
            found += _plugin_mistakes(path, plugin, value)
    return found


def has_ours(value: Any) -> bool:
    """Return whether a network has one of our plugins."""
    plugins = value.get("plugins", [value]) if isinstance(value, dict) else []
    ipams = [plugin.get("ipam") for plugin in plugins if isinstance(plugin, dict)]
    return any(plugin.get("type") == PLUGIN for plugin in plugins if isinstance(plugin, dict)) or any(
        isinstance(ipam, dict) and ipam.get("type") == DELEGATE for ipam in ipams
    )


def _plugin_mistakes(path: Path, plugin: JsonObject, network: JsonObject) -> list[Mistake]:
    # What the runtime would give it: the list's name and version. The schema of the list tells what is wrong with these.
    name, version = network.get("name"), network.get("cniVersion")
    given = {
        **plugin,
        "name": name if isinstance(name, str) and re.match(_NAME, name) else "network",
        "cniVersion": version if version in config.VERSIONS else "1.0.0",
    }
    given.setdefault("type", "")
    found = _our_mistakes(path, given) if given["type"] == PLUGIN else []
    ipam = plugin.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type") == DELEGATE:
        found += _ipam_mistakes(path, given)
    return found


def _our_mistakes(path: Path, given: JsonObject) -> list[Mistake]:
    """Check our plugin by its schema, and by its own reader for the rules that a schema cannot have."""
    found = []
    try:
        config.parse_network(json.dumps(given).encode(), given, given["cniVersion"])
    except CniError as refused:  # what it takes is right, in whatever form
        found = schemacheck.mistakes(_as_read(given), schema.NETWORK, path)
        reported = {mistake.path[: len(path) + 1] for mistake in found}
        rules = _sentences(path, refused.msg, given)
        # The reader has the mistakes of the schema too.
        found += [mistake for mistake in rules if mistake.path[: len(path) + 1] not in reported]
    for key in given:
        found += [Mistake((*path, key), _after(hint, " ignored; ", "is not a known key; ")) for hint in config.hints({key: 0})]
    return found


def _ipam_mistakes(path: Path, given: JsonObject) -> list[Mistake]:
    found = schemacheck.mistakes(_without_null(given["ipam"]), IPAM_SCHEMA, (*path, "ipam"))
    if not found:
        # What only the plugin answers for is left out: a VLAN of ours that is wrong has been reported.
        vlan = schemacheck.mistakes(given.get("vlan"), schema.NETWORK["properties"]["vlan"])
        left_out = ("args", "runtimeConfig", *(["vlan"] if vlan and given["type"] == PLUGIN else ()))
        try:
            request.parse({key: part for key, part in given.items() if key not in left_out}, given["cniVersion"], "")
        except CniError as refused:
            found += _sentences(path, refused.msg, given)
    return found


def _as_read(given: JsonObject) -> JsonObject:
    """Return a config as the plugin reads it: null and "" are absent, and a number of the bond may be a text of digits."""
    value = {key: part for key, part in given.items() if part is not None and part != ""}
    for key, part in value.items():
        if key in _OPTIONS and isinstance(part, str) and part.isascii() and part.isdecimal():
            value[key] = int(part[:11])
    if isinstance(value.get("ipam"), dict):
        value["ipam"] = _without_null(value["ipam"])
    return value


def _without_null(value: JsonObject) -> JsonObject:
    return {key: part for key, part in value.items() if part is not None}


def _after(text: str, mark: str, start: str) -> str:
    return start + text.partition(mark)[2]


def _sentences(path: Path, message: str, given: JsonObject) -> list[Mistake]:
    """Return what a refusal says, each sentence at the key that it begins with, or at the plugin."""
    message = message.partition(": ")[2]
    found: list[Mistake] = []
    for part in message.split("; "):
        at, rest = _leading_path(part, given)
        if found and not at:  # the second half of a sentence
            found[-1] = found[-1]._replace(problem=f"{found[-1].problem}; {part}")
        else:
            found.append(Mistake(path + at, rest))
    return found


def _leading_path(sentence: str, given: JsonObject) -> tuple[Path, str]:
    """Return the path with which a sentence begins, if it leads to something in the config, and the rest after ``path:``."""
    first, _, rest = sentence.partition(" ")
    path: list[str | int] = []
    value: Any = given
    for key, index in re.findall(r"([A-Za-z0-9_]+)|\[(\d+)\]", first.rstrip(":")):
        part: str | int = key or int(index)
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return (), sentence
        path.append(part)
    return tuple(path), rest if first.endswith(":") and path else sentence
