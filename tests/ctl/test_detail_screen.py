"""`show` on terminals of three widths."""

import io

import pytest
from rich.console import Console

from cni_sriov_bond.ctl.detail import Detail
from cni_sriov_bond.ctl.detail_screen import print_detail
from tests.ctl.samples import LONG_ID, bond, detail, free


def shown(value: Detail, width: int = 120) -> list[str]:
    output = io.StringIO()
    print_detail(Console(file=output, width=width, highlight=False, markup=False, emoji=False), value)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_everything_has_a_line() -> None:
    lines = shown(detail())
    assert lines[0] == "bond db/cbond1: ready, leased for 2 h 13 min"
    facts = {line[2:14].strip(): line[14:] for line in lines[1:] if line[2:14].strip() and not line.startswith(" VF")}
    assert facts["container"] == "c1"
    assert facts["VLAN"] == "100"
    assert facts["leased"].endswith(", by containerd[7]")
    assert facts["monitor"] == "the path to 10.0.0.1 and fd00::1, every 200 ms"
    assert facts["mode"] == "active-backup, fail_over_mac active"
    assert facts["active"] == "VF21 on NIC 2 (enp2s0)"
    assert facts["failovers"] == "1"
    assert facts["in"] == "1.00 kB, 10 packets, 1 errors, 2 dropped"
    assert lines[-2].split() == [
        "VF11", "1", "enp1s0", "no", "down", "no", "carrier", "1", "1.00", "kB", "2.00", "kB", "1", "2", "02:00:00:00:00:01",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(width: int) -> None:
    """No line is longer, no column is cut, and an id that does not fit ends in an ellipsis."""
    lines = shown(detail(LONG_ID), width) + shown(free(), width)
    assert [line for line in lines if len(line) > width] == []
    [container] = [line.split()[1] for line in lines if line.startswith("  container")]
    assert container == (LONG_ID if width == 120 else LONG_ID[: width - 15] + "…")
    heads = [line.split() for line in lines if line.startswith(" PORT")]
    assert [head[:6] for head in heads] == [["PORT", "NIC", "ACTIVE", "LINK", "NIC", "LINK"]] * 2


def test_a_bond_that_cannot_be_read_says_why() -> None:
    gone = detail()._replace(live=bond(link=None), ports=free().ports)
    lines = shown(gone)
    assert "  not read    the namespace of its container is gone" in lines
    assert not [line for line in lines if "failovers" in line]


def test_what_a_terminal_obeys_is_replaced() -> None:
    lines = shown(detail("\x1b[2Ja"))
    assert "\x1b" not in "\n".join(lines)
