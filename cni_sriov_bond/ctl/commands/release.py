"""``sriov-bondctl release``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    release = declare(
        commands,
        "release",
        run,
        "make bonds available again",
        "End the quarantine of a bond when all its VFs are in the host again, or free a bond whose lease is "
        "damaged. Refused while a container has the bond.",
    )
    release.add_argument("bonds", nargs="+", metavar="BOND", help="name of a bond, or POOL/NAME")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Release the bonds, and return the exit status."""
    from cni_sriov_bond.ctl import recover

    for name in arguments.bonds:
        pool, bond = recover.find(arguments.state_dir, name)
        print(f"bond {bond.name} of pool {pool.name}: {recover.release_bond(pool, bond, context)}")
    return DONE
