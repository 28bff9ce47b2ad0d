"""Counters of many processes in one mapped file. Each process has its own row, so a kill corrupts nothing."""

import mmap
from pathlib import Path

COUNTS = (
    "cycles",
    "acquired",
    "empty",
    "refused",
    "released",
    "recovered",
    "late",
    "busy",
    "quarantined",
    "pending sent",
    "listed",
    "abandoned",
)
_ROW = 8 * len(COUNTS)


class Counters:
    """The mapped file. The first number of an additional last row is the stop flag."""

    def __init__(self, path: Path, rows: int) -> None:
        self._rows = rows
        if not path.exists():
            path.write_bytes(bytes(_ROW * (rows + 1)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = memoryview(self._map).cast("Q")

    def add(self, row: int, name: str) -> None:
        """Increment a counter of a row."""
        self._numbers[row * len(COUNTS) + COUNTS.index(name)] += 1

    def total(self, name: str) -> int:
        """Return the sum of a counter over all rows."""
        column = COUNTS.index(name)
        return sum(self._numbers[row * len(COUNTS) + column] for row in range(self._rows))

    def stop(self) -> None:
        """Request that all processes end."""
        self._numbers[self._rows * len(COUNTS)] = 1

    @property
    def stopped(self) -> bool:
        """Return whether a stop was requested."""
        return bool(self._numbers[self._rows * len(COUNTS)])
