"""Damaged, lost and read-only files, a full disk, clocks that jump, and missing delegates."""

import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import POOL_FILE
from tests.lab.product import PEER, STATE_DIR, Product, look, network

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS = {**network(ipam=None), "cniVersion": "1.1.0"}


def _lease_file(product: Product, container: str) -> str:
    for path, data in look(product.guest).files.items():
        if "/leases/" in path and json.loads(data or "{}").get("container_id") == container:
            return path
    raise AssertionError(f"{container} has no lease")


# -- leases


DAMAGE = {
    "c1": (": > {path}", "is damaged"),
    "c2": ("truncate -s 100 {path}", "is damaged"),
    "c3": ('sed -i \'s/"version": *1/"version": 2/\' {path}', "is of version 2, and this sriov-bond knows only version 1"),
    "c4": ("rm {path}; mkdir {path}", "is damaged (it is a directory; remove it)"),
}


def test_a_damaged_lease_keeps_its_bond_until_its_del(product: Product) -> None:
    """Other ADDs work, ``status`` and ``gc`` name the file, a running container keeps everything; DEL frees the bond."""
    config = network()
    with product.netns(*DAMAGE, "c9") as paths:
        for container, path in zip(DAMAGE, paths, strict=False):
            product.call("ADD", config, container, path).succeeded()
        files = {container: _lease_file(product, container) for container in DAMAGE}
        kept = product.guest.read(files["c3"])
        product.guest.sh("\n".join(DAMAGE[container][0].format(path=file) for container, file in files.items()))
        product.call("ADD", config, "c9", paths[-1]).succeeded()
        product.call("DEL", config, "c9", paths[-1]).succeeded()
        collected = product.ctl("gc", check=False)
        assert (collected.status, "4 of these could not be finished" in collected.stderr) == (1, True)
        for place, (container, (_, words)) in enumerate(DAMAGE.items()):
            bond = product.status()["bonds"][place]
            assert (bond["state"], words in bond["problem"], files[container] in bond["problem"]) == ("ready", True, True)
            assert f"pool db: {bond['name']}: the lease {files[container]} {words}" in collected.stdout
            assert product.pings(container, PEER, count=1) == 1
        refused = product.ctl("release", "cbond1", check=False)
        assert "bond cbond1 of pool db is in use still, though the lease" in refused.stderr
        for container, path in zip(("c1", "c2"), paths[:2], strict=True):
            product.call("DEL", config, container, path).succeeded()
            product.call("DEL", config, container, path).succeeded()
        product.call("DEL", config, "c3", paths[2]).failed(104, DAMAGE["c3"][1], "install the sriov-bond that wrote it")
        product.guest.write(files["c3"], kept, 0o600)
        product.call("DEL", config, "c3", paths[2]).succeeded()
        product.call("DEL", config, "c4", paths[3]).failed(5, "cannot delete", "Is a directory")
        assert product.links("c4") == ["lo"], "its VFs are in the host"
        product.guest.sh(f"rmdir {STATE_DIR}/db/leases/cbond4.*")
        assert product.all_free()


def test_a_damaged_lease_whose_container_is_gone(product: Product) -> None:
    """``gc`` and ``release`` free its bond and report what they cannot know. The runtime's DEL frees the address."""
    for command in (["gc"], ["release", "cbond1"]):
        with product.netns("c1") as (path,):
            product.call("ADD", network(), "c1", path).succeeded()
            product.guest.sh(f": > {_lease_file(product, 'c1')}; ip netns del c1")
            product.wait_home(1)
            said = product.ctl(*command, check=False)
            if command == ["gc"]:
                assert "cbond1: released, but its container and its IPAM plugin are not known: the lease" in said.stdout
            assert product.all_free()
            product.call("DEL", network(), "c1", path).succeeded()


# -- the state directory


@pytest.fixture
def small(product: Product) -> "Iterator[Product]":
    """Return the product with its state on a small file system."""
    product.guest.sh(
        f"cp -a {STATE_DIR} /run/state; mount -t tmpfs -o size=128k,mode=0700 tmpfs {STATE_DIR}\n"
        f"cp -a /run/state/. {STATE_DIR}/"
    )
    yield product
    product.guest.sh(f"umount {STATE_DIR}; rm -r /run/state")


def test_a_full_state_directory(small: Product) -> None:
    """ADD and STATUS report it and nothing is changed; DEL needs no space."""
    with small.netns("c1", "c2") as (path, other):
        small.call("ADD", network(), "c1", path).succeeded()
        before = look(small.guest)
        small.guest.sh(f"dd if=/dev/zero of={STATE_DIR}/filler bs=4k 2>/dev/null || true")
        small.call("ADD", network(), "c2", other).failed(
            5, f"cannot write {STATE_DIR}/db/leases/cbond2.", "No space left on device"
        )
        small.call("STATUS", STATUS, "", ifname="").failed(50, f"no space is left on the device of {STATE_DIR}/db/leases")
        small.guest.sh(f"mv {STATE_DIR}/filler /run/filler && rm /run/filler")
        assert look(small.guest) == before
        small.guest.sh(f"dd if=/dev/zero of={STATE_DIR}/filler bs=4k 2>/dev/null || true")
        small.call("DEL", network(), "c1", path).succeeded()
        small.guest.sh(f"rm {STATE_DIR}/filler")
        assert small.all_free()


