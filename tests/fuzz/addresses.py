"""The addresses that a config of the IPAM plugin allows: a second implementation of docs/ipam.md, with ipaddress."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

Ip = IPv4Address | IPv6Address


def _ip(text: str) -> Ip:
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _folded(value: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): part for key, part in value.items() if part is not None}


class Range:
    """A range: its first and last address, its gateway, and the excluded networks."""

    def __init__(self, value: dict[str, Any]) -> None:
        value = _folded(value)
        self.net = ip_network(value["subnet"])
        small = self.net.num_addresses <= 2
        first, last = self.net[0], self.net[-1]
        # Never allocated: the network and broadcast addresses of IPv4, the subnet-router anycast address of IPv6.
        self._never = set() if small else {first, last} if self.net.version == 4 else {first}
        self.first = _ip(value["rangestart"]) if value.get("rangestart") else first
        self.last = _ip(value["rangeend"]) if value.get("rangeend") else last
        default = None if small else self.net[1]
        self.gateway = _ip(value["gateway"]) if value.get("gateway") else default
        self._excluded = [ip_network(network, strict=False) for network in value.get("exclude") or ()]

    def allows(self, address: Ip) -> bool:
        """Return whether an address may be allocated, without regard to gateways."""
        if address.version != self.net.version or address not in self.net or address in self._never:
            return False
        within = int(self.first) <= int(address) <= int(self.last)
        return within and not any(address in net for net in self._excluded if net.version == address.version)


class Set:
    """A range set: an attachment gets one address of it. A gateway of one range is not allocated from another."""

    def __init__(self, ranges: list[dict[str, Any]]) -> None:
        self.ranges = [Range(part) for part in ranges]
        self._gateways = {part.gateway for part in self.ranges}

    def allows(self, address: Ip) -> bool:
        """Return whether an address may be allocated."""
        return address not in self._gateways and any(part.allows(address) for part in self.ranges)

    def all(self) -> set[Ip]:
        """Return every address that may be allocated; for small ranges only."""
        return {address for part in self.ranges for address in part.net if self.allows(address)}


def sets(config: dict[str, Any], vlan: int | None = None) -> list[Set]:
    """Return the range sets of a valid config; of ``subnets`` only those of a VLAN, or all if ``vlan`` is None."""
    top = {key: part for key, part in config.items() if part is not None}
    ipam = _folded(top["ipam"])
    runtime = top.get("runtimeConfig") or {}
    range_sets = [Set(entry) for entry in _folded(runtime).get("ipranges") or ()]
    if ipam.get("subnet"):
        range_sets.append(Set([ipam]))
    range_sets += [Set(entry) for entry in ipam.get("ranges") or ()]
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for entry in ipam.get("subnets") or ():
        entry_vlan = _folded(entry).get("vlan") or 0
        if vlan is None or entry_vlan == vlan:
            groups.setdefault((entry_vlan, Range(entry).net.version), []).append(entry)
    return range_sets + [Set(entry) for entry in groups.values()]
