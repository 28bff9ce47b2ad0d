"""Read JSON and TOML documents with the line of each value, so that a mistake can be reported with its line."""

import json
import os
import re
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

from cni_sriov_bond.ctl.text import Path, path_text
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, CniError

_MAX_SIZE = 1 << 20  # bytes; /dev/zero has no end
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


class Mistake(NamedTuple):
    """One thing that is wrong in a document.

    ``problem`` is the rest of a sentence that begins with the path, as in "must be from 0 to 4094, not 5000". ``line`` is set
    if reading stopped there; else the path gives the line.
    """

    path: Path
    problem: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{path_text(self.path)} {self.problem}".strip()


class Document(NamedTuple):
    """A document. If it is not ``readable``, ``mistakes`` has the reason and ``value`` is None."""

    value: Any
    lines: dict[Path, int]
    mistakes: tuple[Mistake, ...] = ()
    readable: bool = True

    def line(self, mistake: Mistake) -> int | None:
        """Return the line of a mistake: that of its path, or of the nearest value around it."""
        if mistake.line is not None:
            return mistake.line
        lengths = range(len(mistake.path), -1, -1)
        return next((self.lines[mistake.path[:length]] for length in lengths if mistake.path[:length] in self.lines), None)

    def located(self, mistakes: Iterable[Mistake]) -> list[tuple[int | None, Mistake]]:
        """Return mistakes with their lines, sorted by line."""
        return sorted(((self.line(mistake), mistake) for mistake in mistakes), key=lambda pair: pair[0] or 0)


def read(path: str) -> bytes:
    """Read a file that should be a document.

    :raises CniError: IO_FAILURE when it cannot be read, INVALID_CONFIG when it is too large.
    """
    try:
        # O_NONBLOCK: a FIFO that nobody writes must not stop us.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            data = file.read(_MAX_SIZE + 1) or b""
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot be read: {failed.strerror}") from None
    except ValueError:
        raise CniError(IO_FAILURE, "cannot be read: its name has a NUL character") from None
    if len(data) > _MAX_SIZE:
        raise CniError(INVALID_CONFIG, "is larger than 1 MiB; a config is a small file")
    return data


def parse_toml(data: bytes) -> Document:
    """Return a TOML document with the line of each key and table."""
    text, mistakes = _text(data)
    if mistakes:
        return Document(None, {}, mistakes, readable=False)
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        reason, line = _toml_place(str(wrong), text)
        return _unreadable(f"is not valid TOML: {reason}", line)
    except RecursionError:
        return _unreadable("is not valid TOML: it is nested too deeply", 1)
    return Document(value, _toml_lines(text))


def parse_json(data: bytes) -> Document:
    """Return a JSON document with the line of each value. A key that occurs twice in an object is a mistake."""
    text, mistakes = _text(data)
    if mistakes:
        return Document(None, {}, mistakes, readable=False)
    constants: list[str] = []  # NaN and Infinity, which only Python accepts
    try:
        value = json.loads(text, parse_constant=constants.append)
    except json.JSONDecodeError as wrong:
        return _unreadable(f"is not valid JSON: {wrong.msg}, at column {wrong.colno}", wrong.lineno)
    except RecursionError:
        return _unreadable("is not valid JSON: it is nested too deeply", 1)
    except ValueError as wrong:
        return _unreadable(f"is not valid JSON: {wrong}", 1)
    if constants:
        return _unreadable(f"is not valid JSON: it has no {constants[0]}", _json_line(text, constants[0]))
    lines, doubles = _json_lines(text)
    return Document(value, lines, doubles)


def _unreadable(problem: str, line: int) -> Document:
    return Document(None, {}, (Mistake((), problem, line),), readable=False)


def _text(data: bytes) -> tuple[str, tuple[Mistake, ...]]:
    try:
        text = data.decode()
    except UnicodeDecodeError as wrong:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "", (Mistake((), "starts with the byte order mark of UTF-16; save it as UTF-8", 1),)
        line = data.count(b"\n", 0, wrong.start) + 1
        return "", (Mistake((), f"is not UTF-8: it has the byte 0x{data[wrong.start]:02x}; save it as UTF-8", line),)
    if text.startswith(_BYTE_ORDER_MARK):
        return "", (Mistake((), "starts with a byte order mark; save it as UTF-8 without one", 1),)
    return text, ()


# -- JSON

_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def _json_line(text: str, word: str) -> int:
    """Return the line of a word that is outside of strings."""
    places = (match.start() for match in _JSON_TOKEN.finditer(text) if match.group().lstrip("-") == word.lstrip("-"))
    return text.count("\n", 0, next(places, 0)) + 1


class _Cursor:
    """The position of a scan of JSON: the path of the next value, and whether a key comes first."""

    def __init__(self) -> None:
        self.path: list[str | int] = []
        self.key_next = False

    def enter(self, bracket: str) -> None:
        self.path.append(0 if bracket == "[" else "")
        self.key_next = bracket == "{"

    def leave(self) -> None:
        self.path.pop()
        self.key_next = False

    def advance(self) -> None:
        """Move to the next value after a comma."""
        last = self.path[-1]
        if isinstance(last, int):
            self.path[-1] = last + 1
        else:
            self.key_next = True


