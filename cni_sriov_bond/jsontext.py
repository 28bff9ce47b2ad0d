"""Read and write JSON with the C scanner and encoder of CPython.

The ``json`` package wraps the same C code but imports ``re``, which takes 8 ms of a plugin that answers in 15.
tests/test_jsontext.py checks that both return the same.
"""

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _float(text: str) -> float:
    """Return a number with a fraction or exponent; one that becomes infinite is refused, because JSON cannot hold it."""
    number = float(text)
    if number in (_INFINITY, -_INFINITY):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


class _Rules:
    """The attributes of a decoder that ``_json.make_scanner`` reads."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_float)
    parse_int = int

    @staticmethod
    def parse_constant(word: str) -> object:
        raise ValueError(f"{word} is not JSON")


# Typed as Any: typeshed declares them only for the calls that the json package makes.
_make_scanner: "Any" = _json.make_scanner
_make_encoder: "Any" = _json.make_encoder
_scan = _make_scanner(_Rules())
_encode = _make_encoder(None, None, _json.encode_basestring_ascii, None, ": ", ", ", False, False, False)
_INFINITY = float("inf")
_SPACE = " \t\n\r"


def loads(text: str) -> object:
    """Return the value of one JSON document.

    :raises ValueError: when the text is not exactly one JSON document; the message has the position if it is known.
    """
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise ValueError("unexpected end of JSON input")
    try:
        value, end = _scan_or_explain(text, start)
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    except RecursionError:
        raise ValueError("exceeded max depth") from None
    except ValueError as wrong:
        if type(wrong) is ValueError and str(wrong).startswith("Exceeds"):  # int() refuses more than 4300 digits
            raise ValueError("a number has too many digits") from None
        raise
    if text[end:].strip(_SPACE):
        raise ValueError(f"more text after the JSON document, at character {end}")
    result: object = value
    return result


def _scan_or_explain(text: str, start: int) -> "tuple[Any, int]":
    try:
        scanned: tuple[Any, int] = _scan(text, start)
    except SystemError:
        # Up to Python 3.11 the scanner cannot raise JSONDecodeError before the module that defines it is imported
        # (_json.c, raise_errmsg). Invalid text is rare, so import it only now, and scan again to get the reason.
        import json.decoder  # noqa: F401

        scanned = _scan(text, start)
    return scanned


def dumps(value: object) -> str:
    """Return a value as JSON text, in ASCII and on one line.

    :raises ValueError: for NaN and the infinities, which JSON does not have.
    """
    return "".join(_encode(value, 0))
