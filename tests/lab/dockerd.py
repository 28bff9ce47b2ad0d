"""Debian's Docker in the guest: dockerd with its own containerd, and the client."""

import contextlib
import json
import signal
from typing import TYPE_CHECKING, Any

from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.guest import Process, Result
    from tests.lab.product import Product

DAEMON_JSON = "/etc/docker/daemon.json"
_CLIENT = "/usr/bin/docker"  # Debian's, whatever else the machine has
IMAGE = "box"
# No firewall rules and no routing: no container needs them here. Containers on a bridge are none of the tests' but Swarm's.
_SETTINGS = {"storage-driver": "vfs", "iptables": False, "ip-forward": False}
_MAKE_IMAGE = f"""
mkdir -p /run/image/bin
cp /bin/busybox /run/image/bin/
for applet in sh ip ping sleep cat env; do ln -sf busybox /run/image/bin/$applet; done
tar -C /run/image -c . | {_CLIENT} import --change 'ENV PATH=/bin' - box
"""
_LINKS = ("docker0", "docker_gwbridge")


_CONTAINERD = "/etc/containerd/config.toml"
_CONTAINERD_CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/opt/cni/bin"\n'


@contextlib.contextmanager
def plugins_where_installed(product: "Product") -> "Iterator[None]":
    """Let Debian's containerd, which comes with Docker, look for plugins where they are: its own config has /usr/lib/cni."""
    product.guest.write("/run/containerd.toml", _CONTAINERD_CONFIG)
    product.guest.sh(f"mount --bind /run/containerd.toml {_CONTAINERD}")
    try:
        yield
    finally:
        product.guest.sh(f"umount {_CONTAINERD}; rm /run/containerd.toml")


class Docker:
    """A dockerd."""

    def __init__(self, product: "Product") -> None:
        self.product = product
        self._guest = product.guest
        self._process: Process | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._guest.spawn("exec dockerd --log-level warn >>/run/dockerd.log 2>&1")
        wait_until(lambda: self._guest.run([_CLIENT, "version"]).status == 0, "dockerd to answer", 60)

    def kill(self) -> None:
        """Kill it by SIGKILL; with live-restore its containers go on."""
        assert self._process is not None
        self._process.signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._guest.sh("while pgrep -x containerd; do sleep 0.1; done")  # dockerd's own, which ends with it

    def stop(self) -> None:
        """Stop it with all its containers."""
        if self._process is None:
            self.start()
        self._guest.sh(f"{_CLIENT} ps --all --quiet | xargs -r {_CLIENT} rm --force", timeout=120)
        assert self._process is not None
        self._process.stop(60)
        self._process = None

    def call(self, *arguments: str) -> "Result":
        """Run a command of the client."""
        return self._guest.run([_CLIENT, *arguments], check=True, timeout=120)

    def run(self, *arguments: str) -> "Process":
        """Run a container by our runtime, on no network of Docker if none is named."""
        network = () if "--network" in arguments else ("--network", "none")
        return self._guest.spawn([_CLIENT, "run", "--rm", "--runtime", "sriov-bond", *network, *arguments], timeout=120)

    def begin(self, name: str, *arguments: str) -> None:
        """Start a container that does nothing, on no network of Docker."""
        self.call("run", "--detach", "--name", name, "--network", "none", *arguments, IMAGE, "sleep", "1000")

    def inside(self, name: str, script: str) -> str:
        """Run a script in a container and return its output."""
        return self.call("exec", name, "sh", "-c", script).stdout


@contextlib.contextmanager
def docker(product: "Product", *config: str, **settings: Any) -> "Iterator[Docker]":
    """Run Docker for the duration of the block.

    :param config: arguments of ``sriov-bondctl docker config --write``.
    :param settings: further keys of daemon.json, with "_" for "-".
    """
    guest = product.guest
    keys = {key.replace("_", "-"): value for key, value in settings.items()}
    guest.write(DAEMON_JSON, json.dumps({**_SETTINGS, **keys}))
    product.ctl("docker", "config", "--write", *config)
    daemon = Docker(product)
    try:
        daemon.start()
        guest.sh(_MAKE_IMAGE)
        yield daemon
    finally:
        daemon.stop()
        guest.sh(f"rm -r {DAEMON_JSON} /run/image; for link in {' '.join(_LINKS)}; do ip link delete $link || true; done")
