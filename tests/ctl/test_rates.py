"""Rates between two readings: per bond, per NIC, and where one of the readings is missing."""

from cni_sriov_bond.ctl import rates
from tests.ctl.samples import COUNTERS, NICS, bond, snapshot


def test_rates_are_a_second_of_the_difference() -> None:
    top = rates.between(snapshot(1.0, bond()), snapshot(3.0, bond(factor=3)))
    [row] = top.bonds
    # 1000 bytes more in each second: 8000 bits.
    assert row.rates == rates.Rates(8000.0, 16000.0, 10.0, 20.0, 3.0)
    assert (top.interval, top.size, row.errors) == (2.0, 7, 9)
    first, second = top.nics
    assert first.rates == second.rates == row.rates
    assert first.own == rates.NONE


def test_a_nic_has_the_sum_of_its_ports() -> None:
    before = snapshot(0.0, bond("cbond1", "c1"), bond("cbond2", "c2"))
    after = snapshot(1.0, bond("cbond1", "c1", 2), bond("cbond2", "c2", 3))
    assert [row.rates.rx_packets for row in rates.between(before, after).nics] == [30.0, 30.0]


def test_what_was_not_there_or_began_anew_has_no_rates() -> None:
    new = rates.between(snapshot(0.0), snapshot(1.0, bond()))
    assert (new.bonds[0].rates, new.nics[0].rates) == (None, rates.NONE)
    gone = rates.between(snapshot(0.0, bond()), snapshot(1.0, bond(link=None)))
    assert (gone.bonds[0].rates, gone.bonds[0].errors) == (None, 0)
    smaller = rates.between(snapshot(0.0, bond(factor=2)), snapshot(1.0, bond()))
    assert smaller.bonds[0].rates is None
    other = rates.between(snapshot(0.0, bond()), snapshot(1.0, bond(container_id="c2", factor=2)))
    assert other.bonds[0].rates is None, "the bond of another container"


def test_the_order() -> None:
    quiet, busy, failed = bond("cbond1", "c1"), bond("cbond2", "c2", 5), bond("cbond3", "c3", 2)
    failed = failed._replace(ports=[port._replace(failures=4) for port in failed.ports])
    before = snapshot(0.0, *(bond(shown.name, shown.attachment.container_id) for shown in (quiet, busy, failed)))
    after = snapshot(1.0, quiet, busy, failed)
    orders = {sort: [row.bond.name[-1] for row in rates.between(before, after, sort).bonds] for sort in rates.SORTS}
    assert orders == {
        "traffic": ["2", "3", "1"],
        "name": ["1", "2", "3"],
        "failovers": ["3", "1", "2"],
        "errors": ["2", "3", "1"],
    }


def test_a_nic_counts_its_own_packets() -> None:
    more = COUNTERS._replace(rx_packets=COUNTERS.rx_packets + 7)
    after = snapshot(1.0)._replace(nics=[NICS[0]._replace(counters=more), NICS[1]._replace(counters=None)])
    first, second = rates.between(snapshot(0.0), after).nics
    assert first.own
    assert (first.own.rx_packets, second.own) == (7.0, None)
