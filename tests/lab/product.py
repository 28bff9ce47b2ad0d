"""The product as operator and runtime use it in the guest, and snapshots of its host from outside."""

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.guest import Guest, Process, Result

PLUGIN = "/opt/cni/bin/sriov-bond"
STATE_DIR = "/var/lib/cni/sriov-bond"
HOST_FILE = "/etc/cni/sriov-bond.toml"
NICS = ("enp1s0", "enp2s0")
POOL = '[pools.db]\npfs = ["enp1s0", "enp2s0"]\nvfs = {vfs}\n'
SUBNET, SUBNET6 = "10.100.0.0/24", "fd00:100::/64"
PEER, PEER6 = "10.100.0.1", "fd00:100::1"


@dataclass(frozen=True)
class Snapshot:
    """Everything of the host that must be the same after a container as before."""

    links: "Mapping[str, Any]"
    namespaces: tuple[str, ...]
    files: "Mapping[str, bytes]"
    promiscuous: tuple[str, ...] = field(compare=False)

    @property
    def leases(self) -> list[str]:
        """Return the lease files."""
        return [path for path in self.files if "/leases/" in path]


def look(guest: "Guest") -> Snapshot:
    """Take a snapshot of the host: devices as ``ip -d -j link`` shows them, lease files, and files of the delegates."""
    links, promiscuous = {}, []
    for link in guest.run(["ip", "-d", "-j", "link"], check=True).json():
        if link.get("promiscuity"):
            promiscuous.append(link["ifname"])
        shown = {key: value for key, value in link.items() if key in ("ifname", "address", "mtu", "altnames", "master")}
        shown["up"] = "UP" in link["flags"]
        shown["kind"] = link.get("linkinfo", {}).get("info_kind")
        shown["vfs"] = [{key: value for key, value in vf.items() if key != "stats"} for vf in link.get("vfinfo_list", [])]
        links[link.get("parentdev") or link["ifname"]] = shown
    files = {path: data for path, data in guest.tree("/var/lib/cni").items() if not _may_change(path)}
    return Snapshot(links, tuple(sorted(guest.tree("/run/netns"))), files, tuple(promiscuous))


def _may_change(path: str) -> bool:
    """Return whether a file may change: locks, counters, libcni's cache, the delegates' last address, our delegate's index."""
    return (
        "/results/" in path
        or "/networks/.sriov-bond/" in path
        or "/bonds/" in path
        or path.endswith(("/lock", "/call-counters"))
        or "/last_reserved_ip" in path
    )


