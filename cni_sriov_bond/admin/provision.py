"""``up`` and ``down``: VFs made, named, given their MACs and paired to bonds; and all of it taken back."""

import os
import shutil
from collections.abc import Callable
from typing import Any

from cni_sriov_bond import debts, inventory, pool, quarantine, reclaim, sriov, store
from cni_sriov_bond.admin import udevrules
from cni_sriov_bond.admin.hostfile import PoolPlan
from cni_sriov_bond.admin.nic import Nic
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.netlink import Netlink
from cni_sriov_bond.netns import Entered, Temporary
from cni_sriov_bond.wire import Link

# Making VFs takes a driver some seconds, and each one needs its own driver bound and its device registered.
_VF_SECONDS, _MORE_PER_VF = 30.0, 1.0
# VFs that were there before us have their devices, unless somebody has just made them.
_OLD_VF_SECONDS = 5.0

Report = Callable[[str, int, int], None]


def up(state_dir: str, plan: PoolPlan, log: Log, report: Report) -> bool:
    """Make a pool what the host file asks for, and tell whether anything had to be changed.

    ADDs and DELs may go on meanwhile: a bond is changed under its lock, and only if nobody has it.

    :param report: called with (what is done, how much is done, of how much).
    :raises CniError: POOL_UNUSABLE when a NIC cannot give what was asked or a lease forbids it, saying both; TRY_AGAIN_LATER
        when another `up` or `down` of the pool is at work.
    """
    where = pool.Pool(state_dir, plan.name)
    nics = [Nic(name, number) for name, number in zip(plan.pfs, plan.nics, strict=True)]
    pool.make_directories(where)
    lock = _lock_provisioning(where)
    try:
        return _up(where, plan, nics, log, report)
    finally:
        os.close(lock)


def _lock_provisioning(where: pool.Pool) -> int:
    return store.locked(f"{where.path}/provision.lock", f"the making of pool {where.name}", seconds=0)


def _up(where: pool.Pool, plan: PoolPlan, nics: list[Nic], log: Log, report: Report) -> bool:
    _refuse_doubles(nics)
    _refuse_shared(where, nics)
    size = _size(plan, nics)
    _drop_unfinished_inventories(where)
    reclaim.reclaim(where, log)
    before = _inventory(where)
    _refuse_other_nics(where, before, nics)
    for nic in nics:
        _refuse_remaking(where, nic, size)
    # Before the VFs: igbvf gives up on a PF that was down when it came, and wants its driver loaded anew.
    brought_up = [_bring_up(nic) for nic in nics]
    changed = any(brought_up)
    changed = udevrules.write(plan.name, [pci for nic in nics for pci in nic.expected_vfs(size)]) or changed
    made = _make_all_vfs(where, nics, size, report)
    # The bus may have laid them out otherwise: where the first VF is can depend on how many there are.
    udevrules.write(plan.name, [pci for nic in nics for pci in nic.vfs()])
    changed = any(made) or changed
    if any(made):
        reclaim.reclaim(where, log)  # leases that lost their VFs to the making of new ones
    after = _new_inventory(plan, nics, size, before, made, brought_up)
    _refuse_other_bonds(where, after)
    with _Held(where, [inventory.bond(one) for one in after["bonds"]]) as free:
        whole = _whole(free, where, log)
        changed = _name(whole, report) or changed
        changed = _give_macs(whole, report) or changed
        changed = _end_quarantine(whole, where) or changed
        if before != after:
            inventory.write(where.path, after)
            changed = True
    reclaim.settle(where, log)
    return changed


class _Held:
    """``with _Held(where, bonds) as free:`` are those that nobody has, locked while the block runs.

    A bond that is busy is left alone: an ADD has it in a moment, or has it, and repairs what it takes.
    """

    def __init__(self, where: pool.Pool, bonds: list[inventory.Bond]) -> None:
        self._where = where
        self._bonds = bonds
        self._locks: list[int] = []

    def __enter__(self) -> list[inventory.Bond]:
        free = []
        for bond in self._bonds:
            held = self._where.lock_free_bond(bond.name)
            if held is not None:
                self._locks.append(held)
                free.append(bond)
        return free

    def __exit__(self, *_: object) -> None:
        for held in self._locks:
            os.close(held)


