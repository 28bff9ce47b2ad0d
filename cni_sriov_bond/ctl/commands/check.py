"""``sriov-bondctl check``."""

import argparse

from cni_sriov_bond.ctl.commands.common import DONE, FAILED, FOUND, Subcommands, declare, print_json
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    check = declare(
        commands,
        "check",
        run,
        "check host files and network files",
        "Print every mistake in the files, each as FILE:LINE: path: what is wrong and what is allowed. A host file "
        "ends in .toml, a list of plugins in .conflist, a single plugin in .conf or .json. Other plugins than sriov-bond and "
        "sriov-bond-ipam are not checked. The exit status is 3 when a file has a mistake, and 1 when it cannot be read.",
        needs_root=False,
        with_json=True,
    )
    check.add_argument("files", nargs="+", metavar="FILE", help="a host file or a network file")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the mistakes, and return the exit status."""
    from cni_sriov_bond.ctl import check

    reports = [check.check(file) for file in arguments.files]
    if arguments.json:
        print_json({"files": [report.to_json() for report in reports]})
    else:
        for report in reports:
            print("\n".join(report.lines()))
    if any(report.unread for report in reports):
        return FAILED
    return FOUND if any(report.findings for report in reports) else DONE
