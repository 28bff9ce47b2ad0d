"""IPAM plugins that misbehave."""

import json
import os
import random
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz import mutate, samples, values


@dataclass
class Delegate:
    """The program ``odd`` in CNI_PATH: its script, or the kind of file that is there instead.

    ``codes`` are those of its error codes that the plugin may pass on.
    """

    script: bytes = b"exit 0\n"
    kind: str = "script"
    answer: bytes = b""
    codes: set[int] = field(default_factory=set)
    leaves_a_daemon: bool = False
    seconds: float = 0.0


_ANSWER = "/run/fuzz/answer"
# What a delegate does before, instead of or after its answer. It reads the config, a part of it, or nothing.
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
    """Generate a delegate, which may fail in some way."""
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
    """Return an error document, with any of its values replaced at random."""
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
    """Return an answer to an ADD: a result of any version, mutated or not."""
    value = samples.result(dice.choice(("0.1.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")))
    value = mutate.structure(dice, value, dice.choice((0, 1, 1, 2, 4)), ("route",))
    data = mutate.text(dice, value)
    return mutate.raw(dice, data) if dice.random() < 0.3 else data


def codes(document: bytes) -> set[int]:
    """Return the code of an error document, if a runtime can read it (in Go it is an unsigned int)."""
    try:
        value = json.loads(document.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return set()
    code = value.get("code") if isinstance(value, dict) else None
    return {code} if type(code) is int and 0 < code < 2**32 else set()


def install(delegate: Delegate, path: str) -> None:
    """Install a delegate at a path."""
    with open(_ANSWER, "wb") as file:
        file.write(delegate.answer)
    if delegate.kind == "missing":
        return
    if delegate.kind == "directory":
        os.mkdir(path)
        return
    if delegate.kind == "loop":
        os.symlink(path, path)
        return
    heads = {"interpreter": b"#!/no/such/shell\n", "binary": b"\x7fELF" + bytes(60), "empty": b""}
    head = heads.get(delegate.kind, b"#!/bin/sh\n")
    with open(path, "wb") as file:
        file.write(head + (b"" if delegate.kind in ("empty", "binary") else delegate.script))
    os.chmod(path, 0o644 if delegate.kind == "unusable" else 0o755)
