"""``sriov-bondctl down``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, add_pools, chosen_pools, declare
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    down = declare(
        commands,
        "down",
        run,
        "remove pools",
        "Remove the VFs and the inventory. Refused while a bond is leased, an IPAM DEL is pending, or a VF is in use.",
    )
    add_pools(down, "remove")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Remove the pools, and return the exit status."""
    from cni_sriov_bond.ctl import removal

    chosen = chosen_pools(arguments)
    for name in chosen:
        removal.down(arguments.state_dir, name, context)
        print(f"pool {name}: removed")
    if not chosen:
        print("there is no pool to remove")
    return DONE
