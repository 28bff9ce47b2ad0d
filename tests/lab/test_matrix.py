"""Containers of one host reach each other, the host and the outside, in every mode (`./dev matrix` tries all of them)."""

from typing import TYPE_CHECKING

import pytest

from tests.lab import matrix
from tests.lab.product import Product

if TYPE_CHECKING:
    from tests.lab.lab import Lab

# A failover: two intervals of the ARP monitor without an answer (0.4 s), the neighbours' learning, and a slow guest.
LONGEST_GAP = 3.0


@pytest.mark.timeout(1500)
def test_everybody_reaches_everybody(lab: "Lab", product: Product, pytestconfig: pytest.Config) -> None:
    """In the two modes that people use; with --whole-table also in those that cannot, which the docs explain."""
    whole = pytestconfig.getoption("whole_table")
    report = matrix.measure(lab, product, matrix.ROWS if whole else matrix.IN_BRIEF)
    print(f"\n{report.table()}")
    names = {row.name for row in matrix.IN_BRIEF}
    # The host's address and the macvlan are on the NIC whose cable is out.
    expected = {(name, "cable A out", path) for name in names for path in matrix.ON_NIC_1}
    assert {cell for cell in report.failing() if cell[0] in names} - expected == set()
    assert [cell for cell in report.cells if cell.twice and cell.row in names] == []
    # Where one port is active no container receives a broadcast twice. The emulated NIC returns it to its sender in each mode.
    assert report.copies["active-backup"] == ("10", "10")
    gaps = {(row, who): gap for row, gaps in report.gaps.items() for who, gap in gaps.items() if row in names}
    assert {where: gap for where, gap in gaps.items() if gap > LONGEST_GAP} == {}
