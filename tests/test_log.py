"""Which lines are written at which level."""

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
def test_a_level_writes_what_is_as_important(capfd: pytest.CaptureFixture[str], level: str, written: list[str]) -> None:
    """sriov-cni's names are all taken; warnings and steps are all that is ever written."""
    log = Log(level, prefix="x")
    log.warn("careful")
    log.step("done")
    assert [line.partition(" (")[0] for line in capfd.readouterr().err.splitlines()] == written
