"""Ranges and range sets: which addresses may be allocated, and in which order, without listing them.

The rules are host-local's (allocator/range.go, range_set.go), with three differences: subnets of one or two addresses are
allowed, the subnet's own and the broadcast address are never allocated, and there is ``exclude``. See docs/ipam.md.
"""

from cni_sriov_bond.cni.address import BITS, network, to_number, to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_sriov_bond.cni.address import Ip


def parse_requested(text: str) -> "Ip":
    """Return a requested address; a prefix length is allowed and ignored.

    :raises ValueError: when it is not an address.
    """
    return network(text)[0] if "/" in text else to_number(text)


class Range:
    """A range of a subnet, from ``first`` to ``last``. Its ``spans`` are the parts that may be allocated.

    :param value: the range as the config has it, of the types that the schema requires.
    :raises ValueError: saying what is wrong with it.
    """

    __slots__ = ("family", "first", "gateway", "last", "prefix", "spans", "subnet")

    def __init__(self, value: "dict[str, Any]") -> None:
        self.subnet: str = value["subnet"]
        (self.family, low), self.prefix = network(self.subnet)
        host_bits = BITS[self.family] - self.prefix
        high = low | (1 << host_bits) - 1
        if low & (1 << host_bits) - 1:
            raise ValueError(f"subnet {self.subnet} has host bits set; its network is {self._network(low, host_bits)}")
        # A subnet of one or two addresses (RFC 3021, 6164) has no own, no broadcast and no default gateway address.
        small = host_bits < 2
        begin = low if small else low + 1
        end = high - 1 if self.family == 4 and not small else high
        self.gateway = to_number(value["gateway"]) if value.get("gateway") else None if small else (self.family, low + 1)
        if self.gateway and self.gateway[0] != self.family:
            raise ValueError(f"gateway {value['gateway']} is not of the family of the subnet {self.subnet}")
        self.first = self._bound(value, "rangeStart", low, high, begin)
        self.last = self._bound(value, "rangeEnd", low, high, end)
        if self.first > self.last:
            raise ValueError(f"rangeStart {self._text(self.first)} is above rangeEnd {self._text(self.last)}")
        excluded = [_parse_excluded(entry) for entry in value.get("exclude") or ()]
        self.spans = [(max(self.first, begin), min(self.last, end))]
        self.exclude(sorted((least, most) for family, least, most in excluded if family == self.family))

    def _network(self, low: int, host_bits: int) -> str:
        return f"{self._text(low >> host_bits << host_bits)}/{self.prefix}"

    def _text(self, number: int) -> str:
        return to_text((self.family, number))

    def _bound(self, value: "dict[str, Any]", key: str, low: int, high: int, default: int) -> int:
        if not value.get(key):
            return default
        family, bound = to_number(value[key])
        if family != self.family or not low <= bound <= high:
            raise ValueError(f"{key} {value[key]} is not in the subnet {self.subnet}")
        return bound

    def exclude(self, excluded: list[tuple[int, int]]) -> None:
        """Remove addresses from the spans.

        :param excluded: first and last address of each part, sorted. A config has room for thousands, so each is visited once.
        """
        spans = []
        index = 0
        for begin, end in self.spans:
            while index < len(excluded) and excluded[index][0] <= end:
                least, most = excluded[index]
                if begin < least:
                    spans.append((begin, least - 1))
                begin = max(begin, most + 1)
                if most > end:
                    break  # it may reach into the next span
                index += 1
            if begin <= end:
                spans.append((begin, end))
        self.spans = spans

    def contains(self, address: "Ip") -> bool:
        """Return whether an address is in the range; it may still be one that is never allocated."""
        return address[0] == self.family and self.first <= address[1] <= self.last

    def may_allocate(self, address: "Ip") -> bool:
        """Return whether an address may be allocated, reserved or not."""
        return address[0] == self.family and any(begin <= address[1] <= end for begin, end in self.spans)

    def overlaps(self, other: "Range") -> bool:
        """Return whether an address is in both ranges."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{self._text(self.first)}-{self._text(self.last)}"


def _parse_excluded(text: str) -> tuple[int, int, int]:
    """Return the family, first and last address of an entry of ``exclude``."""
    address, prefix = network(text) if "/" in text else (to_number(text), -1)
    host_bits = BITS[address[0]] - prefix if prefix >= 0 else 0
    least = address[1] >> host_bits << host_bits
    return address[0], least, least | (1 << host_bits) - 1


def overlapping(ranges: list[Range]) -> list[tuple[int, int]]:
    """Return pairs of indexes of ranges that overlap, the smaller index first.

    Each range that overlaps with any is in a pair, but not every pair is returned: a config has room for thousands of ranges,
    so each is compared once.
    """
    order = sorted(range(len(ranges)), key=lambda index: (ranges[index].family, ranges[index].first, index))
    pairs = []
    furthest = order[0] if order else 0  # of the ranges before, the one that ends last
    for index in order[1:]:
        if ranges[furthest].overlaps(ranges[index]):
            pairs.append((min(index, furthest), max(index, furthest)))
        if ranges[furthest].family != ranges[index].family or ranges[furthest].last < ranges[index].last:
            furthest = index
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


class RangeSet:
    """Ranges of one family, of which an attachment gets one address.

    :param key: names the file that holds its last allocated address: host-local's number of the set, or a VLAN and a family.
    """

    __slots__ = ("_overlapping", "key", "ranges")

    def __init__(self, key: str, ranges: list[Range]) -> None:
        self.key = key
        self.ranges = ranges
        self._overlapping = overlapping(ranges)
        if not self._overlapping:  # a set with overlaps is refused
            self._exclude_gateways()

    def _exclude_gateways(self) -> None:
        """Exclude each gateway from every range of the set; each range and each gateway is visited once."""
        gateways = sorted({member.gateway[1] for member in self.ranges if member.gateway and member.gateway[0] == self.family})
        index = 0
        for member in sorted(self.ranges, key=lambda member: member.first):
            while index < len(gateways) and gateways[index] < member.first:
                index += 1
            excluded = []
            while index < len(gateways) and gateways[index] <= member.last:
                excluded.append((gateways[index], gateways[index]))
                index += 1
            member.exclude(excluded)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.ranges[0].family

    def conflicts(self) -> list[str]:
        """Return a sentence for each pair of ranges that cannot be in one set."""
        first = self.ranges[0]
        families = [
            f"{first.subnet} and {member.subnet} are of two families"
            for member in self.ranges[1:]
            if member.family != first.family
        ]
        return families + [f"{self.ranges[index]} and {self.ranges[other]} overlap" for index, other in self._overlapping]

    def range_of(self, address: "Ip") -> Range | None:
        """Return the range that an address is in, or None."""
        for member in self.ranges:
            if member.contains(address):
                return member
        return None

    def search_order(self, last: "Ip | None") -> "list[tuple[Range, int, int]]":
        """Return all that may be allocated as (range, begin, end), beginning after the last allocated address, and around."""
        current = self.range_of(last) if last else None
        if current is None or last is None:
            return _spans(self.ranges)
        index = self.ranges.index(current)
        # The current range is cut after the last address: the part behind it comes first, the part before it last.
        return [
            *[(current, max(begin, last[1] + 1), end) for begin, end in current.spans if end > last[1]],
            *_spans(self.ranges[index + 1 :]),
            *_spans(self.ranges[:index]),
            *[(current, begin, min(end, last[1])) for begin, end in current.spans if begin <= last[1]],
        ]

    def __str__(self) -> str:
        return ",".join(str(member) for member in self.ranges)


def _spans(ranges: "Iterable[Range]") -> "list[tuple[Range, int, int]]":
    return [(member, begin, end) for member in ranges for begin, end in member.spans]
