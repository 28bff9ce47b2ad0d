"""``sriov-bondctl doctor``."""

import argparse
import sys

from cni_sriov_bond.ctl.commands.common import DONE, FOUND, Subcommands, declare, print_json
from cni_sriov_bond.plugin.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.doctor.report import Line
    from cni_sriov_bond.doctor.run import Outcome


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    doctor = declare(
        commands,
        "doctor",
        run,
        "find what is wrong on the host, and repair it",
        "Check firmware, NICs, VFs, host services, plugins, networks and leases, and ask the gateways; print a line for each "
        "check and what to do. It changes nothing but the VLAN of a free bond's VFs for a moment, to ask the gateways. The "
        "exit status is 3 when something fails.",
        with_json=True,
    )
    doctor.add_argument("--fix", action="store_true", help="repair what is safe, and ask before the rest")
    doctor.add_argument("--yes", action="store_true", help="with --fix: repair the rest too, without a question")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run the checks and repairs, print what they found, and return the exit status."""
    from cni_sriov_bond.ctl import screen
    from cni_sriov_bond.doctor import report, run
    from cni_sriov_bond.doctor.check import FAILURE
    from cni_sriov_bond.doctor.host import Host
    from cni_sriov_bond.doctor.tree import Tree

    def look() -> "list[Outcome]":
        with screen.Progress("doctor") as progress:
            return run.run(Host(Tree(), context, arguments.state_dir, arguments.config), progress.report)

    outcomes = look()
    repairs = []
    if arguments.fix:
        if not arguments.json:
            _print(report.lines(outcomes, screen.columns()))
        repairs = run.repair(outcomes, lambda text: arguments.yes or _ask(text), lambda stage, done, total: None)
        if repairs:
            outcomes = look()  # again: one repair may have helped another check, or not
    if arguments.json:
        print_json(report.to_json(outcomes, repairs))
    else:
        if arguments.fix:
            _print([report.Line("")])
            _print(report.repair_lines(repairs) or [report.Line("  there is nothing that could be repaired")])
        if not arguments.fix or repairs:
            _print(report.lines(outcomes, screen.columns()))
        print(report.summary(outcomes))
    return FOUND if any(outcome.result == FAILURE for outcome in outcomes) else DONE


def _ask(text: str) -> bool:
    """Ask on the terminal whether to run a repair; where there is none the answer is no."""
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    print(f"{text}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print(lines: "list[Line]") -> None:
    from cni_sriov_bond.ctl import screen

    screen.print_lines(lines)
