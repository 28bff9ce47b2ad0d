"""The MAC that an ADD requests: no other container on the same VLAN has it, and no later one gets it.

Two devices with one MAC on one VLAN take each other's frames. The caller holds the state directory's lock, under which alone
leases are created. ADDs that request no MAC need no check: they get their bond's own MAC, which no other ADD gets.
"""

from cni_sriov_bond import files
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool.inventory import macs_of
from cni_sriov_bond.pool.pools import inventory_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.pool.lease import Entry
    from cni_sriov_bond.pool.pool import Pool
    from cni_sriov_bond.pool.record import LeaseRecord, Requested
    from cni_sriov_bond.ports import Bond


def refuse_used(requested: "Requested", ports: int, pools: "list[Pool]") -> None:
    """Refuse a MAC that a lease has on the same VLAN, in any pool and any state, also on one of its ports.

    :param ports: the number of ports of the bond to lease. Where they have MACs of their own, these are derived from the
        requested one.
    :raises CniError: TRY_AGAIN_LATER naming the owner of that lease.
    """
    macs = macs_of(requested.mac, ports)
    vlan = requested.vf.vlan or 0  # a VF whose VLAN is left alone has usually none
    for pool in pools:
        for entry in pool.entries():
            record = _readable(pool, entry)
            # After a reboot the kernel has nothing of a lease.
            if record is None or record.boot_id != files.boot_id() or vlan != (record.requested.vf.vlan or 0):
                continue
            common = macs & record.macs
            if common:
                mac = requested.mac if requested.mac in common else min(common)
                place = f"VLAN {vlan}" if vlan else "the untagged network"
                raise CniError(
                    TRY_AGAIN_LATER,
                    f"the MAC {mac} is in use on {place} by container {record.owner} (bond {entry.bond} of pool "
                    f"{pool.name}); remove that container or request another MAC",
                )


def allowed_bonds(mac: str, bonds: "list[Bond]", pools: "list[Pool]") -> "list[Bond]":
    """Return the bonds that may get a MAC: all, except that a bond's own MAC is for this bond, whose next lease may use it.

    So are the MACs that its ports get in modes in which they have different ones.

    :raises CniError: INVALID_CONFIG when the bond with that MAC is not one of ``bonds``.
    """
    for pool in pools:
        pool_inventory = inventory_or_none(pool)
        for bond in pool_inventory.bonds if pool_inventory else ():
            if mac not in macs_of(bond.mac, len(bond.ports)):
                continue
            bonds_with_mac = [allowed for allowed in bonds if allowed.name == bond.name and allowed.mac == bond.mac]
            if not bonds_with_mac:
                owner = f"{'' if bond.mac == mac else 'a port of '}bond {bond.name} of pool {pool.name}"
                raise CniError(INVALID_CONFIG, f"the MAC {mac} is the own MAC of {owner}; request another MAC or that bond")
            return bonds_with_mac
    return bonds


def _readable(pool: "Pool", entry: "Entry") -> "LeaseRecord | None":
    """Read a record; the MAC in a damaged one is not known."""
    try:
        return pool.read(entry)
    except CniError as damaged:
        if damaged.code != POOL_UNUSABLE:
            raise
        return None
