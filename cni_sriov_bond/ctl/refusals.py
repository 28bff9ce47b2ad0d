"""What ``up`` and ``down`` refuse. Each refusal is checked before the NICs are changed; none changes anything itself."""

import contextlib

from cni_sriov_bond.ctl.hostfile import PoolPlan
from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.ctl.users import users
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.pf import pf_problem
from cni_sriov_bond.pool import inventory
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.ports import Bond


def refuse_doubles(functions: list[PhysicalFunction]) -> None:
    """Refuse a pool that names a NIC twice, by name and by PCI address.

    :raises CniError: POOL_UNUSABLE.
    """
    addresses = [pf.address for pf in functions]
    for pf in functions:
        if addresses.count(pf.address) > 1:
            raise CniError(POOL_UNUSABLE, f"{pf.requested} is the NIC {pf.address}, which the pool names twice; name two NICs")


def refuse_unusable(functions: list[PhysicalFunction]) -> None:
    """Refuse NICs of a kind or in a mode that cannot work.

    :raises CniError: POOL_UNUSABLE with what to do.
    """
    for pf in functions:
        problem = pf_problem(pf.address, *(other.address for other in functions if other is not pf))
        if problem:
            raise CniError(POOL_UNUSABLE, f"the NIC {pf.name} ({pf.address}) cannot be used: {problem}")


def refuse_no_drivers(functions: list[PhysicalFunction]) -> None:
    """Refuse to create VFs that would get no driver.

    :raises CniError: POOL_UNUSABLE naming the NIC and the setting.
    """
    for pf in functions:
        if not pf.vf_count and not sysfs.probes_vfs(pf.address):
            raise CniError(
                POOL_UNUSABLE,
                f"sriov_drivers_autoprobe of {pf.name} is 0, so its VFs would get no driver; run "
                f"`echo 1 > {sysfs.PCI_DEVICES}/{pf.address}/sriov_drivers_autoprobe` and `sriov-bondctl up` again",
            )


def refuse_shared(target: Pool, functions: list[PhysicalFunction]) -> None:
    """Refuse a NIC of another pool: both would lease the same VFs, and ``down`` of one would remove those of both.

    :raises CniError: POOL_UNUSABLE naming the other pool.
    """
    for name in inventory.names(target.state_dir):
        if name == target.name:
            continue
        try:
            other = Pool(target.state_dir, name).inventory()
        except CniError:
            continue  # nothing can be leased from a pool without a readable inventory
        if not other.of_this_boot:
            continue  # nothing can be leased from it either, and its NICs may have other addresses by now
        for pf in functions:
            if other.nic(pf.address):
                raise CniError(
                    POOL_UNUSABLE,
                    f"the NIC {pf.name} ({pf.address}) of pool {target.name} is in pool {name} already; run "
                    f"`sriov-bondctl down {name}` first, or name another NIC",
                )


def size_or_refuse(plan: PoolPlan, functions: list[PhysicalFunction]) -> int:
    """Return how many VFs each NIC is to have, or refuse a number that one of them cannot have.

    :raises CniError: POOL_UNUSABLE saying what each NIC offers.
    """
    most = min(pf.total_vfs for pf in functions)
    # Where VFs are shared nobody's are removed, so "all" are those that every NIC has already.
    present = min((pf.vf_count or pf.total_vfs) for pf in functions) if plan.shares else most
    size = plan.required if plan.required is not None else present
    if not 1 <= size <= most:
        offers = ", ".join(f"{pf.name} offers {pf.total_vfs}" for pf in functions)
        raise CniError(
            POOL_UNUSABLE,
            f"pool {plan.name} asks for {plan.required or 'max'} VFs per NIC, but {offers}; lower vfs, or raise the number in "
            "the NIC's firmware",
        )
    if not plan.indices(size):
        raise CniError(POOL_UNUSABLE, f"pool {plan.name} has no VF: exclude names all {size} of each NIC")
    return size


def refuse_leases(target: Pool, problem: str) -> None:
    """Refuse while a bond of the pool is leased.

    :raises CniError: POOL_UNUSABLE with ``problem`` and every lease.
    """
    leases = _leases(target)
    if leases:
        raise CniError(POOL_UNUSABLE, f"{problem} while bonds are leased: {', '.join(leases)}; remove those containers first")


