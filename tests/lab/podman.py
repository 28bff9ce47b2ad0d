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
runtime = "{runtime}"
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
        self.try_start(name, *arguments, check=True)

    def try_start(self, name: str, *arguments: str, check: bool = False) -> "Result":
        """Start a container that does nothing, or fail."""
        command = ["podman", "run", "--detach", "--name", name, "--cap-add", "NET_RAW", "--env", "PATH=/bin", *arguments]
        command += ["--rootfs", ROOTFS, "/bin/sleep", "1000"]
        return self._guest.run(command, env={"CONTAINERS_CONF": _CONFIG}, check=check, timeout=120)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return the description of a container."""
        container: dict[str, Any] = self.run("inspect", name).json()[0]
        return container

    def inside(self, name: str, script: str) -> str:
        """Run a script in a container and return its output."""
        return self.run("exec", name, "/bin/sh", "-c", script).stdout


def podman(product: "Product", runtime: str = "runc") -> Podman:
    """Return a podman that can run containers."""
    product.guest.write(_CONFIG, _SETTINGS.format(runtime=runtime))
    make_rootfs(product)
    return Podman(product)
