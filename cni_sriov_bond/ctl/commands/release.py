"""``sriov-bondctl release``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
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
        with_json=True,
    )
    release.add_argument("bonds", nargs="+", metavar="BOND", help="name of a bond, or POOL/NAME")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Release the bonds, and return the exit status."""
    from cni_sriov_bond.ctl import recover

    done = []
    for name in arguments.bonds:
        pool, bond = recover.find(arguments.state_dir, name)
        message = recover.release_bond(pool, bond, context)
        done.append({"pool": pool.name, "bond": bond.name, "message": message})
        if not arguments.json:
            print(f"bond {bond.name} of pool {pool.name}: {message}")
    if arguments.json:
        print_json({"bonds": done})
    return DONE
