"""``sriov-bondctl up``."""

import argparse

from cni_sriov_bond.ctl.commands.common import Subcommands, add_pools, declare, report
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import pool


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    up = declare(
        commands,
        "up",
        run,
        "create the pools of the host file",
        "Create the VFs, name them, set the MAC of each bond, and write the inventory. Run it at every boot; a "
        "second run changes nothing. VFs are never removed while a bond is leased.",
        epilog='Host file: pools.db = {pfs = ["enp1s0", "enp2s0"], vfs = 63}',
    )
    add_pools(up, "create", "all of the host file")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Create the pools, and return the exit status."""
    from cni_sriov_bond.ctl import hostfile, provision, screen

    plans = hostfile.read(arguments.config)
    unknown = set(arguments.pools) - {plan.name for plan in plans}
    if unknown:
        have = ", ".join(plan.name for plan in plans)
        raise CniError(INVALID_CONFIG, f"{arguments.config} has no pool {', '.join(sorted(unknown))}; it has {have}")
    problems = []
    for plan in plans:
        if not arguments.pools or plan.name in arguments.pools:
            try:
                with screen.Progress(plan.name) as progress:
                    changed = provision.up(arguments.state_dir, plan, context, progress.report)
                size = len(pool.Pool(arguments.state_dir, plan.name).bonds())
                print(f"pool {plan.name}: {size} bonds{'' if changed else ', nothing to change'}")
            except CniError as failed:  # a NIC that is missing must not keep the other pools from being created
                problems.append(failed)
    return report(problems)
