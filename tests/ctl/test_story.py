"""What belongs to the story of a bond and of a container."""

import json
import time
from pathlib import Path

import pytest

from cni_sriov_bond import events
from cni_sriov_bond.ctl import eventlog, story
from cni_sriov_bond.ctl.eventlog import Event
from cni_sriov_bond.errors import CniError
from tests.ctl.samples import event
from tests.support import change_inventory, make_pool

BOOTED = round(time.time() - time.monotonic())


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with a pool, on a host without a journal."""
    monkeypatch.setattr(events, "JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setattr(eventlog, "KMSG", str(tmp_path / "kmsg"))
    (tmp_path / "kmsg").touch()
    path = tmp_path / "state"
    nic = {"pci": "ffff:01:00.0", "name": "enp1s0", "number": 1, "made_vfs": True, "brought_up": False}
    change_inventory(make_pool(path), nics=[nic])
    return path


def write(state: Path, *every: Event) -> None:
    """Write a log with these events."""
    lines = [json.dumps({**one._asdict(), "steps": [list(step) for step in one.steps]}) for one in every]
    Path(events.file_of(str(state))).write_text("".join(f"{line}\n" for line in lines))


def kernel(tmp_path: Path, *lines: tuple[float, str]) -> None:
    """Let the kernel have said of a port, some seconds after the boot, that it failed."""
    text = "".join(
        f"6,1,{seconds * 1e6:.0f},-;eth0: (slave {port}): link status definitely down, x\n" for seconds, port in lines
    )
    (tmp_path / "kmsg").write_text(text)


def told(state: Path, wanted: str) -> list[str]:
    happenings = story.of(str(state), wanted)
    return [one.action.action if one.action else f"{one.port and one.port.port} {one.nic}" for one in happenings]


def test_the_ports_of_a_container_are_those_of_its_bond_while_it_has_it(state: Path, tmp_path: Path) -> None:
    write(state, event("ADD", BOOTED + 10.0), event("DEL", BOOTED + 20.0), event("ADD", BOOTED + 30.0, container_id="c2"))
    kernel(tmp_path, (5, "VF11"), (12, "VF11"), (13, "VF12"), (14, "VF21"), (25, "VF11"), (35, "VF11"))
    assert told(state, "c1") == ["ADD", "VF11 NIC 1 (enp1s0)", "VF21 ffff:02:00.0", "DEL"]
    assert told(state, "c2") == ["ADD", "VF11 NIC 1 (enp1s0)"]
    assert told(state, "cbond1") == told(state, "db/cbond1")
    assert told(state, "cbond1") == ["ADD", "VF11 NIC 1 (enp1s0)", "VF21 ffff:02:00.0", "DEL", "ADD", "VF11 NIC 1 (enp1s0)"]


def test_an_add_that_failed_gave_no_bond(state: Path, tmp_path: Path) -> None:
    write(state, event("ADD", BOOTED + 10.0, error="no bond", code=11), event("release", BOOTED + 30.0))
    kernel(tmp_path, (12, "VF11"))
    assert told(state, "c1") == ["ADD", "release"]


def test_a_del_that_failed_is_no_end(state: Path, tmp_path: Path) -> None:
    write(state, event("ADD", BOOTED + 10.0), event("DEL", BOOTED + 20.0, error="x"), event("release", BOOTED + 30.0))
    kernel(tmp_path, (25, "VF11"), (35, "VF11"))
    assert told(state, "c1") == ["ADD", "DEL", "VF11 NIC 1 (enp1s0)", "release"]


def test_a_pool_that_is_removed_has_no_ports(state: Path, tmp_path: Path) -> None:
    write(state, event("ADD", BOOTED + 10.0))
    kernel(tmp_path, (12, "VF11"))
    (state / "db" / "pool.json").unlink()
    assert told(state, "c1") == ["ADD"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("nobody", "the log has no bond and no container nobody"), ("c", "several containers match c: c1, c2; give more")],
)
def test_a_name_that_means_nothing_or_too_much(state: Path, wanted: str, message: str) -> None:
    write(state, event(), event(container_id="c2"))
    with pytest.raises(CniError, match=message):
        story.of(str(state), wanted)


def test_a_container_without_a_bond_has_a_story(state: Path) -> None:
    """Its ADD failed."""
    write(state, event("ADD", bond="", pool="", error="no bond is free", code=11))
    assert told(state, "c1") == ["ADD"]


def test_the_caller_is_that_of_the_last_add_that_succeeded(state: Path) -> None:
    write(
        state, event(caller="old[1]"), event(at=1_700_000_001.0, caller="containerd[2]"),
        event(at=1_700_000_002.0, caller="bad[3]", error="x"), event("DEL", 1_700_000_003.0, caller="del[4]"),
    )  # fmt: skip
    assert story.callers(str(state)).get(("net1", "c1", "eth0"), "") == "containerd[2]"
    assert story.callers(str(state)).get(("net1", "c1", "eth1"), "") == ""


def test_a_log_that_cannot_be_read_has_no_caller(state: Path) -> None:
    Path(events.file_of(str(state))).mkdir()
    assert story.callers(str(state)).get(("net1", "c1", "eth0"), "") == ""
