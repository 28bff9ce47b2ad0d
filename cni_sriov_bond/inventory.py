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


class Port:
    """One VF of a bond; ``vf`` is its number at its PF, from 0."""

    __slots__ = ("name", "pci", "pf", "vf")

    def __init__(self, pci: str, name: str, pf: str, vf: int) -> None:
        self.pci = pci
        self.name = name
        self.pf = pf
        self.vf = vf


class Bond:
    """A bond: its name, its MAC and its ports in the order of the pool's NICs."""

    __slots__ = ("mac", "name", "ports")

    def __init__(self, name: str, mac: str, ports: list[Port]) -> None:
        self.name = name
        self.mac = mac
        self.ports = ports


def bond(value: "dict[str, Any]") -> Bond:
    """Give a bond of an inventory or of a lease as a value."""
    ports = [Port(port["pci"], port["name"], port["pf"], port["vf"]) for port in value["ports"]]
    return Bond(value["name"], value["mac"], ports)


def stable_mac(text: str) -> str:
    """Give the MAC that a text always gives: locally administered and unicast (IEEE 802: bits 1 and 0 of the first octet)."""
    octets = bytearray(store.digest(text)[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def described(one: Bond) -> "dict[str, Any]":
    """Give a bond as an inventory or a lease has it."""
    ports = [{"pci": port.pci, "name": port.name, "pf": port.pf, "vf": port.vf} for port in one.ports]
    return {"name": one.name, "mac": one.mac, "ports": ports}


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
