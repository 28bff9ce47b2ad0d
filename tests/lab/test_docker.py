"""Debian's Docker with the runtime sriov-bond, through its own client.

Each of its commands takes seconds in an emulated guest. So each test is one story, and what needs no Docker is tested in
tests/test_runtime.py and tests/oci.
"""

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.bundles import left
from tests.lab.callers import conflist
from tests.lab.dockerd import IMAGE, Docker, docker
from tests.lab.product import HOST_FILE, PEER, PEER6, POOL, Product, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from tests.lab.guest import Process

pytestmark = pytest.mark.timeout(600)

DB = ("--env", "SRIOV_BOND_NETWORK=db")
WITH_BOND = ("--runtime", "sriov-bond", *DB)
REACHED = "1 packets transmitted, 1 packets received"


def finished(product: Product) -> bool:
    """Return whether nothing is left of any container, without a call that would finish it."""
    return product.all_free() and left(product) == []


def test_containers_of_docker(product: Product) -> None:
    with conflist(product, network()), docker(product, "--runtime-only", live_restore=True) as engine:
        the_first_process_has_its_network(engine)
        what_cannot_be_started_leaves_nothing(engine)
        a_container_lives_on_one_bond(engine)
        a_running_container_is_attached(engine)
        a_container_ends_without_dockerd(engine)


def the_first_process_has_its_network(engine: Docker) -> None:
    """Address family 6 too, which Docker 20.10 disables, and sysctls of eth0."""
    script = f"ip addr show eth0; ping -c 1 {PEER}; ping -c 1 {PEER6}; cat /proc/sys/net/ipv4/conf/eth0/rp_filter"
    output = engine.run(*DB, "--sysctl", "net.ipv4.conf.eth0.rp_filter=2", IMAGE, "sh", "-c", script).wait(check=True).stdout
    assert "inet 10.100.0." in output and "inet6 fd00:100::" in output
    assert output.count(REACHED) == 2
    assert output.endswith("\n2\n")
    assert finished(engine.product)


def what_cannot_be_started_leaves_nothing(engine: Docker) -> None:
    runs = (
        engine.run("--env", "SRIOV_BOND_NETWORK=nosuch", IMAGE, "true"),
        engine.run(*DB, "--network", "host", IMAGE, "true"),
        engine.run(*DB, IMAGE, "nosuch"),
    )
    refused(runs[0], 125, "there is no network 'nosuch' in /etc/cni/net.d; it has db")
    refused(runs[1], 125, "it is in the host's network (--network host); use --network none")
    refused(runs[2], 127, 'exec: "nosuch": executable file not found')
    assert finished(engine.product)


def refused(run: "Process", status: int, sentence: str) -> None:
    result = run.wait()
    assert (result.status, sentence in result.stderr) == (status, True), (result.status, result.stderr)


def a_container_lives_on_one_bond(engine: Docker) -> None:
    """Restarted it has one again; killed, it is free before `docker wait` returns, or soon after."""
    product = engine.product
    engine.begin("c1", *WITH_BOND)
    assert REACHED in engine.inside("c1", f"ping -c 1 {PEER}")
    engine.call("restart", "--time", "0", "c1")
    assert product.states().count("ready") == 1
    waiting = product.guest.spawn("/usr/bin/docker wait c1")
    engine.call("kill", "c1")
    waiting.wait()
    wait_until(lambda: finished(product), "the bond to be free", 5)


def a_running_container_is_attached(engine: Docker) -> None:
    """It was started by runc, so no hook is told of its end: `gc` frees its bond."""
    product = engine.product
    engine.begin("plain")
    told = product.ctl("attach", "plain", "--ifname", "net1", "--device", "cbond4").stdout
    assert told.startswith("container plain of Docker: net1 is on network db, with 10.100.0.")
    assert REACHED in engine.inside("plain", f"ping -c 1 -I net1 {PEER}")
    assert product.ctl("detach", "plain").stdout == "plain: net1 detached\n"
    assert finished(product)
    result = product.ctl("attach", "plain", "--json").json()
    assert result["interfaces"][0]["name"] == "eth0"
    engine.call("kill", "plain")
    stopped = product.ctl("attach", "plain", check=False).stderr
    assert stopped == "sriov-bondctl: container plain of Docker is not running (it is exited); start it first\n"
    product.wait_free("the bond of a container that ended to be free")
    assert left(product) == []


def a_container_ends_without_dockerd(engine: Docker) -> None:
    """With live-restore it runs on. Its bond is free when dockerd is back, and deletes the task."""
    engine.begin("c2", *WITH_BOND)
    pid = engine.call("inspect", "--format", "{{.State.Pid}}", "c2").stdout.strip()
    engine.kill()
    engine.product.guest.sh(f"kill -9 {pid}; while kill -0 {pid}; do sleep 0.1; done")
    assert engine.product.states().count("free") == 6
    engine.start()
    wait_until(lambda: finished(engine.product), "the bond to be free", 20)


def test_swarm_gives_each_task_a_bond(product: Product) -> None:
    """Seven of eight replicas run, each on the bond that the manager chose; a freed bond goes to the next task."""
    product.guest.write(HOST_FILE, f'{POOL.format(vfs=7)}[docker]\nenvironment = "all"\n')
    environment = (*DB, "--env", "SRIOV_BOND_IFNAME=bond0", "--env", "DOCKER_RESOURCE_SRIOV_BOND=cbond7")
    with conflist(product, network()), docker(product) as engine:
        engine.call("swarm", "init", "--advertise-addr", "127.0.0.1")
        service = ("--name", "db", "--replicas", "8", "--generic-resource", "sriov_bond=1", "--restart-delay", "0s")
        engine.call("service", "create", "--detach", "--no-resolve-image", *service, *environment, IMAGE, "sleep", "1000")
        wait_until(lambda: product.states().count("ready") == 7, "seven tasks to run", 120)
        tasks = engine.call("service", "ps", "--format", "{{.CurrentState}} {{.Error}}", "--no-trunc", "db").stdout
        assert tasks.count("insufficient resources on 1 node") == 1
        before = holders(product)
        inspect = engine.call("inspect", "--format", "{{.Id}} {{json .Config.Env}}", *before.values()).stdout
        variables = {line.partition(" ")[0]: json.loads(line.partition(" ")[2]) for line in inspect.splitlines()}
        for bond, container in before.items():
            given = [variable for variable in variables[container] if variable.startswith("DOCKER_RESOURCE_")]
            assert given == ["DOCKER_RESOURCE_SRIOV_BOND=cbond7", f"DOCKER_RESOURCE_SRIOV_BOND={bond}"]
        assert "inet 10.100.0." in engine.inside(before["cbond3"], "ip addr show bond0")
        engine.call("kill", before["cbond3"])
        wait_until(lambda: holders(product).get("cbond3", before["cbond3"]) != before["cbond3"], "the bond's next task", 60)
        assert {**holders(product), "cbond3": ""} == {**before, "cbond3": ""}
        engine.call("swarm", "leave", "--force")
        wait_until(lambda: finished(product), "all bonds to be free", 60)
    product.guest.write(HOST_FILE, POOL.format(vfs='"max"'))


def holders(product: Product) -> dict[str, str]:
    """Return the container of each bond that is ready."""
    return {bond["name"]: bond["lease"]["container_id"] for bond in product.status()["bonds"] if bond["state"] == "ready"}
