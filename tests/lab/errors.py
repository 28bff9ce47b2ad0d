"""The errors of the lab: a command that failed, and a lost guest."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.guest import Result


class LabError(Exception):
    """Base of all errors of the lab."""


class LostGuestError(LabError):
    """The guest did not boot, ended, or does not answer. The cause may be anything that ran in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"lost guest: {reason}")


class CommandFailedError(LabError):
    """A command in the guest ended with a status other than 0."""

    def __init__(self, result: "Result", problem: str | None = None) -> None:
        self.result = result
        problem = problem or f"exit status {result.status}"
        parts = [f"{problem}: {result.command}"]
        parts += [f"{name}:\n{text.rstrip()}" for name, text in result.output() if text.strip()]
        super().__init__("\n".join(parts))


class CommandDeadlineError(CommandFailedError):
    """A command in the guest was still running at its deadline, and was killed."""

    def __init__(self, result: "Result", timeout: float) -> None:
        super().__init__(result, f"still running after {timeout:g} s")
