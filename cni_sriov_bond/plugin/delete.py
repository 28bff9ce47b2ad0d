"""DEL: release the attachment's bond and forward the DEL."""

from cni_sriov_bond.errors import DELEGATE_FAILED, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.plugin import release
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool import inventory, pools
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context


def delete(call: "Call", network: "Network", context: "Context") -> None:
    """Release the attachment's bond and forward the DEL; without a lease only forward it.

    :raises CniError: reporting every step that failed; the other steps are done.
    """
    attachment = Attachment(network.name, call.container_id, call.ifname)
    lease = pools.find(network.state_dir, attachment, context.deadline)
    if lease is None:
        forward(call, network, context, "DEL", network.raw)
        _send_pending_del(network, attachment, context)
        return
    context.log.bond = lease.pool, lease.entry.bond
    context.log.step(f"found {lease}")
    namespace = netns.find(call.netns)
    try:
        outcome = release.release(lease, context, release.DEL, namespace)
        if outcome.in_host and lease.record.delegate is None:
            # The lease is damaged, or its network had no delegate at ADD. The delegate of this config is the best guess.
            outcome.run_step(lambda: forward(call, network, context, "DEL", network.raw))
    finally:
        lease.close()
    outcome.raise_any()


def _send_pending_del(network: "Network", attachment: Attachment, context: "Context") -> None:
    """Send the delegate the DEL that an earlier DEL of this attachment could not send, from what its lease recorded.

    :raises CniError: DELEGATE_FAILED when it fails again.
    """
    for name in inventory.directories(network.state_dir):
        pool = Pool(network.state_dir, name)
        if not pool.pending.holds(attachment.key):
            continue
        from cni_sriov_bond.plugin import recover  # late: most DELs find nothing pending

        for finding in recover.send_pending_dels(pool, context, attachment.key):
            if finding.failed:
                raise CniError(DELEGATE_FAILED, f"{attachment} is released, but {finding.message}")
