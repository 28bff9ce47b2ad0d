"""The record of an attachment: all that its DEL needs when container, config and process are gone.

One file for each in ``attachments/``, or in ``pending/`` once its DEL is due. Whoever changes one holds its container's lock.
"""

import os
from contextlib import contextmanager
from time import time
from typing import Any, NamedTuple

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import processes, results
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ADDING, READY = "adding", "ready"
LIVE, PENDING = "attachments", "pending"
_VERSION = 1
_CONTAINER_DIGITS, _IFNAME_DIGITS = 32, 16


class Identity(NamedTuple):
    """Device and inode of a namespace."""

    dev: int
    ino: int


class Attachment(NamedTuple):
    """What is recorded of an attachment.

    :ivar netns_path: what led to the namespace when it was attached. The pin is the CNI_NETNS.
    :ivar netns: its identity, only of the boot ``boot_id``.
    :ivar pid: the container's first process, with its start time in clock ticks since boot; 0 if none is known.
    :ivar config: the text of the network's list, which is also that of the DEL.
    :ivar state: ``ADDING`` until the result is recorded, then ``READY``.
    :ivar created: seconds since the epoch.
    """

    container_id: str
    request: Request
    netns_path: str
    netns: Identity
    pid: int
    started: int
    boot_id: str
    config: str
    cni_path: str
    state: str
    created: int

    @property
    def network(self) -> str:
        """The network's name."""
        return self.request.network

    @property
    def ifname(self) -> str:
        """The interface's name in the container."""
        return self.request.ifname

    def __str__(self) -> str:
        short = self.container_id if len(self.container_id) <= 24 else f"{self.container_id[:12]}"
        return f"{self.ifname} of container {short} on network {self.network}"

    def is_alive(self) -> bool:
        """Return whether the container may still use it: its process runs, or if none is known its namespace is at its path."""
        if self.boot_id != files.boot_id():
            return False
        if self.pid:
            return processes.start_time(self.pid) == self.started
        namespace = netns.find(self.netns_path)
        if namespace is None:
            return False
        try:
            return namespace.same(self.netns)
        finally:
            namespace.close()


def new(container_id: str, request: Request, namespace: netns.Netns, pid: int, config: str, cni_path: str) -> Attachment:
    """Return the record of an attachment that is about to be added."""
    identity = Identity(namespace.dev, namespace.ino)
    started = processes.start_time(pid)
    boot = files.boot_id()
    return Attachment(
        container_id, request, namespace.path, identity, pid, started, boot, config, cni_path, ADDING, int(time())
    )


def container_key(container_id: str) -> str:
    """Return the part of file names that stands for a container: the id is foreign."""
    return files.digest(container_id).hex()[:_CONTAINER_DIGITS]


def key(container_id: str, ifname: str) -> str:
    """Return the name of an attachment's file."""
    return f"{container_key(container_id)}.{files.digest(ifname).hex()[:_IFNAME_DIGITS]}"


