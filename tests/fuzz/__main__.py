"""``./dev fuzz N [--seed S]``: make N hostile calls of the built executables; ``--case ID`` repeats one of them."""

import argparse
from pathlib import Path

from tests.fuzz import campaign


def main(product: Path, arguments: list[str]) -> int:
    """Run the calls and return the exit status: 1 if something failed."""
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("calls", nargs="?", type=int, default=20000, metavar="N", help="number of calls (20000)")
    parser.add_argument("--seed", type=int, help="seed of the calls (a new one, which is printed)")
    parser.add_argument("--case", action="append", default=[], help="make only the call with this id; may be repeated")
    options = parser.parse_args(arguments)
    if options.case and options.seed is None:
        parser.error("--case needs --seed")
    seed = campaign.fresh_seed() if options.seed is None else options.seed
    print(f"fuzz: seed {seed}", flush=True)
    keep = product.parent / "fuzz"
    results = campaign.run(product, seed, options.calls, keep, lambda line: print(line, flush=True), tuple(options.case))
    print(results.table())
    print(results.summary())
    return 1 if results.failures else 0
