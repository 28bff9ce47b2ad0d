"""IPAM plugins that do everything but their duty."""

import json
import os
import random
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz import mutate, samples, values


@dataclass
class Delegate:
    """The program ``odd`` in CNI_PATH: its text, or what else is there; and which of its codes may become ours."""

    script: bytes = b"exit 0\n"
    kind: str = "script"
    answer: bytes = b""
    codes: set[int] = field(default_factory=set)
    leaves_a_daemon: bool = False
    seconds: float = 0.0


_ANSWER = "/run/fuzz/answer"
# What a delegate does before, instead of or after its answer; the config is left unread, half read or read.
_READING = (b"cat >/dev/null\n", b"", b"exec <&-\n", b"head -c 1 >/dev/null\n")
_NOISE = (
    b"",
    b"",
    b"echo warn >&2\n",
    b"head -c 300000 /dev/zero >&2\n",
    b"exec 2>&-\n",
    b"printf '\\377\\033[0m\\n\\n' >&2\n",
)
_FLOODS = (b"head -c 3000000 /dev/zero >&2\n", b"exec yes\n", b"yes >&2\n", b"head -c 3000000 /dev/zero\n")
_ENDS = (b"exit 0\n", b"exit 1\n", b"exit 1\n", b"exit 2\n", b"exit 127\n", b"exit 255\n", b"exec >&-\nexit 1\n")
_SIGNALS = ("TERM", "KILL", "SEGV", "PIPE", "HUP", "ABRT", "USR1", "STOP -0")
SILENT = Delegate(b"exec tail -f /dev/null\n", seconds=45.0)


def make(dice: random.Random) -> Delegate:
    """Give a delegate that fails in some way, or does not."""
    kind = dice.random()
    if kind < 0.07:
        return Delegate(kind=dice.choice(("missing", "unusable", "directory", "empty", "binary", "loop", "interpreter")))
    if kind < 0.15:
        return Delegate(dice.choice(_READING) + f"kill -{dice.choice(_SIGNALS[:-1])} $$\n".encode())
    if kind < 0.2:
        return Delegate(dice.choice(_READING) + dice.choice(_FLOODS))
    if kind < 0.24:
        return Delegate(b"tail -f /dev/null &\n" + dice.choice(_ENDS), leaves_a_daemon=True)
    document = error(dice) if dice.random() < 0.6 else answer(dice)
    script = dice.choice(_READING) + dice.choice(_NOISE) + f"cat {_ANSWER}\n".encode() + dice.choice(_ENDS)
    return Delegate(script, answer=document, codes=codes(document))


def error(dice: random.Random) -> bytes:
    """Give an error document, with anything in the place of anything."""
    value: dict[str, Any] = {
        "cniVersion": "1.0.0",
        "code": dice.choice((1, 7, 11, 50, 99, 100, 999)),
        "msg": "no address",
        "details": "d",
    }
    if dice.random() < 0.5:
        value["code"] = dice.choice((0, -1, True, False, None, "7", 1.0, 7.5, 2**31, 2**32, 2**63, 10**400, [], {}, 199))
    for key in ("msg", "details", "cniVersion"):
        if dice.random() < 0.4:
            value[key] = values.value(dice)
        elif dice.random() < 0.1:
            value.pop(key)
    data = mutate.text(dice, value)
    return mutate.raw(dice, data) if dice.random() < 0.15 else data


def answer(dice: random.Random) -> bytes:
    """Give what an ADD might be answered: a result of any version, damaged more or less."""
    value = samples.result(dice.choice(("0.1.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")))
    value = mutate.structure(dice, value, dice.choice((0, 1, 1, 2, 4)), ("route",))
    data = mutate.text(dice, value)
    return mutate.raw(dice, data) if dice.random() < 0.3 else data


def codes(document: bytes) -> set[int]:
    """Give the code that a document of an error has, if that is one that a runtime could read (Go: an unsigned int)."""
    try:
        value = json.loads(document.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return set()
    code = value.get("code") if isinstance(value, dict) else None
    return {code} if type(code) is int and 0 < code < 2**32 else set()


def install(one: Delegate, path: str) -> None:
    """Put a delegate where it is found."""
    with open(_ANSWER, "wb") as file:
        file.write(one.answer)
    if one.kind == "missing":
        return
    if one.kind == "directory":
        os.mkdir(path)
        return
    if one.kind == "loop":
        os.symlink(path, path)
        return
    head = {"interpreter": b"#!/no/such/shell\n", "binary": b"\x7fELF" + bytes(60), "empty": b""}.get(one.kind, b"#!/bin/sh\n")
    with open(path, "wb") as file:
        file.write(head + (b"" if one.kind in ("empty", "binary") else one.script))
    os.chmod(path, 0o644 if one.kind == "unusable" else 0o755)
