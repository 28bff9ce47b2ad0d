"""``sriov-bondctl status``."""

import argparse

from cni_sriov_bond.ctl.commands.common import Subcommands, add_pools, chosen_pools, declare, print_json, report
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    show = declare(
        commands,
        "status",
        run,
        "show pools, NICs, bonds and leases",
        "Show each pool: its NICs with link, speed, driver and errors, and its bonds with their leases. "
        "It changes nothing; for what waits to be finished it names the command that does it.",
        with_json=True,
    )
    add_pools(show, "show")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the state of the pools, and return the exit status."""
    from cni_sriov_bond.ctl import status

    states = []
    problems = []
    for name in chosen_pools(arguments):
        try:
            states.append(status.collect(arguments.state_dir, name))
        except CniError as failed:
            problems.append(failed)
    if arguments.json:
        print_json({"pools": [state.to_json() for state in states]})
    elif states or not problems:
        from cni_sriov_bond.ctl import screen

        screen.print_pools(states)
    return report(problems)
