"""``sriov-bondctl show``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    show = declare(
        commands,
        "show",
        run,
        "show everything about a bond or a container",
        "Show a bond: its lease and container, its active port, how often a port failed, how it is monitored, its MACs, "
        "addresses and VLAN, and its ports with counters. What the container's kernel reports is read in its namespace. It "
        "changes nothing.",
        with_json=True,
    )
    show.add_argument(
        "names",
        nargs="+",
        metavar="BOND|CONTAINER",
        help="a bond, POOL/BOND, or a container: its id or the beginning, or its name at Docker or podman",
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the bonds, and return the exit status."""
    from cni_sriov_bond.ctl import containers, detail, story

    details = [
        found
        for name in arguments.names
        for found in containers.by_id_or_name(lambda known: detail.find(arguments.state_dir, known), name)
    ]
    callers = story.callers(arguments.state_dir)
    details = [
        found._replace(caller=callers.get((held.network, held.container_id, held.ifname), ""))
        if found.record and (held := found.record.attachment)
        else found
        for found in details
    ]
    if arguments.json:
        print_json({"bonds": [found.to_json() for found in details]})
        return DONE
    from cni_sriov_bond.ctl import detail_screen, screen

    console = screen.output()
    for number, found in enumerate(details):
        if number:
            console.print()
        detail_screen.print_detail(console, found)
    return DONE
