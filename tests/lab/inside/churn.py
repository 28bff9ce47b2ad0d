"""Containers that come and go at random, with everything else that an operator and a runtime may do, and kills.

It shares no code with the product, starts its executables as a runtime does, and watches from outside that no bond has two
owners: while a container is attached, its lease is there and ready, its bond has its two ports, and nobody else has its MAC or
its addresses. Prints a line for every fault and, last, a line of JSON with what was done. One process for all: each start costs
an emulated guest a tenth of a second.

usage: churn.py --cycles N --seconds S --seed X [--containers N] [--workers N]
"""

import argparse
import collections
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

PLUGIN, CTL = "/opt/cni/bin/sriov-bond", "sriov-bondctl"
LEASES = "/var/lib/cni/sriov-bond/db/leases"
CLONE_NEWNET = 0x40000000
# What a load must have had, and how many times its seconds it may take for that.
EVERYTHING = ("cycles", "empty", "killed", "delegates killed", "GC", "gc", "status", "up", "DEL twice", "DEL late")
MOST = 4
LIBC = ctypes.CDLL(None, use_errno=True)
Json = dict[str, Any]

NETWORKS: list[Json] = [
    {
        "cniVersion": "1.1.0",
        "name": name,
        "type": "sriov-bond",
        "pool": "db",
        "vlan": vlan,
        "mode": "active-backup",
        **more,
        "ipam": {"type": delegate, "ranges": [[{"subnet": f"10.{vlan}.0.0/24"}], [{"subnet": f"fd00:{vlan}::/64"}]]},
    }
    for name, vlan, delegate, more in (
        ("churn-hostlocal", 100, "host-local", {}),
        ("churn-own", 200, "sriov-bond-ipam", {"mtu": 1400, "max_tx_rate": 100}),
    )
]


