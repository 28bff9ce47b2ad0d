"""What the commands share: exit statuses, how a command is declared, which pools are meant, how results are printed."""

import argparse
import json
import sys

from cni_sriov_bond import files
from cni_sriov_bond.ctl.hostfile_schema import DEFAULT_PATH
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.pool import pool, pools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.plugin.context import Context

    Run = Callable[[argparse.Namespace, Context], int]

# Exit statuses. FOUND: the command did its work and found something wrong; FAILED: it could not do it.
DONE, FAILED, USAGE, FOUND, INTERRUPTED = 0, 1, 2, 3, 130

# A list of commands, to which each command's module adds its own.
Subcommands = argparse._SubParsersAction  # the only name that argparse has for it


def add_locations(parser: argparse.ArgumentParser, *, defaults: bool) -> None:
    """Add ``--state-dir`` and ``--config``: they may stand before and after the command's name.

    :param defaults: for the parser of the whole line. A command's parser has none: its default would replace the value that
        was given before the command.
    """
    for option, default, metavar, what in (
        ("--state-dir", files.STATE_DIR, "DIR", "directory of the pools and leases"),
        ("--config", DEFAULT_PATH, "FILE", "the host file"),
    ):
        value = default if defaults else argparse.SUPPRESS
        parser.add_argument(option, default=value, metavar=metavar, help=f"{what} (default: {default})")


def declare(
    commands: "Subcommands[argparse.ArgumentParser]",
    name: str,
    run: "Run",
    summary: str,
    description: str,
    *,
    epilog: str = "",
    needs_root: bool = True,
    with_json: bool = False,
) -> argparse.ArgumentParser:
    """Declare a command and return its parser, to which its module adds the other arguments.

    :param summary: its line in ``sriov-bondctl --help``.
    :param needs_root: refuse to run it as another user.
    :param with_json: it has ``--json``.
    """
    parser = commands.add_parser(name, help=summary, description=description, epilog=epilog or None)
    add_locations(parser, defaults=False)
    if with_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run, needs_root=needs_root)
    return parser


def add_pools(parser: argparse.ArgumentParser, purpose: str, default: str = "all") -> None:
    """Add the argument that ``chosen_pools`` reads.

    :param purpose: what is done with a pool, such as ``show``.
    """
    parser.add_argument("pools", nargs="*", metavar="POOL", help=f"pools to {purpose} (default: {default})")


def chosen_pools(arguments: argparse.Namespace) -> list[str]:
    """Return the pools that are named, or all.

    :raises CniError: POOL_UNUSABLE when a pool does not exist, with the pools that do.
    """
    known = pools.known(arguments.state_dir)
    for name in arguments.pools:
        if name not in known:
            pool.Pool(arguments.state_dir, name).inventory()  # raises, saying which pools there are
    return arguments.pools or known


def print_json(value: object) -> None:
    """Print a value as JSON, for programs."""
    print(json.dumps(value, indent=2))


def print_error(error: CniError) -> None:
    """Print a failure as one line on standard error."""
    details = f" ({error.details})" if error.details else ""
    print(printable(f"sriov-bondctl: {error.msg}{details}"), file=sys.stderr)


def report(problems: list[CniError]) -> int:
    """Print what failed for some pools, a line each, and return the exit status; the other pools are done."""
    if sys.stdout:
        sys.stdout.flush()  # first what was done, also where both streams are one file
    for problem in problems:
        print_error(problem)
    return FAILED if problems else DONE
