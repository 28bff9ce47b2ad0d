"""Where hook and commands find networks and plugins, and where they keep their state."""

import os
from typing import NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.errors import IO_FAILURE, CniError

STATE_DIR = f"{files.STATE_DIR}-oci"  # beside the directory of the pools, whose subdirectories are pools
NETWORK_DIR = "/etc/cni/net.d"
CNI_PATH = "/opt/cni/bin"
# How long a createRuntime may take until its ADD has ended, with all waiting, and how long the undo may take after that.
CREATE_SECONDS, UNDO_SECONDS = 60.0, 30.0
# How long a poststop may take. If the shim was killed, containerd gives `delete` 5 s (io.containerd.timeout.shim.cleanup).
POSTSTOP_SECONDS = 4.0
# The ``timeout`` of the hooks in config.json, after which the runtime kills them.
CREATE_TIMEOUT, POSTSTOP_TIMEOUT = 120, 10

_DIRECTORIES = ("attachments", "pending", "results", "netns", "locks")


class Site(NamedTuple):
    """The directories that a call uses.

    :ivar state_dir: its subdirectories have the attachments, and what is pending.
    :ivar network_dir: has the network files.
    :ivar cni_path: directories of the plugins, separated by ":".
    """

    state_dir: str = STATE_DIR
    network_dir: str = NETWORK_DIR
    cni_path: str = CNI_PATH

    def directory(self, name: str) -> str:
        """Return the path of one of the subdirectories of the state directory."""
        return f"{self.state_dir}/{name}"

    def make_directories(self) -> None:
        """Create the state directory with its subdirectories, mode 0700.

        :raises CniError: IO_FAILURE when that fails.
        """
        try:
            os.makedirs(os.path.dirname(self.state_dir), mode=0o755, exist_ok=True)
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot create the directory of {self.state_dir}: {failed.strerror}") from None
        for path in (self.state_dir, *map(self.directory, _DIRECTORIES)):
            files.make_directory(path)


def beside(pools: str) -> Site:
    """Return the site of a host whose pools are in another directory than the default."""
    return Site(f"{pools}-oci")


def require_trusted(path: str, subject: str) -> None:
    """Refuse a file or directory that another user than root can change: its content is run as root.

    :raises CniError: IO_FAILURE when it belongs to another user, or group or others may write.
    """
    status = os.stat(path)
    if status.st_uid not in (0, os.geteuid()):
        raise CniError(IO_FAILURE, f"{subject} {path} belongs to user {status.st_uid}; run `chown root {path}`")
    sticky_directory = status.st_mode & 0o1000
    if status.st_mode & 0o022 and not sticky_directory:
        raise CniError(IO_FAILURE, f"{subject} {path} can be changed by other users; run `chmod go-w {path}`")
