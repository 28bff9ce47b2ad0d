"""Helpers of the host tests: pools on disk, delegates that are real programs, network namespaces."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.cni.invoke import Delegates
from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Netns, Temporary, own
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import inventory, pool, pools
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import READY, Lease
from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested
from cni_sriov_bond.ports import Bond, VfSettings, VfState
from tests import measured, oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parent.parent
SECONDS = 60
ATTACHMENT = Attachment("net1", "c1", "eth0")
# The variables that GC and STATUS are called without.
NO_VARIABLES: dict[str, str | None] = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), "")
# What can be in the file of a lease or of an inventory instead of one.
DAMAGED = {
    "empty": b"",
    "cut": b'{"version": 1, "bonds": [{"na',
    "zeros": bytes(100),
    "no text": b"\xff\xfe\x00",
    "list": b"[]",
    "other version": b'{"version": 2, "bonds": []}',
    "no owner": b'{"version": 1, "bond": "cbond1", "boot_id": "x", "network": "net1", "container_id": 1}',
}
# A process that holds a lock until its input ends.
_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def bond_entry(number: int) -> dict[str, Any]:
    """Return the n-th bond of an inventory, over NICs that no machine has."""
    return {
        "name": f"cbond{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "ports": [
            {"pci": f"ffff:0{nic}:10.{number % 8}", "name": f"VF{nic}{number}", "pf": f"ffff:0{nic}:00.0", "vf": number - 1}
            for nic in (1, 2)
        ],
    }


def make_pool(state_dir: Path, name: str = "db", size: int = 3) -> pool.Pool:
    """Create a pool on disk, as `sriov-bondctl up` does."""
    target = pool.Pool(str(state_dir), name)
    pools.make_directories(target)
    bonds = [Bond.from_json(bond_entry(number)) for number in range(1, size + 1)]
    inventory.write(target.path, Inventory(name, files.boot_id(), [], bonds))
    return target


def read_inventory(where: pool.Pool) -> dict[str, Any]:
    """Return the document in pool.json."""
    document: dict[str, Any] = json.loads(Path(where.path, inventory.FILE).read_text())
    return document


def change_inventory(where: pool.Pool, **keys: Any) -> None:
    """Change keys of the document in pool.json."""
    Path(where.path, inventory.FILE).write_text(json.dumps({**read_inventory(where), **keys}))


NETNS = NetnsIdentity("/run/netns/gone", 4, 1)


def lease(
    target: pool.Pool,
    container_id: str = "c1",
    network: str = "net1",
    ifname: str = "eth0",
    netns: NetnsIdentity = NETNS,
    delegate: DelegateCall | None = None,
    **values: Any,
) -> Lease:
    """Acquire a bond for an attachment; the caller closes the lease.

    :param values: attributes of the record that an ADD sets later, e.g. ``before`` and ``mac``.
    """
    lease = acquire(target, Attachment(network, container_id, ifname), netns, Requested(), delegate)
    for name, value in values.items():
        setattr(lease.record, name, value)
    if values:
        lease.write(durable=False)
    return lease


def ready(where: pool.Pool, container_id: str, network: str = "net1", ifname: str = "eth0", **record: Any) -> None:
    """Leave a lease that is ready and not locked."""
    taken = lease(where, container_id, network, ifname, **record)
    taken.save(READY)
    taken.close()


def names_of_leases(where: pool.Pool) -> list[str]:
    return sorted(os.listdir(where.leases))


@contextlib.contextmanager
def holder(path: str) -> "Iterator[int]":
    """Run a process that holds a lock until the block ends, and return its pid."""
    command = [sys.executable, "-c", _HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.stdin.close()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def inodes_of(pid: int) -> list[int]:
    """Return the inode of every file that a process has open."""
    inodes = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.append(os.stat(f"/proc/{pid}/fd/{fd}").st_ino)
    return inodes


def vf_state(mac: str = "02:00:00:00:00:01") -> VfState:
    """Return the state of an unused VF."""
    return VfState(1500, mac, mac, VfSettings(vlan=0, spoofchk=1, trust=0))


def context(seconds: float = 110.0, level: str = "warning") -> Context:
    """Return the context of a call, with the environment of this process."""
    return Context(Log(level=level), Deadline(seconds), Delegates(os.environ))


def program(directory: Path, name: str, body: str, interpreter: str = "/bin/sh") -> Path:
    """Write an executable script."""
    path = directory / name
    path.write_text(f"#!{interpreter}\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return path


def contents(directory: Path) -> dict[str, bytes]:
    """Return the content of every file below a directory that is not empty; lock files are, and remain."""
    contents = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return {name: content for name, content in contents.items() if content}


@contextlib.contextmanager
def own_namespace() -> "Iterator[Netns]":
    """Open this process's own network namespace."""
    netns = own()
    try:
        yield netns
    finally:
        netns.close()


