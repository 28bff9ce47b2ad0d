"""Bonds of three and four NICs, of the two ports of one card, and of NICs with unequal numbers of VFs, in a guest of its own.

NIC 3 and NIC 4 are functions 0 and 1 of one card (tests/lab/machine.py).
"""

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab import downloads
from tests.lab.errors import LostGuestError
from tests.lab.guests import GUESTS
from tests.lab.lab import boot
from tests.lab.product import HOST_FILE, PEER, Product, network, received
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.lab

PCI = ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:03:00.1")


@pytest.fixture(scope="module")
def machine(frozen: "Path", pytestconfig: pytest.Config) -> "Iterator[Product]":
    """Boot a guest with four NICs; if it is lost, the test is repeated (tests/lab/guests.py)."""
    try:
        lab = boot(downloads.provide(), frozen, nics=4)
    except LostGuestError as lost:
        pytestconfig.stash[GUESTS].losses.append(str(lost))
        raise
    yield Product(lab.guest)
    lab.close()


@pytest.fixture
def host(machine: Product, pytestconfig: pytest.Config) -> "Iterator[Product]":
    """Return the product on a host without pools and VFs; the test's are removed, and NICs are as before."""
    before = nics(machine)
    try:
        yield machine
        machine.ctl("down")
        machine.guest.sh("".join(f"echo 0 > /sys/bus/pci/devices/{pci}/sriov_numvfs\n" for pci in PCI))
    except LostGuestError as lost:
        pytestconfig.stash[GUESTS].losses.append(str(lost))
        raise
    assert nics(machine) == before


def nics(product: Product) -> dict[str, tuple[str, bool]]:
    """Return name and administrative state of each NIC."""
    links = product.guest.run(["ip", "-d", "-j", "link"], check=True).json()
    return {link["parentdev"]: (link["ifname"], "UP" in link["flags"]) for link in links if link.get("parentdev") in PCI}


def provision(product: Product, pfs: "tuple[str, ...] | list[str]", *lines: str) -> dict[str, Any]:
    """Run `up` for a pool of these NICs, and return its status."""
    product.guest.write(HOST_FILE, "\n".join(("[pools.db]", f"pfs = {json.dumps(list(pfs))}", *lines, "")))
    product.ctl("up")
    return product.status()


def ports_up(product: Product, container: str) -> int:
    """Return how many ports of a container's bond are up to the bond."""
    return product.inside(container, "cat /proc/net/bonding/eth0").stdout.count("MII Status: up") - 1


@pytest.mark.parametrize("number", [3, 4])
@pytest.mark.parametrize("mode", ["balance-xor", "active-backup"])
def test_bonds_of_three_and_four_nics(host: Product, number: int, mode: str) -> None:
    """The bond has a port on each NIC, min_links may be all of them, and it reaches the outside."""
    pool = provision(host, PCI[:number], "vfs = 2")
    assert [[port["name"] for port in bond["ports"]] for bond in pool["bonds"]] == [
        [f"VF{nic}{vf}" for nic in range(1, number + 1)] for vf in (1, 2)
    ]
    # In active-backup the first port is active at the end of ADD, or the primary, and the bond has its own MAC.
    primary, active = ("D", "VF41") if number == 4 and mode == "active-backup" else (None, "VF11")
    with host.attached(network(mode=mode, min_links=number, linkMonitor="mii", primary=primary), "c1") as (answer,):
        assert answer.document["interfaces"][0]["mac"] == pool["bonds"][0]["mac"]
        if mode == "active-backup":
            shown = host.guest.sh("ip -n c1 -d -j link show eth0").json()[0]
            assert shown["linkinfo"]["info_data"]["active_slave"] == active
        wait_until(lambda: ports_up(host, "c1") == number, f"{number} ports to be up", 30)
        wait_until(lambda: host.pings("c1", PEER) == 3, f"c1 to reach {PEER}", 20)
    with host.netns("c1") as (path,):
        words = f"min_links {number + 1} is above the {number} ports of bond cbond1"
        host.call("ADD", network(mode=mode, min_links=number + 1), "c1", path).failed(7, words)
    assert host.all_free()


def test_a_bond_of_the_two_ports_of_one_card(host: Product) -> None:
    """Their VFs take turns on one bus: each bond has one of each port."""
    pool = provision(host, PCI[2:], "vfs = 3")
    for index, bond in enumerate(pool["bonds"]):
        assert [(port["pf"], port["vf"]) for port in bond["ports"]] == [(pci, index) for pci in PCI[2:]]
        assert [port["pci"] for port in bond["ports"]] == [f"0000:03:10.{index * 2 + function}" for function in (0, 1)]
    with host.attached(network(), "c1"):
        wait_until(lambda: host.pings("c1", PEER) == 3, f"c1 to reach {PEER}", 20)


