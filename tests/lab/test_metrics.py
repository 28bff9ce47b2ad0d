"""The metrics of real bonds: compared with the kernel's own numbers, and asked by the dashboard's queries."""

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import scraped
from tests.lab.product import network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.lab import Lab
    from tests.lab.product import Product

pytestmark = pytest.mark.lab

BOND = ("cbond1", "db")
# eth0's bytes and packets, received and sent, by the kernel.
COUNTERS = "cat /sys/class/net/eth0/statistics/{rx_bytes,rx_packets,tx_bytes,tx_packets}"


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the samples by name and the values of their labels, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_before_and_after_a_failover(product: "Product", lab: "Lab", prometheus: "Path", tmp_path: "Path") -> None:
    """Counters are between the kernel's before and after; the active port and its failure are those of the pulled cable."""
    config = network(mode="active-backup", linkMonitor="arp", arp_interval=200, arp_ip_target=["10.100.0.1"])
    with product.attached(config, "m1"):
        product.pings("m1", "10.100.0.1")
        before = product.inside("m1", f"bash -c '{COUNTERS}'").stdout.split()
        first = product.ctl("metrics").stdout
        after = product.inside("m1", f"bash -c '{COUNTERS}'").stdout.split()
        assert scraped.lint(prometheus, first) == ""
        found = samples(first)
        names = ("receive_bytes", "receive_packets", "transmit_bytes", "transmit_packets")
        for name, least, most in zip(names, before, after, strict=True):
            assert int(least) <= found[f"sriov_bond_{name}_total", *BOND] <= int(most), name
        assert found["sriov_bond_lease_info", "cbond1", "m1", "eth0", "active-backup", "db", "db", "ready", "100"] == 1
        nic = _active(found)

        with lab.pulled("A" if nic == "enp1s0" else "B"):
            product.call("ADD", network(vlan=5000), "m2", "/run/netns/m1").failed(7)
            wait_until(lambda: _active(samples(product.ctl("metrics").stdout)) not in ("", nic), "the failover", 30)
            product.pings("m1", "10.100.0.1")
            second = product.ctl("metrics").stdout
        found = samples(second)
        assert found["sriov_bond_nic_carrier", nic, f"0000:0{nic[3]}:00.0"] == 0
        assert found["sriov_bond_port_failures_total", "cbond1", nic, "db", f"VF{nic[3]}1"] >= 1
        assert (
            found["sriov_bond_call_failures_total", "7", "ADD"]
            == samples(first)["sriov_bond_call_failures_total", "7", "ADD"] + 1
        )
        with scraped.running(prometheus, tmp_path) as server:
            server.show(first)
            server.show(second)
            assert scraped.empty_or_unnamed(server) == []


def _active(found: dict[tuple[str, ...], float]) -> str:
    """Return the NIC of the active port, or "" while there is none."""
    active = [names[2] for names, value in found.items() if names[0] == "sriov_bond_port_active" and value]
    return active[0] if len(active) == 1 else ""
