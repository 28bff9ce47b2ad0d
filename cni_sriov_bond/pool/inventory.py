"""The inventory of a pool: every bond and its ports, as ``sriov-bondctl up`` wrote it. Others only read it."""

import posix as os  # os itself costs an ADD 4 million instructions
from errno import ENOENT

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.errors import IO_FAILURE, POOL_UNUSABLE, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "pool.json"
# A key that is true while `down` is at work, or died at it.
LEAVING = "leaving"


def stable_mac(text: str) -> str:
    """Give the MAC that a text always gives: locally administered and unicast (IEEE 802: bits 1 and 0 of the first octet)."""
    octets = bytearray(files.digest(text)[:6])
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
    files.write(path, FILE, jsontext.dumps(value))
    files.sync(path)


def names(state_dir: str) -> list[str]:
    """Give the names of all provisioned pools, sorted."""
    return [name for name in directories(state_dir) if files.exists(f"{state_dir}/{name}/{FILE}")]


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
    return sorted(name for name in found if files.exists(f"{state_dir}/{name}/leases"))