def test_a_read_only_state_directory(small: Product) -> None:
    """ADD, DEL and STATUS report it; a DEL that cannot remove its lease changes nothing, and can be repeated."""
    with small.netns("c1", "c2") as (path, other):
        small.call("ADD", network(), "c1", path).succeeded()
        before = look(small.guest)
        small.guest.sh(f"mount -o remount,ro {STATE_DIR}")
        words = "Read-only file system; is the state directory writable?"
        small.call("ADD", network(), "c2", other).failed(5, words)
        small.call("DEL", network(), "c1", path).failed(5, words)
        small.call("STATUS", STATUS, "", ifname="").failed(50, "is not writable; is its file system read-only?")
        assert look(small.guest) == before
        assert small.pings("c1", PEER) == 3
        small.guest.sh(f"mount -o remount,rw {STATE_DIR}")
        small.call("DEL", network(), "c1", path).succeeded()
        assert small.all_free()


def test_a_lost_state_directory(small: Product) -> None:
    """ADD says to run ``up``; DEL only calls the delegate. ``up`` quarantines missing VFs, and later ends the quarantine."""
    with small.netns("c1", "c2") as (path, other):
        small.call("ADD", network(), "c1", path).succeeded()
        small.guest.sh(f"rm -rf {STATE_DIR}/db")
        words = (
            "pool 'db' is not provisioned (there is none yet); name it in /etc/cni/sriov-bond.toml and run `sriov-bondctl up`"
        )
        small.call("ADD", network(), "c2", other).failed(104, words)
        small.call("STATUS", STATUS, "", ifname="").failed(50, words)
        small.call("DEL", network(), "c1", path).succeeded()
        said = small.ctl("up")
        assert (
            "bond cbond1 is in quarantine: VF11 (the VF at 0000:01:10.0) is not in the host: its driver igbvf has it"
            in said.stderr
        )
        with small.attached(network(), "c3"):
            assert small.states()[:2] == ["quarantined", "ready"]
            assert small.pings("c3", PEER) == 3
        small.guest.sh("ip netns del c1")
        small.wait_home(1)
        small.ctl("up")
        assert small.all_free()


# -- the inventory


def test_a_lost_or_damaged_inventory_under_leases(product: Product) -> None:
    """ADD and ``status`` say to run ``up``, DEL needs no inventory, and ``up`` rewrites it while a container is running."""
    guest = product.guest
    kept = guest.read(POOL_FILE)
    with product.netns("c1", "c2", "c3") as paths:
        for container, path in zip(("c1", "c2"), paths, strict=False):
            answer = product.call("ADD", network(), container, path).succeeded()
        for spoil, words in (
            (f"rm {POOL_FILE}", "the inventory of pool db is lost, though {} leased; run `sriov-bondctl up` to write it again"),
            (f"echo '{{' > {POOL_FILE}", f"the inventory {POOL_FILE} is damaged"),
        ):
            guest.sh(spoil)
            words = words.format("2 of its bonds are")
            product.call("ADD", network(), "c3", paths[2]).failed(104, words)
            product.call("STATUS", STATUS, "", ifname="").failed(50, words)
            assert words in product.ctl("status", check=False).stderr
        product.call("DEL", network(), "c1", paths[0]).succeeded()
        product.ctl("up")
        assert json.loads(guest.read(POOL_FILE))["bonds"] == json.loads(kept)["bonds"]
        checked = {**network(), "prevResult": answer.document}
        product.call("CHECK", checked, "c2", paths[1]).succeeded()
        assert product.pings("c2", PEER) == 3
        product.call("DEL", network(), "c2", paths[1]).succeeded()
    guest.write(POOL_FILE, kept, 0o600)  # a new one does not record that `up` created the VFs, so `down` would keep them


# -- the clock


def test_the_clock_jumps_by_years(product: Product) -> None:
    """No decision depends on the time of day."""
    decade = 10 * 365 * 86400

    def jump(seconds: int) -> None:
        product.guest.sh(f"date -s @$(( $(date +%s) + {seconds} ))")

    with product.netns("c1", "c2") as (path, other):
        answer = product.call("ADD", network(), "c1", path).succeeded()
        jump(decade)
        try:
            product.call("CHECK", {**network(), "prevResult": answer.document}, "c1", path).succeeded()
            product.call("ADD", network(), "c2", other).succeeded()
            product.call("DEL", network(), "c1", path).succeeded()
            jump(-2 * decade)
            try:
                assert product.states().count("ready") == 1
                assert "nothing to finish" in product.ctl("gc").stdout
                product.call("DEL", network(), "c2", other).succeeded()
                assert product.all_free()
            finally:
                jump(2 * decade)
        finally:
            jump(-decade)


