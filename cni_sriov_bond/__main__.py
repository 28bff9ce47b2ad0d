"""The entry of sriov-bond, the CNI plugin: run the verb of a call."""

import sys

from cni_sriov_bond.cni.process import answer, child, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.errors import Issue
    from cni_sriov_bond.events import Action
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context


def main() -> int:
    """Run one call of the plugin and return the exit status."""
    return serve("sriov-bond", _counted)


def _counted(call: "Call") -> None:
    """Run a call, and count it when it has ended, also if its config is invalid."""
    from time import monotonic

    from cni_sriov_bond.errors import INTERNAL, IO_FAILURE, CniError
    from cni_sriov_bond.pool import call_counters

    began = monotonic()
    code: int | None = INTERNAL
    try:
        _run(call)
        code = None
    except CniError as failed:
        code = failed.code
        raise
    except OSError:
        code = IO_FAILURE
        raise
    finally:
        call_counters.add(call.document.get("stateDir"), call.command, monotonic() - began, code)


def _run(call: "Call") -> None:
    from cni_sriov_bond.cni.invoke import Delegates
    from cni_sriov_bond.deadline import SECONDS, Deadline
    from cni_sriov_bond.errors import CniError
    from cni_sriov_bond.events import Action
    from cni_sriov_bond.plugin.context import Context

    network, log = _read_network(call)
    action = Action(log, call.command)
    delegates = Delegates(call.environ, _own_delegate if getattr(sys, "frozen", False) else None)
    context = Context(log, Deadline(SECONDS[call.command]), delegates)
    try:
        _run_verb(call, network, context)
    except BaseException as failed:
        if isinstance(failed, CniError):
            failed.details = "; ".join(filter(None, (failed.details, context.deadline.waits())))
        _record(call, network, log, action, failed)
        raise
    _record(call, network, log, action)


def _record(call: "Call", network: "Network", log: "Log", action: "Action", failed: BaseException | None = None) -> None:
    """Write the event of an ADD or a DEL that is over, or of a CHECK that failed. What GC releases is recorded by recovery."""
    if call.command in ("ADD", "DEL") or (call.command == "CHECK" and failed is not None):
        from cni_sriov_bond.events import Subject

        action.end(network.state_dir, Subject(*log.bond, network.name, call.container_id, call.ifname), failed)


def _run_verb(call: "Call", network: "Network", context: "Context") -> None:
    """Run the verb of a call. Each verb imports only what it needs, because imports are most of a call's time."""
    if call.command == "ADD":
        from cni_sriov_bond.plugin.add import add

        add(call, network, context, answer)
        return
    if call.command == "DEL":
        from cni_sriov_bond.plugin.delete import delete as run
    elif call.command == "CHECK":
        from cni_sriov_bond.plugin.check import check as run
    elif call.command == "GC":
        from cni_sriov_bond.plugin.gc import gc as run
    else:
        from cni_sriov_bond.plugin.status import status as run
    run(call, network, context)


def _read_network(call: "Call") -> "tuple[Network, Log]":
    """Return the network of a call, and the log that its config defines."""
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.network import config

    ignored: list[Issue] = []
    if call.command in ("DEL", "GC"):
        network, ignored = config.parse_for_teardown(call.raw, call.document, call.version)
    else:
        args = call.args if call.command == "ADD" else None
        network = config.parse_network(call.raw, call.document, call.version, args)
    log = Log(network.log_level, network.log_file, f"sriov-bond {call.command} {call.container_id} {call.ifname}".rstrip())
    for issue in ignored:
        log.warn(f"ignored at {call.command}: {issue.sentence}; correct network {network.name!r}")
    return network, log


def _own_delegate(environ: dict[str, str], streams: list[int]) -> "NoReturn":
    """Run our IPAM plugin in a forked process, and end the process.

    ``child`` must be the first call: an exception before it would unwind into the parent's ADD, whose stack the child has too.
    """
    child(_delegate, environ, streams)


def _delegate() -> int:
    from cni_sriov_bond.ipam.__main__ import main as delegate

    return delegate()


if __name__ == "__main__":
    sys.exit(main())