class Product:
    """The built executables in the guest."""

    def __init__(self, guest: "Guest") -> None:
        self.guest = guest

    def ctl(self, *arguments: str, check: bool = True) -> "Result":
        """Run sriov-bondctl."""
        return self.guest.run(["sriov-bondctl", *arguments], check=check, timeout=120)

    def status(self) -> dict[str, Any]:
        """Return the pool db of ``sriov-bondctl status --json``."""
        pool: dict[str, Any] = self.ctl("status", "--json").json()["pools"][0]
        return pool

    def states(self) -> list[str]:
        """Return the state of each bond."""
        return [bond["state"] for bond in self.status()["bonds"]]

    def all_free(self) -> bool:
        """Return whether every bond is free."""
        return set(self.states()) == {"free"}

    def wait_free(self, what: str = "every bond to be free", seconds: float = 20) -> None:
        """Wait until every bond is free; each ``gc`` finishes what can be finished."""

        def finished() -> bool:
            return self.all_free() or (self.ctl("gc", check=False).status == 0 and self.all_free())

        wait_until(finished, what, seconds)

    def wait_home(self, number: int) -> None:
        """Wait for the VFs of the n-th bond to be in the host, without a call of the product that would finish the release.

        Their PCI addresses are igb's: an offset of 128 and a stride of 2 (PCI SR-IOV, "VF Routing ID").
        """
        slot = f"1{(number - 1) // 4}.{(number - 1) % 4 * 2}"
        listing = " ".join(f"/sys/bus/pci/devices/0000:0{nic}:{slot}/net/*" for nic in (1, 2))
        wait_until(lambda: self.guest.run(f"ls -d {listing}").status == 0, f"the VFs of bond {number} to be in the host", 20)

    def provision(self, vfs: int | str = '"max"') -> None:
        """Create the pool db."""
        self.guest.write(HOST_FILE, POOL.format(vfs=vfs))
        self.ctl("up")

    def call(
        self,
        command: str,
        config: "Mapping[str, Any]",
        container: str,
        netns: str = "",
        ifname: str = "eth0",
        environ: "Mapping[str, str] | None" = None,
    ) -> "Answer":
        """Call the plugin as a runtime does; ``netns`` is a path."""
        variables = {**_environ(command, container, netns, ifname), **(environ or {})}
        return Answer(self.guest.run([PLUGIN], env=variables, stdin=json.dumps(config), timeout=90))

    def gc(self, config: "Mapping[str, Any]", live: "list[dict[str, str]] | None" = None) -> "Answer":
        """Call GC with a list of valid attachments, or without a list."""
        listed = {} if live is None else {"cni.dev/valid-attachments": live}
        return self.call("GC", {**config, "cniVersion": "1.1.0", **listed}, "", ifname="")

    def begin(self, command: str, config: "Mapping[str, Any]", container: str, netns: str) -> "Process":
        """Start a call in the background of the guest."""
        return self.guest.spawn(
            [PLUGIN], env=_environ(command, container, netns, "eth0"), stdin=json.dumps(config), timeout=120
        )

    @contextlib.contextmanager
    def netns(self, *names: str) -> "Iterator[tuple[str, ...]]":
        """Create network namespaces for the duration of the block; return their paths."""
        self.guest.sh("\n".join(f"ip netns add {name}; ip -n {name} link set lo up" for name in names))
        try:
            yield tuple(f"/run/netns/{name}" for name in names)
        finally:
            self.guest.sh("\n".join(f"ip netns del {name} 2>/dev/null || true" for name in names))

    @contextlib.contextmanager
    def attached(self, config: "Mapping[str, Any]", *names: str) -> "Iterator[list[Answer]]":
        """Attach containers (bare namespaces) for the duration of the block; their DEL must succeed."""
        with self.netns(*names) as paths:
            try:
                yield [self.call("ADD", config, name, path).succeeded() for name, path in zip(names, paths, strict=True)]
            finally:
                for name, path in zip(names, paths, strict=True):
                    self.call("DEL", config, name, path).succeeded()

    def links(self, name: str) -> list[str]:
        """Return the names of a namespace's devices."""
        return [link["ifname"] for link in self.guest.run(["ip", "-n", name, "-j", "link"], check=True).json()]

    def inside(self, name: str, command: str, check: bool = True, timeout: float = 60.0) -> "Result":
        """Run a command in a namespace."""
        return self.guest.run(f"ip netns exec {name} {command}", check=check, timeout=timeout)

    def pings(self, name: str, address: str, count: int = 3, interval: float = 0.2) -> int:
        """Ping from a namespace until ``count`` answers or a deadline; return the number of answers."""
        seconds = count * interval + 3
        command = f"ping -n -q -c {count} -i {interval} -W 1 -w {seconds:.0f} {address}"
        out = self.inside(name, command, check=False, timeout=seconds + 30).stdout
        return received(out)


def answered_at_once(product: Product, name: str, address: str) -> bool:
    """Return whether a single ping is answered."""
    return received(product.inside(name, f"ping -n -q -c 1 -W 2 {address}", check=False).stdout) == 1


def received(ping: str) -> int:
    """Return the number of answers in the summary of ping."""
    match = re.search(r"(\d+) (?:packets )?received", ping)
    if not match:
        raise AssertionError(f"ping printed no summary: {ping[-300:]!r}")
    return int(match[1])


class Answer:
    """One call's exit status and document."""

    def __init__(self, result: "Result") -> None:
        self.result = result
        self.status = result.status
        self.seconds = result.seconds
        self.document: dict[str, Any] = json.loads(result.stdout) if result.stdout.strip() else {}

    def succeeded(self) -> "Answer":
        """Return self, or fail with the output of the plugin."""
        assert self.status == 0, f"{self.result.command}: {self.result.stdout} {self.result.stderr}"
        return self

    def failed(self, code: int, *phrases: str) -> "Answer":
        """Return self if the call failed with this code and a message with these phrases, without a traceback."""
        assert self.status != 0, f"it succeeded: {self.result.stdout}"
        assert self.document.get("code") == code, self.result.stdout
        for phrase in phrases:
            assert phrase in self.document["msg"], f"{phrase!r} is not in {self.document['msg']!r}"
        assert "Traceback" not in self.result.stderr
        return self


def network(**changes: Any) -> dict[str, Any]:
    """Return the plugin's config as a runtime passes it; a key that is None is left out."""
    config: dict[str, Any] = {
        "cniVersion": "1.0.0",
        "name": "db",
        "type": "sriov-bond",
        "pool": "db",
        "vlan": 100,
        "mode": "balance-xor",
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}], [{"subnet": SUBNET6}]],
        },
    }
    config.update(changes)
    return {key: value for key, value in config.items() if value is not None}


def _environ(command: str, container: str, netns: str, ifname: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": ifname,
        "CNI_PATH": "/opt/cni/bin",
    }
