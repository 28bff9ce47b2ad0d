"""Bonds that are not handed out: one file for each below a pool's directory, which says why."""

from time import time

from cni_sriov_bond import jsontext, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "quarantine"


def bonds(pool_path: str) -> list[str]:
    """Give the names of a pool's bonds in quarantine.

    :raises CniError: IO_FAILURE when it cannot be listed.
    """
    return [name for name in store.listed(f"{pool_path}/{DIRECTORY}") if not name.startswith(".")]


def holds(pool_path: str, bond: str) -> bool:
    """Tell whether a bond is in quarantine; certain for one that the caller has locked."""
    return store.exists(f"{pool_path}/{DIRECTORY}/{bond}")


def begin(pool_path: str, bond: str, reason: str) -> None:
    """Keep a bond, which the caller has locked, from being handed out.

    :raises CniError: IO_FAILURE.
    """
    store.make_directory(f"{pool_path}/{DIRECTORY}")
    store.write(f"{pool_path}/{DIRECTORY}", bond, jsontext.dumps({"reason": reason, "since": int(time())}))


def reasons(pool_path: str) -> dict[str, str]:
    """Give the reason of each bond in quarantine, by name; a file that cannot be read keeps its bond there all the same."""
    return {name: _reason(f"{pool_path}/{DIRECTORY}/{name}") for name in bonds(pool_path)}


def _reason(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            value: Any = jsontext.loads(file.read())
        return str(value["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return f"the reason in {path} cannot be read"


def end(pool_path: str, bond: str) -> None:
    """Let a bond be handed out again; one that is not in quarantine is no error.

    :raises CniError: IO_FAILURE.
    """
    store.unlink(f"{pool_path}/{DIRECTORY}/{bond}")