# -- the delegate


LEAVES = network(ipam={**network()["ipam"], "type": "leaves"})


@contextlib.contextmanager
def _delegate(product: Product, name: str, script: str = "") -> "Iterator[str]":
    """Install another delegate for the duration of the block: a copy of host-local, or a script that runs it."""
    path = f"/opt/cni/bin/{name}"
    text = f"#!/bin/sh\n{script}\nexec /opt/cni/bin/host-local\n"
    product.guest.write(path, text, 0o755)
    try:
        yield path
    finally:
        product.guest.sh(f"rm -f {path}")


def test_a_delegate_that_is_gone_at_del(product: Product) -> None:
    """DEL reports it and frees the bond; the IPAM DEL is pending until DEL, the next ADD or ``gc`` finds the delegate."""
    names = ("c1", "c2", "c3")
    with product.netns(*names) as paths, _delegate(product, "leaves") as program:

        def end(container: str, path: str) -> None:
            product.call("DEL", LEAVES, container, path).failed(7, "failed to find plugin 'leaves' in path [/opt/cni/bin]")

        for container, path in zip(names, paths, strict=True):
            product.call("ADD", LEAVES, container, path).succeeded()
        product.guest.sh(f"mv {program} /run/leaves")
        for container, path in zip(names, paths, strict=True):
            end(container, path)
        end("c1", paths[0])
        assert product.all_free()
        assert "the addresses of 3 released bonds may still be reserved" in product.ctl("status").stdout
        collected = product.ctl("gc", check=False)
        assert (collected.status, collected.stdout.count("the IPAM DEL could not be sent: failed to find plugin 'leaves'")) == (
            1,
            3,
        )
        product.call("ADD", LEAVES, "c1", paths[0]).failed(7, "failed to find plugin 'leaves'")
        product.guest.sh(f"mv /run/leaves {program}")
        product.call("DEL", LEAVES, "c1", paths[0]).succeeded()
        assert product.status()["pending"] == 2
        product.call("ADD", LEAVES, "c2", paths[1]).succeeded()
        assert product.status()["pending"] == 0
        product.guest.sh(f"mv {program} /run/leaves")
        end("c2", paths[1])
        product.guest.sh(f"mv /run/leaves {program}")
        assert "the pending IPAM DEL is sent" in product.ctl("gc").stdout
        assert "nothing to finish" in product.ctl("gc").stdout


def test_a_delegate_that_fails_or_hangs_at_del(product: Product) -> None:
    """DEL reports its error, and other calls work; one that hangs gets ten seconds; once fixed, ``gc`` sends the DEL."""
    fails = '[ "$CNI_COMMAND" != DEL ] || { echo the disk is on fire >&2; exit 3; }'
    config = network(ipam={**network()["ipam"], "type": "fails"})
    with product.netns("c1") as (path,), _delegate(product, "fails", fails):
        product.call("ADD", config, "c1", path).succeeded()
        words = "the IPAM plugin fails failed with status 3 at DEL: the disk is on fire"
        product.call("DEL", config, "c1", path).failed(102, words)
        with product.attached(network(), "c2") as (answer,):
            assert f"the addresses of c1 eth0 may still be reserved: {words}" in answer.result.stderr
        assert product.status()["pending"] == 1
    hangs = '[ "$CNI_COMMAND" != DEL ] || exec sleep 100'
    with product.netns("c3") as (path,), _delegate(product, "hangs", hangs):
        config = network(ipam={**network()["ipam"], "type": "hangs"})
        product.call("ADD", config, "c3", path).succeeded()
        product.guest.sh("ip netns del c3")
        product.wait_home(1)
        said = product.ctl("gc", check=False)
        assert "the IPAM plugin hangs did not answer within 10 s at DEL and was killed" in said.stdout
        assert product.all_free()
    with _delegate(product, "fails"), _delegate(product, "hangs"):
        assert product.ctl("gc").stdout.count("the pending IPAM DEL is sent") == 2


def test_gc_settles_what_is_owed(product: Product) -> None:
    """CNI's GC sends pending DELs, without a DEL of the runtime."""
    with product.netns("c1") as (path,), _delegate(product, "leaves") as program:
        product.call("ADD", LEAVES, "c1", path).succeeded()
        product.guest.sh(f"mv {program} /run/leaves")
        product.gc(LEAVES, []).failed(7, "failed to find plugin 'leaves'")
        assert product.all_free()
        product.guest.sh(f"mv /run/leaves {program}")
        product.gc(LEAVES, []).succeeded()
        assert product.status()["pending"] == 0
