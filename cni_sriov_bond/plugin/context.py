"""What one call hands to everything that it runs: its log, its deadline, and how it runs delegates."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.invoke import Delegates
    from cni_sriov_bond.deadline import Deadline
    from cni_sriov_bond.log import Log


class Context:
    """The log, deadline and delegates of one call. Values of the call itself, such as its network, are separate arguments."""

    __slots__ = ("deadline", "delegates", "log")

    def __init__(self, log: "Log", deadline: "Deadline", delegates: "Delegates") -> None:
        self.log = log
        self.deadline = deadline
        self.delegates = delegates

    def until(self, deadline: "Deadline") -> "Context":
        """Return the same context with another deadline."""
        return Context(self.log, deadline, self.delegates)

    def within(self, seconds: float) -> "Context":
        """Return the same context with a deadline that is over after ``seconds``, but never after this one's."""
        return self.until(self.deadline.part(seconds))
