"""Changes to what is well made: to a value's structure, and to the bytes that it is written in."""

import json
import random
import sys
from typing import Any

from tests.fuzz import samples, values

Path = tuple[Any, ...]


def places(value: Any, at: Path = ()) -> list[Path]:
    """Give the path of every value inside another, its own first."""
    found = [at]
    if isinstance(value, dict | list) and len(at) < 8:
        parts = value.items() if isinstance(value, dict) else enumerate(value[:20])
        for key, part in parts:
            found += places(part, (*at, key))
    return found


def _get(value: Any, at: Path) -> Any:
    for key in at:
        value = value[key]
    return value


def structure(dice: random.Random, value: dict[str, Any], number: int, parts: tuple[str, ...]) -> dict[str, Any]:
    """Change a document so many times; the change may be anywhere in it.

    :param parts: the names of the schemas, of ``samples.PARTS``, whose keys it may be given.
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
    """Set a key of a schema, to what it takes, nearly takes, or not at all, where it belongs or somewhere else."""
    part = dice.choice(parts)
    key = dice.choice(sorted(samples.PARTS[part]))
    how = dice.random()
    known = samples.PARTS[part][key]
    made = (
        samples.of_schema(dice, known) if how < 0.4 else samples.beside_schema(dice, known) if how < 0.6 else values.value(dice)
    )
    if key in ("stateDir", "dataDir", "logFile", "resolvConf") and dice.random() < 0.7:
        made = dice.choice(values.ODD_PATHS)
    inside = [value] if part in ("plugin", "delegate") else [_get(value, at) for at in places(value) if at]
    objects = [one for one in inside if isinstance(one, dict)] or [value]
    dice.choice(objects)[key] = made


def _change(dice: random.Random, value: dict[str, Any]) -> None:
    found = [at for at in places(value) if at]
    if not found:
        return
    at = dice.choice(found)
    holder, key = _get(value, at[:-1]), at[-1]
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
        place = dice.randrange(len(old) + 1)
        holder[key] = old[:place] + values.text(dice)[:40] + old[place + dice.randrange(2) :]


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
    """Write a document, now and then as nobody else would."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)  # for what is nested; the programs have their own
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
    """Change bytes without regard to what they say."""
    kind, place = dice.randrange(12), dice.randrange(len(data) + 1)
    end = min(len(data), place + dice.choice((1, 1, 4, 50)))
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes([dice.randrange(256)]) + data[place:]
    if kind == 2:
        return data[:place] + data[end:]
    if kind == 3:
        return data[:end] + data[place:end] + data[end:]
    if kind == 4:
        return bytes(letter ^ 1 << dice.randrange(8) if number == place else letter for number, letter in enumerate(data))
    if kind == 5:
        return data[:place] + dice.choice((b"\0", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\n", b"//x", b"'")) + data[place:]
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
