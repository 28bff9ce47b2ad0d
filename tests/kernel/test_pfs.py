"""Lookups by PCI address, VFs that are not reported, and settings that have to wait, with tests/kernel/fake_kernel.py."""

from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import POOL_UNUSABLE, TRY_AGAIN_LATER, CniError, KernelError
from cni_sriov_bond.kernel import rtnetlink
from cni_sriov_bond.kernel.sriov import Host
from cni_sriov_bond.ports import Port
from tests.kernel.fake_kernel import PF, PF_NAME, played

# -- renames


def test_a_device_that_is_renamed_meanwhile_is_found_again(devices: Path) -> None:
    """Between the look into sysfs and the question to the kernel; another VF gets its name."""
    with played(devices, "igb") as (kernel, host):
        first, second = kernel.ports

        def swap() -> None:
            kernel.rename(first.address, "between")
            kernel.rename(second.address, first.name)

        kernel.before_answer = swap
        link = host.netdev(first)
        assert link is not None
        assert (link.parent, link.name) == (first.address, "between")


def test_a_pf_that_is_renamed_meanwhile_is_found_again(devices: Path) -> None:
    with played(devices, "igb") as (kernel, host):
        kernel.before_answer = lambda: kernel.rename(PF, "eno1")
        assert host.pf(PF).name == "eno1"


def test_another_device_of_that_name_is_never_taken(devices: Path) -> None:
    """As in a namespace that is not the host's, where sysfs shows the host's devices: a container's may have the name."""
    with played(devices, "igb") as (kernel, host):
        port = kernel.ports[0]
        kernel.parents[PF_NAME], kernel.parents[port.name] = "virtual1", "virtual2"
        assert host.netdev(port) is None
        with pytest.raises(CniError, match=f"the NIC at {PF} has no network device here") as refused:
            host.pf(PF)
        assert refused.value.code == POOL_UNUSABLE


def test_a_pf_is_required_by_its_name(devices: Path) -> None:
    with played(devices, "igb") as (kernel, host):
        host.require_pf(PF)
        kernel.parents["eno1"] = kernel.parents.pop(PF_NAME)
        with pytest.raises(CniError, match="has no network device here"):
            host.require_pf(PF)


# -- VFs that are not reported


def test_a_vf_that_is_gone_from_the_list_is_waited_for(devices: Path) -> None:
    """i40e and ice leave out a VF that they reset. It is not gone."""
    with played(devices, "i40e") as (kernel, host):
        kernel.vfs[1].gone_until = monotonic() + 2
        assert host.vf(kernel.ports[0]).index == 0
        assert host.vf(kernel.ports[1]).index == 1
        assert monotonic() >= kernel.vfs[1].gone_until


def test_a_vf_that_stays_away_is_an_error_within_the_deadline(devices: Path) -> None:
    """It names PF, VF and driver, and the waiting counts as one of the call's long waits."""
    with played(devices, "bnx2x") as (kernel, _):
        kernel.vfs[0].gone_until = monotonic() + 60
        deadline = Deadline(1.2)
        began = monotonic()
        with pytest.raises(CniError, match=r"enp1s0 does not report its VF 0 \(VF11\): its driver bnx2x is reset") as failed:
            Host(kernel.netlink, deadline).vf(kernel.ports[0])
        assert 1 <= monotonic() - began < 3
        assert failed.value.code == TRY_AGAIN_LATER
        assert "waited for enp1s0 to report VF 0" in deadline.waits()


def test_a_vf_that_the_pf_does_not_have_is_not_waited_for(devices: Path) -> None:
    with played(devices, "i40e") as (_, host):
        began = monotonic()
        with pytest.raises(CniError, match="enp1s0 has no VF 2, which is VF13 of the pool; run `sriov-bondctl up`") as refused:
            host.vf(Port("0000:01:10.2", "VF13", PF, 2))
        assert (refused.value.code, monotonic() - began < 1) == (POOL_UNUSABLE, True)


@pytest.mark.parametrize("count", [250, 300, 512])
def test_every_vf_of_a_large_pf_is_found(devices: Path, count: int) -> None:
    """The list is longer than its attribute can say."""
    with played(devices, "mlx5_core", vfs=count) as (kernel, host):
        assert host.vf(kernel.ports[-1]).index == count - 1
        assert len(host.pf(PF).vfs) == count
        assert host.pf(PF).parent == PF


# -- settings that have to wait


def test_a_setting_that_stays_busy_fails_within_the_deadline(devices: Path) -> None:
    with played(devices, "ice") as (kernel, _):
        kernel.vfs[0].busy = 1000
        host = Host(kernel.netlink, Deadline(0.5))
        with pytest.raises(KernelError, match=r"cannot set trust on VF 0 through enp1s0 .* the driver still resets this VF"):
            host.change(kernel.ports[0], rtnetlink.vf_number(rtnetlink.VF_TRUST, 0, 1), "trust")
        assert 3 <= len(kernel.requests) <= 8


def test_another_refusal_is_not_repeated(devices: Path) -> None:
    with played(devices, "mlx4_core") as (kernel, host):
        with pytest.raises(KernelError, match="cannot set trust"):
            host.change(kernel.ports[0], rtnetlink.vf_number(rtnetlink.VF_TRUST, 0, 1), "trust")
        assert kernel.requests == ["trust"]


def test_patience_ends_with_the_call(devices: Path) -> None:
    """Without a deadline of the call a reset has its full time."""
    with played(devices, "igb") as (kernel, host):
        assert 4 < host.patience().left() <= 5
        assert Host(kernel.netlink, Deadline(2)).patience().left() <= 2
