"""``sriov-bondctl top``."""

import argparse
import sys
import time

from cni_sriov_bond.ctl.commands.common import DONE, USAGE, Subcommands, add_pools, chosen_pools, declare, print_json
from cni_sriov_bond.plugin.context import Context

_FIRST_SECONDS = 0.5  # before the first screen, for something to compare with
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 3600.0


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    top = declare(
        commands,
        "top",
        run,
        "show the traffic of bonds and NICs live",
        "Show the traffic of each leased bond and of the NICs, which port is active, carrier, and how often a port failed. The "
        "counters are read in the containers' namespaces. Press s for another order, and q or Ctrl-C to end.",
        with_json=True,
    )
    add_pools(top, "show")
    top.add_argument("--once", action="store_true", help="print one screen and end; for output that is no terminal")
    top.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS", help="time between two readings (default: %(default)s)"
    )
    # Not SORTS of ctl.rates: it would be imported by every command.
    top.add_argument(
        "--sort", default="traffic", choices=("traffic", "name", "failovers", "errors"), help="order (default: %(default)s)"
    )


def _refusal(arguments: argparse.Namespace) -> str:
    """Return what is wrong with the arguments, or ""."""
    if not _LEAST_SECONDS <= arguments.interval <= _MOST_SECONDS:
        return f"--interval is {arguments.interval:g}; it must be from {_LEAST_SECONDS:g} to {_MOST_SECONDS:g} seconds"
    if arguments.once:
        return ""
    if arguments.json:
        return "--json prints one reading; add --once"
    if not sys.stdout or not sys.stdout.isatty():
        return "standard output is not a terminal; add --once"
    return ""


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Show the traffic until a key ends it, or once, and return the exit status."""
    refusal = _refusal(arguments)
    if refusal:
        print(f"sriov-bondctl: {refusal}", file=sys.stderr)
        return USAGE
    from cni_sriov_bond.ctl import live, rates

    pools = chosen_pools(arguments)
    before = live.read(arguments.state_dir, pools)
    if arguments.once:
        time.sleep(arguments.interval)
        after = rates.between(before, live.read(arguments.state_dir, pools), arguments.sort)
        if arguments.json:
            print_json(after.to_json())
            return DONE
    from cni_sriov_bond.ctl import screen, top_screen

    console = screen.output()
    if arguments.once:
        console.print(top_screen.render(after, console.width))
        return DONE
    time.sleep(min(arguments.interval, _FIRST_SECONDS))
    readings = [before]

    def read(sort: str) -> rates.Top:
        readings.append(live.read(arguments.state_dir, pools))
        return rates.between(readings.pop(0), readings[0], sort)

    top_screen.watch(console, read, arguments.interval, arguments.sort)
    return DONE
