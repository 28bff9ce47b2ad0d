"""The systemd units under a real systemd, the first process of a guest of its own: two boots with a reboot between them.

The NICs' driver is loaded some seconds late (inside/systemd.sh). A stand-in for containerd records what it finds at its start.
"""

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import downloads
from tests.lab.errors import LostGuestError
from tests.lab.guests import GUESTS
from tests.lab.lab import boot
from tests.lab.product import STATE_DIR, SUBNET, Product, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

BONDS = 4
CONFIG = network(ipam={"type": "sriov-bond-ipam", "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}]]})
UNITS = ("sriov-bond-up.service", "sriov-bond-gc.service", "sriov-bond-gc.timer", "sriov-bond-metrics.timer")
FOUND = "/run/found-by-containerd.json"
METRICS = "/var/lib/prometheus/node-exporter/sriov-bond.prom"


@contextlib.contextmanager
def booted(product: "Path", disk: "Path", losses: list[str]) -> "Iterator[Lab]":
    """Boot a guest with systemd, and wait for the boot to end; the machine is off at the end of the block."""
    try:
        lab = boot(downloads.provide(), product, disks={"state": disk}, systemd=True)
        try:
            lab.guest.run("systemctl is-system-running --wait", timeout=120)
            yield lab
        finally:
            lab.close()
    except LostGuestError as lost:
        losses.append(str(lost))
        raise


def settings(lab: "Lab", unit: str, *names: str) -> dict[str, str]:
    """Return properties of a unit."""
    shown = lab.guest.run(["systemctl", "show", unit, "--property", ",".join(names)], check=True).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def found_by_containerd(lab: "Lab") -> list[dict[str, Any]]:
    """Return the bonds of the pool as `sriov-bondctl status` showed them when containerd started."""
    [pool] = json.loads(lab.guest.read(FOUND))["pools"]
    bonds: list[dict[str, Any]] = pool["bonds"]
    assert pool["this_boot"], "it is the pool of this boot"
    return bonds


def check_boot(lab: "Lab") -> None:
    """The pool was there before containerd started, although the driver came late, and nothing failed."""
    assert lab.guest.run("ps -o comm= -p 1", check=True).stdout == "systemd\n"
    log = lab.guest.run("journalctl -b --no-pager -o short-monotonic -u 'sriov-bond*' -u containerd -u late-driver").stdout
    assert lab.guest.run("systemctl --failed --no-legend", check=True).stdout == "", log
    assert "sriov-bondctl: trying again for 60 s" in log, "`up` came before the driver"
    assert [bond["state"] for bond in found_by_containerd(lab)] == ["free"] * BONDS
    names = ("ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic")
    times = [
        int(settings(lab, unit, name)[name]) for unit in ("sriov-bond-up", "sriov-bond-gc", "containerd") for name in names
    ]
    assert times[0] > 0 and times == sorted(times), f"up, gc and containerd ran one after the other: {times}\n{log}"
    modules = lab.guest.run("test -d /sys/module/bonding && ls /sys/class/net /run/udev/rules.d", check=True).stdout
    assert "bond0" not in modules and "sriov-bond-db.rules" in modules, "`up` may load the driver and write its rules"
    for unit in UNITS:
        wanted = "active" if unit.endswith((".timer", "up.service")) else "inactive"
        assert settings(lab, unit, "ActiveState", "Result") == {"ActiveState": wanted, "Result": "success"}, unit


def attach(product: Product, name: str) -> str:
    """Attach a container, which is a bare namespace; return its namespace's path."""
    product.guest.sh(f"ip netns add {name}")
    product.call("ADD", CONFIG, name, f"/run/netns/{name}").succeeded()
    return f"/run/netns/{name}"


@pytest.mark.timeout(600)
def test_units_at_boot_in_operation_and_after_a_reboot(frozen: "Path", tmp_path: "Path", pytestconfig: pytest.Config) -> None:
    began = time.monotonic()
    disk = tmp_path / "state.ext4"
    downloads.empty_disk(disk, 64)
    losses = pytestconfig.stash[GUESTS].losses
    with booted(frozen, disk, losses) as lab:
        product = Product(lab.guest)
        check_boot(lab)
        first = lab.guest.read("/proc/sys/kernel/random/boot_id")
        attach(product, "c1")
        attach(product, "c2")
        assert product.pings("c1", "10.100.0.1") == 3, "the world is there"

        # The metrics' service enters the containers in spite of its restrictions.
        lab.guest.sh("systemctl start sriov-bond-metrics")
        metrics = lab.guest.read(METRICS)
        assert 'sriov_bond_pool_bonds{pool="db",state="ready"} 2.0' in metrics
        assert 'sriov_bond_carrier{bond="cbond1",pool="db"} 1.0' in metrics
        assert 'sriov_bond_call_duration_seconds_count{command="ADD"} 2.0' in metrics

        # gc's service frees a bond whose container is gone, its address too, with the restrictions of the unit.
        lab.guest.sh("ip netns del c2")
        product.wait_home(2)
        assert product.states() == ["ready", "ready", "free", "free"]
        lab.guest.sh("systemctl start sriov-bond-gc")
        assert product.states() == ["ready", "free", "free", "free"]
        assert len(_reserved(product)) == 1

        # A restart of `up` while containers run changes nothing.
        lab.guest.sh("systemctl restart sriov-bond-up")
        assert product.pings("c1", "10.100.0.1") == 3

        # Both timers will start their services.
        timers = lab.guest.run("systemctl list-timers --no-legend sriov-bond-gc.timer sriov-bond-metrics.timer").stdout
        assert timers.count("sriov-bond") == 4 and "n/a" not in timers.split("sriov-bond", 1)[0]
        lab.guest.spawn("sleep 1; systemctl reboot")  # not waited for: the agent ends before it could answer
        wait_until(lambda: lab.guest.lost, "the machine to reboot", 90)
        lab.guest.lost = None  # as intended: QEMU ends at a reboot, and the next machine continues with its disk
    with booted(frozen, disk, losses) as lab:
        product = Product(lab.guest)
        assert lab.guest.read("/proc/sys/kernel/random/boot_id") != first
        check_boot(lab)
        assert _reserved(product) == [], "the address of c1 is free again"
        assert lab.guest.tree(f"{STATE_DIR}/db/leases") == {}
        attach(product, "c3")
        metrics = product.ctl("metrics").stdout
        assert 'sriov_bond_call_duration_seconds_count{command="ADD"} 3.0' in metrics, "counts survive the reboot"
    print(f"{time.monotonic() - began:.0f} s")


def _reserved(product: Product) -> list[str]:
    """Return the addresses that sriov-bond-ipam has reserved."""
    files = product.guest.tree("/var/lib/cni/networks")
    return [path for path, data in files.items() if "/db/10." in path and data.strip()]
