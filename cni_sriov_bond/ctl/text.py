"""Foreign text in what people read: values of documents, names of devices, files and containers."""

import json
import re
from typing import Any

Path = tuple[str | int, ...]
# An object of a document that somebody else wrote, of a schema, or of what a command prints for programs.
JsonObject = dict[str, Any]

_MOST = 60
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def printable(text: str) -> str:
    """Return a text without what a terminal would obey, such as an escape sequence in an interface's name."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def shown(value: object) -> str:
    """Return a value of a document as the document would have it, cut if it is long."""
    try:
        # ASCII for what cannot be printed: escape sequences, and half a surrogate pair, which no output takes.
        text = json.dumps(value, ensure_ascii=not str(value).isprintable())
    except (TypeError, ValueError, RecursionError):  # TOML's dates have no JSON
        text = printable(str(value))
    return text if len(text) <= _MOST else text[: _MOST - 3] + "..."


def path_text(path: Path) -> str:
    """Return a path in a document: ``plugins[0].ipam.ranges[0][1]``; a key that is not a plain word is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f"{'.' if text else ''}{part if _BARE_KEY.match(part) else shown(part)}"
    return text
