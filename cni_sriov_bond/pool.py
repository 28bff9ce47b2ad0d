"""The file-locked pool of bonds: acquire, find, erase. It knows files, not the kernel.

On disk, below the state directory::

    POOL/pool.json                 the inventory: every bond and its ports; written by `sriov-bondctl up` alone
    POOL/lock                      flock, held to choose and record, never across kernel work or a delegate
    POOL/bonds/BOND                flock of one bond, held through all work on it; the file is empty and stays
    POOL/leases/BOND.KEY.STATE     one lease; KEY is a hash of the attachment, STATE is adding, ready or draining

A lease's state is a part of its file's name, so one rename changes it and one listing of the directory tells which
bonds are free, without opening 63 files. Lock files are never unlinked: a process that waits for an unlinked file
would lock what nobody else sees.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import ENOENT
from time import time

from cni_sriov_bond import jsontext
from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.store import LOCK_SECONDS as _LOCK_SECONDS
from cni_sriov_bond.store import boot_id as boot_id
from cni_sriov_bond.store import digest as digest
from cni_sriov_bond.store import exists as _exists
from cni_sriov_bond.store import locked as _locked
from cni_sriov_bond.store import make_directory as _make_directory
from cni_sriov_bond.store import sync as _sync
from cni_sriov_bond.store import unlink as _unlink
from cni_sriov_bond.store import write as _write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

STATE_DIR = "/var/lib/cni/sriov-bond"
ADDING, READY, DRAINING = "adding", "ready", "draining"
# A name's states in the order in which they count, should a crash leave two files of one lease.
_STATES = (DRAINING, READY, ADDING)


class Port:
    """One VF of a bond as the inventory knows it; ``vf`` is its number at its PF, from 0."""

    __slots__ = ("name", "pci", "pf", "vf")

    def __init__(self, pci: str, name: str, pf: str, vf: int) -> None:
        self.pci = pci
        self.name = name
        self.pf = pf
        self.vf = vf


class Bond:
    """A bond of the inventory: its name, its MAC and its ports in the order of the pool's NICs."""

    __slots__ = ("mac", "name", "ports")

    def __init__(self, name: str, mac: str, ports: list[Port]) -> None:
        self.name = name
        self.mac = mac
        self.ports = ports


class Attachment:
    """Whom a lease serves: (network name, container id, interface name)."""

    __slots__ = ("container_id", "ifname", "network")

    def __init__(self, network: str, container_id: str, ifname: str) -> None:
        self.network = network
        self.container_id = container_id
        self.ifname = ifname

    @property
    def key(self) -> str:
        """A hash for file names: the three are foreign strings and as long as they like."""
        return digest("\0".join((self.network, self.container_id, self.ifname))).hex()[:32]

    def __str__(self) -> str:
        return f"container {self.container_id} interface {self.ifname} of network {self.network!r}"


class Entry:
    """A lease's file name taken apart."""

    __slots__ = ("bond", "key", "state")

    def __init__(self, bond: str, key: str, state: str) -> None:
        self.bond = bond
        self.key = key
        self.state = state

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.bond}.{self.key}.{self.state}"


