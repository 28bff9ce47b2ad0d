"""Addresses as numbers, ranges and range sets: which addresses may be given, in which order, without listing them.

The rules are host-local's (allocator/range.go, range_set.go), with three differences that docs/ipam.md names: a subnet of one
or two addresses is one, the subnet's own address and the broadcast address are never given, and ``exclude``.
"""

from _socket import inet_ntop, inet_pton

from cni_sriov_bond.errors import INVALID_CONFIG, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # An address: 4 or 6, and its number.
    Ip = tuple[int, int]

_AF_INET, _AF_INET6 = 2, 10
BITS = {4: 32, 6: 128}
_MOST_DOTTED = 0xFFFFFFFF
_MAPPED = b"\0" * 10 + b"\xff\xff"


def ip(text: str) -> "Ip":
    """Read an address; ::ffff:10.0.0.1 is 10.0.0.1.

    :raises CniError: INVALID_CONFIG when it is none.
    """
    try:
        packed = inet_pton(_AF_INET6 if ":" in text else _AF_INET, text)
    except (OSError, ValueError):
        raise CniError(INVALID_CONFIG, f"{text!r} is no address") from None
    if packed.startswith(_MAPPED):
        packed = packed[12:]
    return 4 if len(packed) == 4 else 6, int.from_bytes(packed, "big")


def text(address: "Ip") -> str:
    """Write an address as Go does, so that host-local finds the reservation."""
    family, number = address
    if family == 4:
        return inet_ntop(_AF_INET, number.to_bytes(4, "big"))
    if 0xFFFF < number <= _MOST_DOTTED:  # the C library writes these as ::1.2.3.4
        return f"::{number >> 16:x}:{number & 0xFFFF:x}"
    return inet_ntop(_AF_INET6, number.to_bytes(16, "big"))


def network(written: str) -> "tuple[Ip, int]":
    """Read an address and its prefix length.

    :raises CniError: INVALID_CONFIG when it is none.
    """
    address, slash, prefix = written.partition("/")
    found = ip(address)
    most = BITS[6] if ":" in address else BITS[4]
    length = int(prefix) if prefix.isascii() and prefix.isdigit() and len(prefix) <= 3 else most + 1
    if not slash or length > most or most != BITS[found[0]]:
        raise CniError(INVALID_CONFIG, f"{written!r} is no network")
    return found, length


def requested(written: str) -> "Ip":
    """Read an address that was asked for, with or without a prefix length, which does not count."""
    return network(written)[0] if "/" in written else ip(written)


