"""JSON text to values and back, through CPython's own C scanner and encoder.

The ``json`` package gives the same answers but imports ``re`` (8 ms of a plugin that answers in 15); the C parts
that it wraps need none of that. tests/test_jsontext.py holds the two equal.
"""

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _float(text: str) -> float:
    """Read a number with a fraction or exponent, not one that would become infinite: that could not be written again."""
    number = float(text)
    if number in (_INFINITY, -_INFINITY):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


class _Rules:
    """What ``_json.make_scanner`` asks of a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_float)
    parse_int = int

    @staticmethod
    def parse_constant(word: str) -> object:
        raise ValueError(f"{word} is not JSON")


# Typed as Any: typeshed has them as the json package alone calls them.
_make_scanner: "Any" = _json.make_scanner
_make_encoder: "Any" = _json.make_encoder
_scan = _make_scanner(_Rules())
_encode = _make_encoder(None, None, _json.encode_basestring_ascii, None, ": ", ", ", False, False, False)
_INFINITY = float("inf")
_SPACE = " \t\n\r"


def loads(text: str) -> object:
    """Give the value of one JSON document.

    :raises ValueError: when the text is not exactly one JSON document, with the place where it is known.
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
        if type(wrong) is ValueError and str(wrong).startswith("Exceeds"):  # int() alone says so, of its limit of 4300
            raise ValueError("there is a number of thousands of digits") from None
        raise
    if text[end:].strip(_SPACE):
        raise ValueError(f"more text after the JSON document, at character {end}")
    result: object = value
    return result


def _scan_or_explain(text: str, start: int) -> "tuple[Any, int]":
    try:
        found: tuple[Any, int] = _scan(text, start)
    except SystemError:
        # Up to Python 3.11 the scanner has no error to raise unless somebody has imported the module that defines it
        # (_json.c, raise_errmsg). Bad text is rare enough for that import; then the scanner is asked again for its reason.
        import json.decoder  # noqa: F401

        found = _scan(text, start)
    return found


def dumps(value: object) -> str:
    """Give the JSON text of a value, on one line, in ASCII.

    :raises ValueError: for NaN and the infinities, which JSON has not.
    """
    return "".join(_encode(value, 0))
