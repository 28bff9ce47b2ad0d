"""Ports that are not ready for their bond: of VFs that tests/kernel/fake_kernel.py plays."""

from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import bond as bonds
from cni_sriov_bond.kernel import vfmac
from cni_sriov_bond.kernel.objects import Link
from tests.kernel.fake_kernel import FakeKernel, played


def add_port(kernel: FakeKernel, seconds: float = 60) -> None:
    container = kernel.netlink
    link = container.link(kernel.vfs[0].name)
    assert link is not None
    bonds.add_ports(container, Link(99, 0), [link], Deadline(seconds))


def test_a_port_whose_last_reset_was_not_answered_is_reset(devices: Path) -> None:
    """igbvf then refuses even the MAC that it has, and the bond sets it."""
    with played(devices, "igb") as (kernel, _):
        kernel.vfs[0].refusals = 1
        add_port(kernel)
        assert kernel.requests == ["VF11 into 99", "VF11 up", "VF11 down", "VF11 into 99"]
        assert kernel.vfs[0].bond == 99


def test_a_port_that_keeps_refusing_is_an_error(devices: Path) -> None:
    with played(devices, "igb") as (kernel, _):
        kernel.vfs[0].refusals = 2
        with pytest.raises(KernelError, match=r"cannot add VF11 to the bond .*: Cannot assign requested address"):
            add_port(kernel)


def test_a_port_that_is_being_reset_is_waited_for(devices: Path) -> None:
    with played(devices, "i40e") as (kernel, _):
        kernel.vfs[0].gone_until = monotonic() + 0.5
        add_port(kernel)
        assert (kernel.vfs[0].bond, monotonic() >= kernel.vfs[0].gone_until) == (99, True)
        kernel.vfs[0].gone_until = monotonic() + 60
        with pytest.raises(KernelError, match="Device or resource busy"):
            add_port(kernel, seconds=0.5)


def test_a_port_that_something_uses_is_not_waited_for(devices: Path) -> None:
    """Of a driver whose VFs are not reset by settings, EBUSY is a macvlan or the like."""
    with played(devices, "igb") as (kernel, _):
        kernel.vfs[0].gone_until = monotonic() + 60
        with pytest.raises(KernelError, match="Device or resource busy"):
            add_port(kernel)
        assert kernel.requests == ["VF11 into 99"]


@pytest.mark.parametrize(
    ("driver", "release", "advised"),
    [
        ("qede", "6.1.0-40-amd64", True),
        ("qede", "5.14.0", True),
        ("qede", "6.5.0", False),
        ("qede", "10.0-rc1", False),
        ("qede", "", False),
        ("hns3", "6.1.0", True),
    ],
)
def test_a_vf_that_refuses_the_mac_that_it_has_is_explained(
    devices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, release: str, advised: bool
) -> None:
    """Newer kernels do not ask the driver, so that an error there has another cause."""
    (tmp_path / "osrelease").write_text(f"{release}\n")
    monkeypatch.setattr(vfmac, "OSRELEASE", str(tmp_path / "osrelease"))
    with played(devices, driver) as (kernel, host):
        host.set_admin_mac(kernel.ports[0], "02:00:00:00:00:01")
        kernel.vfs[0].refuses_own_mac = True
        with pytest.raises(KernelError, match="Invalid argument") as refused:
            add_port(kernel)
        advice = (
            f"; before Linux 6.5 the driver {driver} refuses even the MAC that the VF has, which the bond sets: use mode "
            "active-backup, set trust to on, or update the kernel"
        )
        assert refused.value.msg.endswith(advice) == advised
        kernel.vfs[0].settings["trust"] = 1
        add_port(kernel)
        assert kernel.vfs[0].bond == 99
