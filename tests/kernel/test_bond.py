"""The differences that CHECK reports of a bond, and the selection of its monitor, from links as the kernel reports them."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import bond as bonds
from cni_sriov_bond.kernel import rtnetlink
from cni_sriov_bond.kernel.bond_options import encode
from cni_sriov_bond.kernel.objects import IFF_UP, Link
from tests.support import temporary_netns

if TYPE_CHECKING:
    from cni_sriov_bond.ports import BondOptions

PORTS = ("ffff:01:10.0", "ffff:02:10.0")


def link(index: int, name: str, **fields: Any) -> Link:
    device = Link(index, IFF_UP)
    for key, value in {"name": name, "mac": "02:00:00:00:00:01", "mtu": 1500, **fields}.items():
        setattr(device, key, value)
    return device


def bond_and_ports(**options: Any) -> tuple[Link, list[Link]]:
    """Return a bond of two ports, with options as the kernel reports them."""
    data = dict(rtnetlink.attributes(encode({"mode": 1, "miimon": 100, **options})))
    members = [link(number, f"VF{number}", parent=pci, master=9) for number, pci in enumerate(PORTS, 1)]
    return link(9, "eth0", kind="bond", bond_data=data), members


def expected(primary: str = "", options: "BondOptions | None" = None) -> bonds.Expected:
    return bonds.Expected("eth0", ["02:00:00:00:00:01"], None, list(PORTS), options or {"mode": 1}, primary)


def test_a_bond_as_requested_has_no_differences() -> None:
    """Options that were not requested may have any value."""
    bond, members = bond_and_ports(primary=2, updelay=200)
    assert bonds.differences(bond, members, expected()) == []
    assert bonds.differences(bond, members, expected(primary=PORTS[1], options={"mode": 1, "updelay": 200})) == []


@pytest.mark.parametrize(
    ("index", "words"),
    [(1, f"eth0 has the primary {PORTS[0]}, not {PORTS[1]}"), (0, f"eth0 has the primary none, not {PORTS[1]}"),
     (None, f"eth0 has the primary none, not {PORTS[1]}"), (7, f"eth0 has the primary none, not {PORTS[1]}")],
)  # fmt: skip
def test_another_primary_is_a_difference(index: int | None, words: str) -> None:
    """The kernel reports a device's index, or nothing; CHECK names the VFs (K6)."""
    bond, members = bond_and_ports(**({} if index is None else {"primary": index}))
    assert bonds.differences(bond, members, expected(primary=PORTS[1])) == [words]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fail_over_mac": 2}, "fail_over_mac none, not follow"),
        ({"updelay": 200}, "updelay None, not 200"),
        ({"arp_ip_target": ["10.0.0.1"]}, "arp_ip_target [], not ['10.0.0.1']"),
    ],
)
def test_another_option_is_a_difference(options: "BondOptions", words: str) -> None:
    """Values have the names that are used in a config (K6)."""
    bond, members = bond_and_ports(fail_over_mac=0)
    assert bonds.differences(bond, members, expected(options={"mode": 1, **options})) == [f"eth0 has {words}"]


@pytest.mark.parametrize(
    ("options", "choice", "drivers", "path"),
    [
        ({"mode": 2}, "auto", ["igbvf"], True),
        ({"mode": 2}, "auto", ["iavf"], False),
        ({"mode": 2}, "arp", ["iavf"], True),
        ({"mode": 2}, "mii", ["igbvf"], False),
        ({"mode": 4}, "arp", ["igbvf"], False),
        ({"mode": 2, "miimon": 50}, "auto", ["igbvf"], False),
        ({"mode": 2, "updelay": 100}, "auto", ["igbvf"], False),
        ({"mode": 2, "peer_notif_delay": 100}, "auto", ["igbvf"], False),
    ],
)
def test_the_monitor_that_fits(options: "BondOptions", choice: str, drivers: list[str], path: bool) -> None:
    """Delays need carrier monitoring; an explicit monitor takes precedence."""
    assert bonds.selects_path_monitor(options, choice, drivers) is path


def has_bonding() -> bool:
    """Return whether this machine's kernel has the bonding driver, or would load it."""
    modprobe = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    loads = modprobe and subprocess.run([modprobe, "-n", "-q", "bonding"], check=False).returncode == 0
    return bool(loads) or Path("/sys/module/bonding").exists()


@pytest.mark.root
@pytest.mark.skipif(has_bonding(), reason="this kernel has the bonding driver; lab/test_inside takes it away")
def test_a_kernel_without_the_bonding_driver_is_named() -> None:
    """Its answer is "Operation not supported" (EOPNOTSUPP)."""
    with temporary_netns() as container:
        with pytest.raises(CniError, match="the kernel has no bonding driver; run `modprobe bonding max_bonds=0`") as refused:
            bonds.create(container.ours, "eth0", "02:00:00:00:00:01", {"mode": 1})
        assert refused.value.code == POOL_UNUSABLE
