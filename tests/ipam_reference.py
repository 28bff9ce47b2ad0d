"""The table of options in docs/ipam.md, made from the schema: ``python -m tests.ipam_reference`` writes it anew."""

import re
from pathlib import Path
from typing import Any

from cni_sriov_bond.ipam.schema import IPAM, RANGE, ROUTE

PATH = Path(__file__).resolve().parents[1] / "docs/ipam.md"
_TABLE = re.compile(r"(?s)(?<=<!-- options: made from the schema -->\n).*?(?=<!-- end of options -->)")


def _values(schema: dict[str, Any]) -> str:
    if "minimum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "array":
        return "list"
    return str(schema.get("format", schema["type"]))


def table() -> str:
    """Return the table in Markdown: the keys of ipam, those of an entry of subnets beyond a range's, those of a route."""
    subnet = IPAM["subnets"]["items"]["properties"]
    found = dict(IPAM)
    found |= {f"subnets[].{key}": part for key, part in subnet.items() if key not in RANGE}
    found |= {f"routes[].{key}": part for key, part in ROUTE.items()}
    rows = [f"| `{key}` | {_values(part)} | {part['description']} |" for key, part in found.items()]
    return "\n".join(("| key | values | what |", "| --- | --- | --- |", *rows, ""))


def text() -> str:
    """Return the whole page with the table as the schema has it now."""
    return _TABLE.sub(lambda _: table(), PATH.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
