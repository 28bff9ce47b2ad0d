"""The calls, containers and networks of container runtimes, which are clients of the plugin."""

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.product import received
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab.guest import Guest, Process, Result
    from tests.lab.product import Product

PLUGINS = "/opt/cni/bin"
NETWORKS = "/etc/cni/net.d"
_RECORD = "/run/recorder"
# It forwards every call to the plugin. Runtimes send one line of JSON without a tab.
_RECORDER = f"""#!/bin/sh
config=$(cat)
printf '%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$CNI_ARGS" "$config" \
>>{_RECORD}/calls
printf '%s' "$config" | {PLUGINS}/sriov-bond
"""


@dataclass(frozen=True)
class Call:
    """One call of the plugin, as it was received."""

    command: str
    container: str
    netns: str
    ifname: str
    args: str
    config: "Mapping[str, Any]"

    @property
    def pairs(self) -> set[str]:
        """Return the pairs of CNI_ARGS; clients send them in any order."""
        return set(self.args.split(";")) - {""}


class Recorder:
    """A directory of plugins in which ours records its calls."""

    folder = f"{_RECORD}/bin"

    def __init__(self, guest: "Guest") -> None:
        self._guest = guest

    def calls(self) -> list[Call]:
        """Return the calls since the previous request, in order."""
        text = self._guest.sh(f"cat {_RECORD}/calls; : >{_RECORD}/calls").stdout
        parts = [line.split("\t") for line in text.splitlines()]
        return [
            Call(command, cid, netns, ifname, args, json.loads(config or "{}"))
            for command, cid, netns, ifname, args, config in parts
        ]


@contextlib.contextmanager
def recording(product: "Product") -> "Iterator[Recorder]":
    """Install a recorder for the duration of the block."""
    product.guest.sh(f"mkdir -p {Recorder.folder}; ln -s {PLUGINS}/* {Recorder.folder}; rm {Recorder.folder}/sriov-bond")
    product.guest.sh(f": >{_RECORD}/calls")
    product.guest.write(f"{Recorder.folder}/sriov-bond", _RECORDER, mode=0o755)
    try:
        yield Recorder(product.guest)
    finally:
        product.guest.sh(f"rm -r {_RECORD}")


def call(product: "Product", client: str, step: str, **request: Any) -> dict[str, Any]:
    """Run a step of a client (tests/lab/clients/cni-calls) and return its answer."""
    options = {"BinDir": PLUGINS, **request}
    # Hooks and daemons may have a stale environment.
    stale = {"TMPDIR": "/run/gone"}
    done = product.guest.run(["cni-calls", client, step], env=stale, stdin=json.dumps(options), check=True, timeout=120)
    answer: dict[str, Any] = done.json()
    return answer


@contextlib.contextmanager
def conflist(product: "Product", *networks: "Mapping[str, Any]", **keys: Any) -> "Iterator[None]":
    """Install networks for the duration of the block; each config is one of ``network``, or a list of plugins.

    :param keys: further keys of the lists.
    """
    names = []
    for config in networks:
        plugin = {key: value for key, value in config.items() if key not in ("cniVersion", "name", "plugins")}
        document = {"cniVersion": config["cniVersion"], "name": config["name"], **keys}
        document["plugins"] = config.get("plugins") or [plugin]
        names.append(f"{NETWORKS}/{config['name']}.conflist")
        product.guest.write(names[-1], json.dumps(document))
    try:
        yield
    finally:
        product.guest.sh(f"rm {' '.join(names)}")


def chain(config: "Mapping[str, Any]", *, before: "tuple[Any, ...]" = (), behind: "tuple[Any, ...]" = ()) -> dict[str, Any]:
    """Return a network with further plugins before and behind ours."""
    plugin = {key: value for key, value in config.items() if key not in ("cniVersion", "name")}
    return {"cniVersion": config["cniVersion"], "name": config["name"], "plugins": [*before, plugin, *behind]}


class Box:
    """A container without a runtime: a process in a network namespace that ends with it."""

    def __init__(self, guest: "Guest", process: "Process", pid: int) -> None:
        self._guest = guest
        self._process = process
        self._enter = f"nsenter -t {pid} -n"
        self.netns = f"/proc/{pid}/ns/net"

    def inside(self, command: str, *, check: bool = True) -> "Result":
        """Run a command in its namespace."""
        return self._guest.run(f"{self._enter} {command}", check=check)

    def links(self) -> list[str]:
        """Return the names of its devices."""
        return [link["ifname"] for link in self.inside("ip -j link").json()]

    def pings(self, *addresses: str) -> int:
        """Ping each address twice and return the number of answers."""
        commands = "; ".join(f"ping -n -q -c 2 -i 0.2 -W 1 -w 3 {address}" for address in addresses)
        output = self.inside(f"sh -c '{commands}'", check=False).stdout
        return sum(received(part) for part in output.split("--- ")[1:])

    def kill(self) -> None:
        """Kill it, which also ends its namespace."""
        self._process.stop()


@contextlib.contextmanager
def box(product: "Product") -> "Iterator[Box]":
    """Run a container for the duration of the block."""
    command = "exec unshare --net sh -c 'ip link set lo up; echo $$; exec sleep 600'"
    process = product.guest.spawn(command)
    try:
        wait_until(lambda: process.stdout.endswith("\n"), "a container to start")
        yield Box(product.guest, process, int(process.stdout))
    finally:
        process.stop()