class Range:
    """A range of a subnet: ``first`` to ``last`` belong to it, what ``spans`` hold of them may be given.

    :raises CniError: INVALID_CONFIG telling what is wrong with it.
    """

    __slots__ = ("family", "first", "gateway", "last", "prefix", "spans", "subnet")

    def __init__(self, value: "dict[str, Any]") -> None:
        self.subnet: str = value["subnet"]
        (self.family, low), self.prefix = network(self.subnet)
        hosts = BITS[self.family] - self.prefix
        high = low | (1 << hosts) - 1
        if low & (1 << hosts) - 1:
            raise CniError(INVALID_CONFIG, f"subnet {self.subnet} has host bits set; its network is {self._net(low, hosts)}")
        # A subnet of one or two addresses has no address of its own, no broadcast address and no room for a gateway.
        small = hosts < 2
        begin = low if small else low + 1
        end = high - 1 if self.family == 4 and not small else high
        self.gateway = ip(value["gateway"]) if value.get("gateway") else None if small else (self.family, low + 1)
        if self.gateway and self.gateway[0] != self.family:
            raise CniError(INVALID_CONFIG, f"gateway {value['gateway']} is not of the family of the subnet {self.subnet}")
        self.first = self._bound(value, "rangeStart", low, high, begin)
        self.last = self._bound(value, "rangeEnd", low, high, end)
        if self.first > self.last:
            raise CniError(
                INVALID_CONFIG,
                f"rangeStart {text((self.family, self.first))} is above rangeEnd {text((self.family, self.last))}",
            )
        excluded = [_excluded(one) for one in value.get("exclude") or ()]
        self.spans = [(max(self.first, begin), min(self.last, end))]
        self.without(sorted((least, most) for family, least, most in excluded if family == self.family))

    def _net(self, low: int, hosts: int) -> str:
        return f"{text((self.family, low >> hosts << hosts))}/{self.prefix}"

    def _bound(self, value: "dict[str, Any]", key: str, low: int, high: int, default: int) -> int:
        if not value.get(key):
            return default
        family, number = ip(value[key])
        if family != self.family or not low <= number <= high:
            raise CniError(INVALID_CONFIG, f"{key} {value[key]} is not in the subnet {self.subnet}")
        return number

    def without(self, blocked: list[tuple[int, int]]) -> None:
        """Never give some addresses.

        :param blocked: the first and last of those, in order; there may be as many as a config has room for.
        """
        spans = []
        place = 0
        for begin, end in self.spans:
            while place < len(blocked) and blocked[place][0] <= end:
                least, most = blocked[place]
                if begin < least:
                    spans.append((begin, least - 1))
                begin = max(begin, most + 1)
                if most > end:
                    break  # it reaches into the next span
                place += 1
            if begin <= end:
                spans.append((begin, end))
        self.spans = spans

    def holds(self, address: "Ip") -> bool:
        """Tell whether an address belongs to the range, be it free to give or not."""
        return address[0] == self.family and self.first <= address[1] <= self.last

    def gives(self, address: "Ip") -> bool:
        """Tell whether an address may be given."""
        return address[0] == self.family and any(begin <= address[1] <= end for begin, end in self.spans)

    def overlaps(self, other: "Range") -> bool:
        """Tell whether an address belongs to both."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{text((self.family, self.first))}-{text((self.family, self.last))}"


def _excluded(written: str) -> tuple[int, int, int]:
    """Give the family, first and last address of an entry of ``exclude``."""
    address, prefix = network(written) if "/" in written else (ip(written), -1)
    hosts = BITS[address[0]] - prefix if prefix >= 0 else 0
    least = address[1] >> hosts << hosts
    return address[0], least, least | (1 << hosts) - 1


def overlapping(ranges: list[Range]) -> list[tuple[int, int]]:
    """Give places of ranges that have addresses in common, the smaller first.

    Each range that overlaps with any is in a pair, but not every pair is there: thousands of ranges are looked at once each.
    """
    order = sorted(range(len(ranges)), key=lambda place: (ranges[place].family, ranges[place].first, place))
    found = []
    reaching = order[0] if order else 0  # the one, of those before, that ends last
    for place in order[1:]:
        if ranges[reaching].overlaps(ranges[place]):
            found.append((min(place, reaching), max(place, reaching)))
        if ranges[reaching].family != ranges[place].family or ranges[reaching].last < ranges[place].last:
            reaching = place
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


class RangeSet:
    """Ranges of one family, of which an attachment gets one address.

    :param key: what its last given address is remembered under: host-local's number of it, or a VLAN and a family.
    """

    __slots__ = ("_overlapping", "key", "ranges")

    def __init__(self, key: str, ranges: list[Range]) -> None:
        self.key = key
        self.ranges = ranges
        self._overlapping = overlapping(ranges)
        if not self._overlapping:  # else the set is refused, and need not be looked at longer
            self._withhold_gateways()

    def _withhold_gateways(self) -> None:
        """Never give a gateway of one range by another; each range and each gateway is looked at once."""
        gateways = sorted({one.gateway[1] for one in self.ranges if one.gateway and one.gateway[0] == self.family})
        place = 0
        for one in sorted(self.ranges, key=lambda one: one.first):
            while place < len(gateways) and gateways[place] < one.first:
                place += 1
            inside = []
            while place < len(gateways) and gateways[place] <= one.last:
                inside.append((gateways[place], gateways[place]))
                place += 1
            one.without(inside)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.ranges[0].family

    def mistakes(self) -> list[str]:
        """Say which ranges do not go together."""
        first = self.ranges[0]
        found = [
            f"{first.subnet} and {one.subnet} are of two families" for one in self.ranges[1:] if one.family != first.family
        ]
        return found + [f"{self.ranges[place]} and {self.ranges[other]} overlap" for place, other in self._overlapping]

    def range_of(self, address: "Ip") -> Range | None:
        """Give the range that an address belongs to."""
        for one in self.ranges:
            if one.holds(address):
                return one
        return None

    def after(self, last: "Ip | None") -> "list[tuple[Range, int, int]]":
        """Give all that may be given, as spans in the order of search: from behind the last one given, once around."""
        places = [(place, one, begin, end) for place, one in enumerate(self.ranges) for begin, end in one.spans]
        whole = [one[1:] for one in places]
        current = self.range_of(last) if last else None
        if current is None or last is None:
            return whole
        behind: list[tuple[Range, int, int]] = []
        before: list[tuple[Range, int, int]] = []
        place = self.ranges.index(current)
        for number, one, begin, end in places:
            if number != place:
                (behind if number > place else before).append((one, begin, end))
                continue
            if begin <= last[1]:
                before.append((one, begin, min(end, last[1])))
            if end > last[1]:
                behind.append((one, max(begin, last[1] + 1), end))
        return behind + before

    def __str__(self) -> str:
        return ",".join(str(one) for one in self.ranges)
