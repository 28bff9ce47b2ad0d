"""Which bonds a name means, and what is known of them."""

from pathlib import Path

import pytest

from cni_sriov_bond.ctl import detail
from cni_sriov_bond.errors import CniError
from tests.ctl.samples import LINK, bond
from tests.ctl.samples import detail as leased
from tests.support import add_device, change_inventory, make_pool, ready

pytestmark = pytest.mark.root
ID = "k8s.io-" + "ab" * 32


def names(state: Path, wanted: str) -> list[str]:
    return [f"{found.pool}/{found.status.name}" for found in detail.find(str(state), wanted)]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two pools; one container with two bonds, and two others whose ids begin alike."""
    first, second = make_pool(tmp_path, "db", 4), make_pool(tmp_path, "web", 1)
    ready(first, ID)
    ready(first, ID, ifname="eth1")
    ready(first, "cat")
    ready(second, "car")
    return tmp_path


def test_a_name_is_a_bond_or_a_container(state: Path) -> None:
    """An id with and without the namespace that containerd puts before it, or its beginning."""
    assert names(state, "cbond2") == names(state, "db/cbond2") == ["db/cbond2"]
    for wanted in (ID, ID[:20], ID.removeprefix("k8s.io-"), "abab"):
        assert names(state, wanted) == ["db/cbond1", "db/cbond2"]
    assert names(state, "cat") == ["db/cbond3"]
    assert names(state, "web/cbond1") == ["web/cbond1"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("cbond1", "there is more than one bond cbond1; name db/cbond1 or web/cbond1"),
        ("ca", "several containers match ca: car, cat; give more of the id"),
        ("nobody", "there is no bond and no container nobody with a bond"),
        ("db/cbond9", "there is no bond and no container db/cbond9 with a bond"),
    ],
)
def test_a_name_that_means_nothing_or_too_much(state: Path, wanted: str, message: str) -> None:
    with pytest.raises(CniError, match=message):
        detail.find(str(state), wanted)


def test_a_whole_id_is_meant_before_one_that_begins_so(tmp_path: Path) -> None:
    pool = make_pool(tmp_path)
    ready(pool, "c1")
    ready(pool, "c10")
    assert names(tmp_path, "c1") == ["db/cbond1"]


def test_a_free_bond_is_read_in_the_host(tmp_path: Path, devices: Path) -> None:
    """`lo` in the place of the VF."""
    state = tmp_path / "state"
    pool = make_pool(state, size=1)
    nic = {"pci": "ffff:01:00.0", "name": "enp1s0", "number": 1, "made_vfs": True, "brought_up": False}
    change_inventory(pool, nics=[nic])
    add_device(devices, pool.bonds()[0].ports[0].address, "lo")
    [shown] = detail.find(str(state), "cbond1")
    assert (shown.live, shown.record, shown.age, shown.monitor) == (None, None, None, None)
    first, second = shown.ports
    assert (first.device, first.port.mac, first.settings) == ("lo", "00:00:00:00:00:00", None)
    assert first.port.nic
    assert first.port.nic.name == "enp1s0"
    assert (second.device, second.port.counters) == ("", None)


def test_the_monitor() -> None:
    shown = leased()
    assert shown.monitor == detail.Monitor("arp", 200, ["10.0.0.1", "fd00::1"], [])
    carrier = bond(link=LINK._replace(options={"mode": 1, "miimon": 100}))
    carrier.record.silent_gateways = ["10.0.0.9"]
    by_carrier = shown._replace(live=carrier, record=carrier.record)
    assert by_carrier.monitor == detail.Monitor("mii", 100, [], ["10.0.0.9"])


def test_the_age_is_not_negative() -> None:
    """The clock may have been set back."""
    assert leased().age == 8000.0
    assert leased()._replace(now=0.0).age == 0.0
