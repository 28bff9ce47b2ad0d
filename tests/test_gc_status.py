"""GC and STATUS through the whole process: what is freed, what is left alone, and when the pool is said to serve."""

import json
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cni_sriov_bond.errors import INVALID_CONFIG, LIMITED_CONNECTIVITY, NOT_AVAILABLE
from cni_sriov_bond.pool import pool
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import DelegateCall, NetnsIdentity
from tests.support import Plugin, change_inventory, lease, make_pool, plugin_at, program, temporary_netns

if TYPE_CHECKING:
    from collections.abc import Iterator

VALID = "cni.dev/valid-attachments"
NO_VARIABLES: dict[str, str | None] = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"), "")


@pytest.fixture(params=["module", pytest.param("frozen", marks=pytest.mark.frozen)])
def plugin(request: pytest.FixtureRequest, tmp_path: Path) -> Plugin:
    """The plugin from the sources, and as it is built."""
    return plugin_at(None if request.param == "module" else request.getfixturevalue("frozen"), tmp_path)


def ready(where: pool.Pool, container_id: str, network: str = "net1", ifname: str = "eth0", **record: Any) -> None:
    taken = lease(where, container_id, network, ifname, **record)
    taken.save(READY)
    taken.close()


def holders(where: pool.Pool) -> list[tuple[str, str]]:
    """Give (network, container) of every lease."""
    records = [where.read(entry) for entry in where.entries()]
    return sorted(
        (record.attachment.network, record.attachment.container_id) for record in records if record and record.attachment
    )


# -- GC


@pytest.mark.parametrize("key", [VALID, "cni.dev/attachments"])
@pytest.mark.parametrize("kept", [[], None, [{"containerID": "b", "ifname": "eth0"}, {"containerID": "x", "ifname": "eth0"}]])
def test_gc_frees_what_is_not_listed_and_no_other_networks(plugin: Plugin, key: str, kept: list[Any] | None) -> None:
    """Null is an empty list, a list may have more than there is, and only this network is looked at (G2, G3, G5, G6)."""
    where = make_pool(plugin.state, size=4)
    other = make_pool(plugin.state, "web", size=1)
    for container_id in ("a", "b"):
        ready(where, container_id)
    ready(where, "a", "net2")
    ready(other, "c")
    answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", **{key: kept}), changes=NO_VARIABLES)
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert holders(where) == ([("net1", "b")] if kept else []) + [("net2", "a")]
    assert holders(other) == []


def test_gc_tells_interfaces_of_one_container_apart(plugin: Plugin) -> None:
    """An attachment is a container and an interface (G2)."""
    where = make_pool(plugin.state)
    ready(where, "a", ifname="eth0")
    ready(where, "a", ifname="eth1")
    plugin.run("GC", plugin.config(cniVersion="1.1.0", **{VALID: [{"containerID": "a", "ifname": "eth1"}]}))
    assert [record.owner for entry in where.entries() if (record := where.read(entry))] == ["a eth1"]


@pytest.mark.root
def test_gc_without_a_list_frees_only_what_is_gone(plugin: Plugin) -> None:
    """Nobody said who lives: a lease whose namespace is there stays, and one whose path leads elsewhere goes (G4)."""
    where = make_pool(plugin.state)
    with temporary_netns() as container:
        here = NetnsIdentity(container.path, container.netns.dev, container.netns.ino)
        ready(where, "alive", netns=here)
        ready(where, "replaced", netns=NetnsIdentity(container.path, 4, 1))
        ready(where, "gone")
        assert plugin.run("GC", plugin.config(cniVersion="1.1.0"), changes=NO_VARIABLES).status == 0
    assert holders(where) == [("net1", "alive")]


@pytest.mark.parametrize("given", [{}, "x", [5], [{"containerID": "a"}], [{"containerID": "a", "ifname": 0}]])
def test_gc_frees_nothing_by_a_list_that_it_does_not_understand(plugin: Plugin, given: Any) -> None:
    """A wrong type anywhere in the list, and everything stays (G8)."""
    where = make_pool(plugin.state)
    ready(where, "a")
    program(plugin.cni_path, "ipam", "touch called")
    answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"}, **{VALID: given}))
    assert VALID in answer.error(INVALID_CONFIG, "1.1.0")
    assert holders(where) == [("net1", "a")]


