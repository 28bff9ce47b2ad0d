"""The file-locked pool of bonds: acquire, find, take, quarantine. It knows files, not the kernel.

On disk, below the state directory::

    POOL/pool.json                 the inventory: every bond and its ports; written by `sriov-bondctl up` alone
    POOL/lock                      flock, held to choose and record, never across kernel work or a delegate
    POOL/bonds/BOND                flock of one bond, held through all work on it; the file is empty and stays
    POOL/leases/BOND.KEY.STATE     one lease; KEY is a hash of the attachment, STATE is adding, ready, releasing or draining
    POOL/quarantine/BOND           why a bond is not handed out
    POOL/owed/KEY                  a lease whose bond is free again, but whose delegate could not be told
    POOL/owed/lock                 flock, held while delegates are told

Lock files are never unlinked: a process that waits for an unlinked file would lock what nobody else sees.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from time import monotonic, sleep, time

from cni_sriov_bond import inventory, leases, quarantine, store
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.leases import ADDING, STATES, Attachment, Entry, Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from cni_sriov_bond.inventory import Bond

_BUSY_POLL = 0.02


class Pool:
    """A pool's directory. Making the value reads nothing."""

    def __init__(self, state_dir: str, name: str) -> None:
        self.name = name
        self.state_dir = state_dir
        self.path = f"{state_dir}/{name}"
        self.leases = f"{self.path}/leases"

    def inventory(self) -> "dict[str, Any]":
        """Read the inventory as ``up`` wrote it.

        :raises CniError: POOL_UNUSABLE when the pool was never made or its inventory cannot be understood.
        """
        try:
            return inventory.read(self.path, self.name)
        except FileNotFoundError:
            raise CniError(POOL_UNUSABLE, self._unknown()) from None

    def _unknown(self) -> str:
        leased = len(self.entries())
        if leased:
            words = f"{leased} of its bonds are leased" if leased > 1 else "a bond of it is leased"
            return f"the inventory of pool {self.name} is lost, though {words}; run `sriov-bondctl up` to write it anew"
        others = names(self.state_dir)
        have = f"there is {', '.join(others)}" if others else "there is none yet"
        have += "" if self.state_dir == store.STATE_DIR else f" in {self.state_dir}"
        return f"pool {self.name!r} is not provisioned ({have}); name it in /etc/cni/sriov-bond.toml and run `sriov-bondctl up`"

    def bonds(self) -> "list[Bond]":
        """Give the bonds of the inventory in their order.

        :raises CniError: POOL_UNUSABLE as ``inventory`` does, and for a bond that is none.
        """
        return self._bonds(self.inventory())

    def bonds_of_this_boot(self) -> "list[Bond]":
        """Give the bonds of the inventory, if `up` was run since the host booted: their VFs may be elsewhere on the bus by now.

        :raises CniError: POOL_UNUSABLE as ``bonds`` does, and for an inventory of an earlier boot.
        """
        value = self.inventory()
        found = self._bonds(value)
        if value.get("boot_id") != store.boot_id():
            raise CniError(POOL_UNUSABLE, f"pool {self.name} was made before this boot; run `sriov-bondctl up`")
        if value.get(inventory.LEAVING):
            raise CniError(
                POOL_UNUSABLE, f"pool {self.name} is half taken away; run `sriov-bondctl down {self.name}` again, or `up`"
            )
        return found

    def _bonds_if_of_this_boot(self) -> "list[Bond]":
        value = self.inventory()
        return self._bonds(value) if value.get("boot_id") == store.boot_id() else []

    def _bonds(self, value: "dict[str, Any]") -> "list[Bond]":
        try:
            return [inventory.bond(one) for one in value["bonds"]]
        except (KeyError, TypeError):
            raise inventory.foreign(self.path) from None

    def entries(self) -> list[Entry]:
        """Give every lease's entry, one per lease."""
        found: dict[tuple[str, str], Entry] = {}
        for file in store.listed(self.leases):
            parts = file.split(".")
            if len(parts) != 3 or parts[2] not in STATES:
                continue  # a temporary file of a writer
            old = found.get((parts[0], parts[1]))
            if old is None or STATES.index(parts[2]) < STATES.index(old.state):
                found[parts[0], parts[1]] = Entry(*parts)
        return list(found.values())

    def is_used(self) -> bool:
        """Tell whether there are leases, or delegates that have still to be told."""
        return bool(self.entries() or set(store.listed(f"{self.path}/{leases.OWED}")) - {"lock"})

    def drop_leftovers(self) -> int:
        """Delete what killed writers left, and say how many files; what somebody may still be writing stays."""
        dropped = 0
        for directory in (self.leases, f"{self.path}/{quarantine.DIRECTORY}"):
            for bond in {leases.leftover_of(file) for file in store.listed(directory)} - {""}:
                held = self._try_bond(bond)
                if held is not None:
                    try:
                        dropped += leases.drop_leftovers(directory, bond)
                    finally:
                        os.close(held)
        return dropped

    def lock(self, seconds: float = store.LOCK_SECONDS) -> int:
        """Lock the pool and give the descriptor to close.

        :raises CniError: TRY_AGAIN_LATER naming who holds it, after ``seconds``.
        """
        return store.locked(f"{self.path}/lock", f"pool {self.name}", seconds)

    def lock_bond(self, name: str, seconds: float = store.LOCK_SECONDS) -> int:
        """Lock one bond and give the descriptor to close; ``seconds`` 0 tries once.

        :raises CniError: TRY_AGAIN_LATER naming who holds it.
        """
        return store.locked(f"{self.path}/bonds/{name}", f"bond {name} of pool {self.name}", seconds)

    def lock_free_bond(self, name: str) -> int | None:
        """Lock a bond that nobody has and nobody works on and give the descriptor to close; else None.

        :raises CniError: IO_FAILURE.
        """
        held = self._try_bond(name)
        if held is not None and any(entry.bond == name for entry in self.entries()):
            os.close(held)
            return None
        return held

    def _try_bond(self, name: str) -> int | None:
        try:
            return self.lock_bond(name, 0)
        except CniError as busy:
            if busy.code != TRY_AGAIN_LATER:
                raise
            return None

    # -- acquiring

    def acquire(
        self, who: Attachment, record: "dict[str, Any]", unusable: "Collection[str]" = (), wish: str = ""
    ) -> "tuple[Lease, Bond]":
        """Lease the first free bond, locked; the record is on disk when this returns, but not yet durable.

        :param unusable: names of bonds to pass over, beside those in quarantine.
        :param wish: the only bond that will do, by its name or the PCI address of a port.
        :raises CniError: INVALID_CONFIG when there is no such bond.
        :raises CniError: TRY_AGAIN_LATER when no bond is free, saying who has them, or the attachment's earlier one is not
            given back yet; POOL_UNUSABLE when the attachment has a bond, or the pool was not made since the host booted.
        """
        deadline = monotonic() + store.LOCK_SECONDS
        while True:
            bonds = self._wished(wish) if wish else self.bonds_of_this_boot()  # each time: `up` may have been waited for
            entries, busy, got = self._acquire_now(who, record, unusable, bonds)
            if got:
                return got
            if not busy:
                raise CniError(TRY_AGAIN_LATER, self._none_left(bonds, entries, wish))
            if monotonic() > deadline:
                os.close(self.lock_bond(busy, 0))  # says who holds it
            sleep(_BUSY_POLL)

    def _acquire_now(
        self, who: Attachment, record: "dict[str, Any]", unusable: "Collection[str]", bonds: "list[Bond]"
    ) -> "tuple[list[Entry], str, tuple[Lease, Bond] | None]":
        """Lease a bond if one is free now; give also the leases there are and a free bond that somebody works on."""
        busy = ""
        lock = self.lock()
        try:
            entries = self._entries_without(who)
            taken = {entry.bond for entry in entries}.union(unusable, quarantine.bonds(self.path))
            for candidate in bonds:
                if candidate.name in taken:
                    continue
                # Who holds a free bond has just erased its lease, is a delegate that outlived its ADD, or is `up`.
                held = self._try_bond(candidate.name)
                if held is None:
                    busy = busy or candidate.name
                    continue
                if quarantine.holds(self.path, candidate.name):  # since the list was made: that is done under its lock
                    os.close(held)
                    continue
                return entries, "", (self._leased(who, record, candidate, held), candidate)
        finally:
            os.close(lock)
        return entries, busy, None

    def refuse_second(self, who: Attachment) -> None:
        """See that an attachment has no bond of this pool.

        :raises CniError: TRY_AGAIN_LATER, POOL_UNUSABLE as ``acquire``.
        """
        self._entries_without(who)

    def _entries_without(self, who: Attachment) -> list[Entry]:
        """Give every lease's entry, of which none is the attachment's."""
        entries = self.entries()
        for entry in entries:
            if entry.key == who.key:
                raise CniError(*self._had_already(who, entry))
        # After the leases: one becomes a debt by one rename, and would be seen in neither place.
        if store.exists(f"{self.path}/{leases.OWED}/{who.key}"):
            raise CniError(TRY_AGAIN_LATER, f"{who} was here before, and its IPAM plugin has still to be told; try again later")
        return entries

    def _had_already(self, who: Attachment, entry: Entry) -> tuple[int, str]:
        """Give the code and the words for an attachment that has a bond."""
        words = f"{who} has the bond {entry.bond} of pool {self.name}"
        if entry.state == leases.READY:
            return POOL_UNUSABLE, f"{words} already; DEL it first"
        if entry.state == ADDING:
            return TRY_AGAIN_LATER, f"{words} by an ADD that has not ended; try again later"
        return TRY_AGAIN_LATER, f"{words} still: it is {entry.state}, until its VFs are home; try again later"

    def _leased(self, who: Attachment, record: "dict[str, Any]", bond: "Bond", held: int) -> Lease:
        record.update(
            version=leases.VERSION,
            pool=self.name,
            bond=bond.name,
            network=who.network,
            container_id=who.container_id,
            ifname=who.ifname,
            boot_id=store.boot_id(),
            pid=os.getpid(),
            created=int(time()),
        )
        lease = Lease(self.name, self.path, Entry(bond.name, who.key, ADDING), record, held)
        try:
            lease.write(durable=False)
        except CniError:
            lease.close()
            raise
        return lease

    def _wished(self, wish: str) -> "list[Bond]":
        for candidate in self.bonds_of_this_boot():
            if wish == candidate.name or wish.lower() in [port.pci for port in candidate.ports]:
                return [candidate]
        raise CniError(
            INVALID_CONFIG,
            f"deviceID {wish!r} is no bond of pool {self.name}, nor the PCI address of a VF of one; see `sriov-bondctl status`",
        )

    def _none_left(self, bonds: "list[Bond]", entries: list[Entry], wish: str) -> str:
        if wish:
            return self._taken(bonds[0].name, entries)
        holders = []
        for entry in entries[:3]:
            record = self._readable(entry)
            if record:
                holders.append(f"{entry.bond} by {_short(record['container_id'])} {record['ifname']}")
        more = f", and {len(entries) - len(holders)} more" if len(entries) > len(holders) else ""
        leased = {entry.bond for entry in entries}
        aside = [bond.name for bond in bonds if bond.name not in leased]
        words = f"all {len(bonds)} bonds are leased" if not aside else f"{len(leased)} of {len(bonds)} bonds are leased"
        kept = f", and {', '.join(aside[:3])} cannot be used (see `sriov-bondctl status`)" if aside else ""
        full = f"pool {self.name} is empty: {words} ({', '.join(holders)}{more}){kept}"
        return f"{full}; remove a container or give the pool more VFs"

    def _taken(self, name: str, entries: list[Entry]) -> str:
        entry = next((entry for entry in entries if entry.bond == name), None)
        record = self._readable(entry) if entry else None
        if record:
            state = f"is leased to {_short(record['container_id'])} {record['ifname']}"
        else:
            state = f"cannot be used: {quarantine.reasons(self.path).get(name, 'its VFs are not there')}"
        return f"bond {name} of pool {self.name}, which deviceID asks for, {state}; try again later"

    def _readable(self, entry: Entry) -> "dict[str, Any] | None":
        """Read a record for the words of an error, which a damaged one must not replace."""
        try:
            return self.read(entry)
        except CniError:
            return None

    # -- leases that are there

    def read(self, entry: Entry) -> "dict[str, Any] | None":
        """Read a lease's record without its lock, or None when it is gone by now.

        :raises CniError: POOL_UNUSABLE when it is damaged, or of a newer version, naming the file.
        """
        return leases.whole(f"{self.leases}/{entry.file}")

    def take(self, entry: Entry, seconds: float = store.LOCK_SECONDS, rebuild: bool = False) -> Lease | None:
        """Lock a lease and read it, or give None when it was erased meanwhile.

        :param rebuild: take a damaged lease too, with a record made of what the inventory says: ``rebuilt`` is the reason, and
            neither its network nor its delegate are known.
        :raises CniError: TRY_AGAIN_LATER when another process works on the bond for all of ``seconds``; what ``read`` raises.
        """
        held = self.lock_bond(entry.bond, seconds)
        try:
            # Under the lock only: the state may have changed while we waited, and the bond may have a new owner.
            now = next((other for other in self.entries() if (other.bond, other.key) == (entry.bond, entry.key)), None)
            record = self._read_locked(now, rebuild) if now else None
        except CniError:
            os.close(held)
            raise
        if now is None or record is None:
            os.close(held)
            return None
        return Lease(self.name, self.path, now, record, held)

    def _read_locked(self, entry: Entry, rebuild: bool) -> "dict[str, Any] | None":
        """Read a lease's record under its lock; erase one of an ADD that a power cut stopped before it was durable.

        The kernel is not touched before the record is durable, so such a lease holds nothing.
        """
        path = f"{self.leases}/{entry.file}"
        record, damage = leases.load(path)
        if not damage:
            return record
        if entry.state == ADDING:
            store.unlink(path)
            return None
        if not rebuild:
            raise CniError(POOL_UNUSABLE, damage)
        record = {"version": leases.VERSION, "pool": self.name, "bond": entry.bond, "boot_id": store.boot_id(), "asked": {}}
        bond = next((bond for bond in self._bonds_if_of_this_boot() if bond.name == entry.bond), None)
        if bond is not None:
            record.update(mac=bond.mac, ports_of=inventory.described(bond))
        return {**record, "rebuilt": damage}


