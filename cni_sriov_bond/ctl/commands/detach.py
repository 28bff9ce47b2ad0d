"""``sriov-bondctl detach``."""

import argparse

from cni_sriov_bond.ctl.commands.attach import add_container
from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    detach = declare(
        commands,
        "detach",
        run,
        "take a container's bond away",
        "Detach a container from the networks that `sriov-bondctl attach` or the runtime sriov-bond attached it to. It may be "
        "stopped or gone.",
        with_json=True,
    )
    add_container(detach)
    detach.add_argument("--ifname", default="", metavar="NAME", help="interface to remove (default: all)")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Detach the container, print what is gone, and return the exit status."""
    from cni_sriov_bond.ctl import attaching

    site = attaching.site_of(arguments.state_dir)
    identifier = attaching.attached(arguments.container, arguments.docker_socket, site)
    gone = attaching.detach(identifier, arguments.ifname, site)
    if not gone:
        which = f"interface {arguments.ifname}" if arguments.ifname else "interface"
        raise CniError(INVALID_CONFIG, f"{arguments.container} has no {which} that was attached; nothing was changed")
    if arguments.json:
        print_json({"container": identifier, "detached": gone})
    else:
        print(printable(f"{arguments.container}: {', '.join(gone)} detached"))
    return DONE
