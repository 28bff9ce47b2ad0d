"""Values as the live state of two bonds has them: one in a container, and one that is free."""

from typing import Any

from cni_sriov_bond.ctl.detail import Detail, PortDetail
from cni_sriov_bond.ctl.eventlog import Event
from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.live import LiveBond, LiveLink, LiveNic, LivePort, Snapshot
from cni_sriov_bond.ctl.status import BondStatus, LeaseStatus, PortStatus
from cni_sriov_bond.pool.record import Attachment, LeaseRecord, NetnsIdentity
from cni_sriov_bond.ports import Bond, Port, VfSettings

LONG_ID = "k8s.io-" + "8f3c" * 16
COUNTERS = Counters(
    rx_bytes=1000, rx_packets=10, rx_errors=1, rx_dropped=2, tx_bytes=2000, tx_packets=20, tx_errors=0, tx_dropped=0
)
PORTS = [Port(f"ffff:0{number}:10.0", f"VF{number}1", f"ffff:0{number}:00.0", 0) for number in (1, 2)]
NICS = [
    LiveNic(
        "db", f"ffff:0{number}:00.0", f"enp{number}s0", number, present=True, up=True, carrier=number == 2, counters=COUNTERS
    )
    for number in (1, 2)
]
LINK = LiveLink(
    up=True,
    carrier=True,
    mac="02:00:00:00:00:01",
    mtu=1500,
    options={"mode": 1, "fail_over_mac": 1, "arp_interval": 200, "arp_ip_target": ["10.0.0.1"], "ns_ip6_target": ["fd00::1"]},
    addresses=["10.0.0.2/24", "fd00::2/64"],
    carrier_changes=3,
    counters=COUNTERS,
)


def ports() -> list[LivePort]:
    """Return the ports: that on NIC 1 has failed, that on NIC 2 is active."""
    return [
        LivePort(
            port.address,
            port.name,
            0,
            nic,
            present=True,
            carrier=True,
            active=nic.number == 2,
            link="up" if nic.number == 2 else "down",
            failures=nic.number % 2,
            mac=f"02:00:00:00:00:0{nic.number}",
            counters=COUNTERS,
        )
        for port, nic in zip(PORTS, NICS, strict=True)
    ]


def bond(name: str = "cbond1", container_id: str = "c1", factor: int = 1, link: LiveLink | None = LINK) -> LiveBond:
    """Return a leased bond whose counters are a multiple of ``COUNTERS``."""
    attachment = Attachment("net1", container_id, "eth0")
    record = LeaseRecord("db", Bond(name, LINK.mac, PORTS), attachment, NetnsIdentity("/run/netns/c1", 4, 1))
    record.created = 1_700_000_000
    counters = Counters(*(factor * value for value in COUNTERS))
    if link is None:
        return LiveBond("db", name, "releasing", record, attachment, [], None, "the namespace of its container is gone")
    with_counters = [port._replace(counters=counters) for port in ports()]
    return LiveBond("db", name, "ready", record, attachment, with_counters, link._replace(counters=counters))


def snapshot(taken: float, *bonds: LiveBond) -> Snapshot:
    return Snapshot(taken, NICS, list(bonds), {"db": 7}, [])


def detail(container_id: str = "c1") -> Detail:
    """Return what is known of a leased bond."""
    live = bond(container_id=container_id)
    lease = LeaseStatus("net1", container_id, "eth0", "/run/netns/c1", ["10.0.0.2/24"], 100, [], 1_700_000_000, this_boot=True)
    shown = [PortStatus(port.address, port.name, port.pf_address, 0, "", True, "up") for port in PORTS]
    status = BondStatus("cbond1", LINK.mac, "ready", shown, lease=lease)
    settings = VfSettings(vlan=100, spoofchk=1, trust=0, link_state=0)
    of_ports = [PortDetail(port, "", port.mac, settings) for port in live.ports]
    return Detail("db", status, of_ports, live, live.record, 1_700_008_000.0, "containerd[7]")


def free() -> Detail:
    """Return what is known of a free bond."""
    shown = [PortStatus(port.address, port.name, port.pf_address, 0, port.name) for port in PORTS]
    status = BondStatus("cbond2", LINK.mac, "free", shown)
    in_host = [LivePort(port.address, port.name, 0, nic) for port, nic in zip(PORTS, NICS, strict=True)]
    return Detail("db", status, [PortDetail(port, port.name, None, None) for port in in_host], None, None, 1_700_008_000.0)


def event(action: str = "ADD", at: float = 1_700_000_000.0, **values: Any) -> Event:
    """Return an event of container c1."""
    base = Event(
        at, 0.5, "sriov-bond", 11, "containerd[7]", action, "db", "cbond1", "net1", "c1", "eth0",
        [(0.001, "validated"), (0.25, "warning: no carrier")],
    )  # fmt: skip
    return base._replace(**values)
