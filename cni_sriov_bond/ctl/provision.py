"""``up`` of a pool as a list of steps in an order that has reasons; ``down`` is in ``removal``.

The refusals are in ``refusals`` and all of them come before the NICs are changed; the work on VFs is in ``vfs``. What is
changed is recorded in ``changes`` first.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from cni_sriov_bond import files
from cni_sriov_bond.ctl import changes, refusals, udevrules, vfs
from cni_sriov_bond.ctl.changes import Changes
from cni_sriov_bond.ctl.hostfile import PoolPlan
from cni_sriov_bond.ctl.locks import closing, provisioning
from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import modules, sriov, sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin import recover
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import call_counters, inventory, pools, quarantine
from cni_sriov_bond.pool.inventory import Inventory, NicRecord
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.ports import Bond, Port


def up(state_dir: str, plan: PoolPlan, context: Context, report: vfs.Report) -> bool:
    """Make a pool what the host file asks for, and return whether anything had to be changed.

    ADDs and DELs may go on meanwhile: a bond is changed only under its lock, and only if it is free.

    :param report: called with (what is done, how much is done, of how much).
    :raises CniError: POOL_UNUSABLE when a NIC does not offer as many VFs, or when a lease forbids the change; TRY_AGAIN_LATER
        while another `up` or `down` of the pool runs.
    """
    target = Pool(state_dir, plan.name)
    functions = [PhysicalFunction(name, number) for name, number in zip(plan.pfs, plan.nics, strict=True)]
    missing = changes.missing_directories(state_dir)
    pools.make_directories(target)
    call_counters.create(target.state_dir)
    with provisioning(target):
        return _Up(target, plan, functions, context, report).run(missing)


def _run(steps: tuple[Callable[[], bool], ...]) -> bool:
    """Run steps in their order; each returns whether it changed anything. Return whether one did."""
    changed = False
    for step in steps:
        changed = step() or changed
    return changed


class _Up:
    """One ``up``: what its steps share. The lock of provisioning is held."""

    def __init__(
        self, target: Pool, plan: PoolPlan, functions: list[PhysicalFunction], context: Context, report: vfs.Report
    ) -> None:
        self._pool = target
        self._plan = plan
        self._functions = functions
        self._context = context
        self._report = report
        self._before: Inventory | None = None
        self._size = 0
        self._made: set[str] = set()
        self._changes = Changes(target.path)

    def run(self, directories: list[str]) -> bool:
        """Run every step in order; return whether one of them changed anything.

        :param directories: those that were created for the pool.
        """
        self._record(directories=directories)
        steps = (
            # First, so that leases of containers that are gone refuse nothing.
            self._clean,
            # Everything that can be refused is refused here, while nothing is changed.
            self._refuse,
            # Here and not at the first ADD, which is to leave the host's modules as they were.
            self._load_modules,
            # Before the VFs: igbvf gives up on a PF that was down when its VFs appeared, until it is loaded again.
            self._bring_up,
            # Before the VFs: udev acts on a VF the moment that it appears.
            self._write_expected_rules,
            self._create_vfs,
            # After the VFs: their addresses can depend on how many there are.
            self._write_rules,
            # After the VFs: leases of VFs that have been replaced are over.
            self._release_lost,
            # When every VF has its final address; see there for the order within it.
            self._set_up_bonds,
            # After the inventory: an IPAM plugin may take long, and the pool can be used meanwhile.
            self._send_pending,
        )
        return _run(steps)

    def _clean(self) -> bool:
        """Remove temporary files of killed ``up`` commands: under the provisioning lock nobody else writes an inventory."""
        for file in os.listdir(self._pool.path):
            if file.startswith((f".{inventory.FILE}.", f".{changes.FILE}.")):
                os.unlink(f"{self._pool.path}/{file}")
        self._recover()
        return False

    def _recover(self) -> None:
        # For a limited time: at boot the runtimes wait for `up`, and DELs to IPAM plugins that hang are sent again later.
        recover.recover(self._pool, recover.Unused(), self._context.within(recover.SECONDS))

    def _refuse(self) -> bool:
        refusals.refuse_doubles(self._functions)
        refusals.refuse_unusable(self._functions)
        refusals.refuse_shared(self._pool, self._functions)
        self._size = refusals.size_or_refuse(self._plan, self._functions)
        refusals.refuse_no_drivers(self._functions)
        self._before = pools.inventory_or_none(self._pool)
        refusals.refuse_other_nics(self._pool, self._before, self._functions)
        for pf in self._functions:
            refusals.refuse_remaking(self._pool, pf, self._size, self._plan.shares)
        # Where VFs are to be created their addresses are not known yet; then it is checked again after that.
        if all(pf.vf_count == self._size or (self._plan.shares and pf.vf_count) for pf in self._functions):
            refusals.refuse_other_bonds(self._pool, self._bonds())
        return False

    def _load_modules(self) -> bool:
        modules.load_bonding()
        return False

    def _bring_up(self) -> bool:
        with contextlib.closing(Netlink()) as host:
            down = {pf.address: link for pf in self._functions if not (link := pf.link(host)).up}
            self._record(brought_up=down)
            for link in down.values():
                host.set_up(link, True)
        return bool(down)

    def _record(self, brought_up: Iterable[str] = (), made_vfs: Iterable[str] = (), directories: Iterable[str] = ()) -> None:
        """Record what is about to be changed, on disk."""
        self._changes.brought_up |= set(brought_up)
        self._changes.made_vfs |= set(made_vfs)
        self._changes.directories += directories
        if brought_up or made_vfs or directories:
            self._changes.save()

    def _write_expected_rules(self) -> bool:
        self._record(directories=udevrules.directories_to_create())
        addresses = [self._mine(self._future_vfs(pf)) for pf in self._functions]
        return udevrules.write(self._plan.name, [vf for of_pf in addresses for vf in of_pf])

    def _future_vfs(self, pf: PhysicalFunction) -> list[str]:
        """Return the addresses of the VFs that a NIC is going to have: the present ones, or of those to be created."""
        stay = pf.vf_count == self._size or (self._plan.shares and pf.vf_count)
        return pf.vfs() if stay else pf.expected_vfs(self._size)

    def _write_rules(self) -> bool:
        # Not counted as a change: it differs from the expected rules only where the prediction was wrong.
        udevrules.write(self._plan.name, [vf for pf in self._functions for vf in self._mine(pf.vfs())])
        return False

    def _mine(self, addresses: list[str]) -> list[str]:
        """Return those of a NIC's VFs that are the pool's."""
        return [addresses[index] for index in self._plan.indices(self._size)]

    def _create_vfs(self) -> bool:
        """Create the VFs. If others are removed for it, the pool is locked, so that no ADD leases one of them."""
        shares, size = self._plan.shares, self._size
        remade = any(pf.vf_count not in (0, size) for pf in self._functions) and not shares
        with closing(self._pool.lock()) if remade else contextlib.nullcontext():
            for pf in self._functions:  # again: an ADD may have leased a bond before the lock
                refusals.refuse_remaking(self._pool, pf, size, shares)
            leased = _leased_vfs(self._pool)
            indices = self._plan.indices(size)
            requests = [vfs.NicRequest(pf, size, indices, not shares, leased) for pf in self._functions]
            self._record_creation([request.pf for request in requests if request.is_to_be_made])
            self._made = vfs.create(requests, self._report)
        return bool(self._made)

    def _record_creation(self, functions: list[PhysicalFunction]) -> None:
        for pf in functions:
            if pf.vf_count and pf.address not in self._changes.made_vfs:
                self._changes.numbers[pf.address] = pf.vf_count
            # Nothing is known of the VFs that are about to be created, also if there were others at their addresses.
            vfs_of_others = {address: vf for address, vf in self._changes.vfs.items() if vf.port.pf_address != pf.address}
            self._changes.vfs = vfs_of_others
        self._record(made_vfs=[pf.address for pf in functions])

    def _release_lost(self) -> bool:
        if self._made:
            self._recover()
        return False

    def _set_up_bonds(self) -> bool:
        after = self._inventory()
        refusals.refuse_other_bonds(self._pool, after.bonds)
        with _free_bonds(self._pool, after.bonds) as free:
            bonds = _with_all_vfs(free, self._pool, self._context.log)
            self._record_vfs(bonds)
            steps = (
                # Names first: errors about a VF's MAC or settings then have the name that the operator knows.
                lambda: vfs.set_names(bonds, self._report),
                lambda: vfs.set_macs(bonds, self._report),
                lambda: _end_quarantine(bonds, self._pool),
                # Last: an ADD that reads it finds VFs that are ready.
                lambda: self._write_inventory(after),
            )
            return _run(steps)

    def _record_vfs(self, bonds: list[Bond]) -> None:
        """Record what VFs are like that ``down`` will not remove, before they are changed for the first time."""
        kept = {pf.address for pf in self._functions if self._plan.shares or pf.address not in self._changes.made_vfs}
        ports = [port for bond in bonds for port in bond.ports if port.pf_address in kept]
        host = sriov.Host()
        with contextlib.closing(host.netlink):
            saved = {port.address: vfs.save(host, port) for port in ports if port.address not in self._changes.vfs}
        new = {address: vf for address, vf in saved.items() if vf is not None}
        if new:
            self._changes.vfs |= new
            self._changes.save()

    def _write_inventory(self, after: Inventory) -> bool:
        if self._before and self._before.to_json() == after.to_json():
            return False
        inventory.write(self._pool.path, after)
        return True

    def _send_pending(self) -> bool:
        recover.send_pending_dels(self._pool, self._context.within(recover.SECONDS))
        return False

    def _inventory(self) -> Inventory:
        """Return the inventory to write. What an earlier ``up`` of this boot did to a NIC, ``down`` has to undo too."""
        earlier = self._before if self._before and self._before.of_this_boot else None
        nics = []
        for pf in self._functions:
            record = earlier.nic(pf.address) if earlier else None
            nics.append(
                NicRecord(
                    pf.address,
                    pf.name,
                    pf.number,
                    made_vfs=pf.address in self._changes.made_vfs or bool(record and record.made_vfs),
                    brought_up=pf.address in self._changes.brought_up or bool(record and record.brought_up),
                )
            )
        return Inventory(self._plan.name, files.boot_id(), nics, self._bonds())

    def _bonds(self) -> list[Bond]:
        """Return the bonds: VF n of every NIC is a port of the n-th. If VFs are not the pool's, their numbers are left out."""
        seed = _burnt_in_mac(self._functions[0])
        addresses = [pf.vfs() for pf in self._functions]
        return [
            Bond(
                self._plan.bond_name.format(n=index + 1),
                # The same at every boot, and different from every other host's: it is made from the NIC's own MAC.
                inventory.stable_mac(f"sriov-bond {seed} {index}"),
                [
                    Port(vf_addresses[index], self._plan.vf_name.format(nic=pf.number, vf=index + 1), pf.address, index)
                    for pf, vf_addresses in zip(self._functions, addresses, strict=True)
                ],
            )
            for index in self._plan.indices(self._size)
        ]


