"""Links, VFs, addresses and routes: the objects of rtnetlink as values."""

from cni_sriov_bond.ports import VfSettings

IFF_UP, IFF_PROMISC, IFF_ALLMULTI = 0x1, 0x100, 0x200
RT_TABLE_MAIN, RT_SCOPE_LINK = 254, 253


class Link:
    """A network device, as one RTM_NEWLINK message describes it."""

    __slots__ = (
        "altnames", "bond_data", "carrier", "index", "kind", "lower", "lower_index", "mac", "master",
        "mtu", "name", "num_vfs", "parent", "perm_mac", "port_data", "promisc_or_allmulti", "up", "vfs",
    )  # fmt: skip

    def __init__(self, index: int, flags: int) -> None:
        self.index = index
        self.up = bool(flags & IFF_UP)
        self.promisc_or_allmulti = bool(flags & (IFF_PROMISC | IFF_ALLMULTI))
        self.name = ""
        self.mac = ""
        self.perm_mac = ""
        self.mtu = 0
        self.master = 0  # index of the bond or bridge that it is a port of
        self.lower = 0  # index of the device that a VLAN or macvlan is on, -1 if that is in another netns
        self.lower_index = 0  # the same index, in whichever netns
        self.carrier = False
        self.kind = ""
        self.parent = ""  # PCI address; Linux 5.14 and later report it in any netns
        self.altnames: list[str] = []
        self.bond_data: dict[int, bytes] = {}
        self.port_data: dict[int, bytes] = {}  # what its bond or bridge knows of a port
        self.num_vfs = 0  # of a PF; it may report fewer, see kernel/sriov
        self.vfs: dict[int, Vf] = {}


class Vf:
    """A VF as its PF reports it; the MAC and every setting that the driver does not report are None."""

    __slots__ = ("index", "mac", "settings")

    def __init__(self, index: int) -> None:
        self.index = index
        self.mac: str | None = None
        self.settings = VfSettings()


class Address:
    """An IP address of a device."""

    __slots__ = ("family", "flags", "index", "ip", "prefix", "proto")

    def __init__(self, family: int, prefix: int, flags: int, index: int, ip: bytes) -> None:
        self.family = family
        self.prefix = prefix
        self.flags = flags
        self.index = index
        self.ip = ip
        self.proto = 0  # IFAPROT_*: who added it; 0 also before Linux 5.18


class Route:
    """A route in one of the kernel's tables."""

    __slots__ = ("dst", "family", "gateway", "index", "multipath", "prefix", "proto", "table")

    def __init__(self, family: int, prefix: int, table: int) -> None:
        self.family = family
        self.prefix = prefix
        self.table = table
        self.proto = 0  # RTPROT_*: who added it
        self.dst = b""
        self.gateway = b""
        self.index = 0
        self.multipath = b""  # struct rtnexthop of each next hop, where there are several


class NewRoute:
    """A route to add; without a gateway its network is directly on the link. Lengths and numbers as in rtnetlink(7)."""

    __slots__ = ("advmss", "dst", "family", "gateway", "index", "mtu", "prefix", "priority", "scope", "table")

    def __init__(self, index: int, family: int, dst: bytes, prefix: int, gateway: bytes = b"") -> None:
        self.index = index
        self.family = family
        self.dst = dst
        self.prefix = prefix
        self.gateway = gateway
        self.scope = 0 if gateway else RT_SCOPE_LINK
        self.table = RT_TABLE_MAIN
        self.priority = 0
        self.mtu = 0
        self.advmss = 0
