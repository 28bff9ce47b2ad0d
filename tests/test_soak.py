"""Many processes on one pool, killed at random: no bond has two owners, and no bond is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shim import TornListing
from tests.soak import ownership_oracle, soak
from tests.soak.mutation_check import MUTATIONS, Mutation
from tests.support import REPOSITORY

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


CHECK = """
import sys
from pathlib import Path
from tests.soak.ownership_oracle import Monitor
monitor = Monitor(Path(sys.argv[1]), Path(sys.argv[2]))
monitor.check()
print(*monitor.faults, sep="\\n", end="")
"""


@pytest.mark.parametrize(("remains", "faults"), [(True, ""), (False, "cbond1 is lost: x owns it, and there is no lease of it")])
def test_the_oracle_does_not_take_a_listing_for_an_instant(tmp_path: Path, shim: Path, remains: bool, faults: str) -> None:
    """A lease that is renamed while the oracle lists is not lost; one that is removed is."""
    ownership_oracle.prepare(tmp_path / "oracle")
    (tmp_path / "oracle" / "bonds" / "cbond1").symlink_to("x")
    leases = tmp_path / "pool" / "leases"
    leases.mkdir(parents=True)
    lease = leases / "cbond1.key.adding"
    lease.touch()

    def change() -> None:
        lease.rename(leases / "cbond1.key.ready") if remains else lease.unlink()

    argv = [sys.executable, "-c", CHECK, str(tmp_path / "oracle"), str(tmp_path / "pool")]
    with TornListing(shim, tmp_path / "torn", change) as torn:
        done = subprocess.run(
            argv, env={**os.environ, **torn.environ}, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
        )
    assert done.stdout == faults
