"""The record of a lease: which bond belongs to which attachment, and all that its release needs.

This module is the only reader and the only writer of a record's JSON.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from time import time

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError, DamagedLeaseError
from cni_sriov_bond.pool.inventory import macs_of
from cni_sriov_bond.ports import Bond, VfSettings, VfState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.ports import BondOptions, Port

VERSION = 1


class Attachment:
    """What a bond is leased to: (network name, container id, interface name)."""

    __slots__ = ("container_id", "ifname", "network")

    def __init__(self, network: str, container_id: str, ifname: str) -> None:
        self.network = network
        self.container_id = container_id
        self.ifname = ifname

    @property
    def key(self) -> str:
        """The hash that names files: the three are foreign strings of any length."""
        return files.digest("\0".join((self.network, self.container_id, self.ifname))).hex()[:32]

    @property
    def owner(self) -> str:
        """The container and interface, as tables and messages name the owner of a bond."""
        return f"{self.container_id} {self.ifname}"

    def __str__(self) -> str:
        return f"container {self.container_id} interface {self.ifname} of network {self.network!r}"


class NetnsIdentity:
    """The network namespace that a lease was made for. Its device and inode differ from those of a later one at the path."""

    __slots__ = ("dev", "ino", "path")

    def __init__(self, path: str, dev: int, ino: int) -> None:
        self.path = path
        self.dev = dev
        self.ino = ino


class DelegateCall:
    """The delegate's ADD: a process that has only the lease may have to send the DEL.

    :param kind: the delegate's name, ``ipam.type``.
    :param environ: the CNI_* variables of the ADD.
    :param config: the text of the network config; bytes that are not UTF-8 are surrogate escapes in it.
    """

    __slots__ = ("config", "environ", "kind")

    def __init__(self, kind: str, environ: dict[str, str], config: str) -> None:
        self.kind = kind
        self.environ = environ
        self.config = config


class Requested:
    """What the network requests of the bond. CHECK compares it with the kernel.

    :param mtu: in bytes; the bond's own MTU once it is known.
    :param primary: the PCI address of the preferred port, or "".
    :param mac: the requested MAC, or "".
    """

    __slots__ = ("mac", "mtu", "options", "primary", "vf")

    def __init__(
        self,
        options: "BondOptions | None" = None,
        vf: VfSettings | None = None,
        mtu: int | None = None,
        primary: str = "",
        mac: str = "",
    ) -> None:
        self.mac = mac
        self.options = options or {}
        self.vf = vf or VfSettings()
        self.mtu = mtu
        self.primary = primary


class LeaseRecord:
    """A leased bond and all that its release needs.

    Set from the first writing on: ``pool``, ``bond``, ``attachment``, ``netns``, ``requested``, ``delegate``, ``boot_id``,
    ``pid`` and ``created`` (seconds since 1970). Optional, because they come later:

    - ``mac`` and ``port_macs`` (by PCI address): the MACs for the bond and its ports; empty before.
    - ``before``: each VF's state before the lease, by PCI address. The kernel is not touched while it is empty.
    - ``addresses``: from the delegate, with prefix length; None until it has answered.
    - ``silent_gateways``: gateways that the bond would monitor if one of them answered; it monitors carrier meanwhile.

    A record that was reconstructed from a damaged file has the reason in ``damage``, and no attachment, namespace or delegate.
    Its bond has no ports if the inventory does not have it either. A record with ``damage`` is never written.
    """

    __slots__ = (
        "addresses", "attachment", "before", "bond", "boot_id", "created", "damage", "delegate", "mac", "netns", "pid", "pool",
        "port_macs", "requested", "silent_gateways",
    )  # fmt: skip

    def __init__(
        self,
        pool: str,
        bond: Bond,
        attachment: Attachment | None = None,
        netns: NetnsIdentity | None = None,
        requested: Requested | None = None,
        delegate: DelegateCall | None = None,
    ) -> None:
        self.pool = pool
        self.bond = bond
        self.attachment = attachment
        self.netns = netns
        self.requested = requested or Requested()
        self.delegate = delegate
        self.boot_id = files.boot_id()
        self.pid = os.getpid()
        self.created = int(time())
        self.mac = ""
        self.port_macs: dict[str, str] = {}
        self.before: dict[str, VfState] = {}
        self.addresses: list[str] | None = None
        self.silent_gateways: list[str] = []
        self.damage = ""

    @property
    def ports(self) -> "list[Port]":
        """The ports of the bond; empty where they are not known."""
        return self.bond.ports

    @property
    def ports_by_preference(self) -> "list[Port]":
        """The ports in the order in which one is to be active: the primary if there is one, then as they are in the pool."""
        return sorted(self.ports, key=lambda port: port.address != self.requested.primary)

    @property
    def owner(self) -> str:
        """The container and interface, or "" where they are not known."""
        return self.attachment.owner if self.attachment else ""

    @property
    def macs(self) -> set[str]:
        """The MACs of the bond and its ports; until the ADD has recorded them, all that it may give to them."""
        if self.port_macs:
            return {self.mac, *self.port_macs.values()}
        return macs_of(self.mac or self.requested.mac or self.bond.mac, len(self.ports))

    def to_json(self) -> str:
        """Return the record's text on disk."""
        requested = self.requested
        asked: dict[str, object] = {
            "options": requested.options,
            "vf": requested.vf.to_json(),
            "mtu": requested.mtu,
            "primary": requested.primary,
        }
        if requested.mac:  # versions before 0.2 have no such key
            asked["mac"] = requested.mac
        value: dict[str, object] = {
            "version": VERSION,
            "pool": self.pool,
            "bond": self.bond.name,
            "ports_of": self.bond.to_json(),
            "boot_id": self.boot_id,
            "pid": self.pid,
            "created": self.created,
            "asked": asked,
            "mac": self.mac,
            "macs": self.port_macs,
            "before": {pci: state.to_json() for pci, state in self.before.items()},
        }
        if self.attachment:
            value.update({name: getattr(self.attachment, name) for name in Attachment.__slots__})
        if self.netns:
            value["netns"] = {"path": self.netns.path, "id": [self.netns.dev, self.netns.ino]}
        if self.delegate:
            call = self.delegate
            value["delegate"] = {"type": call.kind, "environ": call.environ, "config": call.config}
        if self.addresses is not None:
            value["ips"] = self.addresses
        if self.silent_gateways:
            value["silent_gateways"] = self.silent_gateways
        return jsontext.dumps(value)

    @classmethod
    def from_json(cls, text: str, path: str) -> "LeaseRecord":
        """Read a record.

        :param path: its file, for errors.
        :raises DamagedLeaseError: when it is not a complete record.
        :raises CniError: POOL_UNUSABLE when it is of another version.
        """
        try:
            value = jsontext.loads(text)
        except ValueError as damage:
            raise DamagedLeaseError(path, str(damage)) from None
        if not isinstance(value, dict) or not isinstance(value.get("version"), int):
            raise DamagedLeaseError(path, "it is not a lease record")
        if value["version"] != VERSION:
            raise CniError(
                POOL_UNUSABLE,
                f"the lease {path} is of version {value['version']}, and this sriov-bond knows only version {VERSION}; "
                "install the sriov-bond that wrote it",
            )
        try:
            return cls._of(value)
        except KeyError as missing:
            raise DamagedLeaseError(path, f"it has no {missing.args[0]}") from None
        except ValueError as wrong:
            raise DamagedLeaseError(path, str(wrong)) from None
        except (TypeError, AttributeError):
            raise DamagedLeaseError(path, "a value in it is of the wrong type") from None

    @classmethod
    def _of(cls, value: "dict[str, Any]") -> "LeaseRecord":
        attachment = Attachment(*(_string(value, name) for name in ("network", "container_id", "ifname")))
        # Versions before 0.2 wrote the ports only together with the state of the VFs.
        bond = Bond.from_json(value["ports_of"]) if "ports_of" in value else Bond(_string(value, "bond"), "", [])
        record = cls(value.get("pool", ""), bond, attachment)
        record.boot_id = _string(value, "boot_id")
        record.pid = value.get("pid", 0)
        record.created = int(value["created"])
        netns = value["netns"]
        record.netns = NetnsIdentity(_string(netns, "path"), *map(int, netns["id"]))
        requested = value["asked"]
        record.requested = Requested(
            dict(requested.get("options") or {}),
            VfSettings.from_json(requested.get("vf") or {}),
            requested.get("mtu"),
            requested.get("primary") or "",
            requested.get("mac") or "",
        )
        record.mac = value.get("mac") or ""
        record.port_macs = dict(value.get("macs") or {})
        record.before = {pci: VfState.from_json(state) for pci, state in (value.get("before") or {}).items()}
        if record.before and not (record.mac and bond.ports):
            raise ValueError("it has the state of VFs, but not their bond's MAC and ports")
        if "delegate" in value:
            call = value["delegate"]
            environ = {str(name): str(text) for name, text in call["environ"].items()}
            record.delegate = DelegateCall(_string(call, "type"), environ, _string(call, "config"))
        if "ips" in value:
            record.addresses = [str(address) for address in value["ips"]]
        record.silent_gateways = [str(gateway) for gateway in value.get("silent_gateways") or ()]
        return record


def _string(value: "dict[str, Any]", key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise ValueError(f"{key} is not a string")
    return text
