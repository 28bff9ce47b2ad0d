"""Debian's podman with its CNI back end, in the guest."""

from typing import TYPE_CHECKING, Any

from tests.lab.runtimes import ROOTFS, make_rootfs

if TYPE_CHECKING:
    from tests.lab.guest import Result
    from tests.lab.product import Product

_CONFIG = "/run/podman-lab/containers.conf"
# The guest has no systemd, so neither its cgroups nor its journal can be used.
_SETTINGS = """
[network]
network_backend = "cni"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


class Podman:
    """podman, which has no daemon."""

    def __init__(self, product: "Product") -> None:
        self._guest = product.guest

    def run(self, *arguments: str) -> "Result":
        """Run one of its commands."""
        return self._guest.run(["podman", *arguments], env={"CONTAINERS_CONF": _CONFIG}, check=True, timeout=120)

    def start(self, name: str, *arguments: str) -> None:
        """Start a container that does nothing."""
        sleep = ("--rootfs", ROOTFS, "/bin/sleep", "1000")
        self.run("run", "--detach", "--name", name, "--cap-add", "NET_RAW", "--env", "PATH=/bin", *arguments, *sleep)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the description of a container."""
        container: dict[str, Any] = self.run("inspect", name).json()[0]
        return container

    def inside(self, name: str, script: str) -> str:
        """Run a script in a container and return its output."""
        return self.run("exec", name, "/bin/sh", "-c", script).stdout


def podman(product: "Product") -> Podman:
    """Return a podman that can run containers."""
    product.guest.write(_CONFIG, _SETTINGS)
    make_rootfs(product)
    return Podman(product)
