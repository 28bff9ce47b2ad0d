"""One deadline for a call: all waits together end with it."""

from time import monotonic

import pytest

from cni_sriov_bond import deadline
from cni_sriov_bond.deadline import Deadline

# What runtimes give, in seconds (sources: cni_sriov_bond/deadline.py).
CRIO_DEL, KUBELET_ADD = 60, 240


def test_every_verb_ends_before_its_runtime_gives_up() -> None:
    """A runtime kills the plugin at its limit: the undo would be unfinished, and no error would name what was slow."""
    assert deadline.SECONDS["ADD"] < KUBELET_ADD
    assert all(deadline.SECONDS[verb] < CRIO_DEL for verb in ("DEL", "CHECK", "GC", "STATUS"))
    assert 0 < deadline.UNDO_SECONDS < deadline.SECONDS["ADD"] / 2


def test_a_part_never_ends_after_the_whole() -> None:
    """A part ends with the whole at the latest, and reserved time is not used."""
    whole = Deadline(10)
    assert 9 < whole.part(60).left() <= 10
    assert 1 < whole.part(2).left() <= 2
    assert 6 < whole.keeping(3).left() <= 7
    assert whole.keeping(30).left() == 0
    assert whole.left(4) == 4
    assert Deadline(0).left() == 0


def test_only_long_waits_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts record waits in common; waits below a second are not recorded."""
    whole = Deadline(10)
    with whole.part(1).wait("a short one"):
        pass
    assert whole.waits() == ""
    now = monotonic()
    times = iter((now, now + 3))
    monkeypatch.setattr(deadline, "monotonic", lambda: next(times))
    with whole.wait("a long one"):
        pass
    assert whole.waits() == "waited for a long one (3 s)"
