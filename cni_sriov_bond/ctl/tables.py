"""Tables that fit the terminal: columns are left out in a fixed order, others are cut, and no line is wrapped."""

from typing import NamedTuple

from rich.table import Table
from rich.text import Text

LATE = 10  # ranks from here on are left out only after other columns were cut
PADDING = 2  # columns beside the content of a cell


class Column(NamedTuple):
    """A column of a table, which may be too wide for the terminal.

    Columns with a ``rank`` are left out, the lowest first, and those of one rank together. Those with ``least`` are cut down to
    that width, the lowest first: after the columns below ``LATE`` are left out, and before the others are. A column with
    neither is always shown in full. ``right`` is for numbers.
    """

    title: str
    rank: int = 0
    least: int = 0
    right: bool = False


def table(columns: tuple[Column, ...], rows: list[list[Text]], width: int) -> Table:
    """Return a table with a line for each row.

    :param width: of the terminal, in columns.
    """
    shown = Table(box=None, pad_edge=True, header_style="bold")
    widths = fit(columns, rows, width)
    for index, column_width in widths.items():
        column = columns[index]
        justify = "right" if column.right else "left"
        shown.add_column(column.title, width=column_width, no_wrap=True, overflow="ellipsis", justify=justify)  # type: ignore[arg-type]
    for row in rows:
        shown.add_row(*(row[index] for index in widths))
    return shown


def fit(columns: tuple[Column, ...], rows: list[list[Text]], width: int) -> dict[int, int]:
    """Return the columns to show, by index, with the width of each."""
    widths = {index: max([len(column.title), *(row[index].cell_len for row in rows)]) for index, column in enumerate(columns)}

    def excess() -> int:
        return sum(column_width + PADDING for column_width in widths.values()) - width

    ranks = sorted({column.rank for column in columns} - {0})
    for rank in (rank for rank in ranks if rank < LATE):
        widths = _without(widths, columns, rank) if excess() > 0 else widths
    full = dict(widths)
    for late in [0, *(rank for rank in ranks if rank >= LATE)]:
        if late and excess() > 0:
            full = _without(full, columns, late)
        widths = dict(full)
        for index in sorted(widths, key=lambda index: columns[index].least):
            least = columns[index].least
            if least and excess() > 0:
                widths[index] = max(widths[index] - excess(), min(widths[index], least))
    return widths


def _without(widths: dict[int, int], columns: tuple[Column, ...], rank: int) -> dict[int, int]:
    return {index: width for index, width in widths.items() if columns[index].rank != rank}


def fits(columns: tuple[Column, ...], rows: list[list[Text]], width: int) -> bool:
    """Return whether all columns can be shown in full."""
    widths = fit(columns, rows, 1 << 16)
    return sum(widths.values()) + PADDING * len(widths) <= width


def short_id(container_id: str, most: int = 25) -> str:
    """Return a container id, cut: it can be 64 hex digits after a namespace."""
    return container_id if len(container_id) <= most else container_id[: most - 1] + "…"


def amount(value: float, unit: str = "") -> str:
    """Return a number with three digits and a decimal prefix: 1234567 is ``1.23M``."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if value < 999.5 or prefix == "P":
            digits = f"{value:.0f}" if not prefix or value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
            return f"{digits}{' ' if unit else ''}{prefix}{unit}"
        value /= 1000
    return ""


def duration(seconds: float) -> str:
    """Return a time in its two largest units: ``3 d 4 h``, ``2 min 5 s``."""
    whole = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
