"""Facts about NICs that `status` shows, read through pyroute2 in a namespace with devices of ours."""

import gc
import os
import socket
from pathlib import Path

import pytest
from pyroute2.netlink.devlink import devlinkcmd  # type: ignore[import-untyped]

from cni_sriov_bond.ctl import links
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.kernel.netns import Entered
from tests.support import REPOSITORY, TemporaryNetns, veth_pair

PF = "ffff:01:00.0"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A NIC's directory in a tree in the place of /sys/bus/pci/devices, with the network device `a`."""
    monkeypatch.setattr(sysfs, "PCI_DEVICES", str(tmp_path))
    path = tmp_path / PF
    (path / "net" / "a").mkdir(parents=True)
    return path


def read(netns: TemporaryNetns, *addresses: str) -> list[links.Nic]:
    """Read NICs inside a namespace; no socket and no event loop is left open, which would be a warning."""
    before = len(os.listdir("/proc/self/fd"))
    with Entered(netns.netns), links.Reader() as reader:
        nics = [reader.read(address, "enp1s0", number) for number, address in enumerate(addresses, 1)]
    del reader
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    return nics


def counters(netns: TemporaryNetns, name: str) -> links.Counters:
    """Read a device's counters as the kernel has them in /proc."""
    with Entered(netns.netns):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    [values] = [line.split(":")[1].split() for line in lines if line.strip().startswith(f"{name}:")]
    return links.Counters(*(int(values[index]) for index in (0, 1, 2, 3, 8, 9, 10, 11)))


@pytest.mark.root
def test_a_nic_has_the_facts_that_its_driver_has(device: Path) -> None:
    """Link, counters and speed by netlink; driver by ioctl; VFs and NUMA node by sysfs. veth has no firmware."""
    for attribute, value in (("sriov_numvfs", 3), ("sriov_totalvfs", 7), ("numa_node", 1)):
        (device / attribute).write_text(f"{value}\n")
    with veth_pair(mtu=1450) as (left, _):
        mac = left.show("a").get_attr("IFLA_ADDRESS")
        with Entered(left.netns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("a", 0))
            for _ in range(5):
                raw.send(bytes.fromhex("ffffffffffff02000000000188b5") + bytes(46))
        before = counters(left, "a")
        [nic] = read(left, PF)
        assert nic.counters
        assert before.tx_packets >= 5
        # Both ends send a few frames by themselves when they come up.
        for least, value, most in zip(before, nic.counters, counters(left, "a"), strict=True):
            assert least <= value <= most
    assert nic._replace(counters=None) == links.Nic(
        PF, "a", 1, present=True, up=True, carrier=True, state="up", speed=10000, duplex="full", mtu=1450, mac=mac,
        driver="veth", driver_version="1.0", firmware=None, vfs=3, total_vfs=7, numa_node=1,
    )  # fmt: skip


@pytest.mark.root
def test_a_nic_that_is_down_and_one_without_its_cable(device: Path) -> None:
    """Some drivers say that a device which is down has carrier."""
    with veth_pair() as (left, right):
        right.theirs.link("set", index=right.index("b"), state="down")
        [nic] = read(left, PF)
        assert (nic.present, nic.up, nic.carrier) == (True, True, False)
        left.theirs.link("set", index=left.index("a"), state="down")
        [nic] = read(left, PF)
        assert (nic.present, nic.up, nic.carrier, nic.state) == (True, False, False, "down")


@pytest.mark.root
def test_a_nic_that_is_missing_has_no_facts(device: Path) -> None:
    """One without a network device, one that went away after its name was read, and one that is not on the bus."""
    (device.parent / "ffff:02:00.0").mkdir()
    (device.parent / "ffff:02:00.0" / "numa_node").write_text("-1\n")
    (device / "net" / "a").rename(device / "net" / "gone")
    with veth_pair() as (left, _):
        nics = read(left, PF, "ffff:02:00.0", "ffff:03:00.0")
    assert [(nic.present, nic.name) for nic in nics] == [(False, "gone"), (False, "enp1s0"), (False, "enp1s0")]
    for nic in nics:
        facts = nic.to_json()
        assert (facts["up"], facts["carrier"]) == (False, False)
        assert {value for key, value in facts.items() if key not in ("pci", "name", "number", "present", "up", "carrier")} == {
            None
        }


@pytest.mark.root
def test_a_device_that_has_no_ethtool_has_no_speed(device: Path) -> None:
    (device / "net" / "a").rename(device / "net" / "lo")
    with veth_pair() as (left, _):
        [nic] = read(left, PF)
    assert (nic.present, nic.speed, nic.duplex, nic.driver, nic.firmware) == (True, None, None, None, None)


@pytest.mark.parametrize(
    ("versions", "firmware"),
    [
        ([], ""),
        ([("fw.mgmt", "6.1.3"), ("fw.undi", "1.2")], "6.1.3"),
        ([("fw.psid", "MT_1"), ("fw", "16.35.2000")], "16.35.2000"),
        ([("board.id", "5")], ""),
    ],
)
def test_the_firmware_of_a_devlink_answer(versions: list[tuple[str, str]], firmware: str) -> None:
    """The answer as the bytes of a netlink message: mlx5 calls it "fw", ice "fw.mgmt"."""
    message = devlinkcmd()
    message["cmd"], message["version"] = 51, 1
    message["attrs"] = [("DEVLINK_ATTR_BUS_NAME", "pci"), ("DEVLINK_ATTR_DEV_NAME", PF)] + [
        (
            "DEVLINK_ATTR_INFO_VERSION_RUNNING",
            {"attrs": [("DEVLINK_ATTR_INFO_VERSION_NAME", name), ("DEVLINK_ATTR_INFO_VERSION_VALUE", value)]},
        )
        for name, value in versions
    ]
    message.encode()
    answer = devlinkcmd(message.data)
    answer.decode()
    assert links.firmware_of(answer) == firmware


def test_every_fact_is_in_the_reference() -> None:
    """`status --json` is for programs, whose authors read docs/reference.md."""
    text = (REPOSITORY / "docs/reference.md").read_text()
    keys = [*links.Nic(PF, "a", 1).to_json(), *links.Counters._fields]
    assert [key for key in keys if f"`{key}`" not in text] == []
