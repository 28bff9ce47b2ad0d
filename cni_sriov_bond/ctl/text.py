"""Text from outside that is printed: values of documents, names of devices, files and containers."""

import json
import re
from typing import Any

Path = tuple[str | int, ...]
# A JSON object: of a document from outside, of a schema, or of what a command prints with --json.
JsonObject = dict[str, Any]

_MAX_LENGTH = 60
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def printable(text: str) -> str:
    """Return a text without control characters, such as an escape sequence in an interface's name."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def shown(value: object) -> str:
    """Return a value as the document would write it, cut if it is long."""
    try:
        # ASCII for what cannot be printed: escape sequences, and half a surrogate pair, which no output takes.
        text = json.dumps(value, ensure_ascii=not str(value).isprintable())
    except (TypeError, ValueError, RecursionError):  # TOML's dates have no JSON
        text = printable(str(value))
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 3] + "..."


def path_text(path: Path) -> str:
    """Return a path in a document: ``plugins[0].ipam.ranges[0][1]``; other keys than words are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f"{'.' if text else ''}{part if _BARE_KEY.match(part) else shown(part)}"
    return text
