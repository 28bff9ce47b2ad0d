"""The messages of an ADD that gets no bond: who has the bonds, which are unusable, and that the attachment has one."""

from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.pool import quarantine
from cni_sriov_bond.pool.lease import ADDING, READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.pool.lease import Entry
    from cni_sriov_bond.pool.record import Attachment, LeaseRecord
    from cni_sriov_bond.ports import Bond

_MOST_NAMED = 3


class Shortage:
    """Why a pool has no free bond.

    :param pool: the pool's name, and ``path`` its directory.
    :param entries: all its leases.
    :param read: returns a lease's record, or None when it is gone.
    """

    def __init__(self, pool: str, path: str, entries: "list[Entry]", read: "Callable[[Entry], LeaseRecord | None]") -> None:
        self._pool = pool
        self._path = path
        self._entries = entries
        self._read = read

    def of_pool(self, bonds: "list[Bond]") -> str:
        """Return why none of the pool's bonds is free."""
        entries = self._entries
        owners = []
        for entry in entries[:_MOST_NAMED]:
            record = self._readable(entry)
            if record:
                owners.append(f"{entry.bond} by {_owner(record)}")
        more = f", and {len(entries) - len(owners)} more" if len(entries) > len(owners) else ""
        leased = {entry.bond for entry in entries}
        unusable = [bond.name for bond in bonds if bond.name not in leased]
        count = f"all {len(bonds)} bonds are leased" if not unusable else f"{len(leased)} of {len(bonds)} bonds are leased"
        rest = f", and {', '.join(unusable[:_MOST_NAMED])} cannot be used (see `sriov-bondctl status`)" if unusable else ""
        empty = f"pool {self._pool} is empty: {count} ({', '.join(owners)}{more}){rest}"
        return f"{empty}; remove a container, or raise vfs of the pool in the host file"

    def of_bond(self, name: str, why: str) -> str:
        """Return why the only bond that can be leased is not free.

        :param why: why it is the only one, e.g. "which deviceID asks for".
        """
        entry = next((entry for entry in self._entries if entry.bond == name), None)
        record = self._readable(entry) if entry else None
        if record:
            state = f"is leased to {_owner(record)}"
        else:
            state = f"cannot be used: {quarantine.reasons(self._path).get(name, 'its VFs are not in the host')}"
        return f"bond {name} of pool {self._pool}, {why}, {state}; try again later"

    def _readable(self, entry: "Entry") -> "LeaseRecord | None":
        """Read a record for a message; a damaged record must not hide the message."""
        try:
            return self._read(entry)
        except CniError:
            return None


def has_bond(pool: str, attachment: "Attachment", entry: "Entry") -> tuple[int, str]:
    """Return the error's code and message for an attachment that has a bond."""
    message = f"{attachment} has the bond {entry.bond} of pool {pool}"
    if entry.state == READY:
        return POOL_UNUSABLE, f"{message} already; DEL it first"
    if entry.state == ADDING:
        return TRY_AGAIN_LATER, f"{message} by an ADD that has not ended; try again later"
    return TRY_AGAIN_LATER, f"{message} still: it is {entry.state} until its VFs are in the host; try again later"


def _owner(record: "LeaseRecord") -> str:
    """Return the owner of a lease, with a long container id cut."""
    if record.attachment is None:
        return "an unknown container"
    container_id = record.attachment.container_id
    short = container_id if len(container_id) <= 24 else f"{container_id[:21]}..."
    return f"{short} {record.attachment.ifname}"
