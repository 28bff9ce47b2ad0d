"""Values that several packages share: a port, a bond, and the settings of a VF. No I/O.

They are classes with ``__slots__``, because importing dataclasses takes 17 ms at start-up.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    # Bonding options by the kernel's name: numbers, and lists of addresses for arp_ip_target and ns_ip6_target.
    BondOptions = dict[str, int | list[str]]


LINK_STATE_ENABLE = 1  # linux/if_link.h, IFLA_VF_LINK_STATE_ENABLE


class Port:
    """One VF of a bond.

    :param address: its PCI address, which identifies it: its name changes.
    :param name: its name in the host.
    :param pf_address: the PCI address of its PF.
    :param vf_index: its number at its PF, from 0: the N of ``virtfnN``.
    """

    __slots__ = ("address", "name", "pf_address", "vf_index")

    def __init__(self, address: str, name: str, pf_address: str, vf_index: int) -> None:
        self.address = address
        self.name = name
        self.pf_address = pf_address
        self.vf_index = vf_index


class Bond:
    """A bond: its name, its MAC, and its ports in the order of the pool's NICs."""

    __slots__ = ("mac", "name", "ports")

    def __init__(self, name: str, mac: str, ports: "list[Port]") -> None:
        self.name = name
        self.mac = mac
        self.ports = ports

    @classmethod
    def from_json(cls, value: "Mapping[str, Any]") -> "Bond":
        """Return the bond in an inventory or a lease.

        :raises KeyError, TypeError: when the value is not one.
        """
        ports = [Port(port["pci"], port["name"], port["pf"], port["vf"]) for port in value["ports"]]
        return cls(value["name"], value["mac"], ports)

    def to_json(self) -> "dict[str, object]":
        """Return the form that an inventory or a lease has on disk."""
        ports = [{"pci": port.address, "name": port.name, "pf": port.pf_address, "vf": port.vf_index} for port in self.ports]
        return {"name": self.name, "mac": self.mac, "ports": ports}


class VfSettings:
    """The settings of a VF that are set through its PF.

    In a request None leaves the setting unchanged; in an answer of the kernel None is a setting that the driver does not have.
    ``vlan`` 0 is untagged, ``vlan_proto`` an EtherType, ``link_state`` 0 auto, 1 enable, 2 disable; rates are in Mbit/s with 0
    for no limit (linux/if_link.h, IFLA_VF_*). The MAC is not here: it must be changed in an order of its own (kernel/sriov).
    ``defaults`` has the names of those that are wanted by default: a driver need not have them.
    """

    __slots__ = ("defaults", "link_state", "max_tx_rate", "min_tx_rate", "spoofchk", "trust", "vlan", "vlan_proto", "vlan_qos")
    # The order in which they are compared, named in errors and written.
    NAMES = ("vlan", "vlan_qos", "vlan_proto", "spoofchk", "trust", "link_state", "min_tx_rate", "max_tx_rate")

    def __init__(
        self,
        vlan: int | None = None,
        vlan_qos: int | None = None,
        vlan_proto: int | None = None,
        spoofchk: int | None = None,
        trust: int | None = None,
        link_state: int | None = None,
        min_tx_rate: int | None = None,
        max_tx_rate: int | None = None,
        defaults: "Sequence[str]" = (),
    ) -> None:
        self.vlan = vlan
        self.vlan_qos = vlan_qos
        self.vlan_proto = vlan_proto
        self.spoofchk = spoofchk
        self.trust = trust
        self.link_state = link_state
        self.min_tx_rate = min_tx_rate
        self.max_tx_rate = max_tx_rate
        self.defaults = tuple(defaults)

    @classmethod
    def from_json(cls, value: "Mapping[str, Any]") -> "VfSettings":
        """Return the settings in a lease; an absent name is None. Older leases have no "defaults".

        :raises TypeError: when the value is not such an object.
        """
        return cls(**{name: value.get(name) for name in cls.NAMES}, defaults=value.get("defaults") or ())

    def to_json(self) -> "dict[str, object]":
        """Return the form that a lease has on disk: every name that is not None."""
        value: dict[str, object] = {name: self.get(name) for name in self.NAMES if self.get(name) is not None}
        if self.defaults:
            value["defaults"] = list(self.defaults)
        return value

    def get(self, name: str) -> int | None:
        """Return one setting by its name."""
        value: int | None = getattr(self, name)
        return value

    def without(self, names: "Sequence[str]") -> "VfSettings":
        """Return these settings, without those of the given names."""
        if not names:
            return self
        settings = VfSettings(defaults=self.defaults)
        for name in self.NAMES:
            setattr(settings, name, None if name in names else self.get(name))
        return settings

    def differing(self, present: "VfSettings") -> list[str]:
        """Return the names of the requested settings that differ from the present ones."""
        return [name for name in self.NAMES if self.get(name) not in (None, present.get(name))]


class VfState:
    """The state of a VF to restore after its lease: MTU in bytes, its MAC, the MAC set through the PF, and its settings."""

    __slots__ = ("admin_mac", "mac", "mtu", "settings")

    def __init__(self, mtu: int, mac: str, admin_mac: str, settings: VfSettings) -> None:
        self.mtu = mtu
        self.mac = mac
        self.admin_mac = admin_mac
        self.settings = settings

    @classmethod
    def from_json(cls, value: "Mapping[str, Any]") -> "VfState":
        """Return the state in a lease.

        :raises KeyError, TypeError, AttributeError: when the value is not one.
        """
        return cls(value["mtu"], value["mac"], value["admin_mac"], VfSettings.from_json(value["vf"]))

    def to_json(self) -> "dict[str, object]":
        """Return the form that a lease has on disk."""
        return {"mtu": self.mtu, "mac": self.mac, "admin_mac": self.admin_mac, "vf": self.settings.to_json()}
