"""The table of options in docs/reference.md, made from the schema: ``python -m tests.reference`` writes it anew."""

import re
from pathlib import Path
from typing import Any

from cni_sriov_bond.network.schema import NETWORK

PATH = Path(__file__).resolve().parents[1] / "docs/reference.md"
_TABLE = re.compile(r"(?s)(?<=<!-- options: made from the schema -->\n).*?(?=<!-- end of options -->)")


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if isinstance(value, str))
    if "minimum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if "items" in schema:
        return f"list of {schema['items']['format']}"
    if schema.get("type") == "boolean":
        return "`true`, `false`"
    return str(schema.get("format", schema["type"]))


def table() -> str:
    """Return the table in Markdown."""
    rows = [f"| `{key}` | {_values(part)} | {part['description']} |" for key, part in NETWORK["properties"].items()]
    return "\n".join(("| key | values | what |", "| --- | --- | --- |", *rows, ""))


def text() -> str:
    """Return the whole page with the table as the schema has it now."""
    return _TABLE.sub(lambda _: table(), PATH.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
