"""The state of a container that an OCI runtime writes to a hook's standard input (runtime-spec, "State")."""

from typing import NamedTuple

from cni_sriov_bond import jsontext
from cni_sriov_bond.cni.call import is_name
from cni_sriov_bond.errors import DECODING_FAILURE, CniError


class State(NamedTuple):
    """The container's state.

    :ivar pid: the process id of the container's init, or 0. At poststop runc has none, crun has 0, and youki the dead one.
    :ivar status: "creating" at createRuntime, but "created" with crun. For messages only.
    :ivar bundle: a directory. Releases of crun before 1.27 pass "/".
    """

    container_id: str
    status: str
    pid: int
    bundle: str
    annotations: dict[str, str]


def parse(data: bytes) -> State:
    """Return the state in the bytes of standard input; unknown keys are ignored.

    :raises CniError: DECODING_FAILURE when it is not the state of a container, or its id cannot be that of a CNI container.
    """
    try:
        value = jsontext.loads(data.decode("utf-8", "replace"))
    except ValueError as wrong:
        raise _invalid(f"it is not JSON ({wrong})") from None
    if not isinstance(value, dict):
        raise _invalid("it is not a JSON object")
    container_id = value.get("id")
    if not isinstance(container_id, str) or not is_name(container_id):
        raise _invalid(f"the id {container_id!r} must consist of letters, digits, '_', '.' and '-'")
    pid = value.get("pid") or 0
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 0:
        raise _invalid(f"the pid {pid!r} is not a process id")
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise _invalid("annotations must be an object of strings")
    return State(container_id, str(value.get("status") or ""), pid, str(value.get("bundle") or ""), annotations)


def _invalid(reason: str) -> CniError:
    return CniError(
        DECODING_FAILURE, f"the container state on standard input is not valid: {reason}; does an OCI runtime run this hook?"
    )
