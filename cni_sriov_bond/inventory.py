"""The inventory of a pool: every bond and its ports, as ``sriov-bondctl up`` wrote it. Others only read it."""

from errno import ENOENT

from cni_sriov_bond import jsontext, store
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "pool.json"
# A key that is true while `down` is at work, or died at it.
LEAVING = "leaving"


def stable_mac(text: str) -> str:
    """Give the MAC that a text always gives: locally administered and unicast (IEEE 802: bits 1 and 0 of the first octet)."""
    octets = bytearray(store.digest(text)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def read(path: str, pool: str) -> "dict[str, Any]":
    """Read the inventory of a pool's directory.

    :raises CniError: POOL_UNUSABLE when it cannot be understood; IO_FAILURE when it cannot be read.
    :raises FileNotFoundError: when there is none.
    """
    try:
        with open(f"{path}/{FILE}", encoding="utf-8") as file:
            value = jsontext.loads(file.read())
    except OSError as failed:
        if failed.errno == ENOENT:
            raise
        raise CniError(IO_FAILURE, f"cannot read the inventory of pool {pool}: {failed.strerror}") from None
    except ValueError as damaged:
        raise CniError(
            POOL_UNUSABLE, f"the inventory {path}/{FILE} is damaged ({damaged}); run `sriov-bondctl up` to write it anew"
        ) from None
    if not isinstance(value, dict) or value.get("version") != 1 or not isinstance(value.get("bonds"), list):
        raise foreign(path)
    return value


def foreign(path: str) -> CniError:
    """Give the error of an inventory that says something else than ours do."""
    return CniError(POOL_UNUSABLE, f"the inventory {path}/{FILE} is not one of this version; run `sriov-bondctl up`")


def write(path: str, value: "dict[str, Any]") -> None:
    """Write the inventory, durable when this returns.

    :raises CniError: IO_FAILURE, the file being the old one.
    """
    store.write(path, FILE, jsontext.dumps(value))
    store.sync(path)
