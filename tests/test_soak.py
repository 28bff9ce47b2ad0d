"""Many processes on one pool, killed at random: no bond has two owners, and none is lost."""

from pathlib import Path

import pytest

from tests.soak import soak
from tests.soak.mutants import MUTANTS, Mutant

# Long enough for every verb to meet every other, and bounded on a busy machine; `./dev soak N` is for more.
CYCLES, SECONDS = 3000, 15.0


def test_no_bond_has_two_owners_and_none_is_lost() -> None:
    """Twelve processes share seven bonds, some die at every place, and in the end the pool is whole (issue 5, two at once)."""
    load = soak.Load(CYCLES, seed=1, seconds=SECONDS)
    with soak.fast_directory() as directory:
        outcome = soak.run(load, directory)
    print(f"{load}\n{outcome.table()}")
    assert outcome.faults == []
    for verb in ("cycles", "empty", "refused", "died", "late", "set aside", "settled", "left", "killed"):
        assert outcome.counts[verb] > 0, f"the load has no {verb!r} in it"


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_referee_sees_what_is_left_out(mutant: Mutant, tmp_path: Path) -> None:
    """A product without one of its safeguards is found out, so a soak that finds nothing says something."""
    package = mutant.package(tmp_path / "package")
    with soak.fast_directory() as memory:
        (tmp_path / "disk").mkdir()
        outcome = soak.run(mutant.load(seed=1), tmp_path / "disk" if mutant.on_disk else memory, package)
    assert any(words in fault for fault in outcome.faults for words in mutant.seen), outcome.faults
