"""A power cut during many ADDs and DELs, twice: every record can be read, and `up` restores the pool.

The state directory is on a disk of the guest, and the guest's QEMU is killed: data that was written out is on the disk,
data that was only in memory is lost.
"""

import contextlib
import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import downloads
from tests.lab.errors import LostGuestError
from tests.lab.guests import GUESTS
from tests.lab.lab import boot
from tests.lab.product import STATE_DIR, SUBNET, Product, network
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

CUTS = 2
BONDS = 7
CONFIG = network(ipam={"type": "sriov-bond-ipam", "ranges": [[{"subnet": SUBNET, "rangeStart": "10.100.0.10"}]]})
LASTING = ("lasting1", "lasting2")
# Answered just before the cut: only what it flushed itself can be on the disk.
LAST = "last"
# Four containers that are attached and detached for ever; each call is reported when it has ended.
STORM = """
storm() {
    while :; do
        for verb in ADD DEL; do
            CNI_COMMAND=$verb CNI_CONTAINERID=$1 CNI_NETNS=/run/netns/$1 CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin \
                /opt/cni/bin/sriov-bond < /run/storm.json > /dev/null && echo $verb $1
        done
    done
}
for name in s1 s2 s3 s4; do
    ip netns add $name
    storm $name &
done
wait
"""


class Machine:
    """A machine whose power can be cut; its disk remains."""

    def __init__(self, product: "Path", disk: "Path", losses: list[str]) -> None:
        self._product = product
        self._disk = disk
        self._losses = losses

    @contextlib.contextmanager
    def powered(self) -> "Iterator[Product]":
        """Boot a guest with the disk at /var/lib/cni; its power is cut at the end of the block.

        A guest that is lost is counted as such, so that the test is repeated (tests/lab/guests.py).
        """
        try:
            lab = boot(downloads.provide(), self._product, disks={"state": self._disk})
            try:
                lab.guest.sh("mount /dev/disk/by-id/virtio-state /var/lib/cni")
                yield Product(lab.guest)
            finally:
                lab.close()
        except LostGuestError as lost:
            self._losses.append(str(lost))
            raise


def _records(product: Product) -> dict[str, dict[str, Any]]:
    """Return every lease by its file's name, and fail if one cannot be read.

    The file of state "adding" may be damaged: it is written before anything is changed, without fsync.
    """
    records = {}
    for path, data in product.guest.tree(f"{STATE_DIR}/db/leases").items():
        name = path.rpartition("/")[2]
        if not name.startswith(".") and not name.endswith(".adding"):
            records[name] = json.loads(data)
    return records


def _all_bonds(product: Product) -> list[dict[str, Any]]:
    """Run `up`; check that nothing is leased, left or reserved; return the bonds."""
    product.provision()
    assert product.states() == ["free"] * BONDS
    assert list(product.guest.tree(f"{STATE_DIR}/db/leases")) == []
    reserved = [
        path
        for path, data in product.guest.tree("/var/lib/cni/networks").items()
        if re.search(r"/db/[0-9.]+$", path) and data.strip()
    ]
    assert reserved == []
    bonds: list[dict[str, Any]] = json.loads(product.guest.read(f"{STATE_DIR}/db/pool.json"))["bonds"]
    return bonds


def _storm(product: Product) -> None:
    """Attach two containers, attach and detach others until a random call has ended, and attach a last one."""
    product.guest.write("/run/storm.json", json.dumps(CONFIG))
    product.guest.sh("".join(f"ip netns add {name}\n" for name in (*LASTING, LAST)))
    for name in LASTING:
        product.call("ADD", CONFIG, name, f"/run/netns/{name}").succeeded()
    calls = random.randint(10, 30)
    storm = product.guest.spawn(STORM)
    wait_until(lambda: storm.stdout.count("\n") >= calls, f"{calls} calls to end", 120)
    product.call("ADD", CONFIG, LAST, f"/run/netns/{LAST}").succeeded()
    print(f"the power is cut after {storm.stdout.count('ADD')} ADDs and {storm.stdout.count('DEL')} DELs")


@pytest.mark.timeout(900)  # three boots
def test_power_cuts_lose_nothing(frozen: "Path", tmp_path: "Path", pytestconfig: pytest.Config) -> None:
    """Leases whose ADD was answered exist after the cut; after `up` none does, and each boot creates the same bonds."""
    disk = tmp_path / "state.ext4"
    downloads.empty_disk(disk, 64)
    machine = Machine(frozen, disk, pytestconfig.stash[GUESTS].losses)
    with machine.powered() as product:
        bonds = _all_bonds(product)
        _storm(product)
    for cut in range(1, CUTS + 1):
        with machine.powered() as product:
            left = product.guest.tree(f"{STATE_DIR}/db/leases")
            records = _records(product)
            print(f"after cut {cut}: {', '.join(sorted(path.rpartition('/')[2] for path in left))}")
            lasting = {record["container_id"] for name, record in records.items() if name.endswith(".ready")}
            assert lasting.issuperset((*LASTING, LAST))
            assert json.loads(product.guest.read(f"{STATE_DIR}/db/pool.json"))["bonds"] == bonds
            assert _all_bonds(product) == bonds
            if cut < CUTS:
                _storm(product)
                continue
            names = [f"c{number}" for number in range(BONDS)]
            with product.attached(CONFIG, *names):
                assert product.states() == ["ready"] * BONDS