class Container:
    """A namespace, in which one container after another lives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"/run/netns/{name}"
        self.number = 0
        self.network: Json = {}
        self.attached: Json | None = None
        self.old: list[tuple[str, Json]] = []
        ip_netns("add", name)

    @property
    def id(self) -> str:
        return f"{self.name}-{self.number}"

    def make_anew(self) -> None:
        if not os.path.exists(self.path):
            ip_netns("add", self.name)


def ip_netns(verb: str, name: str) -> None:
    subprocess.run(["ip", "netns", verb, name], check=True)


class Done:
    """How a call ended; ``hurt`` when it, or what it had started, was killed, so that it may fail."""

    def __init__(self, status: int, out: str, err: str, hurt: bool, seconds: float) -> None:
        self.status = status
        self.err = err
        self.hurt = hurt
        self.seconds = seconds
        self.out = out
        try:
            self.document: Json = json.loads(out) if out.strip().startswith("{") else {}
        except ValueError:
            self.document = {}

    def __str__(self) -> str:
        return f"status {self.status}: {(self.out + self.err).strip()[-600:]}"


def ended_within(process: "subprocess.Popen[str]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def started_by(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


class Churn:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.count: collections.Counter[str] = collections.Counter()
        self.took: dict[str, list[float]] = collections.defaultdict(list)
        self.live: dict[str, Json] = {}  # by container id, from the result of ADD to the begin of DEL
        self.faults: list[str] = []
        self.ended = threading.Event()
        self.containers = [Container(f"churn{number}") for number in range(asked.containers)]

    def fault(self, words: str) -> None:
        with self.lock:
            self.faults.append(words)
        print(f"FAULT {words}", flush=True)
        self.ended.set()

    def over(self) -> bool:
        """Tell whether it is time to end: a short load on a slow machine goes on until it has had one of everything."""
        past = time.monotonic() - self.began
        enough = self.count["cycles"] >= self.asked.cycles or past > self.asked.seconds
        if past > MOST * self.asked.seconds or (enough and all(self.count[what] for what in EVERYTHING)):
            self.ended.set()
        return self.ended.is_set()

    # -- calls

    def run(self, what: str, argv: list[str], environ: dict[str, str], data: str, dice: random.Random, kill: float) -> Done:
        """Run a program to its end, and kill it, or what it has started, with a probability."""
        began = time.monotonic()
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **environ}, text=True)
        assert process.stdin
        process.stdin.write(data)  # a pipe takes all of it, whether it is read or not
        process.stdin.close()
        process.stdin = None
        usual = sorted(self.took[what])[len(self.took[what]) // 2] if self.took[what] else 1.0
        hurt = dice.random() < kill and self.hurt(process, usual, dice)
        out, err = process.communicate(timeout=120)
        seconds = time.monotonic() - began
        if not hurt:
            self.took[what].append(seconds)
        return Done(process.returncode, out, err, hurt, seconds)

    def hurt(self, process: "subprocess.Popen[str]", usual: float, dice: random.Random) -> bool:
        """Kill a program at any time or, soon after it has started its delegate, that; tell whether something was killed."""
        if dice.random() < 0.5:
            if ended_within(process, dice.uniform(0, 1.1 * usual)):
                return False
            process.kill()  # not waited for, so its number is nobody else's
            self.count["killed"] += 1
            return True
        while not (children := started_by(process.pid)):
            if ended_within(process, 0.005):
                return False
        if ended_within(process, dice.uniform(0, 0.1)):
            return False
        try:
            os.kill(children[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.count["delegates killed"] += 1
        return True

    def call(
        self, verb: str, network: Json, container: str, netns: str, dice: random.Random, kill: float = 0.0, **more: object
    ) -> Done:
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
        }
        done = self.run(verb, [PLUGIN], environ, json.dumps({**network, **more}), dice, kill)
        self.count[verb] += 1
        return done

    # -- containers

    def work(self, number: int, mine: list[Container]) -> None:
        """Attach and detach containers until the end, and then detach all."""
        dice = random.Random(f"{self.asked.seed}/{number}")
        try:
            while not self.over():
                one = dice.choice(mine)
                if one.attached is None:
                    self.attach(one, dice)
                else:
                    self.detach(one, dice, 0.25)
            for one in mine:
                if one.attached is not None:
                    self.detach(one, dice, 0.0)
        except Exception as failed:
            self.fault(f"the worker {number} failed: {failed!r}")

    def attach(self, one: Container, dice: random.Random) -> None:
        one.number += 1
        one.network = dice.choice(NETWORKS)
        done = self.call("ADD", one.network, one.id, one.path, dice, 0.25)
        if done.status == 0:
            self.attached(one, done.document)
            return
        empty = done.document.get("code") == 11 and "is empty" in done.document["msg"]
        self.count["empty" if empty else "ADDs hurt"] += 1
        if not done.hurt and not empty:
            self.fault(f"ADD of {one.id}: {done}")
        if done.hurt or dice.random() < 0.5:  # an ADD that says that it failed has left nothing
            self.delete(one, one.path, dice, 0.25)

    def attached(self, one: Container, document: Json) -> None:
        """Take a result into the list of those that live; nobody else may have what it has."""
        one.attached = {
            "mac": document["interfaces"][0]["mac"],
            "addresses": [ip["address"] for ip in document["ips"]],
            "network": one.network["name"],
        }
        with self.lock:
            others = list(self.live.items())
            self.live[one.id] = one.attached
        for name, other in others:
            if other["mac"] == one.attached["mac"]:
                self.fault(f"two owners: {one.id} and {name} have the bond with the MAC {other['mac']}")
            if set(other["addresses"]) & set(one.attached["addresses"]):
                self.fault(f"two owners: {one.id} and {name} have an address of {other['addresses']}")

    def detach(self, one: Container, dice: random.Random, kill: float) -> None:
        """Send DEL in one of the ways in which runtimes do."""
        self.see_ports(one)
        with self.lock:
            del self.live[one.id]
        one.attached = None
        way = dice.choices(("plain", "twice", "netns gone", "netns gone, none given", "none given"), (60, 15, 10, 10, 5))[0]
        self.count[f"DEL {way}"] += 1
        if way.startswith("netns gone"):
            ip_netns("del", one.name)
        if way == "twice":
            other = threading.Thread(target=self.delete, args=(one, one.path, random.Random(dice.random()), kill))
            other.start()
            self.delete(one, one.path, dice, kill)
            other.join()
        else:
            self.delete(one, "" if way.endswith("none given") else one.path, dice, kill)
        if way == "none given":
            ip_netns("del", one.name)
        one.make_anew()
        self.count["cycles"] += 1
        if self.count["cycles"] % 10 == 0:
            print(f"cycles {self.count['cycles']}", flush=True)
        one.old = [*one.old[-3:], (one.id, one.network)]
        if dice.random() < 0.2:
            container, network = dice.choice(one.old)
            self.count["DEL late"] += 1
            late = self.call("DEL", network, container, one.path, dice)
            if late.status:
                self.fault(f"late DEL of {container}: {late}")

    def delete(self, one: Container, netns: str, dice: random.Random, kill: float) -> None:
        """Send DEL again and again until one succeeds; only one that was hurt may fail."""
        for chance in (kill, kill, 0.0):
            done = self.call("DEL", one.network, one.id, netns, dice, chance)
            if done.status == 0:
                return
            if not done.hurt:
                self.fault(f"DEL of {one.id}: {done}")
        self.fault(f"DEL of {one.id} failed to the last: {done}")

    def see_ports(self, one: Container) -> None:
        """Look at the bond of a container that lives."""
        back, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(one.path, os.O_RDONLY)
        try:
            LIBC.setns(there, CLONE_NEWNET)
            with open("/proc/thread-self/net/bonding/eth0", encoding="utf-8") as file:
                text = file.read()
        except OSError as gone:
            text = str(gone)
        finally:
            LIBC.setns(back, CLONE_NEWNET)
            os.close(back)
            os.close(there)
        if text.count("Slave Interface:") != 2:
            self.fault(f"the bond of {one.id}, which lives, has not its two ports: {text}")

    # -- everybody else

    def others(self, number: int) -> None:
        """Do what operators and runtimes do beside, at random."""
        dice = random.Random(f"{self.asked.seed}/others/{number}")
        try:
            while not self.ended.wait(dice.uniform(0, 6)):
                what = dice.choices(("GC", "gc", "status", "up"), (4, 4, 3, 2))[0]
                self.other(what, dice)
        except Exception as failed:
            self.fault(f"the others failed: {failed!r}")

    def other(self, what: str, dice: random.Random) -> None:
        if what == "GC":
            # Also those to come: a runtime would not send GC between, and an ADD that runs is left alone all the same.
            valid = [
                {"containerID": f"{one.name}-{number}", "ifname": "eth0"}
                for one in self.containers
                for number in range(one.number, one.number + 20)
            ]
            done = self.call("GC", dice.choice(NETWORKS), "", "", dice, 0.2, **{"cni.dev/valid-attachments": valid})
        else:
            argv = {"gc": [CTL, "gc"], "status": [CTL, "status", "--json"], "up": [CTL, "up"]}[what]
            done = self.run(what, argv, {}, "", dice, 0.0 if what == "status" else 0.2)
            self.count[what] += 1
        second = what == "up" and "the making of pool db is in use by" in done.err  # the other thread's is at work
        if done.status and not done.hurt and not second:
            self.fault(f"{what}: {done}")

    def watch(self) -> None:
        """Look at the leases again and again: one for each that lives, ready, and none for two."""
        try:
            while not self.ended.wait(0.2):
                self.look()
        except Exception as failed:
            self.fault(f"the watch failed: {failed!r}")

    def look(self) -> None:
        with self.lock:
            before = dict(self.live)
        files = [name for name in os.listdir(LEASES) if not name.startswith(".")]
        bonds: dict[str, str] = {}
        ready: collections.Counter[tuple[str, str]] = collections.Counter()
        for name in files:
            bond, key, state = name.split(".")
            if bonds.setdefault(bond, key) != key:
                self.fault(f"two owners: {bond} has two leases in {files}")
            try:
                with open(f"{LEASES}/{name}", encoding="utf-8") as file:
                    record = json.load(file)
            except FileNotFoundError:
                continue
            if state == "ready":
                ready[record["container_id"], record["mac"]] += 1
        with self.lock:
            now = dict(self.live)
        self.count["looks"] += 1
        for container, one in before.items():
            if now.get(container) is one and ready[container, one["mac"]] != 1:
                self.fault(f"{container} lives, and has {ready[container, one['mac']]} leases that are ready, in {files}")

    # -- all

    def all(self) -> int:
        workers = self.asked.workers
        threads = [threading.Thread(target=self.work, args=(n, self.containers[n::workers])) for n in range(workers)]
        threads += [threading.Thread(target=self.others, args=(number,)) for number in range(2)]
        threads.append(threading.Thread(target=self.watch))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - self.began
        self.finish()
        middle = {what: sorted(took)[len(took) // 2] for what, took in sorted(self.took.items()) if took}
        late = {what: sorted(took)[len(took) * 99 // 100] for what, took in sorted(self.took.items()) if took}
        said = {"counts": dict(self.count), "seconds": seconds, "p50": middle, "p99": late, "faults": self.faults}
        print(json.dumps(said), flush=True)
        return 1 if self.faults else 0

    def finish(self) -> None:
        """Take the namespaces away, and have finished what is left of those that were killed."""
        for one in self.containers:
            ip_netns("del", one.name)
        until = time.monotonic() + 30
        while True:
            left = os.listdir(LEASES)
            done = subprocess.run([CTL, "gc"], check=False, capture_output=True, text=True)
            if done.returncode == 0 and not left:
                return
            if time.monotonic() > until:
                self.fault(f"it is not all given back: {left}, {done.stdout}{done.stderr}")
                return


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="churn.py")
    parser.add_argument("--cycles", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--containers", type=int, default=12)
    parser.add_argument("--workers", type=int, default=4)
    return Churn(parser.parse_args(argv)).all()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
