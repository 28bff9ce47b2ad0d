"""The sandbox of hostile calls: they cannot change the machine, and every change inside the sandbox is seen.

A worker has its own mount and network namespaces. All file systems in them are read-only except a few in memory, the
executables are below /run/product, and sysfs shows NICs without VFs. So a write elsewhere fails, and an ADD proceeds until it
asks a NIC for its VFs.
"""

import ctypes
import json
import os
import shutil
import stat
from pathlib import Path

from cni_sriov_bond import files
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Temporary
from cni_sriov_bond.pool import inventory, pool, pools
from cni_sriov_bond.pool.acquisition import acquire
from cni_sriov_bond.pool.inventory import Inventory
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested
from cni_sriov_bond.ports import Bond, VfSettings
from tests import oracle
from tests.fuzz import samples
from tests.support import bond_entry

PRODUCT = "/run/product"
_ROOT = Path("/run/fuzz")
_MEMORY = ("/run", "/tmp", "/var/tmp", "/var/lib/cni", "/dev/shm")
_IGNORED = (PRODUCT, "/run/devices", "/run/netns")
_KERNELS = ("proc", "sysfs", "devpts", "devtmpfs", "cgroup", "cgroup2", "mqueue", "nsfs")
_BIND, _REC, _PRIVATE, _RDONLY, _REMOUNT = 0x1000, 0x4000, 0x40000, 1, 0x20
_NEWNS, _NEWNET = 0x20000, 0x40000000
_FREE_BOND = 4
_PF_NAMES = ("enp1s0", "enp2s0")
_libc = ctypes.CDLL(None, use_errno=True)

# The contents by path: of a file its bytes, None for a directory, and else the file type.
Tree = dict[str, bytes | None]


def _call(function: str, *arguments: object) -> None:
    converted = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
    if getattr(_libc, function)(*converted) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise RuntimeError(f"cannot create the sandbox: {function}{arguments}: {reason}; run as root")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    _call("mount", source, target, kind or None, ctypes.c_ulong(flags), options or None)


class Sandbox:
    """The namespaces of a worker. It enters them here, and stays in them."""

    def __init__(self, product: Path) -> None:
        _call("unshare", _NEWNS | _NEWNET)
        _mount("none", "/", flags=_REC | _PRIVATE)
        product_fd = os.open(product, os.O_RDONLY | os.O_DIRECTORY)  # a mount below may cover its path
        for path in _MEMORY:
            os.makedirs(path, exist_ok=True)
            _mount("fuzz", path, "tmpfs", options="mode=755,size=256m")
        for path in (PRODUCT, "/run/devices", "/run/netns", str(_ROOT)):
            os.mkdir(path)
        _mount(f"/proc/self/fd/{product_fd}", PRODUCT, flags=_BIND)
        os.close(product_fd)
        self._make_nics()
        self._make_box()
        self._make_read_only()
        os.makedirs(_ROOT / "cwd")
        os.chdir(_ROOT / "cwd")
        self._ours = Netlink()
        self._trees: dict[str, Tree] = {}

    def _make_nics(self) -> None:
        with oracle.Route() as route:
            for name in _PF_NAMES:
                route.link("add", ifname=name, kind="ifb")
        for nic, name in enumerate(_PF_NAMES, 1):
            path = Path(f"/run/devices/ffff:0{nic}:00.0/net", name)
            path.mkdir(parents=True)
            (path / "carrier").write_text("1\n")
        for port in bond_entry(_FREE_BOND)["ports"]:  # the VFs of the other bonds are in containers
            Path("/run/devices", port["pci"], "net", port["name"]).mkdir(parents=True)
        _mount("/run/devices", "/sys/bus/pci/devices", flags=_BIND)

    def _make_box(self) -> None:
        """Create the container's network namespace, bound to a path below /run/netns."""
        Path(samples.BOX).touch()
        with Temporary() as netns:
            _mount(f"/proc/self/fd/{netns.fd}", samples.BOX, flags=_BIND)
            with Entered(netns):
                self._box = Netlink("the box")
            self.box_id = [netns.dev, netns.ino]

    def _make_read_only(self) -> None:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            path, kind = before.split()[4], after.split()[0]
            path = path.replace("\\040", " ")
            covered = not os.path.ismount(path)  # by the sandbox's /run, e.g. the machine's /run/netns
            if path not in _MEMORY and path != samples.BOX and kind not in _KERNELS and not covered:
                _mount("none", path, flags=_BIND | _REMOUNT | _RDONLY)

    def reset(self, world: str) -> Tree:
        """Restore the initial state of a world, and return its files."""
        tree = self._trees.get(world)
        if tree is not None and self.tree() == tree:
            return tree
        for path in _MEMORY:
            for entry in os.scandir(path):
                if entry.path not in (*_IGNORED, str(_ROOT)):
                    _remove(entry.path)
        for entry in os.scandir(_ROOT):
            if entry.name != "cwd":
                _remove(entry.path)
        for entry in os.scandir(_ROOT / "cwd"):
            _remove(entry.path)
        self._fill(world)
        self._trees[world] = self.tree()
        return self._trees[world]

    def _fill(self, world: str) -> None:
        os.mkdir(samples.BIN)
        (_ROOT / "file").write_text("x")
        (_ROOT / "resolv.conf").write_text("nameserver 10.0.0.1\nsearch a b\n# c\noptions ndots:2\n")
        os.mkfifo(_ROOT / "fifo")
        os.symlink("loop", _ROOT / "loop")
        _fill_addresses()
        if world != "empty":
            _fill_pool(world, self.box_id)

    def tree(self) -> Tree:
        """Return everything on the writable file systems."""
        tree: Tree = {}
        for path in _MEMORY:
            _read_tree(path, tree)
        return tree

    def links(self) -> list[tuple[int, str, str, bool, int]]:
        """Return every network device of host and container."""
        links = self._ours.links() + self._box.links()
        return [(link.index, link.name, link.mac, link.up, link.mtu) for link in links]


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _read_tree(path: str, tree: Tree) -> None:
    for entry in os.scandir(path):
        if entry.path in _IGNORED:
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            tree[entry.path] = None
            _read_tree(entry.path, tree)
        elif stat.S_ISREG(mode):
            with open(entry.path, "rb") as file:
                tree[entry.path] = file.read(1 << 21)
        else:
            tree[entry.path] = str(stat.S_IFMT(mode)).encode()


