"""DEL: release the attachment's bond and forward the DEL."""

from cni_sriov_bond.errors import DELEGATE_FAILED, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.plugin import recover, release
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool import inventory, pool, pools
from cni_sriov_bond.pool.record import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context


def delete(call: "Call", network: "Network", context: "Context") -> None:
    """Release the attachment's bond and forward the DEL; without a lease, only the second.

    :raises CniError: reporting every step that failed; the others are done.
    """
    attachment = Attachment(network.name, call.container_id, call.ifname)
    lease = pools.find(network.state_dir, attachment, context.deadline)
    if lease is None:
        forward(call, network, context, "DEL", network.raw)
        _send_pending_del(network, attachment, context)
        return
    context.log.step(f"found {lease}")
    target = netns.find(call.netns)
    try:
        outcome = release.release(lease, context, release.DEL, target)
        if not outcome.missing and lease.record.delegate is None:
            # The lease was damaged, or its network had no delegate then; what this config says is the best there is.
            outcome.run_step(lambda: forward(call, network, context, "DEL", network.raw))
    finally:
        lease.close()
    outcome.raise_any()


def _send_pending_del(network: "Network", attachment: Attachment, context: "Context") -> None:
    """Send the delegate the DEL that an earlier DEL of this attachment could not, as its lease had it.

    :raises CniError: DELEGATE_FAILED when it fails again.
    """
    for name in inventory.directories(network.state_dir):
        for finding in recover.send_pending_dels(pool.Pool(network.state_dir, name), context, attachment.key):
            if finding.state == recover.FAILED:
                raise CniError(DELEGATE_FAILED, f"{attachment} is released, but {finding.message}")
