"""The OCI hook under Debian's runc and crun, in plain bundles, and under podman with hooks.d."""

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import downloads
from tests.lab.bundles import Bundles, left
from tests.lab.callers import conflist
from tests.lab.machine import INSIDE
from tests.lab.podman import podman
from tests.lab.product import HOST_FILE, PEER, PEER6, Product, network
from tests.lab.waiting import wait_until
from tests.support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Process

DB = ("--network", "db")
SLEEP = "echo started; exec sleep 1000"
HOOKS = "/usr/share/containers/oci/hooks.d"


@pytest.fixture(params=["runc", "crun"])
def bundles(product: Product, request: pytest.FixtureRequest) -> "Iterator[Bundles]":
    plugin = network(capabilities={"ips": True})
    with conflist(product, plugin):
        yield Bundles(product, request.param)


def wait_started(running: "Process") -> None:
    """Wait for the first process of a container that runs SLEEP."""
    wait_until(lambda: "started" in running.stdout, "the container to start", 60)


def finished(product: Product) -> bool:
    """Return whether nothing is left of any container, without a call that would finish it."""
    return product.all_free() and left(product) == []


def test_the_first_process_has_its_network(bundles: Bundles) -> None:
    """With all that it asks for. runc also writes the sysctls of config.json after the hook; crun 1.8 does before it."""
    script = f"ip addr show eth0; ping -c 1 {PEER}; ping -c 1 {PEER6}; cat /proc/sys/net/ipv4/conf/eth0/rp_filter"
    asked = ("--ip", "10.100.0.77", "--ip", "fd00:100::77", "--mac", "02:00:00:aa:bb:cc", "--device", "cbond3")
    linux: dict[str, Any] = {"sysctl": {"net.ipv4.conf.eth0.rp_filter": "2"}} if bundles.runtime == "runc" else {}
    output = bundles.run("c1", script, *DB, *asked, **linux).stdout
    assert "inet 10.100.0.77/24" in output
    assert "inet6 fd00:100::77/64" in output
    assert "02:00:00:aa:bb:cc" in output
    assert output.count("1 packets transmitted, 1 packets received") == 2
    assert output.endswith("\n2\n") or not linux
    assert finished(bundles.product)


def test_a_command_that_does_not_exist_leaks_nothing(bundles: Bundles) -> None:
    """runc runs poststop then. crun does not: `gc` finds the container whose process is gone."""
    failed = bundles.run("c1", "", *DB, check=False)
    assert failed.status != 0
    if bundles.runtime == "crun":
        found = bundles.product.ctl("gc", "--json").json()["containers"]
        assert [(finding["container_id"], finding["ifname"], finding["state"]) for finding in found] == [("c1", "eth0", "done")]
    assert finished(bundles.product)


@pytest.mark.parametrize("bundles", ["runc"], indirect=True)
def test_a_restart_keeps_the_id(bundles: Bundles) -> None:
    product = bundles.product
    running = bundles.begin("c1", SLEEP, *DB)
    for _ in range(2):
        wait_started(running)
        bundles.stop("c1", running)
        running = bundles.again("c1")
    wait_started(running)
    assert product.states().count("ready") == 1
    bundles.stop("c1", running)
    assert finished(product)


@pytest.mark.parametrize("bundles", ["crun"], indirect=True)
def test_a_start_waits_for_a_bond(bundles: Bundles) -> None:
    """Docker does not repeat a start that fails. When the runtime is killed while the hook waits, the hook gives up."""
    product = bundles.product
    first = bundles.begin("c1", SLEEP, *DB, "--device", "cbond2")
    wait_started(first)
    recorded = len(left(product))
    killed = bundles.begin("c2", "ip link show eth0", *DB, "--device", "cbond2")
    wait_until(lambda: len(left(product)) > recorded, "c2 to wait", 60)
    bundles.kill_runtime("c2")
    killed.wait()
    wait_until(lambda: len(left(product)) == recorded, "the hook to give up", 60)
    bundles.forget("c2")
    waiting = bundles.begin("c3", "ip link show eth0", *DB, "--device", "cbond2")
    wait_until(lambda: len(left(product)) > recorded, "c3 to wait", 60)
    bundles.stop("c1", first)
    assert "eth0" in waiting.wait(check=True).stdout
    assert finished(product)


def test_a_start_waits_for_the_pool(product: Product) -> None:
    """At boot, a NIC may come late, and `up` with it."""
    with conflist(product, network()):
        bundles = Bundles(product, "runc")
        product.ctl("down")
        waiting = bundles.begin("c1", f"ping -c 1 {PEER}", *DB)
        time.sleep(2)
        assert product.guest.run("pgrep -f '[s]riov-bond-hook createRuntime'").status == 0
        product.ctl("up", "--config", HOST_FILE)
        assert "1 packets received" in waiting.wait(check=True).stdout
        assert finished(product)


def test_podman_runs_hooks_by_annotations(product: Product) -> None:
    """With crun, which drops a hook's standard error: the reason of a refusal is in the journal."""
    for sample in (REPOSITORY / "conf/oci/hooks.d").iterdir():
        product.guest.write(f"{HOOKS}/{sample.name}", sample.read_text())
    journal = product.guest.spawn(
        "mkdir -p /run/systemd/journal; exec python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
        's.bind("/run/systemd/journal/socket"); [print(s.recv(9999).decode(), flush=True) for _ in iter(int, 1)]\''
    )
    annotation = ("--annotation", "sriov-bond.network=db")
    try:
        with conflist(product, network()), product.netns("other") as (path,):
            pod_man = podman(product, "crun")
            pod_man.start("box", "--network", "none", *annotation)
            assert "1 packets received" in pod_man.inside("box", f"ping -c 1 {PEER}")
            assert json.loads(pod_man.run("inspect", "box").stdout)[0]["State"]["Pid"]
            pod_man.run("rm", "--force", "--time", "0", "box")
            wait_until(lambda: finished(product), "everything to be returned", 10)
            refused = pod_man.try_start("box", "--network", f"ns:{path}", *annotation)
            assert refused.status != 0
            wait_until(lambda: "is an engine's, a pod's or another container's" in journal.stdout, "the reason in the journal")
            pod_man.run("rm", "--force", "--time", "0", "box")
            assert finished(product)
    finally:
        journal.stop()
        product.guest.sh(f"rm -rf {HOOKS} /run/systemd/journal")


# What each hook does. It shows that the tracer works.
REQUIRED = {
    "createRuntime": ("mount", "fsync", "rename", "fork"),
    "poststop": ("umount", "rename", "unlink", "fork"),
}


def test_a_killed_hook_leaves_nothing_after_gc(installed: Product) -> None:
    """At some of its system calls that change something; oci/test_killed_hook has all, with fake plugins."""
    guest = installed.guest
    guest.sh(f"cp {downloads.tracer()} /run/tracer")
    command = ["python3", "-m", "tests.lab.inside.hook_sweep", "/run/tracer", "--every", "6"]
    done = guest.run(command, cwd=str(INSIDE.parents[2]), timeout=600)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event for event in events if event["event"] == "leak"] == []
    assert done.status == 0, done.stderr
    rows = {event["verb"]: event for event in events}
    for verb, required in REQUIRED.items():
        assert rows[verb]["runs"] >= 2
        names = {name.split()[0] for name in rows[verb]["all"]}
        assert set(required) <= names