def _drop_unfinished_inventories(where: pool.Pool) -> None:
    """Delete what a killed `up` left; under the lock of provisioning nobody is writing one."""
    for file in os.listdir(where.path):
        if file.startswith(f".{inventory.FILE}."):
            os.unlink(f"{where.path}/{file}")


def _whole(bonds: list[inventory.Bond], where: pool.Pool, log: Log) -> list[inventory.Bond]:
    """Give the bonds whose VFs all have a network device here.

    A bond that lost a VF goes into quarantine, unless all did, which is the host's fault and not one bond's.

    :raises CniError: POOL_UNUSABLE when no bond has its VFs.
    """
    lost: dict[str, str] = {}
    for bond in bonds:
        for port in bond.ports:
            if bond.name not in lost and not sriov.netdev(port.pci):
                lost[bond.name] = f"{port.name} (the VF at {port.pci}) is not in the host: {sriov.absence(port.pci)}"
    if bonds and len(lost) == len(bonds):
        raise CniError(POOL_UNUSABLE, f"pool {where.name}: {next(iter(lost.values()))}")
    for name, reason in lost.items():
        quarantine.begin(where.path, name, reason)
        log.warn(f"bond {name} is in quarantine: {reason}")
    return [bond for bond in bonds if bond.name not in lost]


def _end_quarantine(whole: list[inventory.Bond], where: pool.Pool) -> bool:
    """Let bonds whose VFs are back be handed out again, and tell whether there was one.

    Who had the VFs meanwhile, and what was left on them, is not known.
    """
    aside = set(quarantine.bonds(where.path))
    back = [bond for bond in whole if bond.name in aside]
    for bond in back:
        sriov.Host().make_plain(bond.ports, bond.mac)
        quarantine.end(where.path, bond.name)
    return bool(back)


def down(state_dir: str, name: str, log: Log) -> None:
    """Take a pool away: its VFs, its rules, its inventory; PFs that ``up`` brought up go down again.

    :raises CniError: POOL_UNUSABLE while a lease lives, naming it.
    """
    where = pool.Pool(state_dir, name)
    made = where.inventory()
    provisioning = _lock_provisioning(where)
    try:
        reclaim.reclaim(where, log, seconds=float("inf"))
        reclaim.settle(where, log, seconds=float("inf"))
        _take_away(where, made, log)
    finally:
        os.close(provisioning)


def _take_away(where: pool.Pool, made: dict[str, Any], log: Log) -> None:
    lock = where.lock()
    try:
        _refuse_leases(where, f"pool {where.name} cannot be taken away")
        _refuse_debts(where)
        # What was made in an earlier boot is gone, and the NICs at these addresses may be another pool's by now.
        nics = _nics_there(made, log) if made.get("boot_id") == store.boot_id() else []
        _refuse_held(where, nics)
        # First, so that no ADD finds the pool while its VFs go, and whoever comes after our death knows what is to be done.
        inventory.write(where.path, {**made, inventory.LEAVING: True})
        for nic, kept in nics:
            if kept["made_vfs"] and nic.count:
                nic.count = 0
            if kept["brought_up"]:
                _set_pf(nic, up=False)
        udevrules.remove(where.name)
        shutil.rmtree(where.path)
    finally:
        os.close(lock)


def _nics_there(made: dict[str, Any], log: Log) -> list[tuple[Nic, dict[str, Any]]]:
    """Give the NICs of an inventory with what it says of them; one that is gone has taken its VFs along."""
    found = []
    for kept in made["nics"]:
        try:
            found.append((Nic(kept["pci"], kept["number"]), kept))
        except CniError as gone:
            log.warn(f"nothing is taken back of {kept['name']}: {gone.msg}")
    return found


