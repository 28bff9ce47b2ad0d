"""``sriov-bondctl schema``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    schema = declare(
        commands,
        "schema",
        run,
        "print the JSON schema of a config file",
        "Print a JSON schema (2020-12) for editors: of a network file, of its ipam part for sriov-bond-ipam, or "
        "of the host file.",
        needs_root=False,
    )
    schema.add_argument(
        "name", nargs="?", default="network", choices=("network", "ipam", "host"), help="(default: %(default)s)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the schema, and return the exit status."""
    from cni_sriov_bond.ctl import check

    print_json(check.schema(arguments.name))
    return DONE
