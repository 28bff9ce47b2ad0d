"""Counts of many processes in one mapped file, which no kill can spoil: each process has a row of its own."""

import mmap
from pathlib import Path

COUNTS = (
    "cycles",
    "acquired",
    "empty",
    "refused",
    "given back",
    "died",
    "late",
    "found busy",
    "set aside",
    "settled",
    "listed",
    "left",
)
_ROW = 8 * len(COUNTS)


class Tally:
    """The file; its last row's first number is the word to stop."""

    def __init__(self, path: Path, rows: int) -> None:
        self._rows = rows
        if not path.exists():
            path.write_bytes(bytes(_ROW * (rows + 1)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = memoryview(self._map).cast("Q")

    def add(self, row: int, what: str) -> None:
        """Count one."""
        self._numbers[row * len(COUNTS) + COUNTS.index(what)] += 1

    def total(self, what: str) -> int:
        """Give the sum of all rows."""
        column = COUNTS.index(what)
        return sum(self._numbers[row * len(COUNTS) + column] for row in range(self._rows))

    def stop(self) -> None:
        """Have all processes end."""
        self._numbers[self._rows * len(COUNTS)] = 1

    @property
    def stopped(self) -> bool:
        """Tell whether they are to end."""
        return bool(self._numbers[self._rows * len(COUNTS)])
