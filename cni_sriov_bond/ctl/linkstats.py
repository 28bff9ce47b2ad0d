"""Links with their counters, and what the bonding driver reports of its ports: more than a call of the plugin reads.

The attributes are those of uapi/linux/if_link.h; tests/ctl/test_linkstats.py compares them with pyroute2's. pyroute2 takes
over 100 ms to import, and several times as long to read a list, which ``sriov-bondctl top`` does once a second a container.
"""

import struct
from typing import NamedTuple

from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.kernel import rtnetlink
from cni_sriov_bond.kernel.netlink import Netlink

_STATS64, _CARRIER_CHANGES, _LINKINFO = 23, 35, rtnetlink.IFLA_LINKINFO
_INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 4, 5
_SLAVE_STATE, _SLAVE_LINK, _SLAVE_FAILURES = 1, 2, 3  # IFLA_BOND_SLAVE_*
_ACTIVE = 0  # uapi/linux/if_bonding.h, BOND_STATE_ACTIVE
_LINK_STATES = ("up", "going down", "down", "going up")  # the same, BOND_LINK_UP, _FAIL, _DOWN, _BACK
_STATS = struct.Struct("=8Q")  # struct rtnl_link_stats64: packets, bytes, errors and dropped, each received and sent


class LinkState(NamedTuple):
    """A network device. The fields ``port_*`` are those of a port of a bond; ``port_failures`` is 0 for other devices.

    ``master`` is the index of its bond or bridge, ``bond_data`` the IFLA_BOND_* attributes of a bond.
    """

    ifindex: int
    name: str
    kind: str
    parent: str
    master: int
    up: bool
    carrier: bool
    carrier_changes: int
    mac: str
    mtu: int
    counters: Counters
    bond_data: dict[int, bytes]
    port_active: bool = False
    port_link: str = ""
    port_failures: int = 0


def read(netlink: Netlink) -> list[LinkState]:
    """Return every device of a socket's namespace, without VFs.

    :raises KernelError: when the kernel refuses the list.
    """
    return [parse(body) for body in netlink.link_messages()]


def parse(body: bytes) -> LinkState:
    """Return the device that the body of an RTM_NEWLINK describes."""
    link = rtnetlink.parse_link(body)
    values = dict(rtnetlink.attributes(body, 16))
    state = LinkState(
        link.index,
        link.name,
        link.kind,
        link.parent,
        link.master,
        link.up,
        link.carrier,
        _number(values.get(_CARRIER_CHANGES, b"")),
        link.mac,
        link.mtu,
        _counters(values.get(_STATS64, b"")),
        link.bond_data,
    )
    info = dict(rtnetlink.attributes(values.get(_LINKINFO, b"")))
    if info.get(_INFO_SLAVE_KIND, b"").rstrip(b"\0") != b"bond":
        return state
    port = dict(rtnetlink.attributes(info.get(_INFO_SLAVE_DATA, b"")))
    link_state = _number(port.get(_SLAVE_LINK, b""))
    named = _LINK_STATES[link_state] if link_state < len(_LINK_STATES) else str(link_state)
    # A port keeps its state "active" while it is down in modes that have no active port (bond_main.c, bond_set_slave_*).
    active = _number(port.get(_SLAVE_STATE, b"\1")) == _ACTIVE and named in ("up", "going down")
    return state._replace(port_active=active, port_link=named, port_failures=_number(port.get(_SLAVE_FAILURES, b"")))


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _counters(value: bytes) -> Counters:
    if len(value) < _STATS.size:
        return Counters(*[0] * 8)
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = _STATS.unpack_from(value)
    return Counters(rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped)
