"""`log` on terminals of three widths."""

import io

import pytest
from rich.console import Console

from cni_sriov_bond.ctl.eventlog import PortEvent
from cni_sriov_bond.ctl.story import Happening
from cni_sriov_bond.ctl.story_screen import print_story
from tests.ctl.samples import LONG_ID, event

ADD = event(container_id=LONG_ID)
FAILED = event("DEL", program="sriov-bondctl", error="the IPAM plugin \x1b[2J failed", code=102)
PORT = PortEvent(1_700_000_001.25, "VF11", "failed", "")


def shown(width: int) -> list[str]:
    output = io.StringIO()
    happenings = [
        Happening(1.0, "db", "cbond1", action=ADD),
        Happening(2.0, "db", "cbond1", port=PORT, nic="NIC 1 (enp1s0)"),
        Happening(3.0, "db", "cbond1", action=FAILED),
    ]
    print_story(Console(file=output, width=width, highlight=False, markup=False, emoji=False), happenings)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_each_step_has_its_time() -> None:
    lines = shown(200)
    assert lines[0].endswith(f".000  ADD by containerd[7]: {LONG_ID} eth0, network net1, bond db/cbond1")
    assert lines[1:4] == [
        "                +0.001 s validated",
        "                +0.250 s warning: no carrier",
        "                +0.500 s done",
    ]
    assert lines[4].endswith(".250  port VF11 on NIC 1 (enp1s0) failed")
    assert "DEL by containerd[7] with sriov-bondctl: c1 eth0" in lines[5]
    assert lines[8] == "                +0.500 s failed: the IPAM plugin \N{REPLACEMENT CHARACTER}[2J failed"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(width: int) -> None:
    """Texts are wrapped between words, below where they begin."""
    lines = shown(width)
    assert [line for line in lines if len(line) > width] == []
    assert any(LONG_ID[:20] in line and (line.endswith("…") or LONG_ID in line) for line in lines)
    assert all(line.startswith((" " * 25, "2023-", " " * 16 + "+")) for line in lines)
