"""STATUS: whether a pool could serve an ADD now. It changes nothing."""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond.cni import invoke
from cni_sriov_bond.errors import LIMITED_CONNECTIVITY, NOT_AVAILABLE, POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sriov, sysfs
from cni_sriov_bond.plugin import release
from cni_sriov_bond.plugin.acquire import pool_of
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool import pool, quarantine
from cni_sriov_bond.pool.lease import ADDING, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.ports import Bond


def status(call: "Call", network: "Network", context: "Context") -> None:
    """Report whether an ADD could be served now, changing nothing, and forward the STATUS.

    :raises CniError: NOT_AVAILABLE when not; LIMITED_CONNECTIVITY when containers that are attached are affected too.
    """
    try:
        if network.delegate:
            invoke.find(network.delegate, call.path)
        require(pool_of(network))
    except CniError as unable:
        code = unable.code if unable.code == LIMITED_CONNECTIVITY else NOT_AVAILABLE
        raise CniError(code, unable.msg, unable.details) from None
    context.log.step("the pool can serve")
    forward(call, network, context, "STATUS", network.raw)


def require(where: pool.Pool) -> None:
    """See that an ADD would find a bond.

    :raises CniError: LIMITED_CONNECTIVITY when containers that are attached suffer too, POOL_UNUSABLE when only new ones do.
    """
    bonds = where.bonds_of_this_boot()
    _check_files(where)
    _check_nics(where.name, bonds)
    _check_free(where, bonds)


def _check_files(where: pool.Pool) -> None:
    """See that a lease could be written."""
    if not os.access(where.leases, os.W_OK):
        raise CniError(POOL_UNUSABLE, f"{where.leases} is not writable; is its file system read-only?")
    if os.statvfs(where.leases).f_bavail == 0:
        raise CniError(POOL_UNUSABLE, f"no space is left on the device of {where.leases}; make room")


def _check_nics(name: str, bonds: "list[Bond]") -> None:
    nics = sorted({port.pf for bond in bonds for port in bond.ports})
    missing = [nic for nic in nics if not sysfs.netdev(nic)]
    if missing:
        raise CniError(
            LIMITED_CONNECTIVITY,
            f"pool {name}: the NIC at {' and '.join(missing)} has no network device; is it there, and its driver loaded?",
        )
    if not any(sysfs.has_carrier(nic) for nic in nics):
        names = " and ".join(sysfs.netdev(nic) for nic in nics)
        raise CniError(LIMITED_CONNECTIVITY, f"pool {name}: no NIC has carrier; look at the cables and switches of {names}")
    host = sriov.Host()
    for nic in nics:
        host.pf(nic)  # sysfs shows the host's devices also to a process in another network namespace, which cannot use them


def _check_free(where: pool.Pool, bonds: "list[Bond]") -> None:
    """Find one bond that an ADD could have: free with its VFs at home, or leased to what is gone, which ADD takes back."""
    entries, aside = where.entries(), quarantine.bonds(where.path)
    taken = {entry.bond for entry in entries}
    free = [bond for bond in bonds if bond.name not in taken and bond.name not in aside]
    if any(all(sysfs.netdev(port.pci) for port in bond.ports) for bond in free):
        return
    for entry in entries:
        if _could_be_taken_back(where, entry):
            return
    if free:
        raise CniError(POOL_UNUSABLE, f"pool {where.name}: the VFs of its {len(free)} free bonds are not in the host")
    words = f"all {len(bonds)} bonds are leased{' or in quarantine' if aside else ''}"
    raise CniError(POOL_UNUSABLE, f"pool {where.name} is empty: {words}")


def _could_be_taken_back(where: pool.Pool, entry: Entry) -> bool:
    """Tell whether a lease is of what is gone. One that is damaged is no reason to say that the pool cannot serve."""
    try:
        record = where.read(entry) if entry.state != ADDING else None
    except CniError:
        return False
    return record is not None and release.is_unused(record)
