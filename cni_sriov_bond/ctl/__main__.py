"""The operator's command line: words in, plain text or JSON out."""

import argparse
import json
import os
import sys
from typing import Any

from cni_sriov_bond import VERSION, files
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.ctl import hostfile, provision, status
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import pool, pools


def main(argv: list[str] | None = None) -> int:
    """Run one command and give its exit status: 0 done, 1 failed, 2 not understood."""
    asked = _parser().parse_args(argv)
    try:
        if os.geteuid() != 0:
            print("sriov-bondctl: it changes NICs and reads leases that only root may: run it as root", file=sys.stderr)
            return 1
        # No deadline: an operator waits as long as it takes, and may interrupt.
        asked.run(asked, Context(Log(prefix="sriov-bondctl"), Deadline(float("inf")), Delegates(os.environ)))
        if sys.stdout:  # None when it is closed
            sys.stdout.flush()
    except CniError as failed:
        print(f"sriov-bondctl: {failed.msg}" + (f" ({failed.details})" if failed.details else ""), file=sys.stderr)
        return 1
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as failed:
        _drop_output()
        about = f": {failed.filename}" if failed.filename else ""
        print(f"sriov-bondctl: {failed.strerror or failed}{about}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sriov-bondctl: interrupted; run the same command again to finish it", file=sys.stderr)
        return 130
    return 0


def _drop_output() -> None:
    """Have what is left in standard output's buffer go nowhere: the interpreter would fail at it once more at its end."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sriov-bondctl",
        description="Pools of bonds of SR-IOV virtual functions: make them, take them away, see who has them.",
        epilog="The host file names the pools; see `sriov-bondctl up --help`. A network config is a file in /etc/cni/net.d.",
    )
    parser.add_argument("--version", action="version", version=f"sriov-bondctl {VERSION}")
    parser.add_argument("--state-dir", default=files.STATE_DIR, metavar="DIR", help="where pools are kept (%(default)s)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser(
        "up",
        help="make the pools of the host file",
        description="Make the VFs, name them, give each bond its MAC, and write the inventory. Run at every boot; run "
        "twice, it changes nothing. With leases alive it never takes a VF away.",
        epilog='The host file:  pools.db = {pfs = ["enp1s0", "enp2s0"], vfs = 63}',
    )
    up.add_argument("--config", default=hostfile.DEFAULT_PATH, metavar="FILE", help="the host file (%(default)s)")
    up.add_argument("pools", nargs="*", metavar="POOL", help="only these pools")
    up.set_defaults(run=_up)
    down = commands.add_parser(
        "down", help="take pools away", description="Take the VFs and the inventory away. Refused while a bond is leased."
    )
    down.add_argument("pools", nargs="*", metavar="POOL", help="only these pools; all when none is named")
    down.set_defaults(run=_down)
    gc = commands.add_parser(
        "gc",
        help="finish what died",
        description="Finish ADDs and DELs that were killed, take back leases of containers that are gone, and tell IPAM "
        "plugins what they could not be told before. What is in use or being worked on is left alone.",
    )
    gc.add_argument("pools", nargs="*", metavar="POOL", help="only these pools")
    gc.add_argument("--json", action="store_true", help="for programs")
    gc.set_defaults(run=_gc)
    release = commands.add_parser(
        "release",
        help="let a bond be handed out again that was set aside",
        description="Bring a bond out of quarantine once its VFs are whole again, or give one back whose lease is damaged.",
    )
    release.add_argument("bonds", nargs="+", metavar="BOND", help="its name, or POOL/NAME")
    release.set_defaults(run=_release)
    show = commands.add_parser("status", help="show pools, bonds, ports and who has them")
    show.add_argument("pools", nargs="*", metavar="POOL", help="only these pools")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(run=_status)
    return parser


def _up(asked: argparse.Namespace, context: Context) -> None:
    from cni_sriov_bond.ctl import screen  # late: rich takes longer than all of `status --json`

    plans = hostfile.read(asked.config)
    unknown = set(asked.pools) - {plan.name for plan in plans}
    if unknown:
        raise CniError(1, f"{asked.config} has no pool {', '.join(sorted(unknown))}; it has {', '.join(p.name for p in plans)}")
    problems = []
    for plan in plans:
        if not asked.pools or plan.name in asked.pools:
            try:
                with screen.Progress(plan.name) as progress:
                    changed = provision.up(asked.state_dir, plan, context, progress.report)
                size = len(pool.Pool(asked.state_dir, plan.name).inventory()["bonds"])
                print(f"pool {plan.name}: {size} bonds{'' if changed else ', nothing to change'}")
            except CniError as failed:  # a NIC that is dead must not keep the other pools from being made
                problems.append(failed)
    _raise(problems)


def _chosen(asked: argparse.Namespace) -> list[str]:
    known = pools.known(asked.state_dir)
    for name in asked.pools:
        if name not in known:
            pool.Pool(asked.state_dir, name).inventory()  # raises, saying which pools there are
    return asked.pools or known


def _down(asked: argparse.Namespace, context: Context) -> None:
    chosen = _chosen(asked)
    for name in chosen:
        provision.down(asked.state_dir, name, context)
        print(f"pool {name}: taken away")
    if not chosen:
        print("there is no pool to take away")


def _gc(asked: argparse.Namespace, context: Context) -> None:
    from cni_sriov_bond.ctl import recover

    quiet = Context(Log(level="panic"), context.deadline, context.delegates)  # the findings are printed below
    found = {name: recover.gc(asked.state_dir, name, quiet) for name in _chosen(asked)}
    if asked.json:
        print(json.dumps({"pools": [{"name": name, "found": rows} for name, rows in found.items()]}, indent=2))
    else:
        for name, rows in found.items():
            for row in rows:
                owner = f" of {row['owner']}" if row["owner"] else ""
                print(f"pool {name}: {row['bond']}{owner}: {row['message']}")
            if not rows:
                print(f"pool {name}: nothing to finish")
        if not found:
            print("there is no pool in which something could be left to finish")
    failed = sum(row["state"] == "failed" for rows in found.values() for row in rows)
    if failed:
        raise CniError(1, f"{failed} of these could not be finished; mend what they name and run it again")


def _release(asked: argparse.Namespace, context: Context) -> None:
    from cni_sriov_bond.ctl import recover

    for wanted in asked.bonds:
        where, bond = recover.find(asked.state_dir, wanted)
        print(f"bond {bond.name} of pool {where.name}: {recover.give_back(where, bond, context)}")


def _status(asked: argparse.Namespace, context: Context) -> None:
    found: list[dict[str, Any]] = []
    problems = []
    for name in _chosen(asked):
        try:
            status.finish(asked.state_dir, name, context)
            found.append(status.collect(asked.state_dir, name))
        except CniError as failed:
            problems.append(failed)
    if asked.json:
        print(json.dumps({"pools": found}, indent=2))
    elif found or not problems:
        from cni_sriov_bond.ctl import screen

        screen.print_pools(found)
    _raise(problems)


def _raise(problems: list[CniError]) -> None:
    """Raise one error that tells what failed of some pools; the others are done.

    :raises CniError: when there was one.
    """
    if problems:
        raise CniError(problems[0].code, "; ".join(problem.msg for problem in problems))


if __name__ == "__main__":
    sys.exit(main())
