"""STATUS: whether a pool could serve an ADD now. It changes nothing."""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond.cni import invoke
from cni_sriov_bond.errors import LIMITED_CONNECTIVITY, NOT_AVAILABLE, POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import modules, sriov, sysfs
from cni_sriov_bond.plugin import release
from cni_sriov_bond.plugin.acquire import pool_of
from cni_sriov_bond.plugin.forward import forward
from cni_sriov_bond.pool.lease import ADDING, Entry
from cni_sriov_bond.pool.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.ports import Bond


def status(call: "Call", network: "Network", context: "Context") -> None:
    """Report whether an ADD could be served now, changing nothing, and forward the STATUS.

    :raises CniError: NOT_AVAILABLE when not; LIMITED_CONNECTIVITY when attached containers are affected too.
    """
    try:
        if network.delegate:
            invoke.find(network.delegate, call.path)
        _check_pool(pool_of(network))
    except CniError as unable:
        code = unable.code if unable.code == LIMITED_CONNECTIVITY else NOT_AVAILABLE
        raise CniError(code, unable.msg, unable.details) from None
    context.log.step("the pool can serve")
    forward(call, network, context, "STATUS", network.raw)


def _check_pool(pool: Pool) -> None:
    """Raise an error unless an ADD would get a bond.

    :raises CniError: LIMITED_CONNECTIVITY when attached containers are affected too, POOL_UNUSABLE when only new ones are.
    """
    bonds = pool.bonds_of_this_boot()
    _check_files(pool)
    if modules.lacks_bonding():
        raise CniError(POOL_UNUSABLE, "the kernel has no bonding driver; run `modprobe bonding max_bonds=0`")
    _check_nics(pool.name, bonds)
    _check_free(pool, bonds)


def _check_files(pool: Pool) -> None:
    """Raise an error unless a lease could be written."""
    if not os.access(pool.leases, os.W_OK):
        raise CniError(POOL_UNUSABLE, f"{pool.leases} is not writable; is its file system read-only?")
    if os.statvfs(pool.leases).f_bavail == 0:
        raise CniError(POOL_UNUSABLE, f"no space is left on the device of {pool.leases}; free some space")


def _check_nics(name: str, bonds: "list[Bond]") -> None:
    """Raise an error unless all NICs have a network device and one of them has carrier."""
    nics = sorted({port.pf_address for bond in bonds for port in bond.ports})
    missing = [nic for nic in nics if not sysfs.netdev(nic)]
    if missing:
        raise CniError(
            LIMITED_CONNECTIVITY,
            f"pool {name}: the NIC at {' and '.join(missing)} has no network device; is it present, and its driver loaded?",
        )
    if not any(sysfs.has_carrier(nic) for nic in nics):
        names = " and ".join(sysfs.netdev(nic) for nic in nics)
        raise CniError(LIMITED_CONNECTIVITY, f"pool {name}: no NIC has carrier; look at the cables and switches of {names}")
    host = sriov.Host()
    # sysfs shows the host's devices also to a process in another network namespace, which cannot use them.
    for nic in nics:
        host.require_pf(nic)


def _check_free(pool: Pool, bonds: "list[Bond]") -> None:
    """Raise an error unless a bond is free with its VFs in the host, or has a lease that an ADD would release."""
    entries, quarantined = pool.entries(), pool.quarantined()
    leased = {entry.bond for entry in entries}
    free = [bond for bond in bonds if bond.name not in leased and bond.name not in quarantined]
    if any(all(sysfs.netdev(port.address) for port in bond.ports) for bond in free):
        return
    for entry in entries:
        if _is_releasable(pool, entry):
            return
    if free:
        raise CniError(POOL_UNUSABLE, f"pool {pool.name}: the VFs of its {len(free)} free bonds are not in the host")
    state = "leased or in quarantine" if quarantined else "leased"
    raise CniError(POOL_UNUSABLE, f"pool {pool.name} is empty: all {len(bonds)} bonds are {state}")


def _is_releasable(pool: Pool, entry: Entry) -> bool:
    """Return whether an ADD would release a lease because no container uses it; a damaged lease counts as used."""
    try:
        record = pool.read(entry) if entry.state != ADDING else None
    except CniError:
        return False
    return record is not None and release.is_unused(record)
