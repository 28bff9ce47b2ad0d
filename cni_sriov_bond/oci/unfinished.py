"""Find and finish what no poststop came for: killed runtimes and hooks, crun's failed starts, reboots, pending DELs."""

from typing import NamedTuple

from cni_sriov_bond import files
from cni_sriov_bond.errors import TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import engine, pin, processes, results
from cni_sriov_bond.oci.attachment import READY, Attachment, Store
from cni_sriov_bond.oci.site import UNDO_SECONDS, Site
from cni_sriov_bond.oci.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DONE, FAILED = "done", "failed"


class Finding(NamedTuple):
    """One attachment that was finished, or could not be.

    :ivar container_id: "" if it is not known, and so are ``ifname`` and ``network``.
    """

    container_id: str
    ifname: str
    network: str
    state: str
    message: str

    @property
    def failed(self) -> bool:
        """Return whether it could not be finished."""
        return self.state == FAILED

    @property
    def subject(self) -> str:
        """Return which interface of which container it is about."""
        return f"container {self.container_id} {self.ifname}".strip() if self.container_id else "containers"


def finish(site: Site) -> list[Finding]:
    """Detach every container that has ended, and return what was found. Those that another process works on are left alone."""
    store = Store(site)
    if not files.exists(site.state_dir):
        return []
    records, damaged = store.all()
    findings = []
    for container_id in dict.fromkeys(record.container_id for record in records):
        findings += _finish_container(store, container_id)
    findings += _remove_damaged(store, damaged)
    findings += _loose_pins(store)
    _remove_leftovers(store)
    return findings


def why_due(store: Store, record: Attachment) -> str:
    """Return why an attachment must be detached, or "" if its container uses it. The caller has the container's lock."""
    if store.is_pending(record):
        return "its DEL was pending"
    if record.boot_id != files.boot_id():
        return "the host was rebooted"
    if record.state != READY:
        return "its start was interrupted"
    if not record.is_alive():
        return f"the container's process {record.pid} has ended" if record.pid else f"{record.netns_path} is gone"
    return ""


def _finish_container(store: Store, container_id: str) -> list[Finding]:
    findings = []
    try:
        with store.locked(container_id, 0):
            for record in store.of_container(container_id):
                if reason := why_due(store, record):
                    findings.append(_finish(store, record, reason))
    except CniError as failed:
        if failed.code != TRY_AGAIN_LATER:  # else a hook works on it
            findings.append(Finding(container_id, "", "", FAILED, failed.msg))
    return findings


def _finish(store: Store, record: Attachment, reason: str) -> Finding:
    warnings: list[str] = []
    state, message = DONE, f"detached, because {reason}"
    try:
        engine.detach(store, record, Stop(UNDO_SECONDS), warnings.append)
    except CniError as failed:
        state, message = FAILED, f"cannot be detached, though {reason}: {failed.msg}"
    return Finding(record.container_id, record.ifname, record.network, state, message)


def _remove_damaged(store: Store, damaged: "dict[str, CniError]") -> "Iterator[Finding]":
    """Remove the records that cannot be read of containers without a process; ``_loose_pins`` then removes their pins.

    :param damaged: the error by the file's path.
    """
    for path, failed in damaged.items():
        key = path.rpartition("/")[2].partition(".")[0]
        try:
            with store.locked_key(key, path, 0):
                if _is_used(f"{store.site.directory('netns')}/{key}"):
                    yield Finding("", "", "", FAILED, f"{failed.msg}, once the container has ended")
                    continue
                files.unlink(path)
        except CniError as refused:
            if refused.code != TRY_AGAIN_LATER:
                yield Finding("", "", "", FAILED, refused.msg)
            continue
        yield Finding("", "", "", DONE, f"{path} could not be read and is removed; the pool's bonds are looked at below")


def _loose_pins(store: Store) -> "Iterator[Finding]":
    """Remove the pins of containers without a readable record, whose namespace has no process.

    The kernel then returns the VFs to the host, and the pool's gc frees the bond.
    """
    directory = store.site.directory("netns")
    known = set(store.keys())
    for key in files.listed(directory):
        path = f"{directory}/{key}"
        if key in known:
            continue
        try:
            with store.locked_key(key, f"the pin {path}", 0):
                if key in set(store.keys()) or _is_used(path):
                    continue
                pin.remove(path)
        except CniError as failed:
            if failed.code != TRY_AGAIN_LATER:
                yield Finding("", "", "", FAILED, failed.msg)
            continue
        yield Finding("", "", "", DONE, f"the pin {path} of a container that is gone was removed")


def _is_used(path: str) -> bool:
    namespace = netns.find(path)
    if namespace is None:
        return False
    try:
        return bool(processes.in_namespace(namespace))
    finally:
        namespace.close()


def _remove_leftovers(store: Store) -> None:
    """Remove temporary files of processes that were killed, results without a record, and locks that nobody holds."""
    for name in ("attachments", "pending", "results"):
        directory = store.site.directory(name)
        for file in files.listed(directory):
            pid = file.rpartition(".")[2]
            if file.startswith(".") and pid.isdecimal() and not processes.start_time(int(pid)):
                files.unlink(f"{directory}/{file}")
    _remove_results(store)
    known = set(store.keys())
    for key in set(files.listed(store.site.directory("locks"))) - known:
        try:
            with store.locked_key(key, f"the lock {key}", 0):
                pass  # leaving the block deletes the lock of a container without attachments
        except CniError:
            continue  # a process has it


def _remove_results(store: Store) -> None:
    directory = store.site.directory("results")
    cached = files.listed(directory)  # before the records: a record is written before its result
    owned = {results.name(record.network, record.container_id, record.ifname) for record in store.all()[0]}
    for file in cached:
        if file not in owned and not file.startswith("."):
            files.unlink(f"{directory}/{file}")
