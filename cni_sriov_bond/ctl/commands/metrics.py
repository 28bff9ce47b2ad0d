"""``sriov-bondctl metrics``."""

import argparse
import sys

from cni_sriov_bond.ctl.commands.common import Subcommands, declare, report
from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    metrics = declare(
        commands,
        "metrics",
        run,
        "print metrics for Prometheus",
        "Print the state of pools, NICs, leased bonds and calls in Prometheus' text format, for all pools. "
        "The exit status is 1 when something could not be read; the metrics of all else are printed.",
        epilog="The list of the metrics is in docs/metrics.md.",
    )
    way = metrics.add_mutually_exclusive_group()
    way.add_argument("--listen", metavar="ADDR:PORT", help="serve them by HTTP, until the process is ended")
    way.add_argument(
        "--textfile", metavar="FILE", help="write them to a file, which ends in .prom, for node_exporter's textfile collector"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print, write or serve the metrics, and return the exit status."""
    from cni_sriov_bond.ctl import exposition, metrics

    collector = metrics.BondCollector(arguments.state_dir)
    registry = metrics.registry(collector)
    if arguments.listen is not None:
        where = exposition.endpoint(arguments.listen)
        exposition.serve(where, collector, registry, lambda line: print(line, file=sys.stderr, flush=True))
    text = exposition.text(registry)
    if arguments.textfile is not None:
        exposition.write(arguments.textfile, text)
    else:
        print(text, end="")
    return report([CniError(IO_FAILURE, problem) for problem in collector.problems])
