"""Check a document against a JSON schema, and report its issues.

Importing the ``jsonschema`` library takes 97 ms, so ``issues`` implements the few keywords of JSON Schema (2020-12) that our
schemas use. tests/network/test_schema.py compares it with the library.
"""

from cni_sriov_bond.errors import InvalidConfigError, Issue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni_sriov_bond.errors import Path

    # A JSON schema, whose shape is JSON Schema's.
    Schema = dict[str, Any]

_TYPES: "dict[str, type]" = {"string": str, "integer": int, "object": dict, "array": list, "boolean": bool}
_A_TYPE = {
    "boolean": "true or false",
    "string": "a string",
    "integer": "a whole number",
    "object": "an object",
    "array": "a list",
}


def path_text(path: "Path") -> str:
    """Return a path as text, such as ipam.ranges[0][1]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def refuse(name: str, issues: "Sequence[Issue]", details: str = "") -> None:
    """Raise all issues of a network's config as one error.

    :raises CniError: INVALID_CONFIG when there are issues.
    """
    sentences = "; ".join(issue.sentence for issue in issues)
    if sentences:
        raise InvalidConfigError(f"network {name!r}: {sentences}", issues, details)


def issues(value: object, schema: "Schema", path: "Path" = ()) -> list[Issue]:
    """Return every issue of a value; none when it is valid."""
    kind = schema.get("type") if "enum" not in schema else None
    if kind and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [Issue(path, f"{path_text(path) or 'the config'} must be {_A_TYPE[kind]}, not {_shown(value)}")]
    problems = []
    if "enum" in schema and not _listed(value, schema["enum"]):
        choices = [choice for choice in schema["enum"] if isinstance(choice, str)]
        problems.append(Issue(path, f"{path_text(path)} must be one of {', '.join(choices)}, not {_shown(value)}"))
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        problems.append(Issue(path, f"{path_text(path)} must be from {schema['minimum']} to {schema['maximum']}, not {value}"))
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        problems.append(Issue(path, f"{path_text(path)} must not be empty"))
    if isinstance(value, list):
        problems += _list_issues(value, schema, path)
    if isinstance(value, dict):
        problems += _object_issues(value, schema, path)
    return problems


def _object_issues(value: "dict[str, object]", schema: "Schema", path: "Path") -> list[Issue]:
    missing = [name for name in schema.get("required", ()) if name not in value]
    problems = [Issue((*path, name), f"{path_text((*path, name))} is missing") for name in missing]
    for name, part in schema.get("properties", {}).items():
        if name in value:
            problems += issues(value[name], part, (*path, name))
    return problems


def _list_issues(value: "list[object]", schema: "Schema", path: "Path") -> list[Issue]:
    problems = []
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        rule = f"must have {schema['minItems']} to {schema['maxItems']} entries, not {len(value)}"
        problems.append(Issue(path, f"{path_text(path)} {rule}"))
    for number, entry in enumerate(value):
        problems += issues(entry, schema.get("items", {}), (*path, number))
    return problems


def _listed(value: object, choices: "list[object]") -> bool:
    # True == 1 == 1.0 in Python; the kernel takes neither for a number.
    return type(value) in (str, int) and value in choices


def _shown(value: object) -> str:
    text = "true" if value is True else "false" if value is False else "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