@contextlib.contextmanager
def _free_bonds(target: Pool, bonds: list[Bond]) -> Iterator[list[Bond]]:
    """Lock the bonds that are free and yield them.

    A bond that is busy is left alone: an ADD has leased it or is about to, and repairs what it takes.
    """
    with contextlib.ExitStack() as locks:
        free = []
        for bond in bonds:
            lock = target.lock_free_bond(bond.name)
            if lock is not None:
                locks.callback(os.close, lock)
                free.append(bond)
        yield free


def _with_all_vfs(bonds: list[Bond], target: Pool, log: Log) -> list[Bond]:
    """Return the bonds whose VFs all have a network device in the host; the others go into quarantine.

    If no bond has its VFs, the cause is the host or the NIC, and none is quarantined.

    :raises CniError: POOL_UNUSABLE when no bond has its VFs.
    """
    lost: dict[str, str] = {}
    for bond in bonds:
        for port in bond.ports:
            if bond.name not in lost and not sysfs.netdev(port.address):
                lost[bond.name] = f"{port.name} (the VF at {port.address}) is not in the host: {sysfs.absence(port.address)}"
    if bonds and len(lost) == len(bonds):
        raise CniError(POOL_UNUSABLE, f"pool {target.name}: {next(iter(lost.values()))}")
    for name, reason in lost.items():
        quarantine.add(target.path, name, reason)
        log.warn(f"bond {name} is in quarantine: {reason}")
    return [bond for bond in bonds if bond.name not in lost]


def _end_quarantine(bonds: list[Bond], target: Pool) -> bool:
    """End the quarantine of bonds whose VFs are back, and return whether there was one.

    What another namespace or program left set on the VFs is not known, so they are reset first.
    """
    quarantined = target.quarantined()
    back = [bond for bond in bonds if bond.name in quarantined]
    for bond in back:
        sriov.Host().reset(bond.ports, bond.mac)
        quarantine.remove(target.path, bond.name)
    return bool(back)


def _leased_vfs(target: Pool) -> set[str]:
    """Return the PCI addresses of the VFs that leases hold."""
    before = pools.inventory_or_none(target)
    ports = {bond.name: {port.address for port in bond.ports} for bond in before.bonds} if before else {}
    leased: set[str] = set()
    for entry in target.entries():
        try:
            record = target.read(entry)
        except CniError:
            record = None
        # Preferably from the lease: the inventory may be lost, or have changed since.
        if record and record.ports:
            leased |= {port.address for port in record.ports}
        else:
            leased |= ports.get(entry.bond, set())
    return leased


def _burnt_in_mac(pf: PhysicalFunction) -> str:
    with contextlib.closing(Netlink()) as host:
        link = pf.link(host)
    return link.perm_mac or link.mac
