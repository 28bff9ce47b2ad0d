"""The plugin's process: its verbs behind the edge that it shares with the delegate."""

import sys

from cni_sriov_bond.edge import answer, child, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from cni_sriov_bond.call import Call
    from cni_sriov_bond.config import Network
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.schema import Issue


def main() -> int:
    """Serve one call of the plugin and return the exit status."""
    return serve("sriov-bond", _run)


def _run(call: "Call") -> None:
    from cni_sriov_bond import plugin
    from cni_sriov_bond.context import Context
    from cni_sriov_bond.deadline import SECONDS, Deadline
    from cni_sriov_bond.errors import CniError
    from cni_sriov_bond.ipam import Delegates

    network, log = _read_network(call)
    delegates = Delegates(call.environ, _own_delegate if getattr(sys, "frozen", False) else None)
    context = Context(log, Deadline(SECONDS[call.command]), delegates)
    verbs = {"DEL": plugin.delete, "CHECK": plugin.check, "GC": plugin.collect, "STATUS": plugin.status}
    try:
        if call.command == "ADD":
            plugin.add(call, network, context, answer)
        else:
            verbs[call.command](call, network, context)
    except CniError as failed:
        failed.details = "; ".join(filter(None, (failed.details, context.deadline.waits())))
        raise


def _read_network(call: "Call") -> "tuple[Network, Log]":
    """Return the network of a call, and the log that its config asks for."""
    from cni_sriov_bond import config
    from cni_sriov_bond.log import Log

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
    from cni_sriov_bond.delegate.__main__ import main as delegate

    return delegate()


if __name__ == "__main__":
    sys.exit(main())
