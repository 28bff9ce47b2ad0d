"""The table of drivers: its form, and the answers for a driver that is not in it."""

import pytest

from cni_sriov_bond.kernel import drivers


def test_every_row_has_every_column() -> None:
    assert {name for name, row in drivers.DRIVERS.items() if len(row) != len(drivers.COLUMNS)} == set()
    assert len(drivers._NOT_KNOWN) == len(drivers.COLUMNS)
    assert set(drivers.NOTES) <= set(drivers.DRIVERS)


def test_every_value_is_one_that_is_explained() -> None:
    """A misspelt value would silently be "has it"."""
    common = {"y", "n", "?", "later", "firmware"}
    allowed = {
        "qos": common | {"ignored"}, "ad": common, "min": common | {"ignored"}, "max": common | {"82576", "10G", "vlan"},
        "spoofchk": common | {"unreported"}, "link_state": common, "trust": common, "own_mac": {"any", "equal", "no", "?"},
        "zero_mac": {"y", "n"}, "mac": {"claim", "late", "netdev", "probe"}, "late": {"y", "n"},
    }  # fmt: skip
    wrong = [
        (driver, column, drivers.fact(driver, column))
        for driver in drivers.DRIVERS
        for column, values in allowed.items()
        if drivers.fact(driver, column) not in values
    ]
    assert wrong == []


@pytest.mark.parametrize("driver", ["", "new_driver"])
def test_an_unknown_driver_is_handled_with_care(driver: str) -> None:
    """It gets no zero MAC, is given time, and may be in a reset; and nothing is refused in its name."""
    assert not drivers.takes_zero_mac(driver)
    assert (drivers.way_of_mac(driver), drivers.reports_late(driver), drivers.may_be_resetting(driver)) == ("late", True, True)
    assert not any(drivers.lacks(driver, setting) for setting in drivers.COLUMNS)
    assert not drivers.reports_no_vfs(driver)


def test_what_is_known_of_some_drivers() -> None:
    assert [driver for driver in drivers.DRIVERS if not drivers.takes_zero_mac(driver)] == [
        "mlx4_core", "be2net", "qede", "bnx2x", "rvu_nicpf", "cxgb4",
    ]  # fmt: skip
    resetting = {row[0] for row in drivers.DRIVERS.values() if drivers.may_be_resetting(row[0])}
    assert resetting == {"ixgbevf", "iavf", "sfc", "enic", "fm10k", "hns3", "cxgb4vf", "ionic"}
    assert (drivers.lacks("igb", "link_state"), drivers.lacks("igb", "trust"), drivers.lacks("qede", "qos")) == (
        True,
        False,
        True,
    )
    assert [drivers.rate_of_none(driver, 25000) for driver in ("qede", "bnx2x", "igb")] == [25000, 10000, 0]
    assert [driver for driver in drivers.DRIVERS if drivers.reports_rate_for_none(driver)] == ["qede", "bnx2x"]
