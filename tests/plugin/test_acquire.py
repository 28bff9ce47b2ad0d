"""How an ADD acquires a bond, and what it reports when it gets none."""

import os
import sys
from pathlib import Path

import pytest

from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE, POOL_UNUSABLE, TRY_AGAIN_LATER
from cni_sriov_bond.pool.lease import READY
from cni_sriov_bond.pool.record import DelegateCall
from tests.support import Answer, Plugin, contents, lease, make_pool, program, ready, temporary_netns


@pytest.mark.root
def test_an_add_to_an_unknown_pool_names_the_others(plugin: Plugin, state: Path) -> None:
    """The error has the name, the existing pools, and the command that creates one."""
    with temporary_netns() as container:
        words = plugin.run("ADD", plugin.config(pool="web"), CNI_NETNS=container.path).error(POOL_UNUSABLE)
    for part in ("pool 'web' is not provisioned", "there is db", "sriov-bondctl up"):
        assert part in words


@pytest.mark.root
def test_a_network_without_a_pool_needs_a_single_pool(plugin: Plugin, state: Path) -> None:
    """With several pools, or none, a network must name its pool."""
    with temporary_netns() as container:
        nowhere = plugin.config(pool=None, stateDir="/none")
        assert "there is none; run" in plugin.run("ADD", nowhere, CNI_NETNS=container.path).error(POOL_UNUSABLE)
        other = make_pool(plugin.state, "web")
        words = plugin.run("ADD", plugin.config(pool=None), CNI_NETNS=container.path).error(POOL_UNUSABLE)
        assert "names no pool, and there are db, web" in words
    for path in (f"{other.path}/pool.json", other.leases, f"{other.path}/bonds", other.path):
        Path(path).rmdir() if Path(path).is_dir() else Path(path).unlink()


@pytest.mark.root
@pytest.mark.parametrize("content", [None, b"", b"{", b'{"version":1,"bonds":[5]}', b"\xff"])
def test_an_add_without_a_usable_inventory_says_what_to_run(plugin: Plugin, content: bytes | None) -> None:
    """The error names the file and the command that writes it again (contract 4, 46); a DEL succeeds (D11)."""
    pool = make_pool(plugin.state)
    inventory = Path(pool.path, "pool.json")
    inventory.unlink()
    if content is not None:
        inventory.write_bytes(content)
    before = contents(plugin.state)
    with temporary_netns() as container:
        assert "sriov-bondctl up" in plugin.run("ADD", CNI_NETNS=container.path).error(POOL_UNUSABLE)
    assert plugin.run("DEL") == Answer(0, "", "")
    assert contents(plugin.state) == before


@pytest.mark.root
def test_a_leased_device_is_refused_with_its_owner(plugin: Plugin) -> None:
    """A bond may be requested by its name or a VF's address; an unknown one is an error, and nothing is leased."""
    pool = make_pool(plugin.state, size=2)
    taken = lease(pool, "first")
    taken.save("ready")
    taken.close()
    before = contents(plugin.state)
    with temporary_netns() as container:
        for wish in ("cbond1", "ffff:01:10.1"):
            stdin = plugin.config(runtimeConfig={"DeviceID": wish})
            words = plugin.run("ADD", stdin, CNI_NETNS=container.path).error(TRY_AGAIN_LATER)
            assert "bond cbond1 of pool db, which deviceID asks for, is leased to first eth0" in words
        stdin = plugin.config(deviceID="cbond9")
        assert "deviceID 'cbond9' is neither a bond" in plugin.run("ADD", stdin, CNI_NETNS=container.path).error(INVALID_CONFIG)
    assert contents(plugin.state) == before


@pytest.mark.root
def test_a_primary_that_is_no_port_is_refused_and_the_bond_is_free(plugin: Plugin, state: Path) -> None:
    """It is looked up in the bond that is leased, before anything moves (A5)."""
    with temporary_netns() as container:
        stdin = plugin.config(mode="active-backup", primary="C")
        words = plugin.run("ADD", stdin, CNI_NETNS=container.path).error(INVALID_CONFIG)
    assert "primary 'C' is not a port of bond cbond1; it may be A, B, VF11, VF21" in words


@pytest.mark.root
def test_more_links_than_ports_are_refused_and_the_bond_is_free(plugin: Plugin, state: Path) -> None:
    """The kernel takes the number, and the bond would never be up."""
    with temporary_netns() as container:
        words = plugin.run("ADD", plugin.config(min_links=3), CNI_NETNS=container.path).error(INVALID_CONFIG)
    assert "min_links 3 is above the 2 ports of bond cbond1; lower min_links" in words


