"""GC: release what a network has leased to attachments that are no more."""

from cni_sriov_bond.cni.call import valid_attachments, with_attachments
from cni_sriov_bond.errors import INVALID_CONFIG
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool import inventory, pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context

# The part of a GC's time that is kept for the delegate's GC.
_FORWARD_SECONDS = 25.0


def gc(call: "Call", network: "Network", context: "Context") -> None:
    """GC: release what this network has leased to attachments that are no more, and forward the GC.

    :raises CniError: reporting everything that failed; the rest is done.
    """
    live = valid_attachments(network.document, INVALID_CONFIG)
    outcome = release.Outcome()
    waiting: set[tuple[str, str]] = set()
    # The forwarded GC needs time too: it is what frees the addresses of most attachments.
    recovery = context.until(context.deadline.keeping(_FORWARD_SECONDS))
    for name in inventory.directories(network.state_dir):  # the network may have named another pool before
        where = pool.Pool(network.state_dir, name)
        findings = recover.recover(where, recover.NotListed(network.name, live, recovery), recovery)
        outcome.problems += [finding.error() for finding in findings if finding.state == recover.FAILED]
        if live is not None:
            waiting |= recover.leased(where, network.name) - live
    outcome.run_step(lambda: _forward_gc(call, network, waiting, context))
    outcome.raise_any()


def _forward_gc(call: "Call", network: "Network", waiting: "set[tuple[str, str]]", context: "Context") -> None:
    """Forward GC as it came; but the addresses of a bond whose VFs are not yet in the host must not be freed.

    :param waiting: (container id, interface name) of leases that are still there and that the runtime does not list.
    """
    forward(call, network, context, "GC", with_attachments(network.document, waiting) if waiting else network.raw)