def test_unequal_numbers_of_vfs_and_other_users_of_them(host: Product) -> None:
    """NIC 1 has five VFs already, of which another program uses two: one in a container, one in the host."""
    guest = host.guest
    guest.sh(f"""
ip link set {nics(host)[PCI[0]][0]} up
echo 5 > /sys/bus/pci/devices/{PCI[0]}/sriov_numvfs
udevadm settle
ip netns add other
vf=$(ls /sys/bus/pci/devices/{PCI[0]}/virtfn3/net)
ip link set $vf address 02:aa:00:00:00:03
ip link set $vf netns other
ip -n other link set $vf up
ip -n other addr add 10.9.9.3/24 dev $vf
vf=$(ls /sys/bus/pci/devices/{PCI[0]}/virtfn4/net)
ip addr add 10.9.9.4/24 dev $vf
ip link set $vf up
""")
    before, others = _vfs(host, PCI[0]), _others(host)
    pool = provision(host, PCI[:2], 'vfs = "0-3"', "exclude = [1, 3]")
    assert [bond["name"] for bond in pool["bonds"]] == ["cbond1", "cbond3"]
    assert [[port["vf"] for port in bond["ports"]] for bond in pool["bonds"]] == [[0, 0], [2, 2]]
    assert [guest.read(f"/sys/bus/pci/devices/{pci}/sriov_numvfs") for pci in PCI[:2]] == ["5\n", "4\n"]
    assert "nothing to change" in host.ctl("up").stdout
    with host.attached(network(), "c1"):
        wait_until(lambda: host.pings("c1", PEER) == 3, f"c1 to reach {PEER}", 20)
        assert _others(host) == others
    said = host.ctl("down").stderr
    # NIC 2's VFs were made for the pool, but its second and fourth are not the pool's.
    assert "the VFs of " in said and "stay, because some of them are not of pool db" in said
    guest.sh("udevadm settle")
    assert _others(host) == others
    assert _vfs(host, PCI[0]) == before
    assert nics(host)[PCI[0]][1], "it was up before `up`"
    guest.sh(f"ip netns del other; ip link set {nics(host)[PCI[0]][0]} down")
    wait_until(lambda: guest.run(f"ls -d /sys/bus/pci/devices/{PCI[0]}/virtfn3/net/*").status == 0, "VF 3 to come back", 20)


def _vfs(product: Product, pci: str) -> dict[str, Any]:
    """Return name, MAC and state of a NIC's VFs in the host, and what the NIC says of all."""
    links = {link.get("parentdev"): link for link in product.guest.run(["ip", "-d", "-j", "link"], check=True).json()}
    shown = {address: (link["ifname"], link["address"], "UP" in link["flags"]) for address, link in links.items() if address}
    return {
        "settings": links[pci]["vfinfo_list"],
        "links": {address: link for address, link in shown.items() if address.startswith(pci[:8]) and address != pci},
    }


def _others(product: Product) -> str:
    """Return what the other program has: addresses in its container, and on its VF in the host."""
    return product.guest.sh("ip -n other -br addr; ip -br addr | grep 10.9.9.4").stdout


def test_a_nic_is_known_by_its_altname_and_address_whatever_it_is_called(host: Product) -> None:
    """The NICs are renamed, as at a boot with another order: `up` finds the same ones, and nothing of the bonds changes."""
    guest, names = host.guest, [nics(host)[pci][0] for pci in PCI[:2]]
    guest.sh(f"ip link property add dev {names[0]} altname first-card-with-a-long-name")
    try:
        pool = provision(host, ["first-card-with-a-long-name", PCI[1]], "vfs = 2")
        host.ctl("down")
        _exchange_names(host, *names)
        renamed = provision(host, ["first-card-with-a-long-name", PCI[1]], "vfs = 2")
        assert renamed["bonds"] == pool["bonds"]
        assert [(nic["pci"], nic["name"]) for nic in renamed["nics"]] == [(PCI[0], names[1]), (PCI[1], names[0])]
        with host.attached(network(), "c1"):
            assert received(host.inside("c1", f"ping -n -q -c 3 -i 0.3 -w 20 {PEER}", check=False).stdout) == 3
        host.ctl("down")
    finally:
        if nics(host)[PCI[0]][0] != names[0]:
            _exchange_names(host, names[1], names[0])
        guest.sh(f"ip link property del dev {names[0]} altname first-card-with-a-long-name")


def _exchange_names(product: Product, first: str, second: str) -> None:
    """Give two devices each other's names. udev makes the name that a device had its altname, which is in the way."""

    def rename(name: str, new: str) -> str:
        drop = f"ip link property del dev {new} altname {name} 2> /dev/null || true"
        return f"ip link set {name} name {new}; udevadm settle; {drop}\n"

    product.guest.sh(rename(first, "exchanged") + rename(second, first) + rename("exchanged", second))