@pytest.mark.root
def test_missing_vfs_are_reported_and_the_bond_is_free(plugin: Plugin, state: Path) -> None:
    """An ADD that fails after it has leased a bond releases it: the state directory is as before (A5)."""
    with temporary_netns() as container:
        words = plugin.run("ADD", CNI_NETNS=container.path).error(POOL_UNUSABLE)
        assert [link.name for link in container.ours.links()] == ["lo"]
    assert "the NIC at ffff:01:00.0 has no network device" in words


@pytest.mark.root
def test_an_empty_pool_names_the_owners(plugin: Plugin) -> None:
    """One ADD more than there are bonds gets an error that names the owners, with the code for "try again" (A6)."""
    pool = make_pool(plugin.state, size=2)
    for container_id in ("first", "second"):
        taken = lease(pool, container_id)
        taken.save("ready")
        taken.close()
    before = contents(plugin.state)
    with temporary_netns() as container:
        words = plugin.run("ADD", CNI_NETNS=container.path).error(TRY_AGAIN_LATER)
    for part in ("pool db is empty: all 2 bonds are leased", "cbond1 by first eth0", "cbond2 by second eth0"):
        assert part in words
    assert contents(plugin.state) == before


@pytest.mark.root
@pytest.mark.parametrize(
    ("left", "code"), [("ready", POOL_UNUSABLE), ("draining", TRY_AGAIN_LATER), ("pending", TRY_AGAIN_LATER)]
)
def test_a_lease_or_pending_del_in_another_pool_is_refused(plugin: Plugin, left: str, code: int) -> None:
    """Its network may have named that pool before; a late DEL there would free the address that it gets here (A3)."""
    make_pool(plugin.state)
    program(plugin.cni_path, "ipam", "exit 3")
    delegate = DelegateCall("ipam", {"CNI_PATH": str(plugin.cni_path)}, "{}")
    taken = lease(make_pool(plugin.state, "other"), delegate=delegate, addresses=["10.0.0.5/24"])
    if left == "pending":
        taken.make_pending()
    else:
        taken.save(left)
    taken.close()
    with temporary_netns() as container:
        answer = plugin.run("ADD", CNI_NETNS=container.path)
    assert "container c1 interface eth0" in answer.error(code)


@pytest.mark.root
def test_a_read_only_state_directory_is_reported(plugin: Plugin, state: Path) -> None:
    """On a read-only file system ADD says which file it could not open, and why."""
    script = f'mount --bind "{plugin.state}" "{plugin.state}" && mount -o remount,bind,ro "{plugin.state}" && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-ec", script, "sh")
    with temporary_netns() as container:
        words = plugin.run("ADD", prefix=prefix, CNI_NETNS=container.path, PATH=os.environ["PATH"]).error(IO_FAILURE)
    assert f"{plugin.state}/db/" in words
    assert "Read-only file system" in words


@pytest.mark.root
def test_without_root_an_add_fails_before_it_leases(plugin: Plugin) -> None:
    """Without root's capabilities ADD fails before it leases a bond, and the error says what failed.

    The user stays, for another one could not even read a checkout in root's home.
    """
    make_pool(plugin.state)
    prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    before = contents(plugin.state)
    with temporary_netns() as container:
        script = ("sh", "-ec", 'exec 9<"$CNI_NETNS"; export CNI_NETNS=/proc/self/fd/9; exec "$@"', "sh", *prefix)
        answer = plugin.run("ADD", prefix=script, CNI_NETNS=container.path, PATH=os.environ["PATH"])
    words = answer.error(IO_FAILURE)
    assert "Operation not permitted" in words and "run as root" in words
    assert contents(plugin.state) == before


# Prints the plugin's modules that a call has loaded.
LOADED = """
import sys
from cni_sriov_bond.__main__ import main
status = main()
print(*(name.removeprefix("cni_sriov_bond.") for name in sys.modules), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.root
@pytest.mark.parametrize("unfinished", [False, True], ids=["nothing to finish", "an interrupted ADD"])
def test_an_add_loads_recovery_only_where_there_is_something_to_finish(tmp_path: Path, unfinished: bool) -> None:
    """Each module costs a call 130,000 instructions and more. This ADD leases a bond, and then its config is refused."""
    plugin = Plugin([sys.executable, "-c", LOADED], tmp_path)
    pool = make_pool(plugin.state)
    if unfinished:
        lease(pool, "interrupted").close()
    ready(pool, "running")
    with temporary_netns() as container:
        answer = plugin.run("ADD", plugin.config(mode="active-backup", primary="C"), CNI_NETNS=container.path)
    assert "primary 'C' is not a port of bond" in answer.out
    late = {"plugin.recover", "plugin.release", "pool.quarantine", "pool.shortage", "pool.pools"}
    assert late & set(answer.err.split()) == ({"plugin.recover", "plugin.release"} if unfinished else set())
    assert [entry.state for entry in pool.entries()] == [READY]
