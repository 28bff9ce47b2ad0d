"""Which addresses a config of the IPAM delegate may ever give: written down once more, from docs/ipam.md, with ipaddress."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

Ip = IPv4Address | IPv6Address


def _ip(text: str) -> Ip:
    found = ip_address(text)
    return getattr(found, "ipv4_mapped", None) or found


def _folded(value: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): part for key, part in value.items() if part is not None}


class Range:
    """A range: its first and last address, its gateway, and what is excluded."""

    def __init__(self, value: dict[str, Any]) -> None:
        value = _folded(value)
        self.net = ip_network(value["subnet"])
        small = self.net.num_addresses <= 2
        first, last = self.net[0], self.net[-1]
        # Not given in any case: an IPv4 network's own address and its broadcast address, an IPv6 network's own address.
        self._never = set() if small else {first, last} if self.net.version == 4 else {first}
        self.first = _ip(value["rangestart"]) if value.get("rangestart") else first
        self.last = _ip(value["rangeend"]) if value.get("rangeend") else last
        default = None if small else self.net[1]
        self.gateway = _ip(value["gateway"]) if value.get("gateway") else default
        self._excluded = [ip_network(one, strict=False) for one in value.get("exclude") or ()]

    def gives(self, address: Ip) -> bool:
        """Tell whether an address may be given, gateways apart."""
        if address.version != self.net.version or address not in self.net or address in self._never:
            return False
        inside = int(self.first) <= int(address) <= int(self.last)
        return inside and not any(address in net for net in self._excluded if net.version == address.version)


class Set:
    """Ranges of which an attachment gets one address; a gateway of one is never given by another."""

    def __init__(self, ranges: list[dict[str, Any]]) -> None:
        self.ranges = [Range(one) for one in ranges]
        self._gateways = {one.gateway for one in self.ranges}

    def gives(self, address: Ip) -> bool:
        """Tell whether an address may be given."""
        return address not in self._gateways and any(one.gives(address) for one in self.ranges)

    def all(self) -> set[Ip]:
        """Give every address that may be given; for small ranges."""
        return {address for one in self.ranges for address in one.net if self.gives(address)}


def sets(config: dict[str, Any], vlan: int | None = None) -> list[Set]:
    """Give the range sets of a config that was taken; of ``subnets`` those of one VLAN, or with None of every one."""
    whole = {key: part for key, part in config.items() if part is not None}
    ipam = _folded(whole["ipam"])
    runtime = whole.get("runtimeConfig") or {}
    found = [Set(one) for one in _folded(runtime).get("ipranges") or ()]
    if ipam.get("subnet"):
        found.append(Set([ipam]))
    found += [Set(one) for one in ipam.get("ranges") or ()]
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for one in ipam.get("subnets") or ():
        its_vlan = _folded(one).get("vlan") or 0
        if vlan is None or its_vlan == vlan:
            groups.setdefault((its_vlan, Range(one).net.version), []).append(one)
    return found + [Set(one) for one in groups.values()]
