"""What uses a network device of the host: addresses, routes, devices on top of it, programs that listen on it.

``down`` brings no NIC down that has a user, and removes no VF that has one: nobody but the user knows what it is for.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, find
from cni_sriov_bond.kernel.objects import Address, Link, Route

PROC = "/proc"
# Where ip-netns(8), Docker and CNI runtimes keep namespaces that may have no process.
_NAMED = ("/run/netns", "/run/docker/netns")
# What the kernel adds to each device that is up: linux/if_addr.h, IFAPROT_KERNEL_*; linux/rtnetlink.h, RTPROT_*.
_ADDRESS_OF_KERNEL = (1, 2, 3)  # loopback, router advertisement, link-local
_ROUTE_OF_KERNEL = (1, 2, 9)  # ICMP redirect, the kernel for an address, router advertisement
_LINK_LOCAL = 0xFE80  # the first 10 bits of an address
# Kinds whose IFLA_LINK is their other end, not a device below them.
_PAIRS = ("veth", "netkit", "vxcan")


def users(host: Netlink, link: Link) -> list[str]:
    """Return what uses a device, each as the end of a sentence: "it has ..."."""
    links = host.links()
    names = {device.index: device.name for device in links}
    uses = [f"it is a port of {names.get(link.master, link.master)}"] if link.master else []
    uses += [f"{upper.name} is on it" for upper in links if upper.lower == link.index and upper.kind not in _PAIRS]
    uses += [f"it has the address {_address(address)}" for address in host.addresses() if _is_given(address, link.index)]
    uses += [f"it has {_route(route)}" for route in host.routes() if _is_set(route, link.index)]
    uses += [f"{name} in {namespace} is on it" for namespace, name in _on_it_elsewhere(link)]
    if link.promisc_or_allmulti:
        uses.append("it is promiscuous")
    if _has_packet_socket(link.index):
        uses.append("a program listens on it (`ss -0 -p` shows which)")
    return uses


def _is_given(address: Address, index: int) -> bool:
    """Return whether somebody gave an address to the device; the kernel gives link-local ones itself."""
    if address.index != index or address.proto in _ADDRESS_OF_KERNEL:
        return False
    # Before Linux 5.18 the kernel does not tell who added an address.
    return not (address.family == AF_INET6 and int.from_bytes(address.ip[:2], "big") & 0xFFC0 == _LINK_LOCAL)


def _is_set(route: Route, index: int) -> bool:
    return index in (route.index, *_hops(route.multipath)) and route.proto not in _ROUTE_OF_KERNEL


def _hops(data: bytes) -> Iterator[int]:
    """Yield the device of each next hop (linux/rtnetlink.h, struct rtnexthop: length, flags, hops, index)."""
    while len(data) >= 8:
        size, index = struct.unpack_from("=HxxI", data)
        yield index
        data = data[max(8, size + 3 & ~3) :]


def _address(address: Address) -> str:
    return f"{_ip(address.family, address.ip)}/{address.prefix}"


def _route(route: Route) -> str:
    return f"the route to {_ip(route.family, route.dst)}/{route.prefix}" if route.prefix else "a default route"


def _ip(family: int, octets: bytes) -> str:
    return inet_ntop(family, octets) if family in (AF_INET, AF_INET6) and octets else octets.hex()


def _on_it_elsewhere(link: Link) -> Iterator[tuple[str, str]]:
    """Yield each device on top of this one that is in another namespace, such as a container's macvlan.

    In such a namespace IFLA_LINK is the index in the host, with IFLA_LINK_NETNSID. No list of a device's upper devices has
    those of other namespaces, so all namespaces are asked.
    """
    for path in namespaces():
        with contextlib.suppress(OSError, CniError):  # it has just ended, or is one of another kind
            namespace = find(path)
            if namespace is None:
                continue
            with contextlib.closing(namespace):
                with Entered(namespace):
                    netlink = Netlink(path)
                with contextlib.closing(netlink):
                    for upper in netlink.links():
                        if upper.lower == -1 and upper.lower_index == link.index and upper.kind not in _PAIRS:
                            yield path, upper.name


def namespaces() -> list[str]:
    """Return a path of every network namespace but our own that a process is in or that has a name."""
    paths = [f"{PROC}/{entry}/ns/net" for entry in os.listdir(PROC) if entry.isdecimal()]
    for directory in _NAMED:
        with contextlib.suppress(OSError):
            paths += [f"{directory}/{name}" for name in os.listdir(directory)]
    known: dict[tuple[int, int], str] = {}
    own_netns = os.stat("/proc/self/ns/net")
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            known.setdefault((status.st_dev, status.st_ino), path)
    known.pop((own_netns.st_dev, own_netns.st_ino), None)
    return list(known.values())


def _has_packet_socket(index: int) -> bool:
    """Return whether a packet socket is bound to a device, by its index (af_packet.c, packet_seq_show): LLDP, tcpdump."""
    with contextlib.suppress(OSError), open(f"{PROC}/net/packet", encoding="ascii") as file:
        return any(line.split()[4] == str(index) for line in file.readlines()[1:])
    return False
