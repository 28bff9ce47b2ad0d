"""The lines that each level writes."""

import pytest

from cni_sriov_bond.log import Log


@pytest.mark.parametrize(
    ("level", "written"),
    [
        *((level, []) for level in ("panic", "fatal", "error")),
        *((level, ["x: warning: careful"]) for level in ("warning", "info")),
        ("debug", ["x: warning: careful", "x: debug: done"]),
    ],
)
def test_a_level_selects_what_is_written(capfd: pytest.CaptureFixture[str], level: str, written: list[str]) -> None:
    """All levels of sriov-cni are accepted; only warnings and steps are ever written."""
    log = Log(level, prefix="x")
    log.warn("careful")
    log.step("done")
    assert [line.partition(" (")[0] for line in capfd.readouterr().err.splitlines()] == written
