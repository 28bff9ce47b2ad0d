"""Ports that are not ready for their bond: of VFs that tests/kernel/fake_kernel.py plays."""

from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import bond as bonds
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
