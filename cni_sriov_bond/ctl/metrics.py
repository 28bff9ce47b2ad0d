"""The state of pools, NICs, bonds and calls as Prometheus metrics; docs/metrics.md has the list.

Names and units follow Prometheus' rules (prometheus.io, "Metric and label naming"). A bond's series are named by pool and bond,
which are few and stay. The container is a label of ``sriov_bond_lease_info`` alone, which queries join: as a label of every
counter each container would leave series behind.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cni_sriov_bond import VERSION
from cni_sriov_bond.ctl import live, status
from cni_sriov_bond.ctl.links import Counters
from cni_sriov_bond.ctl.live import LiveBond, LiveNic, LivePort
from cni_sriov_bond.ctl.status import PoolStatus
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.oci.attachment import Store
from cni_sriov_bond.oci.site import beside
from cni_sriov_bond.pool import call_counters, lease, pools
from cni_sriov_bond.pool.call_counters import CommandCounters

PREFIX = "sriov_bond"
STATES = (status.FREE, *lease.STATES, status.QUARANTINED, status.BROKEN)
_TRAFFIC = {
    "receive_bytes": "Bytes received by {subject}.",
    "receive_packets": "Packets received by {subject}.",
    "receive_errors": "Packets with errors received by {subject}.",
    "receive_dropped": "Received packets dropped by {subject}.",
    "transmit_bytes": "Bytes sent by {subject}.",
    "transmit_packets": "Packets sent by {subject}.",
    "transmit_errors": "Errors of {subject} in sending.",
    "transmit_dropped": "Packets that {subject} did not send.",
}


class State(NamedTuple):
    """What the metrics show; the pools are without their NICs.

    :param problems: sentences about what could not be read.
    :param detaches: attachments of the OCI hook whose DEL is due.
    """

    pools: list[PoolStatus]
    nics: list[LiveNic]
    bonds: list[LiveBond]
    calls: dict[str, CommandCounters]
    problems: list[str]
    detaches: int = 0


def collect(state_dir: str) -> State:
    """Return the state of all pools. What cannot be read is in ``problems``; the rest is complete."""
    problems: list[str] = []
    read: list[PoolStatus] = []
    nics: list[LiveNic] = []
    bonds: list[LiveBond] = []
    calls: dict[str, CommandCounters] = {}
    try:
        for name in pools.known(state_dir):
            try:
                read.append(status.collect(state_dir, name, with_nics=False))
            except CniError as unusable:
                problems.append(unusable.msg)
        now = live.read(state_dir, [pool.name for pool in read])
        nics, bonds = now.nics, now.bonds
        problems += now.problems
    except CniError as failed:
        problems.append(failed.msg)
    try:
        calls = call_counters.read(state_dir)
    except OSError as failed:
        problems.append(f"cannot read {state_dir}/{call_counters.FILE}: {failed.strerror}")
    return State(read, nics, bonds, calls, problems, Store(beside(state_dir)).pending())


class BondCollector(Collector):
    """Collects the metrics anew each time that a registry asks; ``problems`` are those of the last time."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self.problems: list[str] = []

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        state = collect(self._state_dir)
        self.problems = state.problems
        return list(families(state))

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering collects nothing."""
        return []


def registry(collector: BondCollector) -> CollectorRegistry:
    """Return a registry with these metrics, and none of the Python process."""
    own = CollectorRegistry()
    own.register(collector)
    return own


def families(state: State) -> Iterator[Metric]:
    """Yield each metric with all its samples."""
    build = GaugeMetricFamily(f"{PREFIX}_build_info", "The version of sriov-bondctl; always 1.", labels=["version"])
    build.add_metric([VERSION], 1)
    yield build
    problems = "Pools, leases and counters that could not be read this time."
    yield GaugeMetricFamily(f"{PREFIX}_unreadable_objects", problems, value=len(state.problems))
    detaches = "Containers' attachments by the OCI hook whose DEL is still to be done."
    yield GaugeMetricFamily(f"{PREFIX}_hook_pending_dels", detaches, value=state.detaches)
    yield from _of_pools(state.pools)
    yield from _of_nics(state.nics)
    yield from _of_leases(state.bonds)
    yield from _of_bonds([bond for bond in state.bonds if bond.link])
    yield from _of_ports([(bond, port) for bond in state.bonds for port in bond.ports if port.present])
    yield from _of_calls(state.calls)


def _of_pools(read: list[PoolStatus]) -> Iterator[Metric]:
    sizes = GaugeMetricFamily(f"{PREFIX}_pool_bonds", "Bonds of a pool by state.", labels=["pool", "state"])
    pending = GaugeMetricFamily(
        f"{PREFIX}_pool_pending_dels", "IPAM DELs of freed bonds that are still to be sent.", labels=["pool"]
    )
    ready = GaugeMetricFamily(
        f"{PREFIX}_pool_provisioned", "Whether `sriov-bondctl up` has created the pool since the last boot.", labels=["pool"]
    )
    for pool in read:
        states = [bond.state for bond in pool.bonds]
        for state in STATES:
            sizes.add_metric([pool.name, state], states.count(state))
        pending.add_metric([pool.name], pool.pending)
        ready.add_metric([pool.name], pool.this_boot)
    yield from (sizes, pending, ready)


def _of_nics(nics: list[LiveNic]) -> Iterator[Metric]:
    labels = ["nic", "pci"]
    info = GaugeMetricFamily(
        f"{PREFIX}_nic_info", "The pools and driver of a NIC; always 1.", labels=["pool", *labels, "driver"]
    )
    up = GaugeMetricFamily(f"{PREFIX}_nic_up", "Whether a NIC is administratively up.", labels=labels)
    carrier = GaugeMetricFamily(f"{PREFIX}_nic_carrier", "Whether a NIC has carrier.", labels=labels)
    traffic = _Traffic("nic", "a NIC", labels)
    for nic in nics:
        info.add_metric([nic.pool, nic.name, nic.address, sysfs.driver(nic.address)], 1)
    for nic in {nic.address: nic for nic in nics}.values():  # pools may share a NIC
        up.add_metric([nic.name, nic.address], nic.up)
        carrier.add_metric([nic.name, nic.address], nic.carrier)
        traffic.add([nic.name, nic.address], nic.counters)
    yield from (info, up, carrier, *traffic.families)


def _of_leases(bonds: list[LiveBond]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        f"{PREFIX}_lease_info",
        "The container that has a bond; always 1.",
        labels=["pool", "bond", "state", "network", "container", "ifname", "vlan", "mode"],
    )
    created = GaugeMetricFamily(
        f"{PREFIX}_lease_created_timestamp_seconds", "When a bond was leased, as Unix time.", labels=["pool", "bond"]
    )
    for bond in bonds:
        vlan = bond.record.requested.vf.vlan
        owner = bond.attachment
        texts = [owner.network, owner.container_id, owner.ifname, "" if vlan is None else str(vlan)]
        info.add_metric([bond.pool, bond.name, bond.state, *texts, bond.link.mode if bond.link else ""], 1)
        created.add_metric([bond.pool, bond.name], bond.record.created)
    yield from (info, created)


def _of_bonds(bonds: list[LiveBond]) -> Iterator[Metric]:
    labels = ["pool", "bond"]
    carrier = GaugeMetricFamily(f"{PREFIX}_carrier", "Whether a leased bond has carrier in its container.", labels=labels)
    active = GaugeMetricFamily(f"{PREFIX}_active_ports", "Ports that a leased bond sends through.", labels=labels)
    traffic = _Traffic("", "a leased bond", labels)
    for bond in bonds:
        if bond.link:
            carrier.add_metric([bond.pool, bond.name], bond.link.carrier)
            active.add_metric([bond.pool, bond.name], len(bond.active))
            traffic.add([bond.pool, bond.name], bond.link.counters)
    yield from (carrier, active, *traffic.families)


def _of_ports(ports: list[tuple[LiveBond, LivePort]]) -> Iterator[Metric]:
    labels = ["pool", "bond", "port", "nic"]
    carrier = GaugeMetricFamily(f"{PREFIX}_port_carrier", "Whether a port of a leased bond has carrier.", labels=labels)
    up = GaugeMetricFamily(f"{PREFIX}_port_up", "Whether the bond's monitor considers a port usable.", labels=labels)
    active = GaugeMetricFamily(f"{PREFIX}_port_active", "Whether a leased bond sends through a port.", labels=labels)
    failures = CounterMetricFamily(
        f"{PREFIX}_port_failures", "Failures of a port; one of the only active port is a failover.", labels=labels
    )
    traffic = _Traffic("port", "a port of a leased bond", labels)
    for bond, port in ports:
        names = {wanted.address: wanted.name for wanted in bond.record.ports}  # in the container it may have another
        values = [bond.pool, bond.name, names.get(port.address, port.name), port.nic.name if port.nic else ""]
        carrier.add_metric(values, port.carrier)
        up.add_metric(values, port.link == "up")
        active.add_metric(values, port.active)
        failures.add_metric(values, port.failures)
        traffic.add(values, port.counters)
    yield from (carrier, up, active, failures, *traffic.families)


def _of_calls(calls: dict[str, CommandCounters]) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        f"{PREFIX}_call_duration_seconds", "How long calls of the plugin took, failed ones too.", labels=["command"]
    )
    failures = CounterMetricFamily(
        f"{PREFIX}_call_failures", "Failed calls of the plugin by error code.", labels=["command", "code"]
    )
    bounds = [*map(str, call_counters.BUCKETS), "+Inf"]
    for command, counters in calls.items():
        buckets = list(zip(bounds, map(float, accumulate(counters.durations)), strict=True))
        durations.add_metric([command], buckets=buckets, sum_value=counters.seconds)
        for code, number in counters.failures.items():
            failures.add_metric([command, "other" if code == call_counters.OTHER else str(code)], number)
    yield from (durations, failures)


class _Traffic:
    """The counters of devices of one kind: eight metrics.

    :param kind: the part of the names after the prefix; empty for bonds.
    :param subject: the device in the help texts.
    """

    def __init__(self, kind: str, subject: str, labels: list[str]) -> None:
        prefix = f"{PREFIX}_{kind}_" if kind else f"{PREFIX}_"
        self.families = [
            CounterMetricFamily(f"{prefix}{name}", text.format(subject=subject), labels=labels)
            for name, text in _TRAFFIC.items()
        ]

    def add(self, values: list[str], counters: Counters | None) -> None:
        """Add a device, if it has counters; their fields are in the order of the metrics."""
        for family, number in zip(self.families, counters or (), strict=False):
            family.add_metric(values, number)
