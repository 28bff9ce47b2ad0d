"""Mutations of valid documents: of their structure, and of their bytes."""

import json
import random
import sys
from typing import Any

from tests.fuzz import samples, values

Path = tuple[Any, ...]


def places(value: Any, path: Path = ()) -> list[Path]:
    """Return the path of every value inside a value, beginning with its own."""
    paths = [path]
    if isinstance(value, dict | list) and len(path) < 8:
        parts = value.items() if isinstance(value, dict) else enumerate(value[:20])
        for key, part in parts:
            paths += places(part, (*path, key))
    return paths


def _get(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def structure(dice: random.Random, value: dict[str, Any], number: int, parts: tuple[str, ...]) -> dict[str, Any]:
    """Mutate a document, at ``number`` random places.

    :param parts: names of schemas (``samples.PARTS``) whose keys may be added.
    """
    for _ in range(number):
        kind = dice.random()
        if kind < 0.35:
            _set_known(dice, value, parts)
        elif kind < 0.45:
            value[dice.choice(("args", "runtimeConfig", "prevResult", "name", "cniVersion", "type", "ipam"))] = values.value(
                dice
            )
        else:
            _change(dice, value)
    return value


def _set_known(dice: random.Random, value: dict[str, Any], parts: tuple[str, ...]) -> None:
    """Set a key of a schema to a valid, a nearly valid or a random value, in its own object or in another."""
    part = dice.choice(parts)
    key = dice.choice(sorted(samples.PARTS[part]))
    chance = dice.random()
    known = samples.PARTS[part][key]
    if chance < 0.4:
        new = samples.of_schema(dice, known)
    else:
        new = samples.beside_schema(dice, known) if chance < 0.6 else values.value(dice)
    if key in ("stateDir", "dataDir", "logFile", "resolvConf") and dice.random() < 0.7:
        new = dice.choice(values.ODD_PATHS)
    parents = [value] if part in ("plugin", "delegate") else [_get(value, path) for path in places(value) if path]
    objects = [parent for parent in parents if isinstance(parent, dict)] or [value]
    dice.choice(objects)[key] = new


def _change(dice: random.Random, value: dict[str, Any]) -> None:
    paths = [path for path in places(value) if path]
    if not paths:
        return
    path = dice.choice(paths)
    holder, key = _get(value, path[:-1]), path[-1]
    old, kind = holder[key], dice.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.5:
        holder[key] = values.value(dice)
    elif kind < 0.6 and isinstance(holder, dict):
        del holder[key]
        holder[_renamed(dice, str(key))] = old
    elif kind < 0.7:
        holder[key] = values.nested(dice, old, dice.choice((1, 1, 2, 50, 990)))
    elif kind < 0.8 and isinstance(old, list):
        holder[key] = dice.choice((old * 2, old[:-1], old[::-1], old * 40, [*old, values.value(dice)]))
    elif kind < 0.9:
        holder[key] = _retyped(old)
    elif isinstance(old, str):
        index = dice.randrange(len(old) + 1)
        holder[key] = old[:index] + values.text(dice)[:40] + old[index + dice.randrange(2) :]


def _renamed(dice: random.Random, key: str) -> str:
    return dice.choice(
        (key.upper(), key.lower(), key.title(), key + "s", key[1:], key.replace("i", "\u0131"), values.text(dice))
    )


def _retyped(old: Any) -> Any:
    if isinstance(old, str):
        return int(old) if old.isascii() and old.isdecimal() and len(old) < 100 else [old]
    if isinstance(old, list):
        return old[0] if old else {}
    if isinstance(old, dict):
        return list(old)
    return str(old)


def text(dice: random.Random, value: Any) -> bytes:
    """Encode a document, sometimes in an unusual form."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)  # for nested values; the programs have a limit of their own
    try:
        if dice.random() < 0.9:
            written = json.dumps(value)
        else:
            written = json.dumps(value, ensure_ascii=False, separators=(dice.choice((",", " ,\n\t")), ": "))
    finally:
        sys.setrecursionlimit(limit)
    digits = "9" * dice.choice((30, 400, 4300, 4301, 20000))
    written = written.replace(f'"{values.BIG_NUMBER}"', digits).replace(
        f'"{values.NOT_A_NUMBER}"', dice.choice(("NaN", "1e999"))
    )
    if dice.random() < 0.05 and written.startswith("{"):
        key = dice.choice(sorted(value) or ["name"])
        written = "{" + json.dumps(key) + ":" + json.dumps(values.scalar(dice)) + ("," if value else "") + written[1:]
    return written.encode("utf-8", "surrogatepass")


def raw(dice: random.Random, data: bytes) -> bytes:
    """Mutate bytes without regard to their meaning."""
    kind, index = dice.randrange(12), dice.randrange(len(data) + 1)
    end = min(len(data), index + dice.choice((1, 1, 4, 50)))
    if kind == 0:
        return data[:index]
    if kind == 1:
        return data[:index] + bytes([dice.randrange(256)]) + data[index:]
    if kind == 2:
        return data[:index] + data[end:]
    if kind == 3:
        return data[:end] + data[index:end] + data[end:]
    if kind == 4:
        return bytes(byte ^ 1 << dice.randrange(8) if number == index else byte for number, byte in enumerate(data))
    if kind == 5:
        return data[:index] + dice.choice((b"\0", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\n", b"//x", b"'")) + data[index:]
    if kind == 6:
        return dice.choice((b"\xef\xbb\xbf" + data, data.decode("utf-8", "replace").encode("utf-16"), data + data, data + b"x"))
    if kind == 7:
        return data.replace(b'"', dice.choice((b"'", b"", b'\\"')))
    if kind == 8:
        size = dice.choice((1 << 20, (1 << 20) + 1, 3 << 20))
        return data + b" " * max(0, size - len(data)) if dice.random() < 0.5 else b" " * max(0, size - len(data)) + data
    if kind == 9:
        opening = dice.choice((b"[", b'{"a":', b"[[{}],", b"[1,"))
        return opening * dice.choice((900, 1100, 100000 // len(opening), (1 << 20) // len(opening)))
    if kind == 10:
        return dice.choice((b"", b"null", b"[]", b"0", b'""', b"true", b"{}", b" ", b"{", b"\xff", bytes(1000)))
    return data.replace(b":", dice.choice((b"::", b",", b": :", b"=")), 1)
