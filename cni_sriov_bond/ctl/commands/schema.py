"""``sriov-bondctl schema``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.plugin.context import Context

_FILES = ("network", "ipam", "host")
# The names of ctl.outputs, which takes long to import.
_OUTPUTS = (
    "up",
    "down",
    "status",
    "show",
    "top",
    "log",
    "attach",
    "detach",
    "gc",
    "release",
    "doctor",
    "docker config",
    "check",
)


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    schema = declare(
        commands,
        "schema",
        run,
        "print the JSON schema of a config file, or of what a command prints",
        "Print a JSON schema (2020-12): for editors of a network file, of its ipam part for sriov-bond-ipam, or of the host "
        "file; for programs of what a command prints with --json.",
        needs_root=False,
    )
    names = (*_FILES, *_OUTPUTS)
    schema.add_argument(
        "name", nargs="?", default=names[0], choices=names, metavar="NAME", help=f"{', '.join(names)} (default: %(default)s)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the schema, and return the exit status."""
    if arguments.name in _OUTPUTS:
        from cni_sriov_bond.ctl import outputs

        print_json(outputs.schema(arguments.name))
        return DONE
    from cni_sriov_bond.ctl import check

    print_json(check.schema(arguments.name))
    return DONE
