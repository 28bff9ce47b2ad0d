"""`show`, `top` and `log` of real bonds: before, during and after a failover, and while a container goes away.

A guest that gets no processor for half a second misses the answers of its gateway, and its bonds fail over by themselves. So
nothing here counts failovers exactly.
"""

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.ctl.strict import violations
from tests.lab.product import PEER, Product, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.lab import Lab

CABLES = {1: "A", 2: "B"}


def of(product: Product, command: str, *words: str) -> dict[str, Any]:
    """Return what a command prints with --json, after a comparison with its schema."""
    document: dict[str, Any] = product.ctl(command, "--json", *words).json()
    assert violations(command, document) == []
    return document


def bond(product: Product, name: str) -> dict[str, Any]:
    """Return the only bond that `show` has for a name."""
    [shown] = of(product, "show", name)["bonds"]
    return dict(shown)


def active(product: Product, name: str) -> list[int]:
    """Return the numbers of the NICs that a container's bond sends through."""
    return [port["nic"]["number"] for port in bond(product, name)["ports"] if port["active"]]


def test_a_failover_is_on_every_screen(lab: "Lab", product: Product) -> None:
    """One container in active-backup, whose path is monitored; the cable of its active port is pulled."""
    with product.attached(network(mode="active-backup"), "c1") as (added,):
        addresses = [ip["address"] for ip in added.document["ips"]]
        before = bond(product, "c1")
        assert (before["state"], before["absence"]) == ("ready", None)
        assert (before["lease"]["container_id"], before["lease"]["vlan"]) == ("c1", 100)
        assert before["lease"]["caller"].endswith("]")
        assert set(addresses) <= set(before["link"]["addresses"])
        assert before["link"]["mode"] == before["link"]["options"]["mode"] == "active-backup"
        assert (before["monitor"]["kind"], before["monitor"]["targets"][0]) == ("arp", PEER)
        assert [port["settings"]["vlan"] for port in before["ports"]] == [100, 100]
        assert [port["in_container"] for port in before["ports"]] == [True, True]
        name = before["bond"]
        _traffic_is_counted(product, name)
        wait_until(lambda: len(active(product, "c1")) == 1, "a port to be active", 30)
        [first] = active(product, "c1")
        other = 3 - first
        lab.cable(CABLES[first], plugged=False)
        try:
            wait_until(lambda: active(product, name) == [other], "the other port to be active", 30)
            during = bond(product, f"db/{name}")
            assert during["failovers"] > before["failovers"]
            assert during["failovers"] == sum(port["failures"] for port in during["ports"])
            assert [port["link"] for port in during["ports"] if port["nic"]["number"] == first] == ["down"]
            assert [line.split()[:4] for line in product.ctl("status").stdout.splitlines() if line.startswith(f" {name} ")] == [
                [name, "ready", "NIC", str(other)]
            ]
            screen = product.ctl("show", "c1").stdout
            assert f"on NIC {other} (enp{other}s0)" in screen
        finally:
            lab.cable(CABLES[first], plugged=True)
        wait_until(lambda: {port["link"] for port in bond(product, "c1")["ports"]} == {"up"}, "both ports to be up", 30)
    _story_is_told(product, name, first, other)


def _traffic_is_counted(product: Product, name: str) -> None:
    """`top` has the rate of the bond, and of the NICs that it sends through."""
    ping = product.guest.spawn(f"ip netns exec c1 ping -n -q -s 1400 -i 0.05 -c 200 -W 1 {PEER}", timeout=60)
    top = of(product, "top", "--once", "--interval", "1.5")
    [row] = top["bonds"]
    assert (row["bond"], row["container_id"], len(row["active"])) == (name, "c1", 1)
    # 20 pings a second of 1446 bytes, of which a slow guest sends fewer.
    assert 20_000 < row["rates"]["tx_bits"] < 2_000_000, row
    assert row["rates"]["tx_packets"] > 2
    sent = [shown["rates"]["tx_packets"] for shown in top["nics"]]
    assert max(sent) > 2
    assert sum(sent) == pytest.approx(row["rates"]["tx_packets"], rel=0.2), top
    assert f" {name} " in product.ctl("top", "--once", "--interval", "0.2").stdout
    product.guest.sh("pkill -INT -x ping")
    ping.wait()


def last_attachment(product: Product, name: str) -> list[dict[str, Any]]:
    """Return the events of `log` from the last ADD on: other tests in the same guest use the same bonds and names."""
    events: list[dict[str, Any]] = of(product, "log", name)["events"]
    began = max(index for index, event in enumerate(events) if event.get("action") == "ADD")
    return events[began:]


def kinds_of(events: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(event.get("action") or event["meaning"], event.get("nic")) for event in events]


def _story_is_told(product: Product, name: str, first: int, other: int) -> None:
    """`log`, by container and by bond: the ADD with its steps, the failure, the port that took over, and the DEL."""
    events = last_attachment(product, "c1")
    kinds = kinds_of(events)
    assert kinds == kinds_of(last_attachment(product, f"db/{name}"))
    add, end = events[0], events[-1]
    steps = [step["text"] for step in add["steps"]]
    assert steps[0] == "validated"
    assert {f"leased {name}", "brought the bond up", "ran the IPAM plugin", "recorded"} <= set(steps)
    assert [step["seconds"] for step in add["steps"]] == sorted(step["seconds"] for step in add["steps"])
    nics = {number: f"NIC {number} (enp{number}s0)" for number in (first, other)}
    failed = kinds.index(("failed", nics[first]))
    assert ("active", nics[other]) in kinds[failed - 1 :], "the kernel may say it in the line before"
    assert ("up", nics[first]) in kinds[failed:]
    assert kinds[-1] == ("DEL", None)
    assert (end["error"], end["bond"]) == (None, name)
    text = product.ctl("log", name).stdout
    assert f"on NIC {first} (enp{first}s0) failed" in text


def test_a_container_that_goes_away_meanwhile(product: Product) -> None:
    """`top` reads twice; between its readings a namespace is deleted. Its bond is then not there, and its VFs return."""
    with product.netns("c1", "c2") as paths:
        for name, path in zip(("c1", "c2"), paths, strict=True):
            product.call("ADD", network(), name, path).succeeded()
        try:
            watching = product.guest.spawn(["sriov-bondctl", "top", "--once", "--json", "--interval", "2"], timeout=60)
            reading = product.guest.spawn("for n in 1 2 3; do sriov-bondctl show c2 c1 >/dev/null || exit 1; done")
            product.guest.sh("sleep 1; ip netns del c2")
            product.wait_home(2)
            rows = {row["container_id"]: row for row in json.loads(watching.wait().stdout)["bonds"]}
            assert reading.wait().status == 0
            assert "namespace of its container is gone" in rows["c2"]["absence"]
            assert (rows["c2"]["rates"], rows["c1"]["absence"]) == (None, None)
            assert "namespace of its container is gone" in bond(product, "c2")["absence"]
        finally:
            for name, path in zip(("c1", "c2"), paths, strict=True):
                product.call("DEL", network(), name, path).succeeded()