def _fill_pool(world: str, box: list[int]) -> None:
    """Create pool db of four bonds (three in the world "full") and its leases.

    One lease is of a container that was removed, one of an existing container in another network, and in the world
    "full" there is a third one.
    """
    target = pool.Pool(samples.STATE, "db")
    pools.make_directories(target)
    bonds = [bond_entry(number) for number in range(1, _FREE_BOND + (world != "full"))]
    made = Inventory("db", files.boot_id(), [], [Bond.from_json(bond) for bond in bonds])
    inventory.write(target.path, made)
    existing = NetnsIdentity(samples.BOX, *box)
    holders = [("net1", "c1", NetnsIdentity("/run/netns/gone", 4, 1)), ("net2", "c2", existing)]
    if world == "full":
        holders.append(("net1", "c3", existing))
    for network, container_id, netns in holders:
        environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": container_id, "CNI_IFNAME": "eth0", "CNI_PATH": samples.BIN}
        config = json.dumps({"cniVersion": "1.0.0", "name": network, "ipam": {"type": "odd"}})
        requested = Requested({"mode": 2}, VfSettings(vlan=100), 1500)
        delegate = DelegateCall("odd", environ, config)
        lease = acquire(target, Attachment(network, container_id, "eth0"), netns, requested, delegate)
        lease.record.mac = "02:00:00:00:00:01"
        lease.record.port_macs = {port.address: lease.record.mac for port in lease.record.ports}
        lease.save(READY)
        lease.close()
    if world == "damaged":
        Path(target.leases, f"cbond3.{'0' * 32}.ready").write_bytes(b'{"version":1,')
        Path(samples.STATE, "web").mkdir()
        Path(samples.STATE, "web/pool.json").write_bytes(b"\xff{")


def _fill_addresses() -> None:
    directory = Path(samples.DATA, "net1")
    directory.mkdir(parents=True)
    for address, owner in (
        ("10.1.0.2", "c1\r\neth0"),
        ("10.1.0.15", "c9\r\neth0"),
        ("fd00:1::2", "c1\r\neth0"),
        ("10.2.0.2", "old"),
    ):
        (directory / address).write_bytes(owner.encode())
