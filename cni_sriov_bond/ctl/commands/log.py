"""``sriov-bondctl log``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    log = declare(
        commands,
        "log",
        run,
        "show what happened to a bond or a container",
        "Show who attached a container or released it, when, with each step and its time, why it failed, and which ports "
        "failed meanwhile. It is read from the journal, or without one from /var/log/sriov-bond.log and the kernel's log.",
        with_json=True,
    )
    log.add_argument(
        "name",
        metavar="BOND|CONTAINER",
        help="a bond, POOL/BOND, or a container: its id or the beginning, or its name at Docker or podman",
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print what happened, and return the exit status."""
    from cni_sriov_bond.ctl import containers, story

    happenings = containers.by_id_or_name(lambda known: story.of(arguments.state_dir, known), arguments.name)
    if arguments.json:
        print_json({"events": [happening.to_json() for happening in happenings]})
        return DONE
    from cni_sriov_bond.ctl import screen, story_screen

    story_screen.print_story(screen.output(), happenings)
    return DONE
