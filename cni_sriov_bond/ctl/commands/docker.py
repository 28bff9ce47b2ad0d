"""``sriov-bondctl docker config``."""

import argparse
import sys

from cni_sriov_bond.ctl import daemonjson
from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    docker = commands.add_parser("docker", help="set up Docker", description="Set up Docker for containers with bonds.")
    nested = docker.add_subparsers(title="commands", required=True, metavar="COMMAND")
    config = declare(
        nested,
        "config",
        run,
        "print or write the lines for daemon.json",
        "Print what daemon.json needs: the runtime sriov-bond, and for Swarm that runtime as the default, because a service "
        "cannot name one, and the bonds of a pool as generic resources. With --write they are merged into the file, and "
        "everything else in it stays.",
        epilog="dockerd reads node-generic-resources only at its start: restart it afterwards. `docker run --runtime sriov-bond"
        " --network none -e SRIOV_BOND_NETWORK=NAME IMAGE` then starts a container on a network of /etc/cni/net.d.",
        with_json=True,
    )
    config.add_argument("pool", nargs="?", metavar="POOL", help="pool whose bonds Swarm may give (default: the only one)")
    config.add_argument("--runtime-only", action="store_true", help="without what only Swarm needs")
    config.add_argument("--write", action="store_true", help="write the file")
    config.add_argument("--file", default=daemonjson.PATH, metavar="FILE", help="dockerd's config file (default: %(default)s)")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the lines or write the file, and return the exit status."""
    from cni_sriov_bond.oci import policy

    lines = daemonjson.settings([] if arguments.runtime_only else _bonds(arguments), swarm=not arguments.runtime_only)
    default = policy.read(arguments.config).network
    if default and not arguments.runtime_only:
        _note(
            f"[docker] of {arguments.config} has network {default!r}, and the default runtime is for all containers of this "
            "host: each gets a bond of that network unless it is in the host's network; remove it, or use --runtime-only"
        )
    if not arguments.write:
        print_json(lines)
        return DONE
    merged = daemonjson.merge(daemonjson.read(arguments.file), lines, arguments.file)
    if merged.changed:
        _write(arguments.file, lines, merged.text)
    if arguments.json:
        print_json({"file": arguments.file, "changed": merged.changed})
    elif merged.changed:
        print(f"{arguments.file}: written; restart dockerd now (systemctl restart docker), a reload does not read all of it")
    else:
        print(f"{arguments.file}: nothing to change")
    return DONE


def _write(path: str, lines: JsonObject, text: str) -> None:
    option = daemonjson.on_command_line(lines)
    if option:
        raise CniError(
            INVALID_CONFIG,
            f"dockerd is started with {option}, and does not start if its file has that too; remove the option, e.g. by "
            "systemctl edit docker",
        )
    daemonjson.write(path, text)


def _bonds(arguments: argparse.Namespace) -> list[str]:
    """Return the names of the bonds of the pool that is named, or of the only one.

    :raises CniError: POOL_UNUSABLE when there is none, or when there are several and none is named.
    """
    from cni_sriov_bond.pool import pool, pools

    known = pools.known(arguments.state_dir)
    if arguments.pool is None and len(known) != 1:
        have = f"there are {', '.join(known)}" if known else "there is none yet: run `sriov-bondctl up`"
        raise CniError(POOL_UNUSABLE, f"name the pool whose bonds Swarm may give to services, or use --runtime-only; {have}")
    return [bond.name for bond in pool.Pool(arguments.state_dir, arguments.pool or known[0]).bonds()]


def _note(text: str) -> None:
    print(f"sriov-bondctl: note: {text}", file=sys.stderr)