class Lease:
    """A locked lease: the record that a bond belongs to an attachment. Close it to unlock the bond.

    ``record`` is what is on disk; ``save`` writes it. Its keys are named where they are set: ``pool.acquire`` and
    ``plugin``.
    """

    __slots__ = ("_lock", "entry", "pool", "record")

    def __init__(self, pool: "Pool", entry: Entry, record: "dict[str, Any]", lock: int) -> None:
        self.pool = pool
        self.entry = entry
        self.record = record
        self._lock = lock

    def __str__(self) -> str:
        return f"bond {self.entry.bond} of pool {self.pool.name}"

    def save(self, state: str) -> None:
        """Write the record and the state, durable when this returns.

        :raises CniError: IO_FAILURE, the file on disk being the old or the new one, never a part.
        """
        _write(self.pool.leases, self.entry.file, jsontext.dumps(self.record))
        self._rename(state)
        _sync(self.pool.leases)

    def drain(self) -> None:
        """Mark the lease as one whose owner is gone and whose VFs are not home yet."""
        self._rename(DRAINING)

    def erase(self) -> None:
        """Give the bond back: the last thing done for an attachment."""
        for state in reversed(_STATES):  # a crash may have left two, and the one that counts goes last
            _unlink(f"{self.pool.leases}/{Entry(self.entry.bond, self.entry.key, state).file}")
        _sync(self.pool.leases)

    def close(self) -> None:
        """Unlock the bond."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _rename(self, state: str) -> None:
        if state == self.entry.state:
            return
        old = self.entry.file
        self.entry = Entry(self.entry.bond, self.entry.key, state)
        try:
            os.rename(f"{self.pool.leases}/{old}", f"{self.pool.leases}/{self.entry.file}")
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot mark the lease of {self} as {state}: {failed.strerror}") from None


class Pool:
    """A pool's directory. Making the value reads nothing."""

    def __init__(self, state_dir: str, name: str) -> None:
        self.name = name
        self.state_dir = state_dir
        self.path = f"{state_dir}/{name}"
        self.leases = f"{self.path}/leases"

    def inventory(self) -> "dict[str, Any]":
        """Read the inventory as ``up`` wrote it.

        :raises CniError: POOL_UNUSABLE when the pool was never made or its inventory cannot be read.
        """
        try:
            with open(f"{self.path}/pool.json", encoding="utf-8") as file:
                value = jsontext.loads(file.read())
        except OSError as failed:
            if failed.errno == ENOENT:
                raise CniError(POOL_UNUSABLE, self._unknown()) from None
            raise CniError(IO_FAILURE, f"cannot read the inventory of pool {self.name}: {failed.strerror}") from None
        except ValueError as damaged:
            raise CniError(
                POOL_UNUSABLE,
                f"the inventory {self.path}/pool.json is damaged ({damaged}); run `sriov-bondctl up` to write it anew",
            ) from None
        if not isinstance(value, dict) or value.get("version") != 1 or not isinstance(value.get("bonds"), list):
            raise self._foreign()
        return value

    def _foreign(self) -> CniError:
        return CniError(
            POOL_UNUSABLE, f"the inventory {self.path}/pool.json is not one of this version; run `sriov-bondctl up`"
        )

    def _unknown(self) -> str:
        others = names(self.state_dir)
        have = f"there is {', '.join(others)}" if others else "there is none yet"
        return f"pool {self.name!r} is not provisioned ({have}); name it in /etc/cni/sriov-bond.toml and run `sriov-bondctl up`"

    def bonds(self) -> list[Bond]:
        """Give the bonds of the inventory in their order.

        :raises CniError: POOL_UNUSABLE as ``inventory`` does, and for a bond that is none.
        """
        value = self.inventory()
        try:
            return [bond(one) for one in value["bonds"]]
        except (KeyError, TypeError):
            raise self._foreign() from None

    def entries(self) -> list[Entry]:
        """Give every lease's entry, one per lease."""
        try:
            files = os.listdir(self.leases)
        except FileNotFoundError:
            return []
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot list the leases of pool {self.name}: {failed.strerror}") from None
        found: dict[tuple[str, str], Entry] = {}
        for file in files:
            parts = file.split(".")
            if len(parts) != 3 or parts[2] not in _STATES:
                continue  # a temporary file of a writer
            old = found.get((parts[0], parts[1]))
            if old is None or _STATES.index(parts[2]) < _STATES.index(old.state):
                found[parts[0], parts[1]] = Entry(*parts)
        return list(found.values())

    def lock(self, seconds: float = _LOCK_SECONDS) -> int:
        """Lock the pool and give the descriptor to close.

        :raises CniError: TRY_AGAIN_LATER naming who holds it, after ``seconds``.
        """
        return _locked(f"{self.path}/lock", f"pool {self.name}", seconds)

    def lock_bond(self, name: str, seconds: float = _LOCK_SECONDS) -> int:
        """Lock one bond and give the descriptor to close; ``seconds`` 0 tries once."""
        return _locked(f"{self.path}/bonds/{name}", f"bond {name} of pool {self.name}", seconds)

    def acquire(
        self, who: Attachment, record: "dict[str, Any]", unusable: "Collection[str]" = (), wish: str = ""
    ) -> tuple[Lease, Bond]:
        """Lease the first free bond, locked; the record is on disk when this returns, but not yet durable.

        :param unusable: names of bonds to pass over.
        :param wish: the only bond that will do, by its name or the PCI address of a port.
        :raises CniError: INVALID_CONFIG when there is no such bond.
        :raises CniError: TRY_AGAIN_LATER when no bond is free, saying who has them; POOL_UNUSABLE when the attachment
            has a bond already.
        """
        bonds = self._wished(wish) if wish else self.bonds()
        lock = self.lock()
        try:
            entries = self.entries()
            for entry in entries:
                if entry.key == who.key:
                    raise CniError(POOL_UNUSABLE, f"{who} has the bond {entry.bond} of pool {self.name} already; DEL it first")
            taken = {entry.bond for entry in entries}.union(unusable)
            for candidate in bonds:
                if candidate.name in taken:
                    continue
                # Free, and locked for a moment at most, by a process that has just erased its lease.
                held = self.lock_bond(candidate.name)
                lease = Lease(self, Entry(candidate.name, who.key, ADDING), record, held)
                record.update(
                    version=1,
                    pool=self.name,
                    bond=candidate.name,
                    network=who.network,
                    container_id=who.container_id,
                    ifname=who.ifname,
                    boot_id=boot_id(),
                    pid=os.getpid(),
                    created=int(time()),
                )
                try:
                    _write(self.leases, lease.entry.file, jsontext.dumps(record), durable=False)
                except CniError:
                    lease.close()
                    raise
                return lease, candidate
        finally:
            os.close(lock)
        if wish:
            raise CniError(TRY_AGAIN_LATER, self._taken(bonds[0].name, entries))
        raise CniError(TRY_AGAIN_LATER, self._empty(entries, len(bonds)))

    def _wished(self, wish: str) -> list[Bond]:
        for candidate in self.bonds():
            if wish == candidate.name or wish.lower() in [port.pci for port in candidate.ports]:
                return [candidate]
        raise CniError(
            INVALID_CONFIG,
            f"deviceID {wish!r} is no bond of pool {self.name}, nor the PCI address of a VF of one; see `sriov-bondctl status`",
        )

    def _taken(self, name: str, entries: list[Entry]) -> str:
        entry = next((entry for entry in entries if entry.bond == name), None)
        record = self.read(entry) if entry else None
        holder = f" to {_short(record['container_id'])} {record['ifname']}" if record else ", or cannot be used"
        return f"bond {name} of pool {self.name}, which deviceID asks for, is leased{holder}; try again later"

    def _empty(self, entries: list[Entry], size: int) -> str:
        holders = []
        for entry in entries[:3]:
            record = self.read(entry)
            if record:
                holders.append(f"{entry.bond} by {_short(record['container_id'])} {record['ifname']}")
        more = f", and {len(entries) - len(holders)} more" if len(entries) > len(holders) else ""
        return (
            f"pool {self.name} is empty: all {size} bonds are leased ({', '.join(holders)}{more}); "
            "remove a container or give the pool more VFs"
        )

    def read(self, entry: Entry) -> "dict[str, Any] | None":
        """Read a lease's record without its lock, or None when it is gone by now.

        :raises CniError: POOL_UNUSABLE when it is damaged, naming the file.
        """
        path = f"{self.leases}/{entry.file}"
        try:
            with open(path, encoding="utf-8") as file:
                value = jsontext.loads(file.read())
        except FileNotFoundError:
            return None
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot read the lease {path}: {failed.strerror}") from None
        except ValueError as damaged:
            raise CniError(POOL_UNUSABLE, f"the lease {path} is damaged ({damaged})") from None
        if not isinstance(value, dict) or value.get("version") != 1:
            raise CniError(POOL_UNUSABLE, f"the lease {path} is not one of this version")
        return value

    def _read_locked(self, entry: Entry) -> "dict[str, Any] | None":
        """Read a lease's record under its lock; erase one of an ADD that a power cut stopped before it was durable.

        The kernel is not touched before the record is durable, so such a lease holds nothing.
        """
        try:
            return self.read(entry)
        except CniError as damaged:
            if damaged.code != POOL_UNUSABLE or entry.state != ADDING:
                raise
            _unlink(f"{self.leases}/{entry.file}")
            return None

    def take(self, entry: Entry, seconds: float = _LOCK_SECONDS) -> Lease | None:
        """Lock a lease and read it, or give None when it was erased meanwhile.

        :raises CniError: TRY_AGAIN_LATER when another process works on the bond for all of ``seconds``.
        """
        held = self.lock_bond(entry.bond, seconds)
        try:
            # Under the lock only: the state may have changed while we waited, and the bond may have a new owner.
            now = next((other for other in self.entries() if (other.bond, other.key) == (entry.bond, entry.key)), None)
            record = self._read_locked(now) if now else None
        except CniError:
            os.close(held)
            raise
        if now is None or record is None:
            os.close(held)
            return None
        return Lease(self, now, record, held)


