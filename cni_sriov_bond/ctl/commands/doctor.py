"""``sriov-bondctl doctor``."""

import argparse
import sys

from cni_sriov_bond.ctl.commands.common import DONE, FOUND, USAGE, Subcommands, declare, print_error, print_json
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.plugin.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.doctor.report import Line
    from cni_sriov_bond.doctor.run import Outcome, Repair


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
    from cni_sriov_bond.doctor import report
    from cni_sriov_bond.doctor.check import FAILURE

    if arguments.yes and not arguments.fix:
        print_error(CniError(INVALID_CONFIG, "--yes answers the questions of --fix; give both"))
        return USAGE
    outcomes = _look(arguments, context)
    repairs: list[Repair] = []
    if not arguments.json:
        _print(report.lines(outcomes, _columns()))
    if arguments.fix:
        repairs, outcomes = _fix(arguments, context, outcomes)
    if arguments.json:
        print_json(report.to_json(outcomes, repairs))
    else:
        print(report.summary(outcomes))
    return FOUND if any(outcome.result == FAILURE for outcome in outcomes) else DONE


def _look(arguments: argparse.Namespace, context: Context) -> "list[Outcome]":
    from cni_sriov_bond.ctl import screen
    from cni_sriov_bond.doctor import run
    from cni_sriov_bond.doctor.host import Host
    from cni_sriov_bond.doctor.tree import Tree

    with screen.Progress("doctor") as progress:
        return run.run(Host(Tree(), context, arguments.state_dir, arguments.config), progress.report)


def _fix(arguments: argparse.Namespace, context: Context, outcomes: "list[Outcome]") -> "tuple[list[Repair], list[Outcome]]":
    """Repair, and check again: one repair may have helped another check, or not."""
    from cni_sriov_bond.doctor import report, run

    repairs = run.repair(outcomes, lambda text: arguments.yes or _ask(text), lambda stage, done, total: None)
    if repairs:
        outcomes = _look(arguments, context)
    if not arguments.json:
        done = report.repair_lines(repairs) or [report.Line("  there is nothing that could be repaired")]
        wrong = report.lines(outcomes, _columns(), only_wrong=True) if repairs else []
        _print([report.Line("repairs", "bold", len("repairs")), *done, *wrong])
    return repairs, outcomes


def _columns() -> int | None:
    from cni_sriov_bond.ctl import screen

    return screen.columns()


def _ask(text: str) -> bool:
    """Ask on the terminal whether to run a repair; where there is none the answer is no."""
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    print(f"{text}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print(lines: "list[Line]") -> None:
    from cni_sriov_bond.ctl import screen

    screen.print_lines(lines)
