"""Traffic continues when a cable, a switch or a NIC fails; each test prints how many packets were lost."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.product import PEER, SUBNET, Product, network, received
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.guest import Process
    from tests.lab.lab import Lab

COUNT, INTERVAL = 60, 0.1
# The limit for a failover: two intervals of the ARP monitor without answer (0.4 s), the peer's relearning, and a slow guest.
MOST_LOST = 24


def _lost_while(
    product: Product, fail: "Callable[[], None]", restore: "Callable[[], None]", names: tuple[str, ...] = ("c1",)
) -> list[int]:
    """Ping for 6 s, with a failure from 1 s to 4 s after the start; return the missing answers of each container."""
    command = "ip netns exec {} ping -n -i {} -c {} -W 1 {}"
    pings = [product.guest.spawn(command.format(name, INTERVAL, COUNT, PEER), timeout=60) for name in names]
    for ping in pings:
        _wait_for_ping(ping, 10)
    fail()
    try:
        for ping in pings:
            _wait_for_ping(ping, 40)
    finally:
        restore()
    return [COUNT - received(ping.wait().stdout) for ping in pings]


def _wait_for_ping(ping: "Process", count: int) -> None:
    """Wait until a ping has sent a number of packets, by the guest's clock, which is slower; some may be lost."""

    def last() -> int:
        return max((int(number) for number in re.findall(r"icmp_seq=(\d+)", ping.stdout)), default=0)

    wait_until(lambda: last() >= count, f"ping number {count}", 40)


def test_traffic_goes_on_without_a_cable_or_a_switch(lab: "Lab", product: Product) -> None:
    """With balance-xor and active-backup at the same time, to save time."""

    def cable(name: str, plugged: bool) -> "Callable[[], None]":
        return lambda: lab.cable(name, plugged=plugged)

    def switch(name: str, powered: bool) -> "Callable[[], None]":
        return lambda: lab.switch(name, powered=powered)

    events = {
        "cable A": (cable("A", False), cable("A", True)),
        "cable B": (cable("B", False), cable("B", True)),
        "switch A": (switch("A", False), switch("A", True)),
        "switch B": (switch("B", False), switch("B", True)),
    }
    modes, names = ("balance-xor", "active-backup"), ("c1", "c2")
    with product.attached(network(mode=modes[0]), names[0]), product.attached(network(mode=modes[1]), names[1]):
        assert [product.pings(name, PEER) for name in names] == [3, 3]
        lost = {}
        for what, (fail, restore) in events.items():
            lost[what] = dict(zip(modes, _lost_while(product, fail, restore, names), strict=True))
            for name in names:
                wait_until(lambda name=name: _ports_up(product, name) == 2, f"both ports to be back after {what}", 30)  # type: ignore[misc]
        print(f"\nlost of {COUNT} pings at {1 / INTERVAL:.0f}/s: {lost}")
        assert max(max(of_mode.values()) for of_mode in lost.values()) <= MOST_LOST, lost


def _ports_up(product: Product, name: str) -> int:
    links = product.guest.sh(f"ip -n {name} -d -j link show master eth0").json()
    return sum(link["linkinfo"]["info_slave_data"]["mii_status"] == "UP" for link in links)


def test_a_nic_set_down_is_seen_by_carrier(lab: "Lab", product: Product) -> None:
    """With the carrier monitor only: igbvf polls the state of its PF and drops its carrier."""
    with product.attached(network(mode="active-backup", linkMonitor="mii"), "c1"):
        assert product.pings("c1", PEER) == 3

        def nic(state: str) -> None:
            lab.guest.sh(f"ip link set enp1s0 {state}")

        [lost] = _lost_while(product, lambda: nic("down"), lambda: nic("up"))
        print(f"\nactive-backup by carrier: lost of {COUNT} pings while enp1s0 was down: {lost}")
        assert lost <= 30, lost
    # The VF driver does not always recover by itself when its PF was down ("Reload the VF driver").
    _reload(product)


def _reload(product: Product) -> None:
    product.guest.sh("modprobe -r igbvf; modprobe igbvf; udevadm settle; sriov-bondctl up")


def _monitors(product: Product, name: str) -> tuple[int, int, list[str]]:
    """Return miimon, arp_interval and arp_ip_target of a container's bond."""
    data = product.guest.sh(f"ip -n {name} -d -j link show eth0").json()[0]["linkinfo"]["info_data"]
    return data["miimon"], data["arp_interval"], data.get("arp_ip_target", [])


def test_a_gateway_that_does_not_answer_is_not_depended_on(product: Product) -> None:
    """With ``auto``, a bond whose gateway does not answer during ADD monitors carrier, until `gc` finds that it answers."""
    gateway = "10.100.0.9"
    ipam = {"type": "host-local", "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.50", "gateway": gateway}]]}
    config = network(ipam=ipam)
    with product.attached(config, "c1", "c2") as (first, second):
        other = second.document["ips"][0]["address"].split("/")[0]
        assert _monitors(product, "c1")[:2] == (100, 0)
        assert "no gateway answered; `sriov-bondctl gc` asks again" in second.result.stderr
        assert product.pings("c1", other, count=10) == 10
        assert "nothing to finish" in product.ctl("gc").stdout
        product.guest.sh(f"ip -n world addr add {gateway}/24 dev br0.100")
        try:
            assert f"it monitors the path to {gateway} from now on" in product.ctl("gc").stdout
            assert _monitors(product, "c1") == _monitors(product, "c2") == (0, 200, [gateway])
            checked = {**config, "prevResult": first.document}
            product.call("CHECK", checked, "c1", "/run/netns/c1").succeeded()
            assert "nothing to finish" in product.ctl("gc").stdout
        finally:
            product.guest.sh(f"ip -n world addr del {gateway}/24 dev br0.100")


@pytest.mark.measures
def test_a_silent_gateway_costs_an_add_a_third_of_a_second(product: Product) -> None:
    """The quickest of three ADDs each, taken in turn."""
    silent = {"type": "host-local", "ranges": [[{"subnet": SUBNET, "gateway": "10.100.0.9"}]]}
    seconds: dict[str, list[float]] = {"silent": [], "answers": []}
    for _ in range(3):
        for what, ipam in (("silent", silent), ("answers", network()["ipam"])):
            with product.attached(network(ipam=ipam), "c1") as (answer,):
                seconds[what].append(answer.seconds)
                assert ("no gateway answered" in answer.result.stderr) == (what == "silent")
    print(f"\nseconds of an ADD by its gateway: {seconds}")
    assert min(seconds["silent"]) - min(seconds["answers"]) < 0.5


def test_the_path_is_watched_where_carrier_tells_nothing(product: Product) -> None:
    with product.attached(network(), "c1"):
        assert _monitors(product, "c1") == (0, 200, [PEER])