class TemporaryNetns:
    """A network namespace with two sockets: the product's, and pyroute2's to prepare it and to check the product."""

    def __init__(self, netns: Netns, ours: Netlink, theirs: "oracle.Route") -> None:
        self.netns = netns
        self.ours = ours
        self.theirs = theirs

    @property
    def path(self) -> str:
        """A path by which other processes can open it while this one runs."""
        return f"/proc/{os.getpid()}/fd/{self.netns.fd}"

    def index(self, name: str) -> int:
        index: int = self.theirs.link_lookup(ifname=name)[0]
        return index

    def show(self, name: str) -> "oracle.Message":
        """Return a device as pyroute2 reads it."""
        return self.theirs.get_links(self.index(name))[0]

    def write(self, path: str, value: str) -> None:
        """Write a sysctl of the namespace."""
        with Entered(self.netns):
            Path("/proc/sys", path).write_text(value)


@contextlib.contextmanager
def temporary_netns(name: str = "the test's namespace") -> "Iterator[TemporaryNetns]":
    """Create a network namespace for the duration of the block."""
    with Temporary() as netns:
        with Entered(netns):
            ours, theirs = Netlink(name), oracle.Route()
        with contextlib.closing(ours), contextlib.closing(theirs):
            yield TemporaryNetns(netns, ours, theirs)


@contextlib.contextmanager
def veth_pair(mtu: int = 1500) -> "Iterator[tuple[TemporaryNetns, TemporaryNetns]]":
    """Create two namespaces connected by a veth pair that is up: `a` in the first, `b` in the second."""
    with temporary_netns("the left namespace") as left, temporary_netns("the right namespace") as right:
        left.theirs.link("add", ifname="a", kind="veth", mtu=mtu, peer={"ifname": "b", "net_ns_fd": right.netns.fd})
        for end, name in ((left, "a"), (right, "b")):
            end.theirs.link("set", index=end.index(name), state="up")
        yield left, right


class Answer(NamedTuple):
    """Exit status and output of a process."""

    status: int
    out: str
    err: str

    def error(self, code: int, version: str = "1.0.0") -> str:
        """Assert that it failed as the contract requires (P3, P4), and return message and details."""
        assert self.status == 1, self
        document = json.loads(self.out)
        assert sorted(document) == ["cniVersion", "code", "details", "msg"]
        assert self.out.endswith("}\n") and self.out.count("\n") == 1
        assert (document["code"], document["cniVersion"]) == (code, version), document
        assert "Traceback" not in self.err and "bug" not in document["msg"]
        return f"{document['msg']} {document['details']}"


class Plugin:
    """The plugin as a runtime uses it: argv, environment, bytes in, bytes out."""

    def __init__(self, argv: list[str], tmp_path: Path) -> None:
        self.argv = argv
        self.state = tmp_path / "state"
        self.cni_path = tmp_path / "bin"
        self.cni_path.mkdir()

    def environ(self, verb: str, changes: dict[str, str | None]) -> dict[str, str]:
        defaults = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/none"}
        defaults["CNI_PATH"] = str(self.cni_path)
        return {key: value for key, value in {**defaults, **changes}.items() if value is not None}

    def config(self, **keys: Any) -> bytes:
        defaults = {"cniVersion": "1.0.0", "name": "net1", "type": "sriov-bond", "pool": "db", "stateDir": str(self.state)}
        return json.dumps({**defaults, **keys}).encode()

    def run(
        self,
        verb: str,
        stdin: bytes | None = None,
        prefix: tuple[str, ...] = (),
        changes: dict[str, str | None] | None = None,
        **environ: str | None,
    ) -> Answer:
        """Run one call; ``changes`` and ``environ`` override the default variables, None removes one."""
        done = subprocess.run(
            [*prefix, *self.argv],
            input=self.config() if stdin is None else stdin,
            capture_output=True,
            env=self.environ(verb, {**(changes or {}), **environ}),
            cwd=REPOSITORY,
            timeout=SECONDS,
            check=False,
        )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def plugin_at(built: Path | None, tmp_path: Path) -> Plugin:
    """Return the plugin of a built tree, or of the sources if there is none."""
    argv = [str(built / "opt/cni/bin/sriov-bond")] if built else measured.command("cni_sriov_bond")
    return Plugin(argv, tmp_path)


def add_device(devices: Path, address: str, name: str = "", driver: str = "", carrier: str = "") -> Path:
    """Create a PCI device in a directory like /sys/bus/pci/devices; without a name it has no network device."""
    path = devices / address
    path.mkdir()
    if name:
        (path / "net" / name).mkdir(parents=True)
    if driver:
        (path / "driver").symlink_to(f"../../bus/pci/drivers/{driver}")
    if carrier:
        (path / "net" / name / "carrier").write_text(f"{carrier}\n")
    return path
