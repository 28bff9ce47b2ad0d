"""Forward a verb to the network's delegate."""

from cni_sriov_bond.cni import invoke

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context


def forward(call: "Call", network: "Network", context: "Context", verb: str, text: bytes) -> None:
    """Run the network's delegate for a verb that is not ADD; without a delegate do nothing.

    :raises CniError: as the delegate returned it; INVALID_CONFIG when it is not installed.
    """
    if not network.delegate:
        return
    executable = invoke.find(network.delegate, call.path)
    seconds = context.deadline.left(invoke.SECONDS)
    with context.deadline.wait(f"the IPAM plugin {network.delegate} at {verb}"):
        context.delegates.run(executable, verb, call.environ, text, seconds)
