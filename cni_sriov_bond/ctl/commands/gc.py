"""``sriov-bondctl gc``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, add_pools, chosen_pools, declare, print_json
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    gc = declare(
        commands,
        "gc",
        run,
        "finish interrupted calls and free leases of containers that are gone",
        "Finish ADDs and DELs that were killed, free the leases of containers that are gone, and send IPAM DELs "
        "that are pending. Bonds that are in use, or that another process works on, are left alone. The exit status is 1 when "
        "something could not be finished.",
        with_json=True,
    )
    add_pools(gc, "clean up")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Finish what waits, print the results, and return the exit status."""
    from cni_sriov_bond.ctl import recover

    quiet = Context(Log(level="panic"), context.deadline, context.delegates)  # the results are printed below
    findings = {name: recover.gc(arguments.state_dir, name, quiet) for name in chosen_pools(arguments)}
    if arguments.json:
        of_pools = [
            {"name": name, "found": [recover.to_json(finding) for finding in of_pool]} for name, of_pool in findings.items()
        ]
        print_json({"pools": of_pools})
    elif not findings:
        print("there is no pool, so there is nothing to finish")
    else:
        for name, of_pool in findings.items():
            for finding in of_pool:
                owner = f" of {finding.owner}" if finding.owner else ""
                # The message may be an IPAM plugin's.
                print(printable(f"pool {name}: {finding.bond}{owner}: {finding.message}"))
            if not of_pool:
                print(f"pool {name}: nothing to finish")
    failed = sum(finding.failed for of_pool in findings.values() for finding in of_pool)
    if failed:
        raise CniError(POOL_UNUSABLE, f"{failed} of these could not be finished; fix the causes and run it again")
    return DONE
