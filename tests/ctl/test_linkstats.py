"""Links with counters and what the bonding driver reports of ports, against pyroute2's encoder and the kernel."""

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]

from cni_sriov_bond.ctl import linkstats
from cni_sriov_bond.ctl.links import Counters
from tests.support import veth_pair


def message(**port: int) -> bytes:
    """Return the body of an RTM_NEWLINK about a port of a bond, as pyroute2 encodes it."""
    stats = dict.fromkeys((field[0] for field in ifinfmsg.ifstats64.fields), 0)
    stats.update(rx_bytes=1, rx_packets=2, rx_errors=3, rx_dropped=4, tx_bytes=5, tx_packets=6, tx_errors=7, tx_dropped=8)
    link = ifinfmsg()
    link["index"], link["flags"] = 7, 0x1
    names = {"state": "STATE", "mii": "MII_STATUS", "failures": "LINK_FAILURE_COUNT"}
    prefix = "IFLA_BOND_" + "SLAVE_"
    data = [(prefix + names[name], value) for name, value in port.items()]
    info = [("IFLA_INFO_" + "SLAVE_KIND", "bond"), ("IFLA_INFO_" + "SLAVE_DATA", {"attrs": data})]
    link["attrs"] = [
        ("IFLA_IFNAME", "VF11"),
        ("IFLA_MASTER", 3),
        ("IFLA_CARRIER", 1),
        ("IFLA_CARRIER_CHANGES", 9),
        ("IFLA_STATS64", stats),
        *([("IFLA_LINKINFO", {"attrs": info})] if port else []),
    ]
    link.encode()
    return bytes(link.data[16:])  # without the header of netlink


def test_a_port_has_what_the_bonding_driver_reports() -> None:
    state = linkstats.parse(message(state=0, mii=0, failures=5))
    assert (state.ifindex, state.name, state.upper, state.up, state.carrier) == (7, "VF11", 3, True, True)
    assert (state.port_active, state.port_link, state.port_failures, state.carrier_changes) == (True, "up", 5, 9)
    assert state.counters == Counters(1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize(
    ("state", "mii", "active", "link"),
    [
        (0, 0, True, "up"),
        (0, 1, True, "going down"),
        (0, 2, False, "down"),
        (0, 3, False, "going up"),
        (1, 0, False, "up"),
        (1, 2, False, "down"),
    ],
)
def test_a_port_that_is_down_is_not_active(state: int, mii: int, active: bool, link: str) -> None:
    """In a mode without an active port the driver leaves a failed one in the state "active"."""
    parsed = linkstats.parse(message(state=state, mii=mii, failures=0))
    assert (parsed.port_active, parsed.port_link) == (active, link)


def test_a_device_that_is_no_port() -> None:
    state = linkstats.parse(message())
    assert (state.port_active, state.port_link, state.port_failures) == (False, "", 0)


@pytest.mark.root
def test_the_kernel_s_list() -> None:
    """Of a namespace with lo and one end of a veth pair, whose counters are those that pyroute2 reads."""
    with veth_pair() as (left, _):
        links = {link.name: link for link in linkstats.read(left.ours)}
        theirs = left.show("a")
    assert set(links) == {"lo", "a"}
    assert (links["a"].kind, links["a"].mac, links["a"].mtu) == ("veth", theirs.get_attr("IFLA_ADDRESS"), 1500)
    assert links["a"].carrier_changes == theirs.get_attr("IFLA_CARRIER_CHANGES") > 0
    assert links["a"].counters.tx_packets <= theirs.get_attr("IFLA_STATS64")["tx_packets"]
