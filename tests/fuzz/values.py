"""Values that programs often fail on, as JSON, as text and as bytes of a variable."""

import random
import string
from typing import Any

# Paths in the sandbox that no key accepts. Nobody opens the other end of the FIFO.
ODD_PATHS = (
    "/", ".", "..", "//", "/run/fuzz/fifo", "/run/fuzz/file", "/run/fuzz/file/x", "/run/fuzz/loop", "/run/fuzz/nowhere/x",
    "/proc/self/mem", "/proc/self/ns/net", "/proc/self/ns/mnt", "/dev/zero", "/dev/null", "/dev/full", "relative", "../../etc",
    "/run/fuzz/state", "/run/fuzz/data", "/run/fuzz/\ud800", "/run/fuzz/a\0b", "/run/fuzz/" + "d/" * 200, "/" + "n" * 300,
)  # fmt: skip
_TEXTS = (
    "", " ", "x", "\0", "a\0b", "\n", "a\nb", "\r\n", "\t", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\ufeff", "\uffff",
    "\ud800", "\udfff", "\udc80", "a\ud83d", "é", "ﬀ", "١٢", "²", "😀", "\u202e", "%s%n", "{0}", "$(id)", "`id`", "a;b", "a=b",
    "-1", "0", "00", "1", "1.0", "1e3", "0x10", "1_0", " 1", "+1", "4094", "4095", "true", "null", "NaN", "on", "off", "none",
    "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.1/24", "10.0.0.0/24/8", "0.0.0.0/0", "::/0", "::", "::1", "fe80::1%eth0",
    "::ffff:10.0.0.1", "::ffff:10.0.0.0/120", "10.0.0.01", "10.1", "255.255.255.255/32", "fd00::/129", "02:00:00:00:00:01",
    "02:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02-00-00-00-00-01", "ffff:01:10.0", "cbond1", "A", "db", "web",
)  # fmt: skip
_NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 7, 255, 256, 4094, 4095, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, -(2**63), 10**400,
    0.0, -0.0, 0.5, 1.0, 100.0, 1e308, -1e308, 5e-324,
)  # fmt: skip
# Placeholders for numbers that json.dumps cannot or should not write; mutate.text replaces them.
BIG_NUMBER, NOT_A_NUMBER = "@big-number@", "@nan@"


def text(dice: random.Random) -> str:
    """Return a hostile string, sometimes a long one."""
    kind = dice.random()
    if kind < 0.7:
        return dice.choice(_TEXTS)
    if kind < 0.8:
        return dice.choice(ODD_PATHS)
    if kind < 0.9:
        return "".join(
            chr(dice.choice((dice.randrange(128), dice.randrange(0x3000), dice.randrange(0x110000)))) for _ in range(6)
        )
    return dice.choice(("x", "9", "0", "é", "\ud800", "/", "a.", "::", ";")) * dice.choice((16, 65, 256, 4301, 5000, 70000))


def scalar(dice: random.Random) -> Any:
    """Return a hostile value that is neither list nor object."""
    kind = dice.random()
    if kind < 0.15:
        return dice.choice((None, True, False))
    if kind < 0.4:
        return dice.choice(_NUMBERS)
    if kind < 0.43:
        return dice.choice((BIG_NUMBER, NOT_A_NUMBER))
    return text(dice)


def value(dice: random.Random) -> Any:
    """Return a hostile value of any type."""
    kind = dice.random()
    if kind < 0.7:
        return scalar(dice)
    if kind < 0.8:
        return dice.choice(([], {}, [[]], [{}], [None], {"": None}, {"type": None}, [[[]]], {"cni": None}, {"a": {"b": {}}}))
    if kind < 0.88:
        return [scalar(dice) for _ in range(dice.randrange(1, 5))]
    if kind < 0.96:
        return {text(dice)[:40]: scalar(dice) for _ in range(dice.randrange(1, 4))}
    return many(dice)


def many(dice: random.Random) -> Any:
    """Return a value with thousands of small elements, or a deeply nested one."""
    number = dice.choice((17, 1000, 20000))
    kind = dice.randrange(7)
    if kind == 0:
        return [scalar(dice)] * number if number < 2000 else [dice.choice((0, "", None, "x"))] * number
    if kind == 1:
        return {f"k{index}": 0 for index in range(number)}
    if kind == 2:
        return [{"subnet": f"10.{index >> 8 & 255}.{index & 255}.0/24"} for index in range(number)]
    if kind == 3:
        return [f"10.{index >> 14 & 255}.{index >> 6 & 255}.{index << 2 & 255}" for index in range(number)]
    if kind == 4:
        return [{"containerID": f"c{index}", "ifname": "eth0"} for index in range(number)]
    if kind == 5:
        return [{"address": f"10.9.{index >> 8 & 255}.{index & 255}/16"} for index in range(number)]
    return nested(dice, None, dice.choice((10, 200, 480, 900, 990, 1500)))


def nested(dice: random.Random, value: Any, depth: int) -> Any:
    """Nest a value in ``depth`` lists or objects."""
    for _ in range(depth):
        value = [value] if dice.random() < 0.5 else {"a": value}
    return value


def word(dice: random.Random) -> bytes:
    """Return hostile bytes for a variable, without NUL."""
    kind = dice.random()
    if kind < 0.15:
        return b""
    if kind < 0.25:
        return bytes(dice.randrange(1, 256) for _ in range(dice.randrange(1, 20)))
    if kind < 0.35:
        return dice.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"a\xf0\x9f", b"\xc0\x80", b"\x80" * 40))
    if kind < 0.42:
        return dice.choice(string.printable[:62] + "/=;:.\x01").encode() * dice.choice((15, 16, 255, 4096, 100000))
    return text(dice).replace("\0", "").encode("utf-8", "surrogatepass")[:100000]
