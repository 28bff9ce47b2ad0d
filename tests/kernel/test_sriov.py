"""VFs: states, with tests/kernel/fake_kernel.py in place of a NIC, and moves between real namespaces."""

import contextlib
import re
from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import drivers, sriov
from cni_sriov_bond.kernel.netns import Entered
from cni_sriov_bond.kernel.objects import Link
from cni_sriov_bond.kernel.sriov import Host
from cni_sriov_bond.ports import Port, VfSettings
from tests.kernel.fake_kernel import played
from tests.support import TemporaryNetns, temporary_netns, veth_pair

PF = "0000:01:00.0"
MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
PORTS = [Port("0000:01:10.0", "VF11", PF, 0), Port("0000:01:10.2", "VF12", PF, 1)]


def add_netdev(devices: Path, address: str, name: str) -> None:
    (devices / address / "net" / name).mkdir(parents=True)


# -- values


def test_the_default_state_is_that_of_an_unused_vf(devices: Path) -> None:
    """With the MAC of the pool in both places, whatever is set at present."""
    with played(devices, "igb") as (kernel, host):
        kernel.vfs[0].settings |= {"vlan": 100, "qos": 3, "trust": 1, "spoofchk": 0, "max": 500}
        state = host.default_state(kernel.ports[0], OTHER_MAC)
    assert (state.mtu, state.mac, state.admin_mac) == (1500, OTHER_MAC, OTHER_MAC)
    assert state.settings.to_json() == {
        "vlan": 0, "vlan_qos": 0, "vlan_proto": 0x8100, "spoofchk": 1, "trust": 0, "link_state": 0, "min_tx_rate": 0,
        "max_tx_rate": 0,
    }  # fmt: skip


def test_the_default_state_leaves_out_what_the_driver_does_not_have(devices: Path) -> None:
    """A request for it would be refused, and the VF never restored."""
    with played(devices, "fm10k") as (kernel, host):
        settings = host.default_state(kernel.ports[0], MAC).settings
    assert (settings.trust, settings.spoofchk, settings.vlan, settings.link_state) == (None, None, 0, 0)


def test_differences_name_vf_pf_and_both_values(devices: Path) -> None:
    """Settings that were not requested do not count, nor does the MAC unless one is expected (K6)."""
    with played(devices, "mlx4_core") as (kernel, host):
        port = kernel.ports[0]
        kernel.vfs[0].settings["vlan"] = 200
        kernel.vfs[0].admin_mac = MAC
        assert host.differences(port, VfSettings(vlan=200, spoofchk=1), None) == []
        assert host.differences(port, VfSettings(vlan=100, trust=1), MAC) == [
            "VF 0 of enp1s0 has vlan 200, not 100",
            "VF 0 of enp1s0 has trust None, not 1",
        ]
        assert host.differences(port, VfSettings(), OTHER_MAC) == [f"VF 0 of enp1s0 has mac {MAC}, not {OTHER_MAC}"]


@pytest.mark.parametrize("driver", [driver for driver in drivers.DRIVERS if "/" not in driver])
def test_a_vf_of_every_driver_is_restored(devices: Path, driver: str) -> None:
    """After a container with another VLAN, MAC and, where it can be had, trust: the state is that of before."""
    with played(devices, driver, reset_seconds=0.1, late_seconds=0.1) as (kernel, host):
        port = kernel.ports[0]
        before = host.state(port)
        before.mac = before.admin_mac = OTHER_MAC
        requested = VfSettings(trust=1, defaults=("trust", "vlan"))
        if not drivers.reports_no_vfs(driver):
            requested.vlan, requested.vlan_qos, requested.vlan_proto = 100, 0, 0x8100
        link = host.netdev(port)
        assert link is not None
        host.configure(port, link, requested, MAC)
        kernel.vfs[0].bond, kernel.vfs[0].up = 99, True
        Host(kernel.netlink).restore(port, before)
        vf = kernel.vfs[0]
        assert (vf.mac, vf.bond, vf.up) == (OTHER_MAC, 0, False)
        assert (vf.settings["vlan"], vf.settings["trust"]) == (0, 0)


# -- errors


def test_a_pf_or_vf_that_is_missing_is_named(devices: Path) -> None:
    """Each error has the remedy."""
    host = Host()
    with contextlib.closing(host.netlink):
        with pytest.raises(CniError, match=f"the NIC at {PF} has no network device here; is its driver loaded") as refused:
            host.pf(PF)
        assert refused.value.code == POOL_UNUSABLE
        add_netdev(devices, PF, "no-such-device")  # sysfs of the host, seen from another network namespace
        with pytest.raises(CniError, match="does the runtime run in the host's network namespace"):
            host.pf(PF)
        with pytest.raises(CniError, match=r"VF11 \(VF 0 at 0000:01:10.0\) is not in the host: it is not on the PCI bus"):
            host.state(PORTS[0])
        with pytest.raises(CniError, match=r"VF11 at 0000:01:10\.0 is not in the host"):
            host.name(PORTS[0])