def _refuse_debts(where: pool.Pool) -> None:
    """Refuse to forget which delegates have still to be told: their addresses would be reserved for ever."""
    owed = len(debts.keys(where.path))
    if owed:
        raise CniError(
            POOL_UNUSABLE,
            f"pool {where.name} cannot be taken away while IPAM plugins have still to be told of {owed} released bonds; "
            "`sriov-bondctl gc` says why they could not be",
        )


def _refuse_held(where: pool.Pool, nics: list[tuple[Nic, dict[str, Any]]]) -> None:
    """Refuse to pull VFs of ours out from under another namespace, or a virtual machine."""
    for nic, kept in nics:
        held = [pci for pci in nic.vfs() if sriov.driver(pci) and not sriov.netdev(pci)] if kept["made_vfs"] else []
        if held:
            raise CniError(
                POOL_UNUSABLE,
                f"pool {where.name} cannot be taken away: the VF at {held[0]} is in use: {sriov.absence(held[0])}",
            )


def _refuse_doubles(nics: list[Nic]) -> None:
    addresses = [nic.pci for nic in nics]
    for nic in nics:
        if addresses.count(nic.pci) > 1:
            raise CniError(POOL_UNUSABLE, f"{nic.asked} is the NIC {nic.pci}, which the pool names twice; name two NICs")


def _refuse_shared(where: pool.Pool, nics: list[Nic]) -> None:
    """Refuse a NIC that another pool has: each would lease the other's VFs, and `down` of one take those of both away."""
    for name in pool.names(where.state_dir):
        if name == where.name:
            continue
        try:
            inventory_there = pool.Pool(where.state_dir, name).inventory()
            theirs = {kept["pci"] for kept in inventory_there["nics"]}
        except (CniError, KeyError, TypeError):
            continue  # damaged: nothing can be leased from it
        if inventory_there.get("boot_id") != store.boot_id():
            continue  # nothing can be leased from it either, and its NICs may be elsewhere on the bus by now
        for nic in nics:
            if nic.pci in theirs:
                raise CniError(
                    POOL_UNUSABLE,
                    f"the NIC {nic.name} ({nic.pci}) of pool {where.name} is in pool {name} already; run `sriov-bondctl down "
                    f"{name}` first, or name another NIC",
                )


def _size(plan: PoolPlan, nics: list[Nic]) -> int:
    """Give how many VFs each NIC is to have."""
    offers = ", ".join(f"{nic.name} offers {nic.total}" for nic in nics)
    size = plan.vfs if plan.vfs is not None else min(nic.total for nic in nics)
    if size > min(nic.total for nic in nics) or size < 1:
        raise CniError(
            POOL_UNUSABLE,
            f"pool {plan.name} asks for {plan.vfs or 'max'} VFs per NIC, but {offers}; lower vfs, or raise the number in the "
            "NIC's firmware",
        )
    return size


def _inventory(where: pool.Pool) -> dict[str, Any] | None:
    """Give the inventory that is there, or None; a damaged one is as good as none, for ``up`` makes it anew."""
    try:
        return where.inventory()
    except CniError as unusable:
        if unusable.code != POOL_UNUSABLE:
            raise
        return None


def _leases(where: pool.Pool) -> list[str]:
    """Say who has a bond of the pool."""
    found = []
    for entry in where.entries():
        try:
            record = where.read(entry)
        except CniError as damaged:
            found.append(f"{entry.bond} ({damaged.msg})")
            continue
        if record:
            found.append(f"{entry.bond} by container {record['container_id']} {record['ifname']} ({entry.state})")
    return found


def _refuse_leases(where: pool.Pool, what: str) -> None:
    leases = _leases(where)
    if leases:
        raise CniError(POOL_UNUSABLE, f"{what} while bonds are leased: {', '.join(leases)}; remove those containers first")


def _refuse_other_nics(where: pool.Pool, before: dict[str, Any] | None, nics: list[Nic]) -> None:
    """Refuse to pair other NICs, or the same in another order, under living leases."""
    if before and [kept["pci"] for kept in before["nics"]] != [nic.pci for nic in nics]:
        _refuse_leases(where, f"the NICs of pool {where.name} cannot be changed")