@pytest.mark.parametrize("wrong", [5, "x", [5]])
def test_gc_checks_both_lists_and_keeps_what_either_has(plugin: Plugin, wrong: Any) -> None:
    """By one list nothing is freed that the other has, nor by a good list beside a bad one (G8)."""
    where = make_pool(plugin.state)
    for container_id in ("a", "b", "c"):
        ready(where, container_id)
    kept = {"cni.dev/attachments": [{"containerID": "b", "ifname": "eth0"}], VALID: [{"containerID": "a", "ifname": "eth0"}]}
    for older, newer in ((wrong, kept[VALID]), (kept["cni.dev/attachments"], wrong)):
        answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", **{"cni.dev/attachments": older, VALID: newer}))
        assert "attachments" in answer.error(INVALID_CONFIG, "1.1.0")
        assert len(holders(where)) == 3
    assert plugin.run("GC", plugin.config(cniVersion="1.1.0", **kept)).status == 0
    assert holders(where) == [("net1", "a"), ("net1", "b")]


def test_gc_goes_on_after_a_failure_and_tells_all(plugin: Plugin, tmp_path: Path) -> None:
    """Every lease is tried, the delegate is asked at the end, and each failure is in the error (G7, G9)."""
    where = make_pool(plugin.state)
    for number in (1, 2):
        delegate = DelegateCall(f"missing{number}", {"CNI_PATH": str(plugin.cni_path)}, "{}")
        ready(where, f"c{number}", delegate=delegate)
    ready(where, "c3")
    script = f'echo $CNI_COMMAND >>{tmp_path}/said; cat >>{tmp_path}/said; echo \'{{"code":105,"msg":"the third"}}\'; exit 1'
    program(plugin.cni_path, "ipam", script)
    stdin = plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"}, **{VALID: []})
    words = plugin.run("GC", stdin, PATH=os.environ["PATH"]).error(INVALID_CONFIG, "1.1.0")
    for part in ("missing1", "missing2", "the third"):
        assert part in words
    assert (tmp_path / "said").read_bytes() == b"GC\n" + stdin
    assert holders(where) == []


def test_gc_leaves_alone_what_another_process_works_on(plugin: Plugin) -> None:
    """An ADD or DEL under way is not waited for, and is no failure."""
    where = make_pool(plugin.state)
    busy = lease(where, "busy")
    answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", **{VALID: []}))
    busy.close()
    assert (answer.status, answer.out) == (0, "")
    assert "left alone" in answer.err
    assert holders(where) == [("net1", "busy")]


def test_gc_keeps_the_address_of_a_bond_that_is_not_home(plugin: Plugin, tmp_path: Path) -> None:
    """The delegate is told of the attachment as if the runtime had listed it: its VFs, with the address, are out there yet."""
    where = make_pool(plugin.state)
    busy = lease(where, "busy")
    program(plugin.cni_path, "ipam", f"cat >{tmp_path}/said")
    for kept, said in (
        ([], [("busy", "eth0")]),
        (None, [("busy", "eth0")]),
        ([{"containerID": "x", "ifname": "y"}], [("x", "y"), ("busy", "eth0")]),
    ):
        stdin = plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"}, **{VALID: kept})
        assert plugin.run("GC", stdin, PATH=os.environ["PATH"]).status == 0
        heard = json.loads((tmp_path / "said").read_bytes())
        assert [(one["containerID"], one["ifname"]) for one in heard.pop(VALID)] == said
        asked = json.loads(stdin)
        del asked[VALID]
        assert heard == asked
    plain = plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"})
    assert plugin.run("GC", plain, PATH=os.environ["PATH"]).status == 0
    assert (tmp_path / "said").read_bytes() == plain, "without a list there is nothing to add to"
    busy.close()


def test_gc_where_nothing_was_ever_provisioned_is_done(plugin: Plugin) -> None:
    """No state directory, nothing to free."""
    assert plugin.run("GC", plugin.config(cniVersion="1.1.0", pool=None)).status == 0


# -- STATUS


