"""IP addresses and networks: parse and format them. No other module does.

Invalid text raises ValueError with a message about the text; the caller adds the key.
"""

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    # An address as its IP version, 4 or 6, and a number.
    Ip = tuple[int, int]

BITS = {4: 32, 6: 128}
IPV6_MIN_MTU = 1280  # RFC 8200, section 5; below it the kernel removes IPv6 from a device (addrconf.c, addrconf_notify)
_MAX_DOTTED = 0xFFFFFFFF
_MAPPED = b"\0" * 10 + b"\xff\xff"


def family_of(text: str) -> int:
    """Return the address family, AF_INET or AF_INET6, of a text that may be an address."""
    return AF_INET6 if ":" in text else AF_INET


def packed(text: object) -> bytes:
    """Return an address as 4 or 16 bytes.

    :raises ValueError: when the text is not an address.
    """
    if isinstance(text, str):
        try:
            return inet_pton(family_of(text), text)
        except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate
            pass
    raise ValueError(f"{text!r} is not an address")


def prefix_length(text: str, bits: int) -> int | None:
    """Return a prefix length of at most ``bits``, or None when the text is not one."""
    # One to three ASCII digits: int() accepts other digits too, and raises on more than 4300 of them.
    if text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= bits:
        return int(text)
    return None


class Cidr:
    """An address with a prefix length: family (AF_*), packed address, prefix length, and the text that they come from.

    :raises ValueError: when the text is not an address with a prefix length.
    """

    __slots__ = ("family", "ip", "prefix", "text")

    def __init__(self, text: object) -> None:
        ip, _, prefix = text.partition("/") if isinstance(text, str) else ("", "", "")
        try:
            self.ip = packed(ip)
            length = prefix_length(prefix, len(self.ip) * 8)
        except ValueError:
            length = None
        if length is None:
            raise ValueError(f"{text!r} is not an address with a prefix length")
        self.text = str(text)
        self.family = family_of(ip)
        self.prefix = length

    @property
    def network(self) -> bytes:
        """The packed address without host bits: the kernel refuses them in an IPv4 route, and drops them from an IPv6 one."""
        host_bits = len(self.ip) * 8 - self.prefix
        return (int.from_bytes(self.ip, "big") >> host_bits << host_bits).to_bytes(len(self.ip), "big")

    def contains(self, ip: bytes) -> bool:
        """Return whether a packed address of the same family is in the network."""
        host_bits = len(self.ip) * 8 - self.prefix
        return int.from_bytes(ip, "big") >> host_bits == int.from_bytes(self.ip, "big") >> host_bits

    @property
    def key(self) -> tuple[int, bytes, int]:
        """Family, packed address and prefix length; equal for two spellings of an address."""
        return self.family, self.ip, self.prefix


def to_number(text: object) -> "Ip":
    """Return an address as a number; the IPv4-mapped ::ffff:10.0.0.1 is 10.0.0.1.

    :raises ValueError: when the text is not an address.
    """
    octets = packed(text)
    if octets.startswith(_MAPPED):
        octets = octets[12:]
    return 4 if len(octets) == 4 else 6, int.from_bytes(octets, "big")


def network(text: str) -> "tuple[Ip, int]":
    """Return the address and the prefix length of a network.

    :raises ValueError: when the text is not a network, or one of IPv4-mapped addresses, whose prefix length is ambiguous.
    """
    ip, _, prefix = text.partition("/")
    address = to_number(ip)
    length = prefix_length(prefix, BITS[address[0]])
    if length is None or (address[0] == 4) != (family_of(ip) == AF_INET):
        raise ValueError(f"{text!r} is not a network")
    return address, length


def to_text(address: "Ip") -> str:
    """Return an address as Go writes it: host-local names the files of its reservations so."""
    family, value = address
    if family == 4:
        return inet_ntop(AF_INET, value.to_bytes(4, "big"))
    if 0xFFFF < value <= _MAX_DOTTED:  # the C library writes these with dots: ::1.2.3.4
        return f"::{value >> 16:x}:{value & 0xFFFF:x}"
    return inet_ntop(AF_INET6, value.to_bytes(16, "big"))
