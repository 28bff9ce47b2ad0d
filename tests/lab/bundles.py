"""Containers of runc and crun in plain bundles, with our hooks in config.json as sriov-bond-runtime writes them."""

import json
from typing import TYPE_CHECKING, Any

from tests.lab.runtimes import ROOTFS, make_rootfs

if TYPE_CHECKING:
    from tests.lab.guest import Process, Result
    from tests.lab.product import Product

HOOK = "/usr/local/sbin/sriov-bond-hook"
HOOK_STATE = "/var/lib/cni/sriov-bond-oci"
_ENVIRONMENT = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
_BUNDLES = "/run/bundles"


class Bundles:
    """Containers of one runtime."""

    def __init__(self, product: "Product", runtime: str) -> None:
        self.product = product
        self.runtime = runtime
        self._guest = product.guest
        make_rootfs(product)

    def make(self, name: str, script: str, *request: str, **linux: Any) -> None:
        """Create a bundle whose container runs a shell script, or a command that does not exist if it is "".

        :param request: arguments of the hook.
        :param linux: further keys of ``linux``.
        """
        self._guest.sh(f"rm -rf {_BUNDLES}/{name}; mkdir -p {_BUNDLES}/{name}; cd {_BUNDLES}/{name}; runc spec")
        path = f"{_BUNDLES}/{name}/config.json"
        config = json.loads(self._guest.read(path))
        config["root"] = {"path": ROOTFS, "readonly": True}
        args = ["/bin/sh", "-c", script] if script else ["/bin/nosuch"]
        config["process"] |= {"terminal": False, "args": args, "env": ["PATH=/bin"]}
        capabilities = config["process"]["capabilities"]
        for kind in capabilities:
            capabilities[kind].append("CAP_NET_RAW")
        config["linux"] |= linux
        hook = {"path": HOOK, "env": _ENVIRONMENT}
        create = {**hook, "args": ["sriov-bond-hook", "createRuntime", *request], "timeout": 120}
        stop = {**hook, "args": ["sriov-bond-hook", "poststop"], "timeout": 10}
        config["hooks"] = {"createRuntime": [create], "poststop": [stop]}
        self._guest.write(path, json.dumps(config))

    def call(self, *arguments: str, check: bool = True) -> "Result":
        """Run a command of the runtime."""
        return self._guest.run([self.runtime, *arguments], check=check, timeout=120)

    def run(self, name: str, script: str, *request: str, check: bool = True, **linux: Any) -> "Result":
        """Run a container to its end."""
        self.make(name, script, *request, **linux)
        return self.call("run", "--bundle", f"{_BUNDLES}/{name}", name, check=check)

    def begin(self, name: str, script: str, *request: str) -> "Process":
        """Start a container that stays in the foreground."""
        self.make(name, script, *request)
        return self.again(name)

    def again(self, name: str) -> "Process":
        """Start a container from its bundle once more."""
        return self._guest.spawn([self.runtime, "run", "--bundle", f"{_BUNDLES}/{name}", name], timeout=120)

    def stop(self, name: str, running: "Process") -> None:
        """Kill a container. The runtime that waits for it deletes it."""
        self.call("kill", name, "KILL")
        running.wait()

    def kill_runtime(self, name: str) -> None:
        """Kill the runtime that starts or waits for a container."""
        self._guest.sh(f"pkill -KILL -f '[r]un --bundle {_BUNDLES}/{name}'")

    def forget(self, name: str) -> None:
        """Remove what a killed runtime leaves of a container."""
        self._guest.sh(f"{self.runtime} delete --force {name} 2>/dev/null || true; rm -rf /run/{self.runtime}/{name}")


def left(product: "Product") -> list[str]:
    """Return the files of the hook's state: none when all is finished."""
    return sorted(product.guest.tree(HOOK_STATE))
