"""GC through the whole process: what is released, and what is left alone."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import INVALID_CONFIG, IO_FAILURE
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import DelegateCall, NetnsIdentity
from tests.support import NO_VARIABLES, Plugin, lease, make_pool, program, ready, temporary_netns

VALID = "cni.dev/valid-attachments"


def holders(pool: Pool) -> list[tuple[str, str]]:
    """Return (network, container) of every lease."""
    records = [pool.read(entry) for entry in pool.entries()]
    return sorted(
        (record.attachment.network, record.attachment.container_id) for record in records if record and record.attachment
    )


@pytest.mark.parametrize("key", [VALID, "cni.dev/attachments"])
@pytest.mark.parametrize("kept", [[], None, [{"containerID": "b", "ifname": "eth0"}, {"containerID": "x", "ifname": "eth0"}]])
def test_gc_frees_what_is_not_listed_and_no_other_networks(plugin: Plugin, key: str, kept: list[Any] | None) -> None:
    """Null is an empty list, a list may have more than there is, and only this network is looked at (G2, G3, G5, G6)."""
    pool = make_pool(plugin.state, size=4)
    other = make_pool(plugin.state, "web", size=1)
    for container_id in ("a", "b"):
        ready(pool, container_id)
    ready(pool, "a", "net2")
    ready(other, "c")
    answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", **{key: kept}), changes=NO_VARIABLES)
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert holders(pool) == ([("net1", "b")] if kept else []) + [("net2", "a")]
    assert holders(other) == []


def test_gc_distinguishes_interfaces_of_one_container(plugin: Plugin) -> None:
    """An attachment is a container and an interface (G2)."""
    pool = make_pool(plugin.state)
    ready(pool, "a", ifname="eth0")
    ready(pool, "a", ifname="eth1")
    plugin.run("GC", plugin.config(cniVersion="1.1.0", **{VALID: [{"containerID": "a", "ifname": "eth1"}]}))
    assert [record.owner for entry in pool.entries() if (record := pool.read(entry))] == ["a eth1"]


@pytest.mark.root
def test_gc_without_a_list_frees_only_what_is_gone(plugin: Plugin) -> None:
    """The runtime does not say which live: a lease whose namespace exists stays, and others are released (G4)."""
    pool = make_pool(plugin.state)
    with temporary_netns() as container:
        here = NetnsIdentity(container.path, container.netns.dev, container.netns.ino)
        ready(pool, "alive", netns=here)
        ready(pool, "replaced", netns=NetnsIdentity(container.path, 4, 1))
        ready(pool, "gone")
        assert plugin.run("GC", plugin.config(cniVersion="1.1.0"), changes=NO_VARIABLES).status == 0
    assert holders(pool) == [("net1", "alive")]


@pytest.mark.parametrize("given", [{}, "x", [5], [{"containerID": "a"}], [{"containerID": "a", "ifname": 0}]])
def test_gc_frees_nothing_by_an_invalid_list(plugin: Plugin, given: Any) -> None:
    """A wrong type anywhere in the list, and everything stays (G8)."""
    pool = make_pool(plugin.state)
    ready(pool, "a")
    program(plugin.cni_path, "ipam", "touch called")
    answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"}, **{VALID: given}))
    assert VALID in answer.error(INVALID_CONFIG, "1.1.0")
    assert holders(pool) == [("net1", "a")]


@pytest.mark.parametrize("wrong", [5, "x", [5]])
def test_gc_checks_both_lists_and_keeps_what_either_has(plugin: Plugin, wrong: Any) -> None:
    """By one list nothing is freed that the other has, nor by a good list beside a bad one (G8)."""
    pool = make_pool(plugin.state)
    for container_id in ("a", "b", "c"):
        ready(pool, container_id)
    kept = {"cni.dev/attachments": [{"containerID": "b", "ifname": "eth0"}], VALID: [{"containerID": "a", "ifname": "eth0"}]}
    for older, newer in ((wrong, kept[VALID]), (kept["cni.dev/attachments"], wrong)):
        answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", **{"cni.dev/attachments": older, VALID: newer}))
        assert "attachments" in answer.error(INVALID_CONFIG, "1.1.0")
        assert len(holders(pool)) == 3
    assert plugin.run("GC", plugin.config(cniVersion="1.1.0", **kept)).status == 0
    assert holders(pool) == [("net1", "a"), ("net1", "b")]


def test_gc_goes_on_after_a_failure_and_reports_all(plugin: Plugin, tmp_path: Path) -> None:
    """Every lease is tried, the delegate is asked at the end, and each failure is in the error (G7, G9)."""
    pool = make_pool(plugin.state)
    for number in (1, 2):
        delegate = DelegateCall(f"missing{number}", {"CNI_PATH": str(plugin.cni_path)}, "{}")
        ready(pool, f"c{number}", delegate=delegate)
    ready(pool, "c3")
    script = f'echo $CNI_COMMAND >>{tmp_path}/said; cat >>{tmp_path}/said; echo \'{{"code":105,"msg":"the third"}}\'; exit 1'
    program(plugin.cni_path, "ipam", script)
    stdin = plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"}, **{VALID: []})
    words = plugin.run("GC", stdin, PATH=os.environ["PATH"]).error(INVALID_CONFIG, "1.1.0")
    for part in ("missing1", "missing2", "the third"):
        assert part in words
    assert (tmp_path / "said").read_bytes() == b"GC\n" + stdin
    assert holders(pool) == []


def test_gc_leaves_locked_bonds_alone(plugin: Plugin) -> None:
    """GC does not wait for an ADD or DEL that runs, and reports no error."""
    pool = make_pool(plugin.state)
    busy = lease(pool, "busy")
    answer = plugin.run("GC", plugin.config(cniVersion="1.1.0", **{VALID: []}))
    busy.close()
    assert (answer.status, answer.out) == (0, "")
    assert "left alone" in answer.err
    assert holders(pool) == [("net1", "busy")]


def test_gc_keeps_the_address_of_a_bond_that_is_not_free_yet(plugin: Plugin, tmp_path: Path) -> None:
    """The delegate gets the attachment as if the runtime had listed it: its VFs, with the address, are not in the host yet."""
    pool = make_pool(plugin.state)
    busy = lease(pool, "busy")
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


def test_gc_without_a_state_directory_succeeds(plugin: Plugin) -> None:
    """No state directory, nothing to free."""
    assert plugin.run("GC", plugin.config(cniVersion="1.1.0", pool=None)).status == 0


def test_a_lease_that_cannot_be_read_keeps_its_addresses(plugin: Plugin, tmp_path: Path) -> None:
    """The IPAM plugin's GC would free those of every attachment that it is not told of."""
    pool = make_pool(plugin.state)
    program(plugin.cni_path, "ipam", f"touch {tmp_path}/asked")
    taken = lease(pool)
    taken.close()
    file = Path(pool.leases, taken.entry.file)
    file.unlink()
    file.symlink_to(file.name)  # ELOOP, as EIO or EMFILE would be
    config = plugin.config(cniVersion="1.1.0", ipam={"type": "ipam"}, **{VALID: []})
    assert "cannot read the lease" in plugin.run("GC", config, changes=NO_VARIABLES).error(IO_FAILURE, "1.1.0")
    assert not (tmp_path / "asked").exists()
