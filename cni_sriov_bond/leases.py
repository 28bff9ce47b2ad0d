"""A lease on disk: the record that a bond belongs to an attachment, and how far its life is.

A lease's state is a part of its file's name, so one rename changes it and one listing of the directory tells which
bonds are free, without opening 63 files.
"""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond import jsontext, store
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
OWED = "owed"
ADDING, READY, RELEASING, DRAINING = "adding", "ready", "releasing", "draining"
# What every lease has from its first writing on; what is named later is looked for before it is used.
_KEYS = ("bond", "boot_id", "network", "container_id", "ifname")
# A name's states in the order in which they count, should a crash leave two files of one lease.
STATES = (DRAINING, RELEASING, READY, ADDING)
# States of which the owner will not come back to finish them, when nobody works on the bond: an ADD or a DEL that died.
# Whoever finds one may enter the container's namespace; with draining, whose container may go on living, nobody may.
INTERRUPTED = (ADDING, RELEASING)


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
        return store.digest("\0".join((self.network, self.container_id, self.ifname))).hex()[:32]

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
    """A locked lease. Close it to unlock the bond.

    ``record`` is what is on disk; ``save`` writes it. Its keys are named where they are set: ``pool.acquire`` and
    ``claim``. ``lock`` is the descriptor of the bond's lock, -1 when it is closed.

    :param pool_path: the directory of the pool ``pool``.
    """

    __slots__ = ("_leases", "_owed", "entry", "lock", "pool", "record")

    def __init__(self, pool: str, pool_path: str, entry: Entry, record: "dict[str, Any]", lock: int) -> None:
        self.pool = pool
        self._leases = f"{pool_path}/leases"
        self._owed = f"{pool_path}/{OWED}"
        self.entry = entry
        self.record = record
        self.lock = lock

    def __str__(self) -> str:
        return f"bond {self.entry.bond} of pool {self.pool}"

    def save(self, state: str) -> None:
        """Write the record and the state, durable when this returns.

        :raises CniError: IO_FAILURE, the file on disk being the old or the new one, never a part.
        """
        self.write()
        self.mark(state)
        store.sync(self._leases)

    def write(self, durable: bool = True) -> None:
        """Write the record alone.

        :raises CniError: IO_FAILURE, as above.
        """
        store.write(self._leases, self.entry.file, jsontext.dumps(self.record), durable)

    def mark(self, state: str) -> None:
        """Change the state. What a power cut takes of it does not matter: after a boot a lease is history in any state.

        :raises CniError: IO_FAILURE.
        """
        if state == self.entry.state:
            return
        after = Entry(self.entry.bond, self.entry.key, state)
        self._rename(f"{self._leases}/{after.file}", f"mark the lease of {self} as {state}")
        self.entry = after

    def owe(self) -> None:
        """Give the bond back while the delegate has still to be told: the lease becomes a debt, in one step.

        :raises CniError: IO_FAILURE.
        """
        store.make_directory(self._owed)
        self._rename(f"{self._owed}/{self.entry.key}", f"keep what is owed to the delegate for {self}")
        drop_leftovers(self._leases, self.entry.bond)  # whoever writes holds the bond's lock: these are of the dead
        store.sync(self._owed)
        store.sync(self._owed.rpartition("/")[0])  # it may be new
        store.sync(self._leases)

    def erase(self) -> None:
        """Give the bond back: the last thing done for an attachment.

        :raises CniError: IO_FAILURE when a file stays.
        """
        for state in reversed(STATES):  # a crash may have left two, and the one that counts goes last
            store.unlink(f"{self._leases}/{Entry(self.entry.bond, self.entry.key, state).file}")
        drop_leftovers(self._leases, self.entry.bond)  # whoever writes holds the bond's lock: these are of the dead
        store.sync(self._leases)

    def close(self) -> None:
        """Unlock the bond, also where a daemon that the delegate left behind has the lock's descriptor still."""
        if self.lock >= 0:
            store.unlock(self.lock)
            self.lock = -1

    def _rename(self, to: str, what: str) -> None:
        try:
            os.rename(f"{self._leases}/{self.entry.file}", to)
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot {what}: {failed.strerror}") from None


def load(path: str) -> "tuple[dict[str, Any] | None, str]":
    """Read a lease's record: give it, or None when it is gone, and what is wrong when it is damaged.

    :raises CniError: IO_FAILURE when it cannot be read, POOL_UNUSABLE when another version of ours wrote it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            value = jsontext.loads(file.read())
    except FileNotFoundError:
        return None, ""
    except IsADirectoryError:
        return None, f"the lease {path} is a directory; remove it"
    except OSError as failed:
        raise CniError(IO_FAILURE, f"cannot read the lease {path}: {failed.strerror}") from None
    except ValueError as damaged:
        return None, f"the lease {path} is damaged ({damaged})"
    if not isinstance(value, dict) or not isinstance(value.get("version"), int):
        return None, f"the lease {path} is damaged (it is no record of ours)"
    if value["version"] != VERSION:
        raise CniError(
            POOL_UNUSABLE,
            f"the lease {path} is of version {value['version']}, and this sriov-bond knows version {VERSION} alone; install "
            "the sriov-bond that wrote it",
        )
    missing = [key for key in _KEYS if not isinstance(value.get(key), str)]
    if missing:
        return None, f"the lease {path} is damaged (it has no {missing[0]})"
    return value, ""


def whole(path: str) -> "dict[str, Any] | None":
    """Read a lease's record, or give None when it is gone.

    :raises CniError: what ``load`` raises, and POOL_UNUSABLE when it is damaged, naming the file.
    """
    value, damage = load(path)
    if damage:
        raise CniError(POOL_UNUSABLE, damage)
    return value


def leftover_of(file: str) -> str:
    """Give the bond of a temporary file's name, or "" for any other file: a writer's begin with ``.BOND.``."""
    return file.split(".")[1] if file.startswith(".") else ""


def drop_leftovers(directory: str, bond: str) -> int:
    """Delete the temporary files of a bond whose lock the caller holds, and say how many.

    :raises CniError: IO_FAILURE when one stays.
    """
    files = [file for file in os.listdir(directory) if leftover_of(file) == bond]
    for file in files:
        store.unlink(f"{directory}/{file}")
    return len(files)
