"""The outside checker reports every violation: each is caused by hand here, and must be named."""

import json
from typing import TYPE_CHECKING

from tests.lab.machine import INSIDE
from tests.lab.product import STATE_DIR, Product, network
from tests.soak.end_to_end import remains

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKER = f"python3 -I {INSIDE}/checker.py"
LEASES = f"{STATE_DIR}/db/leases"
VF, PF = "VF 0000:01:10.0: ", "PF 0000:01:00.0: "
RECORD = json.dumps({"network": "db", "container_id": "dead", "ifname": "eth0"})

# How each violation is caused, the line that must be reported, and how it is undone; in bash, where $mac is the VF's MAC.
VIOLATIONS: dict[str, tuple[str, str, str]] = {
    "name": ("ip link set VF11 name other", f'{VF}ifname was "VF11" and is "other"', "ip link set other name VF11"),
    "altname": (
        "ip link property add dev VF11 altname inner",
        f'{VF}altnames was null and is ["inner"]',
        "ip link property del dev VF11 altname inner",
    ),
    "MAC": (
        "ip link set enp1s0 vf 0 mac 00:00:00:00:00:00; ip link set VF11 address 02:00:00:00:00:01",
        f"{VF}address was",
        "ip link set VF11 address $mac; ip link set enp1s0 vf 0 mac $mac",
    ),
    "admin MAC": ("ip link set enp1s0 vf 0 mac 02:00:00:00:00:02", f"{VF}PF's address was", "ip link set enp1s0 vf 0 mac $mac"),
    "MTU": ("ip link set VF11 mtu 1400", f"{VF}mtu was 1500 and is 1400", "ip link set VF11 mtu 1500"),
    "promiscuous": ("ip link set VF11 promisc on", f"{VF}promiscuity was 0 and is 1", "ip link set VF11 promisc off"),
    "all multicast": (
        "ip link set VF11 allmulticast on",
        f"{VF}allmulti was 0 and is 1",
        "ip link set VF11 allmulticast off",
    ),
    "up": ("again ip link set VF11 up", f"{VF}it is up in the host", "ip link set VF11 down"),
    "VLAN": ("ip link set enp1s0 vf 0 vlan 5 qos 3", f"{VF}PF's vlan_list was", "ip link set enp1s0 vf 0 vlan 0"),
    "spoof check": (
        "ip link set enp1s0 vf 0 spoofchk off",
        f"{VF}PF's spoofchk was true and is false",
        "ip link set enp1s0 vf 0 spoofchk on",
    ),
    "trust": ("ip link set enp1s0 vf 0 trust on", f"{VF}PF's trust was false", "ip link set enp1s0 vf 0 trust off"),
    "rates": ("ip link set enp1s0 vf 0 max_tx_rate 100", f"{VF}PF's rate was", "ip link set enp1s0 vf 0 max_tx_rate 0"),
    # With the VF's MAC: udev gives a bond without one another (MACAddressPolicy=persistent), which the VF may not take.
    "port": (
        "ip link add b1 address $mac type bond; again ip link set VF11 master b1",
        f"{VF}it is a port of b1 in the host",
        "ip link del b1; ip link set VF11 down",
    ),
    "bond": ("ip link add b2 type bond", "device: bond b2 is in the host and was not", "ip link del b2"),
    "VF away": (
        "ip netns add thief; ip link set VF11 netns thief",
        f"{VF}it is not in the host, and nobody has leased it",
        "ip -n thief link set VF11 netns 1; ip netns del thief",
    ),
    "devices in a known namespace": (
        "ip -n world link add left type dummy",
        "namespace: /run/netns/world has the devices",
        "ip -n world link del left",
    ),
    "named namespace": ("ip netns add left", "namespace: /run/netns/left was not there, with lo", "ip netns del left"),
    "namespace of a process": (
        "unshare --net sleep 60 & held=$!; until [[ $(readlink /proc/$held/exe) == */sleep ]]; do :; done",
        "namespace: /proc/",
        "kill $held; wait $held || true",
    ),
    "mounted namespace": (
        "touch /run/left; unshare --net mount --bind /proc/self/ns/net /run/left",
        "namespace: /run/left was not there, with lo",
        "umount /run/left; rm /run/left",
    ),
    "temporary file": (
        f"touch {LEASES}/.cbond1.0.adding.1",
        f"temporary file: {LEASES}/.cbond1.0.adding.1",
        f"rm {LEASES}/.cbond1.0.adding.1",
    ),
    "lease": (
        f"echo '{RECORD}' > {LEASES}/cbond1.0.ready",
        "lease: cbond1.0.ready of container dead eth0, which is not live",
        f"rm {LEASES}/cbond1.0.ready",
    ),
    "damaged lease": (
        f"echo '{{' > {LEASES}/cbond1.0.adding",
        f"lease: {LEASES}/cbond1.0.adding cannot be read",
        f"rm {LEASES}/cbond1.0.adding",
    ),
    "file": (f"touch {STATE_DIR}/db/strange", f"file: {STATE_DIR}/db/strange was not there", f"rm {STATE_DIR}/db/strange"),
    "inventory": (
        f"cp {STATE_DIR}/db/pool.json /run/saved.json; echo >> {STATE_DIR}/db/pool.json",
        "inventory: a pool.json",
        f"mv /run/saved.json {STATE_DIR}/db/pool.json",
    ),
    "damaged inventory": (
        f"cp {STATE_DIR}/db/pool.json /run/saved.json; echo '{{' > {STATE_DIR}/db/pool.json",
        "inventory: a pool.json",
        f"mv /run/saved.json {STATE_DIR}/db/pool.json",
    ),
    "name, without an inventory": (
        f"mv {STATE_DIR}/db/pool.json /run/saved.json; ip link set VF11 name other",
        f'{VF}ifname was "VF11" and is "other"',
        f"mv /run/saved.json {STATE_DIR}/db/pool.json; ip link set other name VF11",
    ),
    "address": (
        "mkdir -p /var/lib/cni/networks/db; printf 'dead\\r\\neth0' > /var/lib/cni/networks/db/10.100.0.99",
        "address: /var/lib/cni/networks/db/10.100.0.99 is reserved for dead eth0, which is not live",
        "rm /var/lib/cni/networks/db/10.100.0.99",
    ),
    # Taken by a process that has ended, and held by an inherited descriptor.
    "lock": (f"exec 7> {STATE_DIR}/db/bonds/cbond1; flock 7", "which has ended", "exec 7>&-"),
    "process": (
        "cp /bin/sleep /opt/cni/bin/left; /opt/cni/bin/left 60 & held=$!; "
        "until [[ $(readlink /proc/$held/exe) == */left ]]; do :; done",
        "(/opt/cni/bin/left) is still there",
        "kill $held; wait $held || true; rm /opt/cni/bin/left",
    ),
    "PF": ("ip link set enp1s0 promisc on", f"{PF}it was", "ip link set enp1s0 promisc off"),
}


