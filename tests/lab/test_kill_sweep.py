"""ADD and DEL are killed, and fail, at each of their system calls, and nothing leaks: one way back after each, in turn."""

from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.lab.inside.sweep import CASES, WAYS
from tests.lab.kill_sweep import sweep

if TYPE_CHECKING:
    from tests.lab.lab import Lab

# What an ADD and a DEL cannot do without: that the tracer sees it shows that it sees.
SEEN = {
    "ADD": ("flock", "fsync", "rename", "setns", "NEWLINK", "SETLINK to netns", "SETLINK port of", "write stdout"),
    "DEL": ("flock", "fsync", "unlink", "setns", "DELLINK", "SETLINK to netns"),
}


@pytest.mark.timeout(1200)
def test_nothing_leaks_wherever_it_dies(lab: "Lab") -> None:
    """Every point of an undisturbed call was met in one that died there, and the outside checker had nothing to say."""
    outcome = sweep(lab.guest, (), print, timeout=1100)
    Console(width=160).print(outcome.table())
    assert [(row["variant"], row["verb"], row["kind"]) for row in outcome.rows] == list(CASES)
    for row in outcome.rows:
        case = f"{row['variant']} {row['verb']} {row['kind']}"
        assert set(row["all"]) <= set(row["met"]), case
        assert row["points"] == row["runs"] >= len(set(row["all"])) > 0, case
        assert set(row["ways"]) == set(WAYS) or row["points"] < len(WAYS), case
        if row["kind"] == "kill":
            missing = [seen for seen in SEEN[row["verb"]] if not any(point.startswith(seen) for point in row["met"])]
            assert missing == [], case
    assert outcome.leaks == []
