"""Containers that are real processes in real network namespaces, and plugins that are real executables."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import pin
from cni_sriov_bond.oci.attachment import Store
from cni_sriov_bond.oci.site import Site
from tests.measured import command
from tests.support import REPOSITORY, program

# It records each call and then runs a file of its verb and name, if there is one.
_PLUGIN = """\
name=${{0##*/}}
config=$(cat)
printf '%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n' "$CNI_COMMAND" "$name" "$CNI_NETNS" "$CNI_IFNAME" "$CNI_ARGS" "$config" >>{folder}/calls
if [ -e {folder}/$CNI_COMMAND.$name ]; then . {folder}/$CNI_COMMAND.$name; fi
if [ $CNI_COMMAND = ADD ]; then
    printf '{{"cniVersion": "1.0.0", "interfaces": [{{"name": "%s"}}], "dns": {{"domain": "%s"}}}}' "$CNI_IFNAME" "$name"
fi
"""


class Call(NamedTuple):
    """One call of a plugin, as it was received."""

    verb: str
    plugin: str
    netns: str
    ifname: str
    args: str
    config: dict[str, Any]


class Host:
    """A host with plugins, networks, and the hook's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.networks, self.plugins = folder / "net.d", folder / "bin"
        self.networks.mkdir()
        self.plugins.mkdir()
        self.site = Site(str(folder / "state-oci"), str(self.networks), str(self.plugins))
        self.store = Store(self.site)

    def network(self, name: str = "db", plugins: tuple[str, ...] = ("first", "second"), **keys: Any) -> None:
        """Write a list of plugins, and create those that do not exist."""
        entries = [{"type": plugin, **keys.pop(plugin, {})} for plugin in plugins]
        document = {"cniVersion": "1.0.0", "name": name, "plugins": entries, **keys}
        (self.networks / f"{name}.conflist").write_text(json.dumps(document))
        for plugin in plugins:
            program(self.plugins, plugin, _PLUGIN.format(folder=self.folder))

    def on(self, verb: str, plugin: str, script: str) -> None:
        """Let a plugin run a shell script at a verb."""
        (self.folder / f"{verb}.{plugin}").write_text(script)

    def refuse(self, verb: str, plugin: str, code: int, msg: str) -> None:
        """Let a plugin return an error."""
        document = json.dumps({"cniVersion": "1.0.0", "code": code, "msg": msg})
        self.on(verb, plugin, f"printf %s '{document}'; exit 1\n")

    def obey(self, verb: str, plugin: str) -> None:
        """Let a plugin succeed again."""
        (self.folder / f"{verb}.{plugin}").unlink()

    def calls(self) -> list[Call]:
        """Return all calls in order."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [line.split("\t") for line in lines]
        return [Call(row[0], row[1], row[2], row[3], row[4], json.loads(row[5])) for row in rows]

    def sequence(self) -> list[str]:
        """Return verb and plugin of all calls."""
        return [f"{call.verb} {call.plugin}" for call in self.calls()]

    def forget_calls(self) -> None:
        """Forget the calls so far."""
        (self.folder / "calls").unlink(missing_ok=True)

    def hook(self, verb: str, state: dict[str, Any], *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the hook as a runtime does, and wait for it."""
        return subprocess.run(
            self.command(verb, *arguments),
            input=json.dumps(state),
            capture_output=True,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            cwd=REPOSITORY,
            timeout=60,
            check=False,
        )

    def command(self, verb: str, *arguments: str) -> list[str]:
        """Return the command line of the hook."""
        site = self.site
        directories = ("--state-dir", site.state_dir, "--network-dir", site.network_dir, "--cni-path", site.cni_path)
        own = ("--config", str(self.folder / "host.toml")) if verb == "createRuntime" else ()
        return [*command("cni_sriov_bond.oci"), verb, *directories, *own, *arguments]

    def left(self) -> list[str]:
        """Return every file of the hook's state: none after all is finished."""
        top = Path(self.site.state_dir)
        return sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir())

    def close(self) -> None:
        """Remove the pins of a test that left some."""
        for file in Path(self.site.directory("netns")).glob("*"):
            pin.remove(str(file))


@contextlib.contextmanager
def host(folder: Path) -> Iterator[Host]:
    """Return a host for the duration of the block."""
    created = Host(folder)
    try:
        yield created
    finally:
        created.close()


class Container:
    """A process in a network namespace of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "100"])
        own = os.stat("/proc/self/ns/net").st_ino
        wait(lambda: os.stat(self.path).st_ino != own)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def path(self) -> str:
        """The path of its namespace while it runs."""
        return f"/proc/{self.pid}/ns/net"

    def state(self, container_id: str = "c1", **keys: Any) -> dict[str, Any]:
        """Return its state as runc writes it at createRuntime."""
        return {"ociVersion": "1.0.2", "id": container_id, "status": "creating", "pid": self.pid, "bundle": "/b", **keys}

    def open(self) -> netns.Netns:
        """Return its namespace, open."""
        return netns.require(self.path)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def container() -> Iterator[Container]:
    """Run a container for the duration of the block."""
    created = Container()
    try:
        yield created
    finally:
        created.kill()


def wait(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# The beginning of a command line that runs a program as a rootless engine does, as far as /proc/self/uid_map says. The kernel
# makes no user namespace for a process in a chroot, as on a fresh machine (user_namespaces(7), EPERM).
ROOTLESS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'map=$(mktemp) && echo "0 1000 1" >$map && mount --bind $map /proc/$$/uid_map && rm $map && exec "$@"',
    "sh",
)
