"""Concurrent calls for one attachment and for many, while some of them hang or are killed."""

import contextlib
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.inside.churn import EVERYTHING
from tests.lab.product import PEER, STATE_DIR, Answer, Product, look, network, received
from tests.lab.waiting import wait_until
from tests.soak import end_to_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Guest, Process

POOL_SIZE = 7
CROWD = 64
SLEEPY = "/opt/cni/bin/sleepy"
# Where the delegate "sleepy" reports a call, what lets its ADDs continue, and an empty pipe: waiting by reading it starts no
# process.
TOLD, GO, NEVER = "/run/sleepy", "/run/sleepy/go", "/run/sleepy.never"
# ADD reports the process of its plugin and waits; then host-local answers instead. DEL waits only if this file exists.
ALSO_DEL = "/run/sleepy/del"
SLEEPY_SCRIPT = f"""#!/bin/bash
config=$(cat)
if [[ $CNI_COMMAND == ADD || $CNI_COMMAND == DEL && -e {ALSO_DEL} ]]; then
    echo "$PPID $$" > {TOLD}/$CNI_CONTAINERID.new && mv {TOLD}/$CNI_CONTAINERID.new {TOLD}/$CNI_CONTAINERID
    until [[ -e {GO} ]]; do read -rt 0.1 <> {NEVER}; done
fi
exec /opt/cni/bin/host-local <<< "$config"
"""
# How long a call waits for a bond that another process has locked, in seconds of the guest, and the time for starting.
PATIENCE, SLACK = 30.0, 25.0
# The time for starting 64 plugins and for their answers, on two emulated processors.
ANSWERED = 240.0


def sleepy_network(**changes: Any) -> dict[str, Any]:
    return network(ipam={**network()["ipam"], "type": "sleepy"}, **changes)


@pytest.fixture
def sleepy(product: Product) -> "Iterator[Guest]":
    """Install a delegate whose ADDs wait until they are allowed to continue."""
    guest = product.guest
    guest.write(SLEEPY, SLEEPY_SCRIPT, mode=0o755)
    guest.sh(f"rm -rf {TOLD} {NEVER}; mkdir {TOLD}; mkfifo {NEVER}")
    yield guest
    guest.sh(f"touch {GO}; pkill -CONT -x sriov-bond || true")  # after a failed test a plugin may still be stopped
    wait_until(lambda: not guest.run(["pgrep", "-x", "sleepy"]).stdout, "sleepy to end", 20)
    guest.sh(f"rm -rf {TOLD} {NEVER} {SLEEPY}")


def began(product: Product, config: dict[str, Any], container: str, verb: str = "ADD") -> "tuple[Process, int, int]":
    """Start a call and wait until its delegate waits; return it with the process ids of plugin and delegate."""
    call = product.begin(verb, config, container, f"/run/netns/{container}")
    path = f"{TOLD}/{container}"
    pids = wait_until(lambda: product.guest.tree(TOLD).get(path, b"").split(), f"the delegate of {container} to sleep", 60)
    plugin, delegate = map(int, pids)
    return call, plugin, delegate


def lease_files(product: Product) -> dict[str, bytes]:
    """Return the leases by bond and state."""
    files = product.guest.tree(f"{STATE_DIR}/db/leases")
    return {re.sub(r"\.[0-9a-f]{32}\.", ".", path.rpartition("/")[2]): content for path, content in files.items()}


@pytest.mark.timeout(600)
def test_of_64_adds_at_once_seven_get_a_bond_and_the_others_are_told(product: Product) -> None:
    """No call waits: the pool is empty, and every error names the owners."""
    names = [f"c{number}" for number in range(CROWD)]
    config = network(ipam=None)
    with crowd(product, names):
        answers = all_at_once(product, "ADD", config, names)
        lucky = {name: said for name, (status, said) in answers.items() if status == "0"}
        assert len(lucky) == POOL_SIZE
        assert len({json.loads(said)["interfaces"][0]["mac"] for said in lucky.values()}) == POOL_SIZE
        for name in answers.keys() - lucky.keys():
            error = json.loads(answers[name][1])
            assert error["code"] == 11, error
            assert "pool db is empty: all 7 bonds are leased" in error["msg"]
            holders = set(re.findall(r"cbond\d by (c\d+) eth0", error["msg"]))
            assert holders, error
            assert holders <= lucky.keys()
        assert all_at_once(product, "DEL", config, list(lucky)) == dict.fromkeys(lucky, ("0", ""))


