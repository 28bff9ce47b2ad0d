"""Wait for a condition with a deadline. Tests wait in no other way."""

import time
from typing import TYPE_CHECKING, TypeVar

from tests.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")


class NeverHappenedError(LabError):
    """A condition did not become true in time."""


def wait_until(condition: "Callable[[], Answer]", description: str, timeout: float = 10.0) -> Answer:
    """Call ``condition`` repeatedly until its result is true; return the result.

    :param description: completes "waited N s for ...".
    """
    deadline = time.monotonic() + timeout
    pause = 0.02
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise NeverHappenedError(f"waited {timeout:g} s for {description}; last answer: {answer!r}")
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
    return answer
