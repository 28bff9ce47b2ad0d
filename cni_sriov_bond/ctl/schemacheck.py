"""Check a document by its JSON schema with the jsonschema library, and word what is wrong for an operator.

jsonschema takes 70 ms to import, so it is imported with the first check; other commands do not need it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from cni_sriov_bond.ctl.documents import Mistake
from cni_sriov_bond.ctl.text import JsonObject, Path, shown

_A_TYPE = {
    "string": "a string", "integer": "a whole number", "number": "a number", "object": "an object", "array": "a list",
    "boolean": "true or false",
}  # fmt: skip


def mistakes(value: object, schema: JsonObject, base: Path = ()) -> list[Mistake]:
    """Return every mistake of a value against a schema.

    :param base: the path of the value in its document.
    """
    errors = _validator(schema).iter_errors(value)
    reported = [mistake for error in errors for mistake in _mistakes(error, base)]
    # The library has an error for each missing key, and each becomes a mistake for all of them.
    return list(dict.fromkeys(reported))


def _validator(schema: JsonObject) -> Any:
    from jsonschema import Draft202012Validator, validators

    # 6.0 is a whole number for JSON Schema, but not for the plugin, Go and TOML.
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    extend: Any = validators.extend
    return extend(Draft202012Validator, type_checker=checker)(schema)


def _mistakes(error: Any, base: Path) -> Iterator[Mistake]:
    """Yield the mistakes of one error of the library, which may be about several keys."""
    path = base + tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        for key in sorted(set(error.instance) - set(known)):
            yield Mistake((*path, key), f"is not a known key; allowed: {', '.join(known)}")
    elif error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        yield from (Mistake((*path, key), _own_message(error) or "is missing") for key in missing)
    elif "propertyNames" in error.absolute_schema_path:
        yield Mistake((*path, error.instance), _own_message(error) or "is not a name that is allowed here")
    else:
        problem = _own_message(error) or _GENERAL.get(error.validator, _other)(error)
        yield Mistake(path, problem if error.validator == "minProperties" else f"{problem}, not {_counted(error)}")


def _own_message(error: Any) -> str:
    """Return the schema's own message for an error, or ""."""
    message = error.schema.get("errorMessage", "")
    return str(message.get(error.validator, "")) if isinstance(message, dict) else str(message)


def _counted(error: Any) -> str:
    many = error.validator in ("minItems", "maxItems")
    return str(len(error.instance)) if many else shown(error.instance)


def _type(error: Any) -> str:
    kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    return f"must be {' or '.join(_A_TYPE[kind] for kind in kinds)}"


def _enum(error: Any) -> str:
    choices = [choice for choice in error.validator_value if isinstance(choice, str)]
    return f"must be one of {', '.join(choices or map(shown, error.validator_value))}"


def _const(error: Any) -> str:
    return f"must be {shown(error.validator_value)}"


def _range(error: Any) -> str:
    return f"must be from {error.schema['minimum']} to {error.schema['maximum']}"


def _entries(error: Any) -> str:
    least, most = error.schema.get("minItems", 0), error.schema.get("maxItems")
    return (
        f"must have {least} to {most} entries"
        if most is not None
        else f"must have at least {least} entr{'y' if least == 1 else 'ies'}"
    )


def _length(error: Any) -> str:
    return f"must be at least {error.validator_value} long" if error.validator_value > 1 else "must not be empty"


def _other(error: Any) -> str:
    return f"must agree with the schema ({error.validator} {shown(error.validator_value)})"


_GENERAL: dict[str, Callable[[Any], str]] = {
    "type": _type, "enum": _enum, "const": _const, "minimum": _range, "maximum": _range, "minItems": _entries,
    "maxItems": _entries, "minLength": _length,
}  # fmt: skip
