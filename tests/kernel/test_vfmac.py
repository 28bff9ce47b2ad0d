"""How a MAC gets to a VF of each driver, with tests/kernel/fake_kernel.py."""

from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import drivers
from cni_sriov_bond.kernel.sriov import Host
from tests.kernel.fake_kernel import FakeKernel, played

MAC = "02:00:00:00:00:01"
LATE = [driver for driver in drivers.DRIVERS if drivers.way_of_mac(driver) == "late"] + ["a_new_driver"]
OTHERS = [driver for driver in drivers.DRIVERS if drivers.way_of_mac(driver) in ("netdev", "probe") and "/" not in driver]


def set_mac(kernel: FakeKernel, host: Host, mac: str = MAC) -> None:
    port = kernel.ports[0]
    link = host.netdev(port)
    assert link is not None
    host.set_macs(port, link, mac)
    assert link.mac == mac


@pytest.mark.parametrize("driver", LATE)
def test_a_mac_that_arrives_late_is_waited_for(devices: Path, driver: str) -> None:
    """The device is not set: the VF would be refused, and is told by its PF."""
    with played(devices, driver, late_seconds=0.5) as (kernel, host):
        set_mac(kernel, host)
        assert (kernel.vfs[0].mac, kernel.requests) == (MAC, [f"mac {MAC}"])


@pytest.mark.parametrize("driver", [driver for driver in OTHERS if driver != "rvu_nicpf"])
def test_a_device_that_does_not_hear_of_it_is_set_at_once(devices: Path, driver: str) -> None:
    """mlx5 never takes it over while it is bound. There is nothing to wait for."""
    with played(devices, driver) as (kernel, host):
        began = monotonic()
        set_mac(kernel, host)
        assert kernel.requests == [f"mac {MAC}", f"device mac {MAC}"]
        assert monotonic() - began < 1


@pytest.mark.parametrize("driver", ["i40e", "a_new_driver"])
def test_a_mac_that_never_arrives_is_an_error(devices: Path, driver: str) -> None:
    """iavf before Linux 6.0 accepts a MAC and asks its PF later. The error names VF, MAC and what may help."""
    with played(devices, driver, late_seconds=60, deaf=True) as (kernel, _):
        host = Host(kernel.netlink, Deadline(0.5))
        with pytest.raises(CniError, match=f"VF11 .VF 0 at .* does not take the MAC {MAC} from its PF; look at") as failed:
            set_mac(kernel, host)
        assert failed.value.code == POOL_UNUSABLE
        assert kernel.requests[:2] == [f"mac {MAC}", f"device mac {MAC}"]


def test_a_vf_that_takes_it_when_it_starts_is_started(devices: Path) -> None:
    """Its driver refuses to set the MAC itself; a start shows that of its PF."""
    with played(devices, "hns3", late_seconds=60) as (kernel, _):
        kernel.vfs[0].takes_at_start = True
        set_mac(kernel, Host(kernel.netlink, Deadline(0.5)))
        assert kernel.requests == [f"mac {MAC}", f"device mac {MAC}", "VF11 up", "VF11 down"]


def test_a_vf_that_takes_it_when_it_is_bound_is_bound_anew(devices: Path) -> None:
    """It has another index then, and what follows is asked of that."""
    with played(devices, "rvu_nicpf") as (kernel, host):
        port = kernel.ports[0]
        link = host.netdev(port)
        assert link is not None
        index = link.index
        host.set_macs(port, link, MAC)
        assert kernel.requests == [f"mac {MAC}", f"device mac {MAC}", "VF11 bound"]
        assert (link.mac, link.index, link.parent) == (MAC, index + 100, port.address)


def test_a_vf_without_a_driver_cannot_be_bound(devices: Path) -> None:
    with played(devices, "rvu_nicpf") as (kernel, host):
        (devices / kernel.vfs[0].address / "driver").unlink()
        with pytest.raises(CniError, match=r"cannot bind 0000:01:10.0 to its driver anew: No such file or directory"):
            set_mac(kernel, host)


def test_only_the_admin_mac_is_set_where_only_it_differs(devices: Path) -> None:
    with played(devices, "i40e", late_seconds=60) as (kernel, host):
        kernel.vfs[0].mac = MAC
        began = monotonic()
        set_mac(kernel, host)
        assert (kernel.requests, monotonic() - began < 1) == ([f"mac {MAC}"], True)


def test_a_pf_that_cannot_set_macs_leaves_it_to_the_device(devices: Path) -> None:
    """Some firmware of nfp does not let its PF do that."""
    with played(devices, "nfp") as (kernel, host):
        kernel.sets_macs = False
        set_mac(kernel, host)
        assert kernel.vfs[0].mac == MAC