def all_at_once(product: Product, verb: str, config: dict[str, Any], names: list[str]) -> dict[str, tuple[str, str]]:
    """Make a call for each name at the same time, from one process of the guest; return their status and output."""
    folder = "/run/crowd"
    product.guest.sh(f"rm -rf {folder}; mkdir {folder}")
    product.guest.write(f"{folder}/config", json.dumps(config))
    script = f"""cd {folder}
        export CNI_COMMAND={verb} CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin
        for name in {" ".join(names)}; do
            (
                began=${{EPOCHREALTIME/./}}
                CNI_CONTAINERID=$name CNI_NETNS=/run/netns/$name /opt/cni/bin/sriov-bond < config > $name.out 2> $name.err
                echo $? > $name.status
                echo $((${{EPOCHREALTIME/./}} - began)) > $name.took
            ) &
        done
        wait"""
    done = product.guest.run(script, timeout=ANSWERED, check=True)
    print(f"\n{len(names)} {verb}s at once: the last answered after {done.seconds:.1f} s in the guest")
    files = {path: content.decode().strip() for path, content in product.guest.tree(folder).items()}
    bad = {path: words for path, words in files.items() if path.endswith(".err") and "Traceback" in words}
    assert bad == {}
    slow = {path: took for path, took in files.items() if path.endswith(".took") and int(took) > (PATIENCE + SLACK) * 1e6}
    assert slow == {}, "microseconds"
    return {name: (files[f"{folder}/{name}.status"], files[f"{folder}/{name}.out"]) for name in names}


@contextlib.contextmanager
def crowd(product: Product, names: list[str]) -> "Iterator[None]":
    """Create many namespaces with few processes, for the duration of the block."""
    product.guest.run("ip -batch -", stdin="".join(f"netns add {name}\n" for name in names), check=True)
    try:
        yield
    finally:
        product.guest.run("ip -batch -", stdin="".join(f"netns del {name}\n" for name in names), check=True)


def test_whoever_comes_while_an_add_runs_waits_or_leaves_it_alone(product: Product, sleepy: "Guest") -> None:
    """GC, ``sriov-bondctl gc``, ``status`` and ``up`` do not touch it, and a DEL of the same attachment waits for it."""
    config = sleepy_network(cniVersion="1.1.0")
    with product.netns("c1", "c2"):
        add, _, _ = began(product, config, "c1")
        product.gc(config, []).succeeded()
        product.gc(config).succeeded()
        for command in ("gc", "up"):
            product.ctl(command)
        assert product.states().count("adding") == 1
        assert list(lease_files(product)) == ["cbond1.adding"]
        other = product.call("ADD", network(ipam=None), "c2", "/run/netns/c2").succeeded()
        product.call("DEL", network(ipam=None), "c2", "/run/netns/c2").succeeded()
        delete = product.begin("DEL", config, "c1", "/run/netns/c1")
        sleepy.sh(f"touch {GO}")
        added = Answer(add.wait()).succeeded()
        assert added.document["interfaces"][0]["mac"] != other.document["interfaces"][0]["mac"]
        assert len(added.document["ips"]) == 2
        Answer(delete.wait()).succeeded()
        # It may have run before the ADD had its lease; a runtime sends its DEL afterwards.
        product.call("DEL", config, "c1", "/run/netns/c1").succeeded()
        assert product.links("c1") == ["lo"]


def test_a_del_that_meets_its_add_waits_for_it_and_frees_everything(product: Product, sleepy: "Guest") -> None:
    """The DEL finds the lease before the ADD has ended, and does not end before the ADD."""
    with product.netns("c1"):
        add, _, _ = began(product, sleepy_network(), "c1")
        delete = product.begin("DEL", sleepy_network(), "c1", "/run/netns/c1")
        waits_for_bond(sleepy, "the DEL")
        sleepy.sh(f"touch {GO}")
        Answer(add.wait()).succeeded()
        Answer(delete.wait()).succeeded()
        assert lease_files(product) == {}
        assert product.links("c1") == ["lo"]


def test_two_dels_at_once_both_succeed(product: Product, sleepy: "Guest") -> None:
    """The second starts while the first waits for its delegate; so does an ADD of the same attachment, which is refused."""
    config = sleepy_network()
    with product.netns("c1"):
        sleepy.sh(f"touch {GO}")
        product.call("ADD", config, "c1", "/run/netns/c1").succeeded()
        sleepy.sh(f"rm -r {TOLD}; mkdir {TOLD}; touch {ALSO_DEL}")
        first, _, _ = began(product, config, "c1", "DEL")
        second = product.begin("DEL", config, "c1", "/run/netns/c1")
        waits_for_bond(sleepy, "the second DEL")
        product.call("ADD", config, "c1", "/run/netns/c1").failed(11, "has the bond cbond1 of pool db still: it is releasing")
        sleepy.sh(f"touch {GO}")
        for answer in (first, second):
            Answer(answer.wait()).succeeded()
        assert lease_files(product) == {}
        assert product.links("c1") == ["lo"]


def waits_for_bond(guest: "Guest", caller: str) -> None:
    """Wait until a second plugin has opened the lock of the first bond."""
    lock = "/var/lib/cni/sriov-bond/db/bonds/cbond1"
    opened = f"for pid in $(pgrep -x sriov-bond); do ls -l /proc/$pid/fd 2>/dev/null | grep -c {lock} || true; done"
    wait_until(lambda: len(re.findall("1", guest.sh(opened).stdout)) == 2, f"{caller} to wait for the bond", 30)


