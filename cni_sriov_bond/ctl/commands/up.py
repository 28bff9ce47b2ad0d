"""``sriov-bondctl up``."""

import argparse
import sys
import time

from cni_sriov_bond.ctl.commands.common import Subcommands, add_pools, declare, print_json, report
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.ctl.hostfile import PoolPlan

_PAUSE = 1.0  # seconds between two tries
_MOST_SECONDS = 3600


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
        with_json=True,
    )
    up.add_argument(
        "--wait",
        type=int,
        default=0,
        metavar="SECONDS",
        help="try again for so long if a pool cannot be created, for a NIC whose driver is loaded late (default: 0)",
    )
    add_pools(up, "create", "all of the host file")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Create the pools, and return the exit status."""
    from cni_sriov_bond.ctl import hostfile

    if not 0 <= arguments.wait <= _MOST_SECONDS:
        raise CniError(INVALID_CONFIG, f"--wait must be from 0 to {_MOST_SECONDS} seconds, not {arguments.wait}")
    plans = hostfile.read(arguments.config)
    unknown = set(arguments.pools) - {plan.name for plan in plans}
    if unknown:
        have = ", ".join(plan.name for plan in plans)
        raise CniError(INVALID_CONFIG, f"{arguments.config} has no pool {', '.join(sorted(unknown))}; it has {have}")
    plans = [plan for plan in plans if not arguments.pools or plan.name in arguments.pools]
    deadline = time.monotonic() + arguments.wait
    announced = False
    created: list[JsonObject] = []
    lasting: list[CniError] = []  # mistakes in the config, which stay
    while True:
        problems = _create(arguments, plans, created, context)
        plans = [plan for plan, problem in problems if problem.code != INVALID_CONFIG]
        lasting += [problem for _, problem in problems if problem.code == INVALID_CONFIG]
        present = [problem for _, problem in problems if problem.code != INVALID_CONFIG]
        if not plans or time.monotonic() >= deadline:
            break
        if not announced:
            report(present)
            print(f"sriov-bondctl: trying again for {arguments.wait} s", file=sys.stderr, flush=True)
            announced = True
        time.sleep(_PAUSE)
    if arguments.json:
        print_json({"pools": created})
    return report(lasting + present)


def _create(
    arguments: argparse.Namespace, plans: "list[PoolPlan]", created: list[JsonObject], context: Context
) -> "list[tuple[PoolPlan, CniError]]":
    """Create pools, print each that is there, and return those that cannot be created, with the reason.

    :param created: gets the pools that are there, as ``--json`` has them.
    """
    from cni_sriov_bond.ctl import provision, screen

    problems = []
    for plan in plans:
        try:
            with screen.Progress(plan.name) as progress:
                changed = provision.up(arguments.state_dir, plan, context, progress.report)
            size = len(pool.Pool(arguments.state_dir, plan.name).bonds())
            created.append({"name": plan.name, "bonds": size, "changed": changed})
            if not arguments.json:
                print(f"pool {plan.name}: {size} bonds{'' if changed else ', nothing to change'}", flush=True)
        except CniError as failed:  # a NIC that is missing must not keep the other pools from being created
            problems.append((plan, failed))
    return problems