def _refuse_other_bonds(where: pool.Pool, after: dict[str, Any]) -> None:
    """Refuse to give leased VFs to a bond of another name: whoever works on the lease has the old one's lock alone."""
    bonds = {one["name"]: [port["pci"] for port in one["ports"]] for one in after["bonds"]}
    for entry in where.entries():
        try:
            record = where.read(entry)
        except CniError:
            continue
        if record and "ports_of" in record and [port["pci"] for port in record["ports_of"]["ports"]] != bonds.get(entry.bond):
            _refuse_leases(where, f"the bonds of pool {where.name} cannot be called or paired otherwise")


def _refuse_remaking(where: pool.Pool, nic: Nic, size: int) -> None:
    """Refuse to take a NIC's VFs away for another number of them, while somebody uses one."""
    if nic.count in (0, size):
        return
    what = f"{nic.name} has {nic.count} VFs, not {size}, and the kernel can only take all away and make new ones; it cannot"
    _refuse_leases(where, what)
    used = _used(nic)
    if used:
        raise CniError(POOL_UNUSABLE, f"{what} while VFs are in use: {', '.join(used)}; free them or set vfs = {nic.count}")


def _make_all_vfs(where: pool.Pool, nics: list[Nic], size: int, report: Report) -> list[bool]:
    """Give the NICs their VFs and tell which had to be given some.

    Where VFs are taken away for it, the pool is locked, so that no ADD gets one on its way out.
    """
    lock = where.lock() if any(nic.count not in (0, size) for nic in nics) else -1
    try:
        for nic in nics:
            _refuse_remaking(where, nic, size)
        away = _away(where)
        return [_make_vfs(nic, size, away, report) for nic in nics]
    finally:
        if lock >= 0:
            os.close(lock)


def _make_vfs(nic: Nic, size: int, away: set[str], report: Report) -> bool:
    """Give a NIC its VFs; what it has already, if the number is right, stays."""
    if nic.count == size:
        _wait(nic, away, report, _OLD_VF_SECONDS)
        return False
    if nic.count:
        nic.count = 0
    report(f"{nic.name}: making {size} VFs", 0, size)
    nic.count = size
    _wait(nic, away, report, _VF_SECONDS + _MORE_PER_VF * size)
    return True


def _wait(nic: Nic, away: set[str], report: Report, seconds: float) -> None:
    """Wait for the network devices of a NIC's VFs, but for those that are with containers."""
    count = nic.count
    for _ in range(int(seconds)):
        missing = nic.wait_for_vfs(1, away)
        report(f"{nic.name}: waiting for its VFs", count - len(missing), count)
        if not missing:
            return


def _away(where: pool.Pool) -> set[str]:
    """Give the PCI addresses of the VFs that leases hold."""
    before = _inventory(where)
    known = {bond["name"]: bond for bond in before["bonds"]} if before else {}
    found = set()
    for entry in where.entries():
        try:
            record = where.read(entry) or {}
        except CniError:
            record = {}
        # The lease says it itself: the inventory may be lost.
        bond = record.get("ports_of") or known.get(entry.bond, {"ports": []})
        found |= {port["pci"] for port in bond["ports"]}
    return found


def _used(nic: Nic) -> list[str]:
    """Say which VFs of a NIC somebody uses: in another namespace, without a network driver, up, or a port."""
    host = Netlink()
    found = []
    for pci in nic.vfs():
        name = sriov.netdev(pci)
        link = host.link(name) if name else None
        if link is None:
            found.append(f"{pci} (not in the host, driver {sriov.driver(pci) or 'none'})")
        elif link.up or link.master:
            found.append(f"{link.name} (up)")
    return found


def _bring_up(nic: Nic) -> bool:
    link = Netlink().link(nic.name)
    if link is None or link.up:
        return False
    _set_pf(nic, up=True)
    return True


