"""``./dev fuzz N [--seed S]``: so many hostile calls of the built executables, and ``--case ID`` one of them again."""

import argparse
from pathlib import Path

from tests.fuzz import campaign


def main(product: Path, arguments: list[str]) -> int:
    """Make a run and give its exit status: 1 when something failed."""
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("calls", nargs="?", type=int, default=20000, metavar="N", help="how many calls (20000)")
    parser.add_argument("--seed", type=int, help="make the calls of that seed; else of a new one, which is told")
    parser.add_argument(
        "--case", action="append", default=[], help="make this call of the seed alone, by its id; may be repeated"
    )
    options = parser.parse_args(arguments)
    if options.case and options.seed is None:
        parser.error("--case needs --seed")
    seed = campaign.fresh_seed() if options.seed is None else options.seed
    print(f"fuzz: seed {seed}", flush=True)
    keep = product.parent / "fuzz"
    found = campaign.run(product, seed, options.calls, keep, lambda line: print(line, flush=True), tuple(options.case))
    print(found.table())
    print(found.summary())
    return 1 if found.failures else 0
