"""The command line of ``sriov-bondctl``: parse the arguments, run a command, and report its failure as one sentence."""

import argparse
import os
import sys

from cni_sriov_bond import VERSION
from cni_sriov_bond.cni import process
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.ctl.commands import (
    attach,
    check,
    detach,
    docker,
    doctor,
    down,
    gc,
    log,
    metrics,
    release,
    schema,
    show,
    status,
    top,
    up,
)
from cni_sriov_bond.ctl.commands.common import FAILED, INTERRUPTED, add_locations, print_error
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin.context import Context

# In the order of the help. A command imports what it needs when it runs: rich, pyroute2 and jsonschema take longer to import
# than most commands take.
COMMANDS = (up, down, status, show, top, log, metrics, attach, detach, gc, release, doctor, docker, check, schema)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done, 1 failed, 2 for wrong arguments, 3 when it found something wrong, 130 interrupted.
    """
    arguments = parser().parse_args(argv)
    process.report_with(print_error)
    try:
        if arguments.needs_root and os.geteuid() != 0:
            print("sriov-bondctl: run it as root: it changes NICs and reads files that only root may read", file=sys.stderr)
            return FAILED
        # No deadline: an operator waits as long as it takes, and may interrupt.
        context = Context(Log(prefix="sriov-bondctl"), Deadline(float("inf")), Delegates(os.environ))
        exit_status: int = arguments.run(arguments, context)
        if sys.stdout:  # None when it is closed
            sys.stdout.flush()
    except CniError as failed:
        print_error(failed)
        return FAILED
    except BrokenPipeError:
        _drop_output()
        return FAILED
    except OSError as failed:
        _drop_output()
        about = f": {failed.filename}" if failed.filename else ""
        print(f"sriov-bondctl: {failed.strerror or failed}{about}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("sriov-bondctl: interrupted; run the same command again to finish it", file=sys.stderr)
        return INTERRUPTED
    return exit_status


def _drop_output() -> None:
    """Discard what is left in standard output's buffer: the interpreter would fail to write it once more when it exits."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog="sriov-bondctl",
        description="Create, remove and show pools of bonds of SR-IOV virtual functions (VFs), and check config files.",
        epilog="The host file defines the pools; `sriov-bondctl up --help` shows an example. `sriov-bondctl COMMAND --help` "
        "describes a command. Exit status: 0 done, 1 failed, 2 wrong arguments, 3 something wrong was found.",
    )
    whole.add_argument("--version", action="version", version=f"sriov-bondctl {VERSION}")
    add_locations(whole, defaults=True)
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return whole


if __name__ == "__main__":
    sys.exit(main())
