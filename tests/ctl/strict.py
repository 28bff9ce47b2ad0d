"""Outputs of sriov-bondctl against their schemas, in which for the tests no key may be missing or unknown."""

import argparse
from typing import Any

from jsonschema import Draft202012Validator

from cni_sriov_bond.ctl import outputs


def strict(schema: Any) -> Any:
    """Return a schema whose objects have no other keys than it names."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if "required" in schema else closed


def violations(command: str, document: object) -> list[str]:
    """Return what is wrong in what a command printed, each with its path."""
    validator = Draft202012Validator(strict(outputs.schema(command)))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def parsers(whole: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its name, that of a command's own commands by both names."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                inner = parsers(parser)
                found |= {f"{name} {below}": command for below, command in inner.items()} or {name: parser}
    return found