# One checker process for all steps: in a guest its start takes longer than its check.
WATCH = f"""
coproc LOOK {{ exec {CHECKER} watch /run/baseline.json %s; }}
from=${{LOOK[0]}} to=${{LOOK[1]}}
look() {{
    echo >&$to
    while IFS= read -r line <&$from; do
        echo "$line"
        [[ $line != --- ]] || return 0
    done
    return 1
}}
# A VF that its PF has just reset cannot be opened for a moment.
again() {{
    local try
    for try in {{1..100}}; do
        "$@" 2> /run/refused && return 0
        sleep 0.1
    done
    cat /run/refused >&2
    return 1
}}
mac=$(cat /sys/class/net/VF11/address 2>/dev/null || true)
"""


def _script(steps: "Iterable[tuple[str, str, str]]", live: str = "") -> str:
    """Return a script that does each step, runs the checker, and undoes the step; a line separates the reports."""
    lines = [WATCH % live]
    for done, _, undone in steps:
        lines += [done, "look", undone]
    return "\n".join([*lines, "look"])


def test_each_violation_is_named(product: Product) -> None:
    """Nothing is reported after it is undone."""
    product.guest.sh(f"{CHECKER} baseline /run/baseline.json; {CHECKER} check /run/baseline.json")
    output = product.guest.sh(_script(VIOLATIONS.values()), timeout=240)
    answers = output.stdout.split("---\n")
    assert answers[-2:] == ["", ""], "each change is undone, and nothing else is reported"
    del answers[-2:]
    missed = {
        violation: answer
        for (violation, (_, words, _)), answer in zip(VIOLATIONS.items(), answers, strict=True)
        if words not in answer
    }
    assert missed == {}


