"""The files that the checks read: the host's, or those of a directory that looks like one.

A file that is missing, or that cannot be read, is empty: a kernel without an attribute is no failure of a check.
"""

import os

PCI = "/sys/bus/pci/devices"
NET = "/sys/class/net"


class Tree:
    """A file system below ``root``, which is empty for the host's own; all paths are absolute."""

    def __init__(self, root: str = "") -> None:
        self.root = root.rstrip("/")

    def path(self, path: str) -> str:
        """Return where a path of the tree is on this host."""
        return f"{self.root}{path}"

    def read(self, path: str) -> str:
        """Return the text of a file without the white space around it, or ""."""
        return self.octets(path).decode("utf-8", "replace").strip()

    def octets(self, path: str) -> bytes:
        """Return the bytes of a file, or none."""
        try:
            with open(self.path(path), "rb") as file:
                return file.read()
        except OSError:
            return b""

    def number(self, path: str) -> int | None:
        """Return the whole number in a file, or None."""
        try:
            return int(self.read(path))
        except ValueError:
            return None

    def exists(self, path: str) -> bool:
        """Return whether there is a file, a directory or a link; the link may lead nowhere."""
        return os.path.lexists(self.path(path))

    def listed(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; none if it cannot be listed."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []

    def link(self, path: str) -> str:
        """Return the last part of what a symbolic link leads to, or ""."""
        try:
            return os.path.basename(os.readlink(self.path(path)))
        except OSError:
            return ""

    def write(self, path: str, text: str) -> None:
        """Write a file that exists, such as an attribute in sysfs.

        :raises OSError: when it cannot be written.
        """
        with open(os.open(self.path(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), "w", encoding="ascii") as file:
            file.write(text)