def names(state_dir: str) -> list[str]:
    """Give the names of all provisioned pools, sorted."""
    return [name for name in directories(state_dir) if store.exists(f"{state_dir}/{name}/{inventory.FILE}")]


def known(state_dir: str) -> list[str]:
    """Give the names of all pools of which there is anything: an inventory, or leases and debts whose inventory is lost."""
    made = names(state_dir)
    return [name for name in directories(state_dir) if name in made or Pool(state_dir, name).is_used()]


def directories(state_dir: str) -> list[str]:
    """Give the names of all pools that there were ever, sorted: one whose inventory is lost has its leases still.

    :raises CniError: IO_FAILURE when they cannot be listed, which does not mean that there are none.
    """
    try:
        found = os.listdir(state_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot list the pools in {state_dir}: {failed.strerror}") from None
    return sorted(name for name in found if store.exists(f"{state_dir}/{name}/leases"))


def find(state_dir: str, who: Attachment) -> Lease | None:
    """Give an attachment's lease, locked, in whichever pool it is; its config may name another one by now.

    A damaged lease is found too: its file's name says whose it is.

    :raises CniError: TRY_AGAIN_LATER when another process works on the bond for too long.
    """
    key = who.key
    for name in directories(state_dir):
        pool = Pool(state_dir, name)
        for entry in pool.entries():
            if entry.key == key:
                lease = pool.take(entry, rebuild=True)
                if lease:
                    return lease
        pool.drop_leftovers()
    return None


def make_directories(pool: Pool) -> None:
    """Make a pool's directories, for root alone.

    :raises CniError: IO_FAILURE.
    """
    parents = pool.state_dir.split("/")
    above = ["/".join(parents[:length]) for length in range(2, len(parents) + 1)]
    for path in (*above, pool.path, pool.leases, f"{pool.path}/bonds"):
        store.make_directory(path)


def _short(container_id: str) -> str:
    return container_id if len(container_id) <= 24 else container_id[:21] + "..."