def test_a_late_del_does_not_touch_the_bonds_new_owner(product: Product) -> None:
    """DELs of the old container, in every form, when its bond has a new owner: nothing changes, and no ping is lost."""
    with product.netns("c1", "c2") as (path, other):
        product.call("ADD", network(), "c1", path).succeeded()
        had = lease_files(product)
        product.call("DEL", network(), "c1", path).succeeded()
        product.call("ADD", network(), "c2", other).succeeded()
        before = look(product.guest)
        assert list(lease_files(product)) == list(had) == ["cbond1.ready"]
        assert product.pings("c2", PEER) == 3
        pinging = product.guest.spawn(f"exec ip netns exec c2 ping -n -q -i 0.1 {PEER}")
        for netns in (path, "", "/run/netns/nope", other):
            product.call("DEL", network(), "c1", netns).succeeded()
        pinging.signal(signal.SIGINT)
        output = pinging.wait(30).stdout
        sent = int(output.partition(" packets transmitted")[0].split()[-1])
        assert sent > 4
        # The last answers may not have arrived. A DEL that hits the bond would lose all that follow.
        assert received(output) >= sent - 2, output
        assert look(product.guest) == before
        product.call("DEL", network(), "c2", other).succeeded()


def test_a_bond_that_somebody_is_stuck_with_is_locked_and_the_others_go_on(product: Product, sleepy: "Guest") -> None:
    """An ADD that is killed while its delegate continues, and one that is stopped: the error names the process."""
    config = sleepy_network(cniVersion="1.1.0")
    with product.netns("c1", "c2", "c3"):
        killed, plugin, heir = began(product, config, "c1")
        sleepy.sh(f"kill -KILL {plugin}")
        assert killed.wait(30).status != 0
        stopped, holder, _ = began(product, config, "c2")
        sleepy.sh(f"kill -STOP {holder}")
        product.call("ADD", network(ipam=None), "c3", "/run/netns/c3").succeeded()
        product.call("DEL", network(ipam=None), "c3", "/run/netns/c3").succeeded()
        product.ctl("gc")
        product.gc(config, []).succeeded()
        assert sorted(lease_files(product)) == ["cbond1.adding", "cbond2.adding"]
        with ThreadPoolExecutor(2) as at_once:
            calls = [(name, f"/run/netns/{name}") for name in ("c1", "c2")]
            one, two = at_once.map(lambda pair: product.call("DEL", config, *pair), calls)
        one.failed(11, f"bond cbond1 of pool db is in use by process {heir} (")
        two.failed(11, f"bond cbond2 of pool db is in use by process {holder} (sriov-bond)")
        for answer in (one, two):
            assert PATIENCE - 1 < answer.seconds < PATIENCE + SLACK
        sleepy.sh(f"touch {GO}; kill -CONT {holder}")
        Answer(stopped.wait()).succeeded()
        for name in ("c1", "c2"):
            product.call("DEL", config, name, f"/run/netns/{name}").succeeded()
            assert product.links(name) == ["lo"]
        reserved = [path for path in sleepy.tree("/var/lib/cni/networks/db") if re.search(r"/(10\.|fd00)", path)]
        assert (lease_files(product), reserved) == ({}, [])


@pytest.mark.timeout(600)
def test_everybody_at_random_with_kills(product: Product) -> None:
    """ADD, DEL, GC, gc, status and up together, some killed: no bond has two owners or is lost (`./dev soak --lab`)."""
    product.guest.sh("rm -rf /var/lib/cni/networks/churn-*")
    outcome = end_to_end.run(product.guest, cycles=1000, seconds=60, seed=1)
    print(f"\n{outcome.table()}")
    product.guest.sh("rm -rf /var/lib/cni/networks/churn-*")
    assert outcome.faults == []
    for what in EVERYTHING:
        assert outcome.counts.get(what, 0) > 0, f"the load has no {what!r} in it"


MAC = "02:00:00:aa:bb:cc"


def test_one_mac_on_one_vlan_has_one_container(product: Product) -> None:
    """Of two ADDs at once that request it one gets it; the other is refused with the first one's name, and nothing remains."""
    config, other = network(mac=MAC), network(mac=MAC, vlan=200, ipam=None)
    with product.netns("c1", "c2") as paths:
        with ThreadPoolExecutor() as pool:
            calls = list(pool.map(lambda name, path: product.call("ADD", config, name, path), ("c1", "c2"), paths))
        assert sorted(call.status for call in calls) == [0, 1]
        loser = [call.status for call in calls].index(1)
        first, second = f"c{2 - loser}", f"c{loser + 1}"
        calls[loser].failed(11, f"the MAC {MAC} is in use on VLAN 100 by container {first} eth0")
        product.call("ADD", other, second, paths[loser]).succeeded()  # another VLAN
        product.call("DEL", other, second, paths[loser]).succeeded()
        # Its container is gone without a DEL: the next ADD that requests the MAC releases its bond first.
        product.guest.sh(f"ip netns del {first}")
        product.wait_home(1)
        product.call("ADD", config, second, paths[loser]).succeeded()
        product.call("DEL", config, second, paths[loser]).succeeded()
        product.call("DEL", config, first, paths[1 - loser]).succeeded()