class Machine:
    """The plugin over a tree like that of sysfs, which only it sees, with the NICs in a namespace of its own."""

    def __init__(self, plugin: Plugin, tree: Path) -> None:
        self.plugin = plugin
        self.tree = tree

    def device(self, pci: str, name: str, carrier: str | None = "1") -> None:
        """Have a PCI device with a netdev; without carrier None it is as one that is down."""
        path = self.tree / pci / "net" / name
        path.mkdir(parents=True)
        if carrier is not None:
            (path / "carrier").write_text(f"{carrier}\n")

    def status(self, nics: str = "ip link add enp1s0 type veth peer name enp2s0", **keys: Any) -> Any:
        script = f'{nics}; mount --bind "{self.tree}" /sys/bus/pci/devices; exec "$@"'
        stdin = self.plugin.config(cniVersion="1.1.0", **keys)
        prefix = ("unshare", "--mount", "--net", "sh", "-ec", script, "sh")
        return self.plugin.run("STATUS", stdin, prefix, NO_VARIABLES, PATH=os.environ["PATH"])


@pytest.fixture
def machine(plugin: Plugin, tmp_path: Path) -> "Iterator[Machine]":
    """A machine whose pool db of 63 bonds is whole."""
    where = make_pool(plugin.state, size=63)
    made = Machine(plugin, tmp_path / "devices")
    for nic in (1, 2):
        made.device(f"ffff:0{nic}:00.0", f"enp{nic}s0")
    for bond in where.bonds():
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
def test_status_tells_what_the_pool_lacks(machine: Machine) -> None:
    """Each want has its code and its words: 51 where containers that are attached suffer too (S3, S4)."""
    where = pool.Pool(str(machine.plugin.state), "db")
    assert "failed to find plugin" in machine.status(ipam={"type": "nowhere"}).error(NOT_AVAILABLE, "1.1.0")
    assert "not provisioned" in machine.status(pool="web").error(NOT_AVAILABLE, "1.1.0")
    assert "there is none" in machine.status(pool=None, stateDir="/none").error(NOT_AVAILABLE, "1.1.0")
    for nic in (1, 2):
        (machine.tree / f"ffff:0{nic}:00.0/net/enp{nic}s0/carrier").unlink()
    assert "no NIC has carrier" in machine.status().error(LIMITED_CONNECTIVITY, "1.1.0")
    (machine.tree / "ffff:02:00.0").rename(machine.tree / "ffff:03:00.0")
    assert "the NIC at ffff:02:00.0 has no network device" in machine.status().error(LIMITED_CONNECTIVITY, "1.1.0")
    change_inventory(where, boot_id="another")
    assert "before this boot; run `sriov-bondctl up`" in machine.status().error(NOT_AVAILABLE, "1.1.0")
    Path(where.path, "pool.json").write_text("{")
    assert "is damaged" in machine.status().error(NOT_AVAILABLE, "1.1.0")


@pytest.mark.root
def test_status_of_an_empty_pool(machine: Machine) -> None:
    """All bonds leased is 50, but not where an ADD would take one back; a free bond must have its VFs in the host (S4)."""
    where = pool.Pool(str(machine.plugin.state), "db")
    for bond in where.bonds():
        ready(where, bond.name)
    assert "all 63 bonds are leased" in machine.status().error(NOT_AVAILABLE, "1.1.0")
    entry = where.entries()[0]
    taken = where.take(entry)
    assert taken
    taken.record.boot_id = "another"
    taken.save(READY)
    assert machine.status().status == 0
    taken.erase()
    taken.close()
    assert machine.status().status == 0
    [free] = [bond for bond in where.bonds() if bond.name == entry.bond]
    shutil.rmtree(machine.tree / free.ports[0].address)
    assert "the VFs of its 1 free bonds are not in the host" in machine.status().error(NOT_AVAILABLE, "1.1.0")


@pytest.mark.root
def test_a_delegates_status_is_ours(machine: Machine) -> None:
    """What it says is passed on as it is (S5)."""
    program(machine.plugin.cni_path, "ipam", """echo '{"code":50,"msg":"no address","details":"d"}'; exit 1""")
    assert machine.status(ipam={"type": "ipam"}).error(50, "1.1.0") == "no address d"


@pytest.mark.root
def test_status_is_quick_with_63_bonds(machine: Machine) -> None:
    """Runtimes ask twice a second; 62 leases are the most that is looked at."""
    where = pool.Pool(str(machine.plugin.state), "db")
    for bond in where.bonds()[:62]:
        ready(where, bond.name)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        assert machine.status().status == 0
        taken.append(time.perf_counter() - began)
    print(f"\nSTATUS of 63 bonds, {machine.plugin.argv[0]}: {statistics.median(taken) * 1000:.1f} ms")
    if len(machine.plugin.argv) == 1:
        assert min(taken) < 0.1
