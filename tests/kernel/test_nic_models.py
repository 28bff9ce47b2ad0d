"""The table of NIC models agrees with that of drivers, and knows the models that the documents name."""

import re

import pytest

from cni_sriov_bond.kernel import drivers, nic_models


@pytest.mark.parametrize(("ids", "row"), nic_models.MODELS.items())
def test_each_row_has_a_driver_that_is_known_and_a_speed(ids: str, row: tuple[str, str, int, int]) -> None:
    model, driver, mbits, vfs = row
    assert re.fullmatch("[0-9a-f]{4}:[0-9a-f]{4}", ids)
    assert driver in drivers.DRIVERS
    assert mbits in (1000, 10000, 25000, 40000, 50000, 100000, 200000, 400000)
    assert 0 <= vfs <= 255
    assert model.split()[0] in ("Intel", "Mellanox", "NVIDIA", "Broadcom")


@pytest.mark.parametrize("driver", ["igb", "ixgbe", "i40e", "ice", "mlx5_core", "bnxt_en"])
def test_each_driver_has_models(driver: str) -> None:
    assert [row for row in nic_models.MODELS.values() if row[1] == driver]


def test_a_model_is_found_by_what_sysfs_has() -> None:
    assert nic_models.model_of("0x8086", "0x10c9") == ("Intel 82576", "igb", 1000, 7)
    assert nic_models.model_of("0x8086", "0x10ca") == ("", "", 0, 0)
    assert nic_models.model_of("", "") == ("", "", 0, 0)


def test_old_kernels_are_of_drivers_that_are_known() -> None:
    vf_drivers = {row[0] for row in drivers.DRIVERS.values()}
    assert {driver for driver, _, _ in nic_models.OLD_KERNELS} <= vf_drivers | set(drivers.DRIVERS)
    assert set(nic_models.FIRMWARE) <= set(drivers.DRIVERS)