def refuse_other_nics(target: Pool, before: Inventory | None, functions: list[PhysicalFunction]) -> None:
    """Refuse to pair other NICs, or the same NICs in another order, while a bond is leased.

    :raises CniError: POOL_UNUSABLE.
    """
    if before and [nic.address for nic in before.nics] != [pf.address for pf in functions]:
        refuse_leases(target, f"the NICs of pool {target.name} cannot be changed")


def refuse_other_bonds(target: Pool, bonds: list[Bond]) -> None:
    """Refuse to give leased VFs to a bond of another name: a call that works on the lease holds the lock of the old name.

    :raises CniError: POOL_UNUSABLE.
    """
    addresses = {bond.name: [port.address for port in bond.ports] for bond in bonds}
    for entry in target.entries():
        try:
            record = target.read(entry)
        except CniError:
            continue
        if record and record.ports:
            leased = [port.address for port in record.ports]
            if leased != addresses.get(entry.bond):
                refuse_leases(target, f"the bonds of pool {target.name} cannot be named or paired differently")


def refuse_remaking(target: Pool, pf: PhysicalFunction, size: int, shares: bool) -> None:
    """Refuse to replace a NIC's VFs by another number of them while a bond is leased or a VF is used.

    :param shares: whether some of its VFs are not the pool's. Then they are never replaced, used or not.
    :raises CniError: POOL_UNUSABLE.
    """
    count = pf.vf_count
    if count in (0, size) or (shares and count > size):
        return
    if shares:
        raise CniError(
            POOL_UNUSABLE,
            f"{pf.name} has {count} VFs, and pool {target.name} needs VFs up to number {size - 1}; its VFs are shared, so they "
            f"are not replaced: lower vfs, or free them all, then `echo 0 > {pf.path}/sriov_numvfs` and `sriov-bondctl up`",
        )
    problem = f"{pf.name} has {count} VFs, not {size}; they cannot be replaced"
    refuse_leases(target, problem)
    used = _used(pf)
    if used:
        raise CniError(POOL_UNUSABLE, f"{problem} while VFs are in use: {', '.join(used)}; free them or set vfs = {count}")


def refuse_pending(target: Pool) -> None:
    """Refuse to forget IPAM DELs that are still pending: their addresses would stay reserved.

    :raises CniError: POOL_UNUSABLE.
    """
    pending = len(target.pending.listed())
    if pending:
        raise CniError(
            POOL_UNUSABLE,
            f"pool {target.name} cannot be removed while IPAM DELs are pending: {pending}; "
            f"`sriov-bondctl gc {target.name}` sends them and reports why one fails",
        )


def refuse_held(target: Pool, removed: list[PhysicalFunction]) -> None:
    """Refuse to remove a VF that something uses: another namespace, a virtual machine, or somebody in the host.

    :param removed: the NICs whose VFs are to be removed.
    :raises CniError: POOL_UNUSABLE naming the VF.
    """
    with contextlib.closing(Netlink()) as host:
        for pf in removed:
            for vf in pf.vfs():
                use = used_because(host, vf)
                if use:
                    raise CniError(
                        POOL_UNUSABLE, f"pool {target.name} cannot be removed: the VF at {vf} of {pf.name} is in use: {use}"
                    )


def used_because(host: Netlink, address: str) -> str:
    """Return what uses a VF that no lease has, or "". That it is up is no use by itself."""
    name = sysfs.netdev(address)
    link = host.link(name) if name else None
    if link is not None:
        return next(iter(users(host, link)), "")
    return sysfs.absence(address) if sysfs.driver(address) else ""


def _leases(target: Pool) -> list[str]:
    """Return a description of each lease of the pool, damaged ones too."""
    leases = []
    for entry in target.entries():
        try:
            record = target.read(entry)
        except CniError as damaged:
            leases.append(f"{entry.bond} ({damaged.msg})")
            continue
        if record:
            leases.append(f"{entry.bond} by container {record.owner} ({entry.state})")
    return leases


def _used(pf: PhysicalFunction) -> list[str]:
    """Return which VFs of a NIC are in use: in another namespace, without a network driver, up, or a port of a device."""
    host = Netlink()
    used = []
    try:
        for address in pf.vfs():
            name = sysfs.netdev(address)
            link = host.link(name) if name else None
            if link is None:
                used.append(f"{address} (not in the host, driver {sysfs.driver(address) or 'none'})")
            elif link.up or link.master:
                used.append(f"{link.name} (up)")
    finally:
        host.close()
    return used
