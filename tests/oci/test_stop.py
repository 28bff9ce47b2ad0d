"""Why work stops early."""

import os
import signal

import pytest

from cni_sriov_bond.oci import stop
from cni_sriov_bond.oci.stop import Stop
from tests.oci.fakes import Container


def test_there_is_no_reason_at_first(container: Container) -> None:
    assert Stop(10, os.getppid(), container.pid).reason() == ""
    assert Stop(0).deadline.left() == 0


def test_the_end_of_parent_and_container(container: Container) -> None:
    assert Stop(10, parent=1 << 22).reason() == "the runtime that started the hook has ended"
    running = Stop(10, pid=container.pid)
    container.kill()
    assert running.reason() == f"the container's first process {container.pid} has ended"
    assert Stop(10, pid=container.pid).reason() != ""


def test_a_signal_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops a hook that attaches, and nothing else."""
    received: list[int] = []
    monkeypatch.setattr(stop, "_received", received)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        stop.catch_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert Stop(10, os.getppid()).reason() == "the hook received SIGTERM"
        assert Stop(10).reason() == ""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
