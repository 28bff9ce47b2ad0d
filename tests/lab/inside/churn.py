"""Attach and detach containers at random, run everything else that an operator or a runtime may run, and kill some of it.

It shares no code with the product, starts its executables as a runtime does, and checks from outside that no bond has two
owners: while a container is attached, its lease exists and is ready, its bond has two ports, and no other container has its
MAC or addresses. Prints a line for every fault and, at the end, a line of JSON with counts and times. All of it is one
process, because starting one takes a tenth of a second in an emulated guest.

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
# Every load must contain these. It may take up to TIME_FACTOR times its seconds for that.
EVERYTHING = ("cycles", "empty", "killed", "delegates killed", "GC", "gc", "status", "up", "DEL twice", "DEL late")
TIME_FACTOR = 4
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
    """A network namespace for one container after another."""

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

    def recreate(self) -> None:
        if not os.path.exists(self.path):
            ip_netns("add", self.name)


def ip_netns(verb: str, name: str) -> None:
    subprocess.run(["ip", "netns", verb, name], check=True)


class Done:
    """How a call ended. ``interrupted``: it or its delegate was killed, so it may fail."""

    def __init__(self, status: int, out: str, err: str, interrupted: bool, seconds: float) -> None:
        self.status = status
        self.err = err
        self.interrupted = interrupted
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
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.count: collections.Counter[str] = collections.Counter()
        self.took: dict[str, list[float]] = collections.defaultdict(list)
        self.live: dict[str, Json] = {}  # by container id, from the result of ADD to the beginning of DEL
        self.faults: list[str] = []
        self.ended = threading.Event()
        self.containers = [Container(f"churn{number}") for number in range(options.containers)]

    def fault(self, message: str) -> None:
        with self.lock:
            self.faults.append(message)
        print(f"FAULT {message}", flush=True)
        self.ended.set()

    def finished(self) -> bool:
        """Return whether to end. A short load on a slow machine continues until it has had one of everything."""
        elapsed = time.monotonic() - self.began
        enough = self.count["cycles"] >= self.options.cycles or elapsed > self.options.seconds
        if elapsed > TIME_FACTOR * self.options.seconds or (enough and all(self.count[name] for name in EVERYTHING)):
            self.ended.set()
        return self.ended.is_set()

    # -- calls

    def run(self, name: str, argv: list[str], environ: dict[str, str], data: str, dice: random.Random, kill: float) -> Done:
        """Run a program; with the probability ``kill`` it or its delegate is killed."""
        began = time.monotonic()
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **environ}, text=True)
        assert process.stdin
        process.stdin.write(data)  # fits in the pipe, whether it is read or not
        process.stdin.close()
        process.stdin = None
        usual = sorted(self.took[name])[len(self.took[name]) // 2] if self.took[name] else 1.0
        interrupted = dice.random() < kill and self.kill_at_random(process, usual, dice)
        out, err = process.communicate(timeout=120)
        seconds = time.monotonic() - began
        if not interrupted:
            self.took[name].append(seconds)
        return Done(process.returncode, out, err, interrupted, seconds)

    def kill_at_random(self, process: "subprocess.Popen[str]", usual: float, dice: random.Random) -> bool:
        """Kill a program at a random time, or its delegate soon after its start; return whether something was killed."""
        if dice.random() < 0.5:
            if ended_within(process, dice.uniform(0, 1.1 * usual)):
                return False
            process.kill()  # not waited for yet, so its id cannot be reused
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

    def work(self, number: int, containers: list[Container]) -> None:
        """Attach and detach containers until the end, and then detach all."""
        dice = random.Random(f"{self.options.seed}/{number}")
        try:
            while not self.finished():
                container = dice.choice(containers)
                if container.attached is None:
                    self.attach(container, dice)
                else:
                    self.detach(container, dice, 0.25)
            for container in containers:
                if container.attached is not None:
                    self.detach(container, dice, 0.0)
        except Exception as failed:
            self.fault(f"the worker {number} failed: {failed!r}")

    def attach(self, container: Container, dice: random.Random) -> None:
        container.number += 1
        container.network = dice.choice(NETWORKS)
        done = self.call("ADD", container.network, container.id, container.path, dice, 0.25)
        if done.status == 0:
            self.attached(container, done.document)
            return
        empty = done.document.get("code") == 11 and "is empty" in done.document["msg"]
        self.count["empty" if empty else "ADDs interrupted"] += 1
        if not done.interrupted and not empty:
            self.fault(f"ADD of {container.id}: {done}")
        if done.interrupted or dice.random() < 0.5:  # an ADD that reports a failure has left nothing
            self.delete(container, container.path, dice, 0.25)

    def attached(self, container: Container, document: Json) -> None:
        """Record the result of an ADD; no other container may have its MAC or addresses."""
        container.attached = {
            "mac": document["interfaces"][0]["mac"],
            "addresses": [ip["address"] for ip in document["ips"]],
            "network": container.network["name"],
        }
        with self.lock:
            others = list(self.live.items())
            self.live[container.id] = container.attached
        for name, other in others:
            if other["mac"] == container.attached["mac"]:
                self.fault(f"two owners: {container.id} and {name} have the bond with the MAC {other['mac']}")
            if set(other["addresses"]) & set(container.attached["addresses"]):
                self.fault(f"two owners: {container.id} and {name} have an address of {other['addresses']}")

    def detach(self, container: Container, dice: random.Random, kill: float) -> None:
        """Send DEL as one of the runtimes does."""
        self.check_ports(container)
        with self.lock:
            del self.live[container.id]
        container.attached = None
        variant = dice.choices(("normal", "twice", "netns gone", "netns gone, none given", "none given"), (60, 15, 10, 10, 5))[
            0
        ]
        self.count[f"DEL {variant}"] += 1
        if variant.startswith("netns gone"):
            ip_netns("del", container.name)
        if variant == "twice":
            second = threading.Thread(target=self.delete, args=(container, container.path, random.Random(dice.random()), kill))
            second.start()
            self.delete(container, container.path, dice, kill)
            second.join()
        else:
            self.delete(container, "" if variant.endswith("none given") else container.path, dice, kill)
        if variant == "none given":
            ip_netns("del", container.name)
        container.recreate()
        self.count["cycles"] += 1
        if self.count["cycles"] % 10 == 0:
            print(f"cycles {self.count['cycles']}", flush=True)
        container.old = [*container.old[-3:], (container.id, container.network)]
        if dice.random() < 0.2:
            old_id, network = dice.choice(container.old)
            self.count["DEL late"] += 1
            late = self.call("DEL", network, old_id, container.path, dice)
            if late.status:
                self.fault(f"late DEL of {old_id}: {late}")

    def delete(self, container: Container, netns: str, dice: random.Random, kill: float) -> None:
        """Send DEL until one succeeds; only an interrupted one may fail."""
        for chance in (kill, kill, 0.0):
            done = self.call("DEL", container.network, container.id, netns, dice, chance)
            if done.status == 0:
                return
            if not done.interrupted:
                self.fault(f"DEL of {container.id}: {done}")
        self.fault(f"DEL of {container.id} still failed: {done}")

    def check_ports(self, container: Container) -> None:
        """Check that the bond of an attached container has both ports."""
        own, target = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(container.path, os.O_RDONLY)
        try:
            LIBC.setns(target, CLONE_NEWNET)
            with open("/proc/thread-self/net/bonding/eth0", encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            text = str(error)
        finally:
            LIBC.setns(own, CLONE_NEWNET)
            os.close(own)
            os.close(target)
        if text.count("Slave Interface:") != 2:
            self.fault(f"the bond of the attached container {container.id} does not have two ports: {text}")

    # -- operators and the monitor

    def operators(self, number: int) -> None:
        """Run commands of operators, and GC, at random."""
        dice = random.Random(f"{self.options.seed}/others/{number}")
        try:
            while not self.ended.wait(dice.uniform(0, 6)):
                command = dice.choices(("GC", "gc", "status", "up"), (4, 4, 3, 2))[0]
                self.operator(command, dice)
        except Exception as failed:
            self.fault(f"an operator's thread failed: {failed!r}")

    def operator(self, command: str, dice: random.Random) -> None:
        if command == "GC":
            # Also the next containers: a runtime sends no GC between choosing an id and ADD.
            valid = [
                {"containerID": f"{container.name}-{number}", "ifname": "eth0"}
                for container in self.containers
                for number in range(container.number, container.number + 20)
            ]
            done = self.call("GC", dice.choice(NETWORKS), "", "", dice, 0.2, **{"cni.dev/valid-attachments": valid})
        else:
            argv = {"gc": [CTL, "gc"], "status": [CTL, "status", "--json"], "up": [CTL, "up"]}[command]
            done = self.run(command, argv, {}, "", dice, 0.0 if command == "status" else 0.2)
            self.count[command] += 1
        concurrent = command == "up" and "the provisioning of pool db is in use by" in done.err  # with the other thread's `up`
        if done.status and not done.interrupted and not concurrent:
            self.fault(f"{command}: {done}")

    def monitor(self) -> None:
        """Check the leases repeatedly: each attached container has one that is ready, and no bond has two."""
        try:
            while not self.ended.wait(0.2):
                self.check_leases()
        except Exception as failed:
            self.fault(f"the monitor failed: {failed!r}")

    def check_leases(self) -> None:
        """Report what ten looks see: a listing is no instant, and may miss or show twice what is renamed meanwhile."""
        self.count["checks"] += 1
        faults: list[str] = []
        for _ in range(10):
            faults = self.lease_faults()
            if not faults:
                return
        for fault in faults:
            self.fault(fault)

    def lease_faults(self) -> list[str]:
        """Return the faults that one look at the leases sees."""
        faults = []
        with self.lock:
            before = dict(self.live)
        files = [name for name in os.listdir(LEASES) if not name.startswith(".")]
        bonds: dict[str, str] = {}
        ready: collections.Counter[tuple[str, str]] = collections.Counter()
        for name in files:
            bond, key, state = name.split(".")
            if bonds.setdefault(bond, key) != key:
                faults.append(f"two owners: {bond} has two leases in {files}")
            try:
                with open(f"{LEASES}/{name}", encoding="utf-8") as file:
                    record = json.load(file)
            except FileNotFoundError:
                continue
            if state == "ready":
                # The bond may have the MAC of any port: that of the active one.
                for mac in {record["mac"], *record["macs"].values()}:
                    ready[record["container_id"], mac] += 1
        with self.lock:
            now = dict(self.live)
        for container, attachment in before.items():
            if now.get(container) is attachment and ready[container, attachment["mac"]] != 1:
                number = ready[container, attachment["mac"]]
                faults.append(f"{container} is attached, and has {number} leases that are ready, in {files}")
        return faults

    # -- all

    def all(self) -> int:
        workers = self.options.workers
        threads = [threading.Thread(target=self.work, args=(n, self.containers[n::workers])) for n in range(workers)]
        threads += [threading.Thread(target=self.operators, args=(number,)) for number in range(2)]
        threads.append(threading.Thread(target=self.monitor))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - self.began
        self.finish()
        medians = {name: sorted(took)[len(took) // 2] for name, took in sorted(self.took.items()) if took}
        p99 = {name: sorted(took)[len(took) * 99 // 100] for name, took in sorted(self.took.items()) if took}
        report = {"counts": dict(self.count), "seconds": seconds, "p50": medians, "p99": p99, "faults": self.faults}
        print(json.dumps(report), flush=True)
        return 1 if self.faults else 0

    def finish(self) -> None:
        """Delete the namespaces, and let `sriov-bondctl gc` finish what killed calls left."""
        for container in self.containers:
            ip_netns("del", container.name)
        until = time.monotonic() + 30
        while True:
            remaining = os.listdir(LEASES)
            done = subprocess.run([CTL, "gc"], check=False, capture_output=True, text=True)
            if done.returncode == 0 and not remaining:
                return
            if time.monotonic() > until:
                self.fault(f"not everything was released: {remaining}, {done.stdout}{done.stderr}")
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