def test_live_attachments_are_no_violation_until_something_is_wrong_with_them(product: Product) -> None:
    """Two containers with addresses of host-local: nothing is reported until something is wrong with one."""
    product.guest.sh(f"{CHECKER} baseline /run/baseline.json")
    with product.attached(network(), "c1", "c2") as answers:
        addresses = [[ip["address"].partition("/")[0] for ip in answer.document["ips"]] for answer in answers]
        leases: list[dict[str, object]] = [
            {"network": "db", "container_id": name, "ifname": "eth0", "netns": f"/run/netns/{name}"} for name in ("c1", "c2")
        ]
        leases[1]["addresses"] = addresses[1]  # those of the first are in its lease
        never = {"network": "db", "container_id": "never", "ifname": "eth0", "netns": "/run/netns/never"}
        product.guest.write("/run/live.json", json.dumps({"leases": leases}))
        product.guest.write("/run/more.json", json.dumps({"leases": [*leases, never]}))
        reserved, of_other, second = (
            f"/var/lib/cni/networks/db/{address}" for address in (addresses[0][0], addresses[1][0], "10.100.0.99")
        )
        steps = [
            (
                f"lease=$(echo {LEASES}/cbond1.*.ready); mv $lease ${{lease%ready}}draining",
                "of the live container c1 eth0 is draining",
                "mv ${lease%ready}draining $lease",
            ),
            (
                f"cp $lease {LEASES}/cbond3.0.ready",
                "of container c1 eth0, which is not live, or a second one",
                f"rm {LEASES}/cbond3.0.ready",
            ),
            (
                f"cp $lease /run/saved; cp {LEASES}/cbond2.*.ready $lease",
                "lease: none for the live container c1 eth0 of db",
                "cp /run/saved $lease",
            ),
            (f"mv {reserved} /run/saved", f"address: c1 eth0 has {addresses[0][1:]} reserved", f"mv /run/saved {reserved}"),
            (f"cp {reserved} {second}", f"'{second.rpartition('/')[2]}'", f"rm {second}"),
            (
                f"mv {of_other} /run/saved",
                f"address: c2 eth0 has {addresses[1][1:]} reserved",
                f"mv /run/saved {of_other}",
            ),
            (
                "ip -n c1 link add stray type bond",
                "attachment: the bond stray in /run/netns/c1 is no live lease's",
                "ip -n c1 link del stray",
            ),
            (
                "ip -n c1 link set VF11 nomaster; ip -n c1 link set VF11 down; ip -n c1 link set VF11 netns 1",
                f"{VF}it is in the host, though c1 eth0 has its bond",
                "ip link set VF11 netns c1; ip -n c1 link set VF11 master eth0",
            ),
            ("ip -n c1 link set eth0 down", "attachment: c1 eth0 has no bond that is up", "ip -n c1 link set eth0 up"),
        ]
        clean = product.guest.run(f"{CHECKER} check /run/baseline.json --live /run/live.json")
        assert (clean.status, clean.stdout) == (0, "")
        unknown = product.guest.run(f"{CHECKER} check /run/baseline.json --live /run/more.json").stdout
        assert "lease: none for the live container never eth0 of db" in unknown
        assert "attachment: the namespace /run/netns/never of never eth0 does not exist" in unknown
        output = product.guest.sh(_script(steps, "--live /run/live.json"), timeout=120)
        reports = output.stdout.split("---\n")
        assert reports[-2:] == ["", ""], "each change is undone, and nothing else is reported"
        del reports[-2:]
        missed = {words: answer for (_, words, _), answer in zip(steps, reports, strict=True) if words not in answer}
        assert missed == {}


def test_a_checker_that_fails_is_a_fault(product: Product) -> None:
    """The soak reports it if the checker fails without output."""
    product.guest.sh(f"{CHECKER} baseline /run/baseline.json; echo '{{' > /run/damaged.json")
    assert remains(product.guest, "/run/baseline.json") == []
    [fault] = remains(product.guest, "/run/damaged.json")
    assert "the checker ended with status 1 and 0 lines" in fault
    assert "JSONDecodeError" in fault
