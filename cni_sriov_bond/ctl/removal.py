"""``down`` of a pool: give the host back what ``up`` changed, and no more.

VFs that ``up`` did not create, and those of NICs that the pool shares, stay and become what they were. A NIC that somebody uses
by now stays up.
"""

import contextlib
import shutil

from cni_sriov_bond.ctl import refusals, udevrules, vfs
from cni_sriov_bond.ctl.changes import Changes
from cni_sriov_bond.ctl.locks import closing, provisioning
from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.ctl.users import users
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin import recover
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import call_counters, inventory
from cni_sriov_bond.pool.inventory import Inventory, NicRecord
from cni_sriov_bond.pool.pool import Pool


def down(state_dir: str, name: str, context: Context) -> None:
    """Remove a pool: its VFs, its udev rules and its inventory; PFs that ``up`` brought up are brought down.

    :raises CniError: POOL_UNUSABLE while a bond is leased or a VF is in use, naming it.
    """
    pool = Pool(state_dir, name)
    pool.inventory()  # raises where there is no pool, which has no locks either
    with provisioning(pool):
        recover.recover(pool, recover.Unused(), context)
        with closing(pool.lock()):
            _remove(pool, pool.inventory(), context.log)


def _remove(pool: Pool, pool_inventory: Inventory, log: Log) -> None:
    """Remove a pool of which the locks are held."""
    refusals.refuse_leases(pool, f"pool {pool.name} cannot be removed")
    refusals.refuse_pending(pool)
    changes = Changes(pool.path)
    # VFs of an earlier boot are gone, and the NICs at these addresses may be another pool's by now.
    functions = _functions_of(pool_inventory, log) if pool_inventory.of_this_boot else []
    removed = [pf for pf, nic in functions if nic.made_vfs and _owns_all(pf, pool_inventory)]
    refusals.refuse_held(pool, removed)
    # First, so that no ADD leases a bond while its VFs are removed, and so that an interrupted removal is seen.
    pool_inventory.being_removed = True
    inventory.write(pool.path, pool_inventory)
    for pf in removed:
        if pf.vf_count:
            pf.remove_vfs()
    vfs.restore(changes.vfs.values(), log)
    # After the VFs: without the rules udev would rename a VF that is still there.
    udevrules.remove(pool.name, list(changes.vfs))
    for pf in removed:
        if number := changes.numbers.get(pf.address, 0):
            pf.create_vfs(number)  # as many as it had before `up` replaced them
    for pf, nic in functions:
        if pf not in removed and nic.made_vfs:
            log.warn(f"the VFs of {pf.name} stay, because some of them are not of pool {pool.name}")
        if nic.brought_up:
            _bring_down(pf, log)
    # Near the end: until then `down` can be repeated.
    shutil.rmtree(pool.path)
    call_counters.remove_unless(inventory.directories(pool.state_dir), pool.state_dir)
    changes.remove_directories()


def _owns_all(pf: PhysicalFunction, pool_inventory: Inventory) -> bool:
    """Return whether every VF of a NIC is the pool's."""
    ports = {port.address for bond in pool_inventory.bonds for port in bond.ports if port.pf_address == pf.address}
    return set(pf.vfs()) <= ports


def _bring_down(pf: PhysicalFunction, log: Log) -> None:
    """Bring a PF down that ``up`` brought up, unless it or one of its VFs has a user by now."""
    with contextlib.closing(Netlink()) as host:
        link = pf.link(host)
        reasons = users(host, link)
        for vf in pf.vfs():
            use = refusals.used_because(host, vf)
            reasons += [f"its VF at {vf} is in use: {use}"] if use else []
        if reasons:
            log.warn(f"{link.name} stays up: {reasons[0]}")
        elif link.up:
            host.set_up(link, False)


def _functions_of(pool_inventory: Inventory, log: Log) -> list[tuple[PhysicalFunction, NicRecord]]:
    """Return the present NICs of an inventory, each with its record. A NIC that is gone has no VFs to remove."""
    functions = []
    for nic in pool_inventory.nics:
        try:
            functions.append((PhysicalFunction(nic.address, nic.number), nic))
        except CniError as missing:
            log.warn(f"nothing of {nic.name} is removed: {missing.msg}")
    return functions
