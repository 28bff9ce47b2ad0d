"""Many processes on one pool, killed at random: no bond has two owners, and no bond is lost."""

from pathlib import Path

import pytest

from tests.soak import soak
from tests.soak.mutation_check import MUTATIONS, Mutation

# Long enough for all pairs of verbs to race, and limited on a busy machine. For longer runs: `./dev soak N`.
CYCLES, SECONDS = 3000, 15.0


def test_no_bond_has_two_owners_and_none_is_lost() -> None:
    """Twelve processes share seven bonds and are killed at any instant; in the end every bond can be leased."""
    load = soak.Load(CYCLES, seed=1, seconds=SECONDS)
    with soak.fast_directory() as directory:
        outcome = soak.run(load, directory)
    print(f"{load}\n{outcome.table()}")
    assert outcome.faults == []
    for name in ("cycles", "empty", "refused", "recovered", "late", "quarantined", "pending sent", "abandoned", "killed"):
        assert outcome.counts[name] > 0, f"the load never counted {name!r}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_the_oracle_detects_a_missing_safeguard(mutation: Mutation, tmp_path: Path) -> None:
    """A copy of the product without one of its safeguards fails, so a soak without faults is significant."""
    package = mutation.package(tmp_path / "package")
    with soak.fast_directory() as memory:
        (tmp_path / "disk").mkdir()
        outcome = soak.run(mutation.load(seed=1), tmp_path / "disk" if mutation.on_disk else memory, package)
    assert any(phrase in fault for fault in outcome.faults for phrase in mutation.seen), outcome.faults