def _set_pf(nic: Nic, up: bool) -> None:
    host = Netlink()
    link = host.link(nic.name)
    if link is not None:
        host.set_up(link, up)


def _new_inventory(
    plan: PoolPlan, nics: list[Nic], size: int, before: dict[str, Any] | None, made: list[bool], brought_up: list[bool]
) -> dict[str, Any]:
    """Pair VF n of every NIC as the n-th bond. What ``up`` did at an earlier run of this boot, ``down`` has to undo too."""
    kept = {one["pci"]: one for one in before["nics"]} if before and before["boot_id"] == store.boot_id() else {}
    addresses = [nic.vfs() for nic in nics]
    bonds = [
        {
            "name": plan.bond_name.format(n=place + 1),
            "mac": _mac(nics[0], place),
            "ports": [
                {
                    "pci": addresses[order][place],
                    "name": plan.vf_name.format(nic=nic.number, vf=place + 1),
                    "pf": nic.pci,
                    "vf": place,
                }
                for order, nic in enumerate(nics)
            ],
        }
        for place in range(size)
    ]
    described = [
        {
            "pci": nic.pci,
            "name": nic.name,
            "number": nic.number,
            "made_vfs": did or bool(kept.get(nic.pci, {}).get("made_vfs")),
            "brought_up": woke or bool(kept.get(nic.pci, {}).get("brought_up")),
        }
        for nic, did, woke in zip(nics, made, brought_up, strict=True)
    ]
    return {"version": 1, "pool": plan.name, "boot_id": store.boot_id(), "nics": described, "bonds": bonds}


def _mac(nic: Nic, place: int) -> str:
    """Give a bond's MAC: the same at every boot, and no other host's, because it comes from the NIC's own address."""
    link = Netlink().link(nic.name)
    burnt_in = (link.perm_mac or link.mac) if link else nic.pci
    return inventory.stable_mac(f"sriov-bond {burnt_in} {place}")


def _name(bonds: list[inventory.Bond], report: Report) -> bool:
    """Name the VFs as the pool calls them, and tell whether one had to be."""
    host = sriov.Host()
    wrong = []
    for bond in bonds:
        for port in bond.ports:
            link = host.netdev(port)
            if link is not None and (link.name != port.name or link.altnames):
                wrong.append((port, link))
    if wrong:
        _rename(host, wrong, report)
    return bool(wrong)


def _rename(host: sriov.Host, wrong: list[tuple[inventory.Port, Link]], report: Report) -> None:
    """Rename VFs in a namespace of our own, where udev does not see it.

    All are in there before the first goes home: one may have the name that another is to get.
    """
    with Temporary() as netns:
        with Entered(netns):
            inside = Netlink("a temporary namespace")
        for done, (_, link) in enumerate(wrong):
            report("naming the VFs", done, 2 * len(wrong))
            if link.up:
                host.netlink.set_up(link, False)
            host.netlink.move(link, netns.fd, "a temporary namespace", "vf%d")
        names = {port.pci: port.name for port, _ in wrong}
        moved = [link for link in inside.links() if link.parent in names]
        for link in moved:
            inside.drop_altnames(link)
            inside.set_name(link, "vf%d")
        for done, link in enumerate(moved, len(wrong)):
            report("naming the VFs", done, 2 * len(wrong))
            link.name, link.altnames = "", []
            sriov.move_out(inside, link, names[link.parent])
        inside.close()


def _give_macs(bonds: list[inventory.Bond], report: Report) -> bool:
    """Give both VFs of every bond the bond's MAC."""
    host = sriov.Host()
    changed = False
    for done, bond in enumerate(bonds):
        report("giving each bond its MAC", done, len(bonds))
        for port in bond.ports:
            link = host.netdev(port)
            if link is not None and (link.mac != bond.mac or host.vf(port).mac != bond.mac):
                host.set_macs(port, link, bond.mac)
                changed = True
    report("giving each bond its MAC", len(bonds), len(bonds))
    return changed
