"""The plugin's process: its verbs behind the edge that it shares with the delegate."""

import sys

from cni_sriov_bond.cni.process import answer, child, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.errors import Issue
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context


def main() -> int:
    """Serve one call of the plugin and return the exit status."""
    return serve("sriov-bond", _run)


def _run(call: "Call") -> None:
    from cni_sriov_bond.cni.invoke import Delegates
    from cni_sriov_bond.deadline import SECONDS, Deadline
    from cni_sriov_bond.errors import CniError
    from cni_sriov_bond.plugin.context import Context

    network, log = _read_network(call)
    delegates = Delegates(call.environ, _own_delegate if getattr(sys, "frozen", False) else None)
    context = Context(log, Deadline(SECONDS[call.command]), delegates)
    try:
        _run_verb(call, network, context)
    except CniError as failed:
        failed.details = "; ".join(filter(None, (failed.details, context.deadline.waits())))
        raise


def _run_verb(call: "Call", network: "Network", context: "Context") -> None:
    """Run the verb; each imports what it needs and no more."""
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
    """Return the network of a call, and the log that its config asks for."""
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
        log.warn(f"not used at {call.command}: {issue.sentence}; correct network {network.name!r}")
    return network, log


def _own_delegate(environ: dict[str, str], streams: list[int]) -> "NoReturn":
    """Be the delegate of our own build, in a forked process.

    Nothing is done before ``child``: what is raised there must not go up into the parent's work, which the child has too.
    """
    child(_delegate, environ, streams)


def _delegate() -> int:
    from cni_sriov_bond.ipam.__main__ import main as delegate

    return delegate()


if __name__ == "__main__":
    sys.exit(main())
