"""The error type that every module raises, and the error codes.

The CNI specification reserves codes 1 to 99 (SPEC.md, "Error"); 100 and above are defined by this plugin.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    # Keys and indexes from the document down to a value in it.
    Path = tuple[str | int, ...]

INCOMPATIBLE_VERSION = 1
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
INVALID_NETNS = 8
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51

KERNEL_REFUSED = 100
NAME_TAKEN = 101
DELEGATE_FAILED = 102
CHECK_DIFFERS = 103
POOL_UNUSABLE = 104
ADDRESS_REFUSED = 105
INTERNAL = 199


class CniError(Exception):
    """A failure, in the form of the CNI error document.

    :param code: one of the codes above, never 0.
    :param msg: one sentence: what is wrong, with which object, what to do. Runtimes show it without the code.
    :param details: more information for a log; may be empty.
    """

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details


class DelegateError(CniError):
    """The delegate returned a CNI error document; code, message and details are the delegate's."""


class Issue:
    """One mistake in a document: its path, which is empty for the document itself, and a complete sentence."""

    __slots__ = ("path", "sentence")

    def __init__(self, path: "Path", sentence: str) -> None:
        self.path = path
        self.sentence = sentence

    @property
    def key(self) -> str:
        """The top-level key that has the mistake, or ""."""
        return str(self.path[0]) if self.path else ""


class InvalidConfigError(CniError):
    """A config has mistakes.

    :param issues: all of them, so that a caller need not parse the message.
    """

    def __init__(self, msg: str, issues: "Sequence[Issue]", details: str = "") -> None:
        super().__init__(INVALID_CONFIG, msg, details)
        self.issues = issues


class DamagedLeaseError(CniError):
    """The file of a lease does not hold a valid record; the message names the file and the damage."""

    def __init__(self, path: str, damage: str) -> None:
        super().__init__(POOL_UNUSABLE, f"the lease {path} is damaged ({damage})")


class KernelError(CniError):
    """The kernel returned an error to a request; ``errno`` is its number."""

    def __init__(self, errno: int, msg: str) -> None:
        super().__init__(KERNEL_REFUSED, msg)
        self.errno = errno
