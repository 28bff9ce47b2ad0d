"""Waiting for something to become true, with a deadline: the only way in which a test waits."""

import time
from typing import TYPE_CHECKING, TypeVar

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")


class NeverHappenedError(LabError):
    """What was waited for did not become true in time."""


def wait_until(condition: "Callable[[], Answer]", description: str, timeout: float = 10.0) -> Answer:
    """Ask again and again until the answer is true; return it. `what` completes "waited N s for ..."."""
    deadline = time.monotonic() + timeout
    pause = 0.02
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise NeverHappenedError(f"waited {timeout:g} s for {description}; last answer: {answer!r}")
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
    return answer
