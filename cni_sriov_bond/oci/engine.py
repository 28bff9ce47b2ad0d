"""Attach a namespace to a network and detach it: records, pin, plugins, cache, and the undo of what fails."""

import time
from typing import Any

from cni_sriov_bond import files
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_NETNS, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import attachment as attachments
from cni_sriov_bond.oci import chain, conflist, pin, results
from cni_sriov_bond.oci.attachment import READY, Attachment, Store
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import UNDO_SECONDS
from cni_sriov_bond.oci.stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Warn = Callable[[str], None]

# What may pass by itself: no bond is free, or `sriov-bondctl up` has not run yet because a NIC comes late.
_PASSING = (TRY_AGAIN_LATER, POOL_UNUSABLE)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 3.0
_LONG = 1.0  # seconds of waiting that an error names


def attach(
    store: Store,
    request: Request,
    container_id: str,
    namespace: netns.Netns,
    pid: int,
    stop: Stop,
    warn: "Warn",
    patience: float = float("inf"),
) -> dict[str, Any]:
    """Run the network's plugins for a namespace, and return the result. While a bond may become free, try again.

    :param pid: the container's first process, or 0.
    :param patience: how long to wait for a bond, in seconds; ``stop`` may end it earlier.
    :raises CniError: everything is then undone, or recorded as pending if the undo failed too.
    """
    network = conflist.load(store.site.network_dir, request.network)
    chain.find(network, store.site.cni_path)
    store.site.make_directories()
    with store.locked(container_id, stop.deadline.left()):
        _finish_earlier(store, container_id, request.ifname, namespace, stop, warn)
        record = attachments.new(container_id, request, namespace, pid, network.text, store.site.cni_path)
        if pid and not record.started:
            raise CniError(INVALID_NETNS, f"the container's process {pid} has ended")
        store.write(record)
        try:
            pin.create(store.pin(container_id), namespace)
            if not pin.holds(store.pin(container_id), namespace):
                raise CniError(
                    INVALID_NETNS,
                    f"the pin {store.pin(container_id)} cannot be seen in the engine's mounts; remove PrivateMounts and "
                    "MountFlags from its systemd unit",
                )
            calls = _calls(store, record, warn)
            result = _add(calls, stop, patience)
            results.write(
                store.site,
                request.network,
                container_id,
                request.ifname,
                config=network.text,
                netns=store.pin(container_id),
                args=calls.arguments(),
                capabilities=calls.capability_arguments(),
                result=result,
            )
            if reason := stop.reason():
                raise CniError(TRY_AGAIN_LATER, f"{record} was attached too late: {reason}")
            store.write(record._replace(state=READY))
        except BaseException as failed:
            _undo(store, record, failed, warn)
            raise
    return result


def detach(store: Store, record: Attachment, stop: Stop, warn: "Warn") -> None:
    """Run the DEL of an attachment; the caller has its container's lock. The last one of a container removes the pin.

    :raises CniError: it is then recorded as pending, and the pin is kept.
    """
    store.make_pending(record)
    final = results.read(store.site, record.network, record.container_id, record.ifname)
    _calls(store, record, warn).delete(final, stop)
    store.erase(record)
    if not store.of_container(record.container_id):
        pin.remove(store.pin(record.container_id))


def _calls(store: Store, record: Attachment, warn: "Warn") -> chain.Chain:
    path = store.pin(record.container_id)
    present = record.boot_id == files.boot_id() and pin.holds(path, record.netns)
    attached = chain.Attached(record.container_id, record.ifname, path if present else "")
    network = conflist.parse(record.config, f"of {record}")
    return chain.Chain(network, record.request, attached, record.cni_path, warn)


def _add(calls: chain.Chain, stop: Stop, patience: float) -> dict[str, Any]:
    """ADD until it succeeds, fails for good, or the time is over; each failed ADD is followed by its DEL."""
    began = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        try:
            return calls.add(stop)
        except CniError as failed:
            waited = time.monotonic() - began
            if waited >= _LONG:
                failed.details = "; ".join(filter(None, (failed.details, f"waited {waited:.0f} s")))
            if failed.code not in _PASSING or stop.reason() or min(patience - waited, stop.deadline.left()) <= pause:
                raise
            refused = failed
        try:
            calls.delete(None, Stop(UNDO_SECONDS))
        except CniError:
            raise refused from None  # the undo tries the DEL once more, and reports it
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _finish_earlier(store: Store, container_id: str, ifname: str, namespace: netns.Netns, stop: Stop, warn: "Warn") -> None:
    """DEL what the same container id has of before: `docker restart` keeps the id, and after a crash no poststop came.

    :raises CniError: INVALID_CONFIG when the container has that interface already; else the DEL's.
    """
    for earlier in store.of_container(container_id):
        is_current = namespace.same(earlier.netns) and earlier.is_alive() and not store.is_pending(earlier)
        if is_current and earlier.state == READY:
            if earlier.ifname == ifname:
                raise CniError(INVALID_CONFIG, f"{earlier} is attached already; detach it first, or choose another ifname")
            continue
        try:
            detach(store, earlier, stop, warn)
        except CniError as failed:
            raise CniError(
                failed.code, f"the DEL of an earlier {earlier} is pending, and fails: {failed.msg}", failed.details
            ) from None


def _undo(store: Store, record: Attachment, failed: BaseException, warn: "Warn") -> None:
    try:
        detach(store, record, Stop(UNDO_SECONDS), warn)
    except CniError as left:
        message = f"not all is undone, `sriov-bondctl gc` finishes it: {left.msg}"
        warn(message)
        if isinstance(failed, CniError):
            failed.details = "; ".join(filter(None, (failed.details, message)))