def _json_lines(text: str) -> tuple[dict[Path, int], tuple[Mistake, ...]]:
    """Return the line of each value of a valid document, a member's being that of its key; and keys that occur twice."""
    lines: dict[Path, int] = {}
    doubles = []
    cursor, line, end = _Cursor(), 1, 0
    for match in _JSON_TOKEN.finditer(text):
        line += text.count("\n", end, match.start())
        end = match.start()
        token = match.group()
        if token in ("}", "]"):
            cursor.leave()
        elif token == ",":
            cursor.advance()
        elif cursor.key_next:
            cursor.path[-1] = json.loads(token)
            cursor.key_next = False
            if tuple(cursor.path) in lines:
                doubles.append(Mistake(tuple(cursor.path), "is there twice; readers take the last one, so remove one", line))
            lines[tuple(cursor.path)] = line
        elif token != ":":
            lines.setdefault(tuple(cursor.path), line)
            if token in ("{", "["):
                cursor.enter(token)
    return lines, tuple(doubles)


# -- TOML

_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)\Z", re.DOTALL)
# Strings and comments, in which brackets and line breaks have no meaning; brackets; and the line break after a statement.
_TOML_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?""""{0,2}' r"|'''.*?''''{0,2}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|#[^\n]*" r"|[\[\]{}]|\n",
    re.DOTALL,
)
_TOML_TWICE = re.compile(r"Cannot (?:declare|redefine namespace) \((.*)\)")
_TOML_NAME = r"'((?:[^'\\]|\\.)*)'"
# What word processors and web pages write instead of the characters of TOML.
_LOOKALIKES = {
    "\u201c": "not a straight quotation mark", "\u201d": "not a straight quotation mark",
    "\u2018": "not a straight quotation mark", "\u2019": "not a straight quotation mark",
    "\u00a0": "not an ordinary space", "\ufeff": "a byte order mark", "\uff1d": "not an ordinary equals sign",
}  # fmt: skip
_TOML_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_TOML_KEY = re.compile(rf"\s*({_TOML_PART}(?:\s*\.\s*{_TOML_PART})*)\s*=")


def _toml_place(message: str, text: str) -> tuple[str, int]:
    match = _TOML_PLACE.match(message)
    if not match:
        return message, 1
    reason, line, column = match.groups()
    number = int(line) if line else text.rstrip().count("\n") + 1
    cause = _toml_cause(reason, text.split("\n")[number - 1].rstrip("\r"))
    return cause or f"{reason}, at {f'column {column}' if line else 'the end of the file'}", number


def _toml_cause(reason: str, line: str) -> str:
    """Return the cause of a mistake that people make often and tomllib names by what it expected, or ""."""
    if twice := _TOML_TWICE.match(reason):
        return f"{path_text(tuple(re.findall(_TOML_NAME, twice[1])))} is there twice; keep one of them"
    if reason.startswith("Cannot overwrite a value"):
        key = _TOML_KEY.match(line)
        return f"the key {key[1] if key else line.strip()} is there twice in its table; remove one"
    foreign = next((character for character in line if character in _LOOKALIKES or not character.isprintable()), "\t")
    if foreign == "\t":
        return ""
    return f"it has the character U+{ord(foreign):04X} ({_LOOKALIKES.get(foreign, 'which is invisible')}); type it again"


def _toml_lines(text: str) -> dict[Path, int]:
    """Return the line of each table and key of a valid document; parts of a value have the line of its key."""
    lines: dict[Path, int] = {(): 1}
    table: Path = ()
    for statement, line in _toml_statements(text):
        if statement.lstrip().startswith("["):
            path = table = _toml_table(statement)
        else:
            match = _TOML_KEY.match(statement)
            if not match:
                continue  # a blank line or a comment
            path = table + _toml_key(match.group(1))
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
    return lines


def _toml_statements(text: str) -> list[tuple[str, int]]:
    """Return each statement of a valid document with the line on which it begins."""
    statements = []
    start, line, depth, first = 0, 1, 0, 1
    for match in _TOML_TOKEN.finditer(text + "\n"):
        token = match.group()
        line += token.count("\n")
        if token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth -= 1
        elif token == "\n" and not depth:
            statements.append((text[start : match.start()], first))
            start, first = match.end(), line
    return statements


def _toml_key(key: str) -> Path:
    """Return the parts of a dotted key."""
    value: Any = tomllib.loads(f"{key} = 0")
    parts: list[str | int] = []
    while isinstance(value, dict):
        [(part, value)] = value.items()
        parts.append(part)
    return tuple(parts)


def _toml_table(header: str) -> Path:
    """Return the path of a header, ``[a.b]``; of ``[[a.b]]`` without an index: our documents have no arrays of tables."""
    value: Any = tomllib.loads(header)
    parts: list[str | int] = []
    while value:
        if isinstance(value, list):
            [value] = value
        else:
            [(part, value)] = value.items()
            parts.append(part)
    return tuple(parts)
