"""The JSON scanner and encoder return the same as the json package."""

import json
import math
import random
import re
import subprocess
import sys
from typing import Any

import pytest

from cni_sriov_bond import jsontext
from tests.support import REPOSITORY

ALPHABET = 'abzAZ09 \t\n\r"\\/\b\f\x00\x1f\x7f\xa0éß漢😀\u2028\ud800\udfff\ufeff{}[]:,'


def refuse(word: str) -> object:
    raise ValueError(word)


def finite(text: str) -> float:
    """Read a float as json does, but refuse one that becomes infinite."""
    number = float(text)
    return number if math.isfinite(number) else float("too large")


def reference(text: str) -> Any:
    return json.loads(text, parse_constant=refuse, parse_float=finite)


def some_text(dice: random.Random) -> str:
    return "".join(dice.choice(ALPHABET) for _ in range(dice.randrange(12)))


def some_value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.randrange(9 if depth < 5 else 6)
    if kind == 0:
        return dice.choice((None, True, False))
    if kind in (1, 2):
        return dice.choice((0, -1, 1, 2**63, -(2**64), dice.randrange(10**20)))
    if kind == 3:
        return dice.choice((0.0, -0.0, 0.1, 1e300, 5e-324, dice.uniform(-1e6, 1e6)))
    if kind in (4, 5):
        return some_text(dice)
    if kind == 6:
        return [some_value(dice, depth + 1) for _ in range(dice.randrange(5))]
    return {some_text(dice): some_value(dice, depth + 1) for _ in range(dice.randrange(5))}


def test_values_are_written_as_json_writes_them() -> None:
    """Two thousand generated values have the json package's text."""
    dice = random.Random(1)
    for _ in range(2000):
        value = some_value(dice)
        assert jsontext.dumps(value) == json.dumps(value, allow_nan=False)


def test_documents_are_read_as_json_reads_them() -> None:
    """Two thousand generated documents, with and without white space and escapes, have the json package's value."""
    dice = random.Random(2)
    for _ in range(2000):
        text = json.dumps(some_value(dice), ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 0, 3)))
        text = dice.choice(("", " ", "\t\r\n")) + text + dice.choice(("", "\n", " \t"))
        assert jsontext.loads(text) == reference(text)


def test_altered_documents_are_judged_as_json_judges_them() -> None:
    """Documents with changed, removed or added characters are refused exactly when the json package refuses them."""
    dice = random.Random(3)
    refused = 0
    for _ in range(5000):
        letters = list(json.dumps(some_value(dice)))
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(letters) + 1)
            letters[place : place + dice.randrange(2)] = dice.choice(ALPHABET + '0123456789-+.eE"trufalsn')
        text = "".join(letters)
        try:
            expected = reference(text)
        except ValueError:
            refused += 1
            with pytest.raises(ValueError, match=r"."):
                jsontext.loads(text)
        else:
            assert jsontext.loads(text) == expected
    assert 2000 < refused < 5000  # both verdicts were tried


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "unexpected end"),
        (" \t\r\n", "unexpected end"),
        ("{}{}", "more text after the JSON document, at character 2"),
        ("{} x", "more text"),
        ("\ufeff{}", "no JSON value at character 0"),
        ("NaN", "NaN is not JSON"),
        ('{"a":Infinity}', "Infinity is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("nul", "no JSON value"),
        ("1e999", "the number 1e999 is too large"),
        ('{"a":[-2.5e400]}', "the number -2.5e400 is too large"),
        ('{"a" 1}', "':' delimiter"),
        ('{"a":1,}', "."),
        ("['a']", "."),
        ("\x0b{}", "no JSON value"),
        ("\xa0{}", "no JSON value"),
        ('"\x01"', "control character"),
        ("[" * 20000, "exceeded max depth"),
        ('{"a":' * 20000, "exceeded max depth"),
        ("[" * 20000 + "]" * 20000, "exceeded max depth"),
    ],
)
def test_what_is_not_one_document_is_refused_with_a_reason(text: str, reason: str) -> None:
    """Each mistake is a ValueError with a reason (C1, C11)."""
    with pytest.raises(ValueError, match=reason):
        jsontext.loads(text)


@pytest.mark.parametrize("text", ["{", '{"a"', '{"a":1', '{"a":1,', "[1", '"x', '"\\u12"', '"\\x"', "{}x", ""])
def test_bad_text_has_its_reason_where_json_was_never_imported(text: str) -> None:
    """The scanner takes its exceptions from the json package, which the plugin does not import (C1)."""
    code = (
        'import sys; from cni_sriov_bond import jsontext; jsontext.loads(\'[1.5,"a",{"b":null}]\')\n'
        "assert 'json' not in sys.modules\n"
        "try: jsontext.loads(sys.argv[1])\nexcept ValueError as reason: print(reason)"
    )
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert len(done.stdout) > 10
    with pytest.raises(ValueError, match=re.escape(done.stdout.strip())):
        jsontext.loads(text)


def test_a_number_too_long_for_python_is_refused_as_text() -> None:
    """Thousands of digits are a ValueError like other invalid text."""
    with pytest.raises(ValueError, match=r"^a number has too many digits$"):
        jsontext.loads("9" * 5000)


def test_the_last_of_equal_keys_wins() -> None:
    """Duplicate keys are not an error (C9)."""
    assert jsontext.loads('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_values_that_json_does_not_have_are_refused(value: object) -> None:
    """NaN and the infinities are refused: no parser would accept them."""
    with pytest.raises(ValueError, match=r"."):
        jsontext.dumps(value)


def test_text_is_ascii_and_on_one_line() -> None:
    """Output works with any locale, and with readers of lines."""
    text = jsontext.dumps({"é\n\u2028": ["漢", "\ud800"]})
    assert text.isascii()
    assert "\n" not in text
