"""The plugin's process: its verbs behind the edge that it shares with the delegate."""

import sys

from cni_sriov_bond.edge import answer, child, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def main() -> int:
    """Serve one call of the plugin and give the exit status."""
    return serve("sriov-bond", _run)


def _run(version: list[str]) -> None:
    """Read the call and run its verb; ``version`` becomes the one that answers must have."""
    from cni_sriov_bond import config, plugin
    from cni_sriov_bond.context import Context
    from cni_sriov_bond.deadline import SECONDS, Deadline
    from cni_sriov_bond.edge import read_call
    from cni_sriov_bond.errors import INVALID_ENVIRONMENT, CniError
    from cni_sriov_bond.ipam import Delegates
    from cni_sriov_bond.log import Log

    call, data, value = read_call()
    verbs: dict[str, Callable[..., None]] = {
        "ADD": plugin.add,
        "DEL": plugin.delete,
        "CHECK": plugin.check,
        "GC": plugin.collect,
        "STATUS": plugin.status,
    }
    if call.command not in verbs:
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {call.command}")
    version[0] = config.check_version(value, call.command)
    ignored: list[str] = []
    if call.command in ("DEL", "GC"):
        network, ignored = config.parse_departure(data, value, version[0])
    else:
        network = config.parse_network(data, value, version[0], call.args if call.command == "ADD" else None)
    log = Log(network.log_level, network.log_file, f"sriov-bond {call.command} {call.container_id} {call.ifname}".rstrip())
    for mistake in ignored:
        log.warn(f"not used at {call.command}: {mistake}; correct network {network.name!r}")
    delegates = Delegates(call.environ, _own_delegate if getattr(sys, "frozen", False) else None)
    context = Context(log, Deadline(SECONDS[call.command]), delegates)
    try:
        if call.command == "ADD":
            plugin.add(call, network, context, answer)
        else:
            verbs[call.command](call, network, context)
    except CniError as failed:
        failed.details = "; ".join(filter(None, (failed.details, context.deadline.waits())))
        raise


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
