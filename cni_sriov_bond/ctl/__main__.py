"""The command line of ``sriov-bondctl``: parse the arguments, run a command, print its result as text or JSON."""

import argparse
import json
import os
import sys

from cni_sriov_bond import VERSION, files
from cni_sriov_bond.cni import process
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.ctl.hostfile_schema import DEFAULT_PATH
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import pool, pools

# The other modules are imported by the commands that need them: what they bring along (rich, pyroute2, jsonschema) takes
# longer to import than most commands take.
_FAILED, _INTERRUPTED = 1, 130


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 for wrong arguments, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    process.report_with(_print_error)
    try:
        if arguments.needs_root and os.geteuid() != 0:
            print("sriov-bondctl: run it as root: it changes NICs and reads files that only root may read", file=sys.stderr)
            return _FAILED
        # No deadline: an operator waits as long as it takes, and may interrupt.
        context = Context(Log(prefix="sriov-bondctl"), Deadline(float("inf")), Delegates(os.environ))
        status: int = arguments.run(arguments, context)
        if sys.stdout:  # None when it is closed
            sys.stdout.flush()
    except CniError as failed:
        _print_error(failed)
        return _FAILED
    except BrokenPipeError:
        _drop_output()
        return _FAILED
    except OSError as failed:
        _drop_output()
        about = f": {failed.filename}" if failed.filename else ""
        print(f"sriov-bondctl: {failed.strerror or failed}{about}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("sriov-bondctl: interrupted; run the same command again to finish it", file=sys.stderr)
        return _INTERRUPTED
    return status


def _print_error(error: CniError) -> None:
    details = f" ({error.details})" if error.details else ""
    print(printable(f"sriov-bondctl: {error.msg}{details}"), file=sys.stderr)


def _drop_output() -> None:
    """Discard what is left in standard output's buffer: the interpreter would fail to write it once more when it exits."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sriov-bondctl",
        description="Create, remove and show pools of bonds of SR-IOV virtual functions (VFs), and check config files.",
        epilog="The host file defines the pools; `sriov-bondctl up --help` shows an example. `sriov-bondctl COMMAND --help` "
        "describes a command.",
    )
    parser.add_argument("--version", action="version", version=f"sriov-bondctl {VERSION}")
    parser.add_argument(
        "--state-dir", default=files.STATE_DIR, metavar="DIR", help="directory of the pools and leases (default: %(default)s)"
    )
    parser.set_defaults(needs_root=True)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_pool_commands(commands)
    _add_lease_commands(commands)
    _add_file_commands(commands)
    return parser


def _add_pool_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = commands.add_parser(
        "up",
        help="create the pools of the host file",
        description="Create the VFs, name them, set the MAC of each bond, and write the inventory. Run it at every boot; a "
        "second run changes nothing. VFs are never removed while a bond is leased.",
        epilog='Host file: pools.db = {pfs = ["enp1s0", "enp2s0"], vfs = 63}',
    )
    up.add_argument("--config", default=DEFAULT_PATH, metavar="FILE", help="the host file (default: %(default)s)")
    up.add_argument("pools", nargs="*", metavar="POOL", help="pools to create (default: all of the host file)")
    up.set_defaults(run=_up)
    down = commands.add_parser(
        "down",
        help="remove pools",
        description="Remove the VFs and the inventory. Refused while a bond is leased, an IPAM DEL is pending, or a VF is in "
        "use.",
    )
    down.add_argument("pools", nargs="*", metavar="POOL", help="pools to remove (default: all)")
    down.set_defaults(run=_down)
    show = commands.add_parser(
        "status",
        help="show pools, NICs, bonds and leases",
        description="Show each pool: its NICs with link, speed, driver and errors, and its bonds with their leases. "
        "It changes nothing; for what waits to be finished it names the command that does it.",
    )
    show.add_argument("pools", nargs="*", metavar="POOL", help="pools to show (default: all)")
    show.add_argument("--json", action="store_true", help="print JSON, with all facts of each NIC")
    show.set_defaults(run=_status)


def _add_lease_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    gc = commands.add_parser(
        "gc",
        help="finish interrupted calls and free leases of containers that are gone",
        description="Finish ADDs and DELs that were killed, free the leases of containers that are gone, and send IPAM DELs "
        "that are pending. Bonds that are in use, or that another process works on, are left alone. The exit status is 1 when "
        "something could not be finished.",
    )
    gc.add_argument("pools", nargs="*", metavar="POOL", help="pools to clean up (default: all)")
    gc.add_argument("--json", action="store_true", help="print JSON")
    gc.set_defaults(run=_gc)
    release = commands.add_parser(
        "release",
        help="make bonds available again",
        description="End the quarantine of a bond when all its VFs are in the host again, or free a bond whose lease is "
        "damaged. Refused while a container has the bond.",
    )
    release.add_argument("bonds", nargs="+", metavar="BOND", help="name of a bond, or POOL/NAME")
    release.set_defaults(run=_release)


def _add_file_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "check",
        help="check host files and network files",
        description="Print every mistake in the files, each as FILE:LINE: path: what is wrong and what is allowed. A host file "
        "ends in .toml, a list of plugins in .conflist, a single plugin in .conf or .json. Other plugins than sriov-bond and "
        "sriov-bond-ipam are not checked. The exit status is 1 when a file has a mistake or cannot be read.",
    )
    check.add_argument("files", nargs="+", metavar="FILE", help="a host file or a network file")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check, needs_root=False)
    schema = commands.add_parser(
        "schema",
        help="print the JSON schema of a config file",
        description="Print a JSON schema (2020-12) for editors: of a network file, of its ipam part for sriov-bond-ipam, or "
        "of the host file.",
    )
    schema.add_argument(
        "name", nargs="?", default="network", choices=("network", "ipam", "host"), help="(default: %(default)s)"
    )
    schema.set_defaults(run=_schema, needs_root=False)


def _up(arguments: argparse.Namespace, context: Context) -> int:
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
    return _report(problems)


def _chosen(arguments: argparse.Namespace) -> list[str]:
    known = pools.known(arguments.state_dir)
    for name in arguments.pools:
        if name not in known:
            pool.Pool(arguments.state_dir, name).inventory()  # raises, saying which pools there are
    return arguments.pools or known


def _down(arguments: argparse.Namespace, context: Context) -> int:
    from cni_sriov_bond.ctl import removal

    chosen = _chosen(arguments)
    for name in chosen:
        removal.down(arguments.state_dir, name, context)
        print(f"pool {name}: removed")
    if not chosen:
        print("there is no pool to remove")
    return 0


def _gc(arguments: argparse.Namespace, context: Context) -> int:
    from cni_sriov_bond.ctl import recover

    quiet = Context(Log(level="panic"), context.deadline, context.delegates)  # the results are printed below
    findings = {name: recover.gc(arguments.state_dir, name, quiet) for name in _chosen(arguments)}
    if arguments.json:
        of_pools = [
            {"name": name, "found": [recover.to_json(finding) for finding in of_pool]} for name, of_pool in findings.items()
        ]
        _print_json({"pools": of_pools})
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
    return 0


def _release(arguments: argparse.Namespace, context: Context) -> int:
    from cni_sriov_bond.ctl import recover

    for wanted in arguments.bonds:
        target, bond = recover.find(arguments.state_dir, wanted)
        print(f"bond {bond.name} of pool {target.name}: {recover.release_bond(target, bond, context)}")
    return 0


def _status(arguments: argparse.Namespace, context: Context) -> int:
    from cni_sriov_bond.ctl import status

    states = []
    problems = []
    for name in _chosen(arguments):
        try:
            states.append(status.collect(arguments.state_dir, name))
        except CniError as failed:
            problems.append(failed)
    if arguments.json:
        _print_json({"pools": [state.to_json() for state in states]})
    elif states or not problems:
        from cni_sriov_bond.ctl import screen

        screen.print_pools(states)
    return _report(problems)


def _check(arguments: argparse.Namespace, context: Context) -> int:
    from cni_sriov_bond.ctl import check

    reports = [check.check(file) for file in arguments.files]
    if arguments.json:
        _print_json({"files": [report.to_json() for report in reports]})
    else:
        for report in reports:
            print("\n".join(report.lines()))
    return _FAILED if any(report.findings for report in reports) else 0


def _schema(arguments: argparse.Namespace, context: Context) -> int:
    from cni_sriov_bond.ctl import check

    _print_json(check.schema(arguments.name))
    return 0


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _report(problems: list[CniError]) -> int:
    """Print what failed for some pools, a line each, and return the exit status; the other pools are done."""
    if sys.stdout:
        sys.stdout.flush()  # first what was done, also where both streams are one file
    for problem in problems:
        _print_error(problem)
    return _FAILED if problems else 0


if __name__ == "__main__":
    sys.exit(main())
