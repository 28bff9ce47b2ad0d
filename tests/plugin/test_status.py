"""STATUS through the whole process: when a pool counts as able to serve."""

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cni_sriov_bond.errors import LIMITED_CONNECTIVITY, NOT_AVAILABLE
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.pool import Pool
from tests.support import NO_VARIABLES, Plugin, change_inventory, make_pool, program, ready

if TYPE_CHECKING:
    from collections.abc import Iterator

NICS = "ip link add enp1s0 type veth peer name enp2s0"


class Machine:
    """The plugin over a tree like that of sysfs, which only it sees, with the NICs in a namespace of its own."""

    def __init__(self, plugin: Plugin, tree: Path) -> None:
        self.plugin = plugin
        self.tree = tree

    def device(self, pci: str, name: str, carrier: str | None = "1") -> None:
        """Add a PCI device with a netdev; with carrier None it is down."""
        path = self.tree / pci / "net" / name
        path.mkdir(parents=True)
        if carrier is not None:
            (path / "carrier").write_text(f"{carrier}\n")

    def status(self, nics: str = NICS, modules: str = "mkdir /sys/module/bonding", **keys: Any) -> Any:
        mounts = f'mount --bind "{self.tree}" /sys/bus/pci/devices; mount -t tmpfs none /sys/module'
        script = f'{nics}; {mounts}; {modules}; exec "$@"'
        stdin = self.plugin.config(cniVersion="1.1.0", **keys)
        prefix = ("unshare", "--mount", "--net", "sh", "-ec", script, "sh")
        return self.plugin.run("STATUS", stdin, prefix, NO_VARIABLES, PATH=os.environ["PATH"])


@pytest.fixture
def machine(plugin: Plugin, tmp_path: Path) -> "Iterator[Machine]":
    """A machine whose pool db has 63 bonds and all their VFs."""
    pool = make_pool(plugin.state, size=63)
    made = Machine(plugin, tmp_path / "devices")
    for nic in (1, 2):
        made.device(f"ffff:0{nic}:00.0", f"enp{nic}s0")
    for bond in pool.bonds():
        for port in bond.ports:
            made.device(port.address, port.name, None)
    yield made


@pytest.mark.root
def test_status_of_a_pool_that_can_serve_is_silent_and_forwarded(machine: Machine, tmp_path: Path) -> None:
    """The delegate is asked with our bytes; one NIC without carrier is no reason to stop (P1, S2, S5, S6)."""
    program(machine.plugin.cni_path, "ipam", f"echo $CNI_COMMAND >{tmp_path}/said; echo noise")
    (machine.tree / "ffff:01:00.0/net/enp1s0/carrier").write_text("0\n")
    before = sorted((path, path.stat().st_mtime_ns) for path in machine.plugin.state.rglob("*"))
    answer = machine.status(ipam={"type": "ipam"})
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert (tmp_path / "said").read_text() == "STATUS\n"
    assert sorted((path, path.stat().st_mtime_ns) for path in machine.plugin.state.rglob("*")) == before


@pytest.mark.root
def test_status_in_a_namespace_without_the_nics(machine: Machine) -> None:
    """sysfs shows them there too, but an ADD would fail (S2)."""
    assert "the NIC at ffff:01:00.0 has no network device here" in machine.status(nics=":").error(NOT_AVAILABLE, "1.1.0")


@pytest.mark.root
def test_status_without_a_bonding_driver(machine: Machine, tmp_path: Path) -> None:
    """Attached containers have their bonds. A driver that is not loaded but could be is loaded by the first ADD (S3)."""
    sysctls = tmp_path / "kernel"
    (sysctls / "random").mkdir(parents=True)
    shutil.copy("/proc/sys/kernel/random/boot_id", sysctls / "random")
    (sysctls / "modprobe").write_text(f"{tmp_path}/modprobe\n")
    modules = f'mount --bind "{sysctls}" /proc/sys/kernel'
    program(tmp_path, "modprobe", "exit 1")
    words = "the kernel has no bonding driver; run `modprobe bonding max_bonds=0`"
    assert words in machine.status(modules=modules).error(NOT_AVAILABLE, "1.1.0")
    program(tmp_path, "modprobe", "exit 0")
    assert machine.status(modules=modules).status == 0


@pytest.mark.root
def test_status_reports_what_the_pool_lacks(machine: Machine) -> None:
    """Each cause has its code and message: 51 where attached containers are affected too (S3, S4)."""
    pool = Pool(str(machine.plugin.state), "db")
    assert "failed to find plugin" in machine.status(ipam={"type": "nowhere"}).error(NOT_AVAILABLE, "1.1.0")
    assert "not provisioned" in machine.status(pool="web").error(NOT_AVAILABLE, "1.1.0")
    assert "there is none" in machine.status(pool=None, stateDir="/none").error(NOT_AVAILABLE, "1.1.0")
    for nic in (1, 2):
        (machine.tree / f"ffff:0{nic}:00.0/net/enp{nic}s0/carrier").unlink()
    assert "no NIC has carrier" in machine.status().error(LIMITED_CONNECTIVITY, "1.1.0")
    (machine.tree / "ffff:02:00.0").rename(machine.tree / "ffff:03:00.0")
    assert "the NIC at ffff:02:00.0 has no network device" in machine.status().error(LIMITED_CONNECTIVITY, "1.1.0")
    change_inventory(pool, boot_id="another")
    assert "before this boot; run `sriov-bondctl up`" in machine.status().error(NOT_AVAILABLE, "1.1.0")
    Path(pool.path, "pool.json").write_text("{")
    assert "is damaged" in machine.status().error(NOT_AVAILABLE, "1.1.0")


@pytest.mark.root
def test_status_of_an_empty_pool(machine: Machine) -> None:
    """All bonds leased is 50, but not where an ADD would release one; a free bond must have its VFs in the host (S4)."""
    pool = Pool(str(machine.plugin.state), "db")
    for bond in pool.bonds():
        ready(pool, bond.name)
    assert "all 63 bonds are leased" in machine.status().error(NOT_AVAILABLE, "1.1.0")
    entry = pool.entries()[0]
    taken = pool.take(entry)
    assert taken
    taken.record.boot_id = "another"
    taken.save(READY)
    assert machine.status().status == 0
    taken.erase()
    taken.close()
    assert machine.status().status == 0
    [free] = [bond for bond in pool.bonds() if bond.name == entry.bond]
    shutil.rmtree(machine.tree / free.ports[0].address)
    assert "the VFs of its 1 free bonds are not in the host" in machine.status().error(NOT_AVAILABLE, "1.1.0")


@pytest.mark.root
def test_a_delegates_status_is_returned(machine: Machine) -> None:
    """Its error is returned unchanged (S5)."""
    program(machine.plugin.cni_path, "ipam", """echo '{"code":50,"msg":"no address","details":"d"}'; exit 1""")
    assert machine.status(ipam={"type": "ipam"}).error(50, "1.1.0") == "no address d"


@pytest.mark.root
def test_status_is_quick_with_63_bonds(machine: Machine) -> None:
    """Runtimes call STATUS twice a second; at most 62 leases are read."""
    pool = Pool(str(machine.plugin.state), "db")
    for bond in pool.bonds()[:62]:
        ready(pool, bond.name)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        assert machine.status().status == 0
        taken.append(time.perf_counter() - began)
    print(f"\nSTATUS of 63 bonds, {machine.plugin.argv[0]}: {statistics.median(taken) * 1000:.1f} ms")
    if len(machine.plugin.argv) == 1:
        assert min(taken) < 0.1
