"""Quarantined bonds: they are not leased. For each there is a file in the pool's directory that holds the reason.

``Pool.quarantined`` lists them. That needs nothing of this module, which most ADDs do not load.
"""

from time import time

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.pool.lease import QUARANTINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def add(pool_path: str, bond: str, reason: str) -> None:
    """Quarantine a bond that the caller has locked.

    :raises CniError: IO_FAILURE.
    """
    files.make_directory(f"{pool_path}/{QUARANTINE}")
    files.write(f"{pool_path}/{QUARANTINE}", bond, jsontext.dumps({"reason": reason, "since": int(time())}))


def reasons(pool_path: str) -> dict[str, str]:
    """Return the reason of each quarantined bond, by name. A bond whose file cannot be read is quarantined too.

    :raises CniError: IO_FAILURE when they cannot be listed.
    """
    names = [name for name in files.listed(f"{pool_path}/{QUARANTINE}") if not name.startswith(".")]
    return {name: _reason(f"{pool_path}/{QUARANTINE}/{name}") for name in names}


def _reason(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            value: Any = jsontext.loads(file.read())
        return str(value["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return f"the reason in {path} cannot be read"


def remove(pool_path: str, bond: str) -> None:
    """End the quarantine of a bond; a bond that is not quarantined is no error.

    :raises CniError: IO_FAILURE.
    """
    files.unlink(f"{pool_path}/{QUARANTINE}/{bond}")
