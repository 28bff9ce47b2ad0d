"""GC: release the bonds that a network has leased to attachments that no longer exist."""

from cni_sriov_bond.cni.call import valid_attachments, with_attachments
from cni_sriov_bond.errors import INVALID_CONFIG
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context

# The part of a GC's time that is kept for the delegate's GC.
_FORWARD_SECONDS = 25.0


def gc(call: "Call", network: "Network", context: "Context") -> None:
    """Release the bonds that this network has leased to attachments that no longer exist, and forward the GC.

    :raises CniError: reporting everything that failed; the rest is done.
    """
    live = valid_attachments(network.document, INVALID_CONFIG)
    outcome = release.Outcome()
    waiting: set[tuple[str, str]] = set()
    # Keep time for the delegate's GC: it frees the addresses of most attachments.
    recovery = context.until(context.deadline.keeping(_FORWARD_SECONDS))
    for name in inventory.directories(network.state_dir):  # the network may have named another pool before
        pool = Pool(network.state_dir, name)
        findings = recover.recover(pool, recover.NotListed(network.name, live, recovery), recovery)
        outcome.problems += [finding.error() for finding in findings if finding.failed]
        if live is not None:
            waiting |= recover.leased(pool, network.name) - live
    outcome.run_step(lambda: _forward_gc(call, network, waiting, context))
    outcome.raise_any()


def _forward_gc(call: "Call", network: "Network", waiting: "set[tuple[str, str]]", context: "Context") -> None:
    """Forward the GC, with leases that could not be released yet added to its list: their addresses must not be freed.

    :param waiting: (container id, interface name) of leases that still exist though the runtime does not list them.
    """
    forward(call, network, context, "GC", with_attachments(network.document, waiting) if waiting else network.raw)