def test_vfs_that_do_not_return_are_returned_after_the_deadline(devices: Path) -> None:
    """With all in the host there is no wait."""
    add_netdev(devices, PORTS[0].address, "VF11")
    start = monotonic()
    assert sriov.wait_for_vfs(PORTS, Deadline(0.1)) == [PORTS[1]]
    assert monotonic() - start >= 0.1
    assert sriov.wait_for_vfs(PORTS, Deadline(0)) == [PORTS[1]]
    add_netdev(devices, PORTS[1].address, "VF12")
    start = monotonic()
    assert sriov.wait_for_vfs(PORTS, Deadline(60)) == []
    assert monotonic() - start < 30


# -- moves, of a veth in place of a VF


@pytest.mark.root
@pytest.mark.parametrize(
    ("in_host", "in_container", "altname", "name"),
    [
        ("VF11", [], "", "VF11"),
        ("eth3", [], "", "VF11"),
        ("VF11", ["VF11"], "", "vf[0-9]"),
        ("VF11", ["VF11", "vf0"], "", "vf[0-9]"),
        ("eth3", ["VF11"], "", "eth3"),
        ("eth3", ["VF11", "eth3"], "", "vf[0-9]"),
        ("VF11", ["other"], "VF11", "vf[0-9]"),
    ],
    ids=["free", "renamed", "taken", "free number", "renamed, taken", "both taken", "taken by an altname"],
)
def test_a_vf_moves_in_whatever_names_are_taken(in_host: str, in_container: list[str], altname: str, name: str) -> None:
    """A device of the container keeps its name, and the VF gets a free one."""
    with temporary_netns() as outside, temporary_netns() as container:
        outside.theirs.link("add", ifname=in_host, kind="ifb", address=MAC)
        for taken in in_container:
            container.theirs.link("add", ifname=taken, kind="ifb")
        if altname:
            container.theirs.link("property_add", index=container.index("other"), altname=altname)
        with Entered(outside.netns):
            host = sriov.Host()
        with contextlib.closing(host.netlink):
            link = host.netlink.link(in_host)
            assert link is not None
            sriov.move_in(host, PORTS[0], link, container.netns.fd, "the container")
        [moved] = [link.name for link in container.ours.links() if link.mac == MAC]
        assert re.fullmatch(name, moved)
        assert set(in_container) < {link.name for link in container.ours.links()}
        assert [link.name for link in outside.ours.links()] == ["lo"]


def container_device(container: TemporaryNetns) -> Link:
    """Return the veth of the container, which is up and has an altname."""
    container.theirs.link("property_add", index=container.index("a"), altname="another-name")
    link = container.ours.link("a")
    assert link is not None
    assert (link.up, link.altnames) == (True, ["another-name"])
    return link


def in_host(host: TemporaryNetns) -> list[tuple[str, bool, list[str]]]:
    return [(link.name, link.up, link.altnames) for link in host.ours.links() if link.name not in ("lo", "other")]


@pytest.mark.root
@pytest.mark.parametrize(
    ("in_container", "exists_in_host", "name"),
    [
        ([], [], "VF11"),
        (["VF11"], [], "a"),
        ([], ["VF11"], "vf[0-9]"),
        ([], ["VF11", "vf1"], "vf[0-9]"),
        (["VF11"], ["a"], "vf[0-9]"),
    ],
    ids=["free", "taken in the container", "taken in the host", "free number", "both names taken"],
)
def test_a_device_moves_out_whatever_names_are_taken(in_container: list[str], exists_in_host: list[str], name: str) -> None:
    """It is down then, without altnames, under its host name if that is free.

    Kernels differ in the number for "vf%d": some allocate twice, for the move and for the rename.
    """
    with veth_pair() as (container, _), temporary_netns() as host:
        link = container_device(container)
        for space, names in ((container, in_container), (host, exists_in_host)):
            for taken in names:
                space.theirs.link("add", ifname=taken, kind="ifb")
        with Entered(host.netns):
            sriov.move_out(container.ours, link, "VF11")
        [(moved, up, altnames)] = [device for device in in_host(host) if device[0] not in exists_in_host]
        assert re.fullmatch(name, moved)
        assert (up, altnames) == (False, [])
        assert container.ours.link("a") is None


@pytest.mark.root
def test_altnames_that_exist_in_the_host_do_not_keep_a_device(devices: Path) -> None:
    """The kernel would refuse the move because of one."""
    with veth_pair() as (container, _), temporary_netns() as host:
        link = container_device(container)
        host.theirs.link("add", ifname="other", kind="ifb")
        host.theirs.link("property_add", index=host.index("other"), altname="another-name")
        with Entered(host.netns):
            sriov.move_out(container.ours, link, "VF11")
        assert in_host(host) == [("VF11", False, [])]
