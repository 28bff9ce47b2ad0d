"""Bonds that are not leased to anybody: one file for each below a pool's directory, which holds the reason."""

from time import time

from cni_sriov_bond import files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "quarantine"


def bonds(pool_path: str) -> list[str]:
    """Return the names of a pool's bonds in quarantine.

    :raises CniError: IO_FAILURE when it cannot be listed.
    """
    return [name for name in files.listed(f"{pool_path}/{DIRECTORY}") if not name.startswith(".")]


def holds(pool_path: str, bond: str) -> bool:
    """Return whether a bond is in quarantine; certain only while the caller has the bond locked."""
    return files.exists(f"{pool_path}/{DIRECTORY}/{bond}")


def add(pool_path: str, bond: str, reason: str) -> None:
    """Put a bond, which the caller has locked, into quarantine.

    :raises CniError: IO_FAILURE.
    """
    files.make_directory(f"{pool_path}/{DIRECTORY}")
    files.write(f"{pool_path}/{DIRECTORY}", bond, jsontext.dumps({"reason": reason, "since": int(time())}))


def reasons(pool_path: str) -> dict[str, str]:
    """Return the reason of each bond in quarantine, by name; a file that cannot be read still keeps its bond there."""
    return {name: _reason(f"{pool_path}/{DIRECTORY}/{name}") for name in bonds(pool_path)}


def _reason(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            value: Any = jsontext.loads(file.read())
        return str(value["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return f"the reason in {path} cannot be read"


def remove(pool_path: str, bond: str) -> None:
    """Take a bond out of quarantine; one that is not in it is no error.

    :raises CniError: IO_FAILURE.
    """
    files.unlink(f"{pool_path}/{DIRECTORY}/{bond}")
