"""What `sriov-bondctl attach` and `detach` call."""

from typing import Any

from cni_sriov_bond.cni.call import check_identifiers
from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import engine, report
from cni_sriov_bond.oci.attachment import Attachment, Store
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import CREATE_SECONDS, UNDO_SECONDS, Site
from cni_sriov_bond.oci.stop import Stop

_LOCK_SECONDS = 10.0


def attach(
    request: Request,
    container_id: str,
    netns_path: str,
    pid: int = 0,
    *,
    site: Site | None = None,
    seconds: float = CREATE_SECONDS,
    wait: float = 0.0,
) -> dict[str, Any]:
    """Attach a network namespace to a network, and return the CNI result.

    :param container_id: the runtime's, so that the hook's poststop detaches it too.
    :param pid: the container's first process. When it ends, `sriov-bondctl gc` detaches; with 0, when the path is gone.
    :param seconds: how long all of it may take, without the wait for a free bond.
    :param wait: how long to wait for a free bond, in seconds.
    :raises CniError: nothing is attached then.
    """
    check_identifiers("ADD", container_id, request.ifname)
    namespace = netns.require(netns_path)
    try:
        store = Store(site or Site())
        return engine.attach(store, request, container_id, namespace, pid, Stop(seconds + wait, pid=pid), report.warn, wait)
    finally:
        namespace.close()


def detach(container_id: str, ifname: str = "", *, site: Site | None = None, seconds: float = UNDO_SECONDS) -> list[str]:
    """Detach one interface of a container, or all, and return the names of those that are gone.

    :raises CniError: when a DEL fails; it is recorded as pending, and the others are done.
    """
    store = Store(site or Site())
    if not store.of_container(container_id):
        return []
    stop = Stop(seconds)
    gone, failures = [], []
    with store.locked(container_id, min(seconds, _LOCK_SECONDS)):
        for record in store.of_container(container_id):
            if ifname in ("", record.ifname):
                try:
                    engine.detach(store, record, stop, report.warn)
                    gone.append(record.ifname)
                except CniError as failed:
                    failures.append(f"{record}: {failed.msg}")
    if failures:
        raise CniError(IO_FAILURE, f"not detached yet, `sriov-bondctl gc` tries again: {'; '.join(failures)}")
    return gone


def attachments(container_id: str = "", *, site: Site | None = None) -> list[Attachment]:
    """Return the attachments of a container, or all; those that cannot be read are left out."""
    known = Store(site or Site()).all()[0]
    return [record for record in known if container_id in ("", record.container_id)]
