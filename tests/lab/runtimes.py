"""Container runtimes in the guest."""

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.guest import Process
    from tests.lab.product import Product

ROOTFS = "/var/lib/containerd/rootfs"
CONFLIST = "/etc/cni/net.d/10-db.conflist"
_SOCKET = "/run/lab-containerd/socket"
_MAKE_ROOTFS = f"""
mkdir -p {ROOTFS}/{{bin,proc,sys,dev,etc,tmp}}
cp /bin/busybox {ROOTFS}/bin/
for applet in sh ip ping sleep cat grep; do ln -sf busybox {ROOTFS}/bin/$applet; done
"""


def make_rootfs(product: "Product") -> None:
    """Create a root file system for containers from busybox."""
    product.guest.sh(_MAKE_ROOTFS)


@dataclass(frozen=True)
class Containerd:
    """A running containerd and its client, ctr."""

    product: "Product"
    client: str
    version: str

    def run(self, name: str, script: str, *, detached: bool = False) -> str:
        """Run a container with ``ctr run --cni`` and return its output."""
        mode = "--detach" if detached else "--rm"
        command = f"{self.client} run {mode} --cni --env PATH=/bin --rootfs {ROOTFS} {name} /bin/sh -c '{script}'"
        return self.product.guest.run(command, check=True, timeout=90).stdout

    def inside(self, name: str, script: str) -> str:
        """Run a script in a container and return its output, whatever its exit status."""
        ended = self.spawn(name, script).wait()
        return ended.stdout or ended.stderr

    def spawn(self, name: str, script: str) -> "Process":
        """Start a script in a container."""
        return self.product.guest.spawn(f"{self.client} task exec --exec-id job {name} /bin/sh -c '{script}'", timeout=90)

    def pid(self, name: str) -> int:
        """Return the process id of a container's first process."""
        listed = self.product.guest.run(f"{self.client} task ls", check=True).stdout
        return next(int(line.split()[1]) for line in listed.splitlines() if line.split()[0] == name)

    def ports_up(self, name: str) -> int:
        """Return the number of ports of a container's bond that are up."""
        return self.inside(name, "cat /proc/net/bonding/eth0").count("MII Status: up") - 1

    def remove(self, name: str) -> None:
        """Kill a container and remove it."""
        guest = self.product.guest
        guest.run(f"{self.client} task kill --signal KILL {name}", check=True)
        wait_until(lambda: guest.run(f"{self.client} container rm {name}").status == 0, f"{name} to be removed", 30)


@contextlib.contextmanager
def containerd(product: "Product", folder: str, config: "Mapping[str, Any]") -> "Iterator[Containerd]":
    """Run the containerd of a directory for the duration of the block, with one network, its default."""
    guest = product.guest
    plugin = {key: value for key, value in config.items() if key not in ("cniVersion", "name")}
    guest.write(CONFLIST, json.dumps({"cniVersion": config["cniVersion"], "name": config["name"], "plugins": [plugin]}))
    make_rootfs(product)
    # Its own directory first in PATH: containerd takes its shim from there, and the shims of the two versions differ.
    state = folder.replace("/", "_")
    daemon = f"{folder}/containerd --address {_SOCKET} --root /var/lib/containerd/{state} --state /run/lab-containerd/state"
    process = guest.spawn(f"PATH={folder}:$PATH exec {daemon} --log-level warn")
    client = f"PATH={folder}:$PATH {folder}/ctr --address {_SOCKET}"
    try:
        wait_until(lambda: guest.run(f"{client} version").status == 0, "containerd to answer", 60)
        version = guest.sh(f"{folder}/containerd --version").stdout.split()[2].partition("+")[0]
        yield Containerd(product, client, version)
    finally:
        process.stop()
        guest.sh(f"rm {CONFLIST}")