def bond(value: "dict[str, Any]") -> Bond:
    """Give a bond of an inventory or of a lease as a value."""
    ports = [Port(port["pci"], port["name"], port["pf"], port["vf"]) for port in value["ports"]]
    return Bond(value["name"], value["mac"], ports)


def names(state_dir: str) -> list[str]:
    """Give the names of all provisioned pools, sorted."""
    try:
        found = os.listdir(state_dir)
    except OSError:
        return []
    return sorted(name for name in found if _exists(f"{state_dir}/{name}/pool.json"))


def find(state_dir: str, who: Attachment) -> Lease | None:
    """Give an attachment's lease, locked, in whichever pool it is; its config may name another one by now.

    :raises CniError: TRY_AGAIN_LATER when another process works on the bond for too long.
    """
    key = who.key
    for name in names(state_dir):
        pool = Pool(state_dir, name)
        for entry in pool.entries():
            if entry.key == key:
                lease = pool.take(entry)
                if lease:
                    return lease
    return None


def make_directories(pool: Pool) -> None:
    """Make a pool's directories, for root alone."""
    parents = pool.state_dir.split("/")
    above = ["/".join(parents[:length]) for length in range(2, len(parents) + 1)]
    for path in (*above, pool.path, pool.leases, f"{pool.path}/bonds"):
        _make_directory(path)


def write_inventory(pool: Pool, value: "dict[str, Any]") -> None:
    """Write the inventory, durable when this returns."""
    _write(pool.path, "pool.json", jsontext.dumps(value))
    _sync(pool.path)


def _short(container_id: str) -> str:
    return container_id if len(container_id) <= 24 else container_id[:21] + "..."