class Store:
    """The attachments on disk."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def pin(self, container_id: str) -> str:
        """Return the path of a container's pin."""
        return f"{self.site.directory('netns')}/{container_key(container_id)}"

    @contextmanager
    def locked(self, container_id: str, seconds: float) -> "Iterator[None]":
        """Hold a container's lock during the block; its file is deleted with the container's last attachment.

        :raises CniError: TRY_AGAIN_LATER with the holder after ``seconds``.
        """
        with self.locked_key(container_key(container_id), f"container {container_id}", seconds):
            yield

    @contextmanager
    def locked_key(self, name: str, subject: str, seconds: float) -> "Iterator[None]":
        """Hold the lock of a container whose key is known, as ``locked``.

        :param subject: what is locked, for the error.
        """
        path = f"{self.site.directory('locks')}/{name}"
        lock = files.locked(path, subject, seconds)
        try:
            yield
        finally:
            try:
                if not self._names(name):
                    files.unlink(path)  # `locked` notices that its file was deleted, and locks another
            finally:
                files.unlock(lock)

    def _names(self, container: str = "") -> list[tuple[str, str]]:
        """Return directory and name of each file, or of those of a container."""
        found = []
        for directory in (LIVE, PENDING):
            for name in sorted(files.listed(self.site.directory(directory))):
                if not name.startswith(".") and name.startswith(f"{container}." if container else ""):
                    found.append((directory, name))
        return found

    def keys(self) -> list[str]:
        """Return the key of every container that has a file."""
        return list(dict.fromkeys(name.partition(".")[0] for _, name in self._names()))

    def of_container(self, container_id: str) -> list[Attachment]:
        """Return the attachments of a container.

        :raises CniError: IO_FAILURE when one cannot be read.
        """
        return [self.read(directory, name) for directory, name in self._names(container_key(container_id))]

    def all(self) -> tuple[list[Attachment], dict[str, CniError]]:
        """Return all attachments, and the error of each file that cannot be read, by its path."""
        attachments, damaged = [], {}
        for directory, name in self._names():
            try:
                attachments.append(self.read(directory, name))
            except CniError as failed:
                path = f"{self.site.directory(directory)}/{name}"
                if os.path.lexists(path):  # else it was erased, or became pending, since the listing
                    damaged[path] = failed
        return attachments, damaged

    def read(self, directory: str, name: str) -> Attachment:
        """Return the record in a file.

        :raises CniError: IO_FAILURE when it cannot be read or is damaged.
        """
        path = f"{self.site.directory(directory)}/{name}"
        try:
            with open(path, encoding="utf-8") as file:
                return _from_json(jsontext.loads(file.read()))
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot read the attachment {path}: {failed.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CniError(
                IO_FAILURE, f"the record of an attachment {path} is damaged; `sriov-bondctl gc` removes it"
            ) from None

    def pending(self) -> int:
        """Return how many attachments have a DEL that is due."""
        return sum(directory == PENDING for directory, _ in self._names())

    def is_pending(self, attachment: Attachment) -> bool:
        """Return whether the DEL of an attachment is due."""
        return os.path.lexists(self._path(PENDING, attachment))

    def write(self, attachment: Attachment) -> None:
        """Write a record, durable: what it says may be done only after that.

        :raises CniError: IO_FAILURE when it cannot be written.
        """
        directory = self.site.directory(LIVE)
        files.write(directory, key(attachment.container_id, attachment.ifname), jsontext.dumps(_to_json(attachment)))
        files.sync(directory)

    def make_pending(self, attachment: Attachment) -> None:
        """Record that the DEL of an attachment is due.

        :raises CniError: IO_FAILURE when that fails.
        """
        if self.is_pending(attachment):
            return
        path = self._path(PENDING, attachment)
        try:
            files.rename(self.site.directory(LIVE), self._path(LIVE, attachment), path)
            files.sync(self.site.directory(PENDING))
        except OSError as failed:
            raise CniError(IO_FAILURE, f"cannot record the DEL of {attachment} in {path}: {failed.strerror}") from None

    def erase(self, attachment: Attachment) -> None:
        """Delete the record and the cached result of an attachment, after its DEL.

        :raises CniError: IO_FAILURE when a file cannot be deleted.
        """
        results.remove(self.site, attachment.network, attachment.container_id, attachment.ifname)
        for directory in (PENDING, LIVE):
            files.unlink(self._path(directory, attachment))

    def _path(self, directory: str, attachment: Attachment) -> str:
        return f"{self.site.directory(directory)}/{key(attachment.container_id, attachment.ifname)}"


def _to_json(attachment: Attachment) -> dict[str, Any]:
    values = attachment._asdict()
    values["request"] = attachment.request._asdict()
    values["netns"] = attachment.netns._asdict()
    return {"version": _VERSION, **values}


def _from_json(value: Any) -> Attachment:
    """Return the record in a document.

    :raises ValueError: when it is not one; KeyError, TypeError or AttributeError too.
    """
    if value["version"] != _VERSION:
        raise ValueError(value["version"])
    values = {name: value[name] for name in Attachment._fields}
    request = value["request"]
    values["request"] = Request(**{**request, "ips": tuple(request["ips"])})
    values["netns"] = Identity(**value["netns"])
    for name, kind in Attachment.__annotations__.items():
        if kind in (int, str) and not isinstance(values[name], kind):
            raise ValueError(name)
    return Attachment(**values)
