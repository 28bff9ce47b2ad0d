"""Network files of a CNI runtime: a list of plugins (.conflist) or a single one (.conf, .json).

The list itself is checked, sriov-bond, and sriov-bond-ipam with any plugin. The keys of other plugins are not known here.
"""

import difflib
import json
import re
from typing import Any

from cni_sriov_bond import CNI_VERSIONS
from cni_sriov_bond.cni.call import Call
from cni_sriov_bond.cni.schema import path_text
from cni_sriov_bond.ctl import schemacheck
from cni_sriov_bond.ctl.documents import Mistake
from cni_sriov_bond.ctl.text import JsonObject, Path
from cni_sriov_bond.errors import InvalidConfigError
from cni_sriov_bond.ipam import request
from cni_sriov_bond.ipam.schema import IPAM
from cni_sriov_bond.network import config
from cni_sriov_bond.network.schema import NETWORK

# From this similarity to a known key on an unknown key is a typing error; others may be for a runtime.
_CLOSE = 0.75
PLUGIN, DELEGATE = "sriov-bond", "sriov-bond-ipam"
_DIALECT = NETWORK["$schema"]
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*(?![\s\S])"
_SWITCH = {"enum": [True, False, "true", "false"]}  # libcni takes both forms

_VERSION = {"enum": list(CNI_VERSIONS), "description": "the CNI version"}
_COMMON: JsonObject = {
    "name": {
        "type": "string",
        "pattern": _NAME,
        "description": "the network's name",
        "errorMessage": {"pattern": "must consist of letters, digits, '_', '.' and '-'"},
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
        "$defs": {"plugin": _without_dialect(NETWORK), "ipam": _without_dialect(IPAM_SCHEMA)},
    }


def _where(properties: JsonObject, required: list[str], then: JsonObject) -> JsonObject:
    return {"if": {"properties": properties, "required": required}, "then": then}


def _without_dialect(part: JsonObject) -> JsonObject:
    return {key: value for key, value in part.items() if key != "$schema"}


def mistakes(value: Any, is_list: bool) -> list[Mistake]:
    """Return every mistake in a network file's document.

    :param is_list: whether the file's name says that it is a list of plugins.
    """
    if isinstance(value, dict) and not is_list and "plugins" in value:
        return [Mistake(("plugins",), "is in lists only; give the file a name that ends in .conflist")]
    problems = schemacheck.mistakes(value, LIST if is_list else SINGLE)
    if not isinstance(value, dict):
        return problems
    plugins: list[tuple[Path, Any]] = [((), value)]
    if is_list:
        entries = value.get("plugins")
        plugins = [(("plugins", index), plugin) for index, plugin in enumerate(entries if isinstance(entries, list) else ())]
    for path, plugin in plugins:
        if isinstance(plugin, dict):
            problems += _plugin_mistakes(path, plugin, value)
    return problems


def has_ours(value: Any) -> bool:
    """Return whether a network has one of our plugins."""
    plugins = value.get("plugins", [value]) if isinstance(value, dict) else []
    ipams = [plugin.get("ipam") for plugin in plugins if isinstance(plugin, dict)]
    return any(plugin.get("type") == PLUGIN for plugin in plugins if isinstance(plugin, dict)) or any(
        isinstance(ipam, dict) and ipam.get("type") == DELEGATE for ipam in ipams
    )


def _plugin_mistakes(path: Path, plugin: JsonObject, network: JsonObject) -> list[Mistake]:
    # A runtime adds the list's name and version. The schema of the list reports mistakes in these.
    name, version = network.get("name"), network.get("cniVersion")
    plugin_config = {
        **plugin,
        "name": name if isinstance(name, str) and re.match(_NAME, name) else "network",
        "cniVersion": version if version in CNI_VERSIONS else "1.0.0",
    }
    plugin_config.setdefault("type", "")
    problems = _our_mistakes(path, plugin_config) if plugin_config["type"] == PLUGIN else []
    ipam = plugin.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type") == DELEGATE:
        problems += _ipam_mistakes(path, plugin_config)
    return problems


def _our_mistakes(path: Path, plugin_config: JsonObject) -> list[Mistake]:
    """Check sriov-bond by its schema, and by its own reader for rules that a schema cannot express."""
    problems = []
    try:
        config.parse_network(json.dumps(plugin_config).encode(), plugin_config, plugin_config["cniVersion"])
    except InvalidConfigError as refused:
        # The library's messages for the schema, and the plugin's own for its other rules, at keys that the schema accepts.
        problems = schemacheck.mistakes(config.normalise(plugin_config), NETWORK, path)
        reported = {mistake.path[: len(path) + 1] for mistake in problems}
        rules = _of_issues(path, refused)
        problems += [mistake for mistake in rules if mistake.path[: len(path) + 1] not in reported]
    return problems + [
        Mistake((*path, key), f"is not a known key; did you mean {near[0]}?")
        for key in plugin_config
        if config.is_unknown(key) and (near := difflib.get_close_matches(key, NETWORK["properties"], 1, _CLOSE))
    ]


def _ipam_mistakes(path: Path, plugin_config: JsonObject) -> list[Mistake]:
    problems = schemacheck.mistakes(_without_null(plugin_config["ipam"]), IPAM_SCHEMA, (*path, "ipam"))
    if not problems:
        # Without what sriov-bond checks itself: a wrong VLAN of it has been reported.
        vlan = schemacheck.mistakes(plugin_config.get("vlan"), NETWORK["properties"]["vlan"])
        left_out = ("args", "runtimeConfig", *(["vlan"] if vlan and plugin_config["type"] == PLUGIN else ()))
        document = {key: part for key, part in plugin_config.items() if key not in left_out}
        try:
            request.parse(Call({}, b"", document, plugin_config["cniVersion"]))
        except InvalidConfigError as refused:
            problems += _of_issues(path, refused)
    return problems


def _of_issues(path: Path, refused: InvalidConfigError) -> list[Mistake]:
    return [
        Mistake((*path, *issue.path), issue.sentence.removeprefix(f"{path_text(issue.path)}: ")) for issue in refused.issues
    ]


def _without_null(value: JsonObject) -> JsonObject:
    return {key: part for key, part in value.items() if part is not None}
