"""Tables fit a width: which columns go first, which are cut; and how numbers and times are written."""

import pytest
from rich.text import Text

from cni_sriov_bond.ctl.tables import LATE, Column, amount, duration, fit, fits, short_id

COLUMNS = (Column("A"), Column("B", 1), Column("C", 2), Column("D", 2), Column("E", least=4))
ROWS = [[Text("x" * 10) for _ in COLUMNS]]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, {0: 10, 1: 10, 2: 10, 3: 10, 4: 10}),
        (59, {0: 10, 2: 10, 3: 10, 4: 10}),
        (47, {0: 10, 4: 10}),
        (23, {0: 10, 4: 9}),
        (10, {0: 10, 4: 4}),
    ],  # with two columns of space each
)
def test_columns_are_left_out_by_rank_and_then_cut(width: int, shown: dict[int, int]) -> None:
    """Those of one rank go together, and what has no rank stays."""
    assert fit(COLUMNS, ROWS, width) == shown
    assert fits(COLUMNS, ROWS, width) == (width == 60)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (999, "999"), (999.6, "1.00k"), (1234, "1.23k"), (12345, "12.3k"), (123456, "123k"),
        (999_600, "1.00M"), (2.5e9, "2.50G"), (1e15, "1.00P"), (1e19, "10000P"),
    ],
)  # fmt: skip
def test_an_amount_has_three_digits(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(("width", "shown"), [(36, {0: 10, 1: 10, 2: 10}), (35, {0: 10, 1: 9, 2: 10}), (29, {0: 10, 1: 10})])
def test_a_late_column_is_left_out_after_another_was_cut(width: int, shown: dict[int, int]) -> None:
    """And when it is left out, the other has its room."""
    columns = (Column("A"), Column("B", least=4), Column("C", LATE))
    assert fit(columns, [[Text("x" * 10) for _ in columns]], width) == shown


def test_an_amount_has_a_unit() -> None:
    assert [amount(12, "B"), amount(1234, "B")] == ["12 B", "1.23 kB"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (3605, "1 h"), (90061, "1 d 1 h")],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_id_is_cut() -> None:
    assert [short_id("c1"), short_id("f" * 25), short_id("f" * 26)] == ["c1", "f" * 25, "f" * 24 + "…"]
