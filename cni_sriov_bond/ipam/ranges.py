"""Addresses as numbers, ranges and range sets: which addresses may be given, in which order, without listing them.

The rules are host-local's (allocator/range.go, range_set.go), with three differences that docs/ipam.md names: a subnet of one
or two addresses is one, the subnet's own address and the broadcast address are never given, and ``exclude``.
"""

from cni_sriov_bond.cni.address import BITS, network, to_number, to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_sriov_bond.cni.address import Ip


def requested(text: str) -> "Ip":
    """Return an address that was asked for, with or without a prefix length, which does not count.

    :raises ValueError: when it is none.
    """
    return network(text)[0] if "/" in text else to_number(text)


class Range:
    """A range of a subnet: ``first`` to ``last`` belong to it, what ``spans`` hold of them may be given.

    :param value: the range as the config has it, of the types that the schema wants.
    :raises ValueError: saying what is wrong with it.
    """

    __slots__ = ("family", "first", "gateway", "last", "prefix", "spans", "subnet")

    def __init__(self, value: "dict[str, Any]") -> None:
        self.subnet: str = value["subnet"]
        (self.family, low), self.prefix = network(self.subnet)
        hosts = BITS[self.family] - self.prefix
        high = low | (1 << hosts) - 1
        if low & (1 << hosts) - 1:
            raise ValueError(f"subnet {self.subnet} has host bits set; its network is {self._net(low, hosts)}")
        # A subnet of one or two addresses has no address of its own, no broadcast address and no room for a gateway.
        small = hosts < 2
        begin = low if small else low + 1
        end = high - 1 if self.family == 4 and not small else high
        self.gateway = to_number(value["gateway"]) if value.get("gateway") else None if small else (self.family, low + 1)
        if self.gateway and self.gateway[0] != self.family:
            raise ValueError(f"gateway {value['gateway']} is not of the family of the subnet {self.subnet}")
        self.first = self._bound(value, "rangeStart", low, high, begin)
        self.last = self._bound(value, "rangeEnd", low, high, end)
        if self.first > self.last:
            raise ValueError(f"rangeStart {self._text(self.first)} is above rangeEnd {self._text(self.last)}")
        excluded = [_excluded(one) for one in value.get("exclude") or ()]
        self.spans = [(max(self.first, begin), min(self.last, end))]
        self.without(sorted((least, most) for family, least, most in excluded if family == self.family))

    def _net(self, low: int, hosts: int) -> str:
        return f"{self._text(low >> hosts << hosts)}/{self.prefix}"

    def _text(self, number: int) -> str:
        return to_text((self.family, number))

    def _bound(self, value: "dict[str, Any]", key: str, low: int, high: int, default: int) -> int:
        if not value.get(key):
            return default
        family, bound = to_number(value[key])
        if family != self.family or not low <= bound <= high:
            raise ValueError(f"{key} {value[key]} is not in the subnet {self.subnet}")
        return bound

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
        """Return whether an address belongs to the range, whether it may be allocated or not."""
        return address[0] == self.family and self.first <= address[1] <= self.last

    def gives(self, address: "Ip") -> bool:
        """Return whether an address may be allocated."""
        return address[0] == self.family and any(begin <= address[1] <= end for begin, end in self.spans)

    def overlaps(self, other: "Range") -> bool:
        """Return whether an address belongs to both ranges."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        return f"{self._text(self.first)}-{self._text(self.last)}"


def _excluded(text: str) -> tuple[int, int, int]:
    """Return the family, first and last address of an entry of ``exclude``."""
    address, prefix = network(text) if "/" in text else (to_number(text), -1)
    hosts = BITS[address[0]] - prefix if prefix >= 0 else 0
    least = address[1] >> hosts << hosts
    return address[0], least, least | (1 << hosts) - 1


def overlapping(ranges: list[Range]) -> list[tuple[int, int]]:
    """Return places of ranges that have addresses in common, the smaller first.

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
        """Return which ranges exclude each other."""
        first = self.ranges[0]
        found = [
            f"{first.subnet} and {one.subnet} are of two families" for one in self.ranges[1:] if one.family != first.family
        ]
        return found + [f"{self.ranges[place]} and {self.ranges[other]} overlap" for place, other in self._overlapping]

    def range_of(self, address: "Ip") -> Range | None:
        """Return the range that an address belongs to."""
        for one in self.ranges:
            if one.holds(address):
                return one
        return None

    def after(self, last: "Ip | None") -> "list[tuple[Range, int, int]]":
        """Return all that may be given, as spans in the order of search: from behind the last one given, once around."""
        current = self.range_of(last) if last else None
        if current is None or last is None:
            return _spans(self.ranges)
        place = self.ranges.index(current)
        # The current range is cut behind the last address: what follows comes first, what is before it comes at the end.
        return [
            *[(current, max(begin, last[1] + 1), end) for begin, end in current.spans if end > last[1]],
            *_spans(self.ranges[place + 1 :]),
            *_spans(self.ranges[:place]),
            *[(current, begin, min(end, last[1])) for begin, end in current.spans if begin <= last[1]],
        ]

    def __str__(self) -> str:
        return ",".join(str(one) for one in self.ranges)


def _spans(ranges: "Iterable[Range]") -> "list[tuple[Range, int, int]]":
    return [(member, begin, end) for member in ranges for begin, end in member.spans]
