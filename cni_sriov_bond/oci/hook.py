"""The two hooks: createRuntime attaches a container, poststop detaches it."""

import os

from cni_sriov_bond import jsontext
from cni_sriov_bond.cni.call import check_identifiers
from cni_sriov_bond.errors import INVALID_CONFIG, INVALID_NETNS, NAME_TAKEN, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import netns
from cni_sriov_bond.oci import engine, processes, report
from cni_sriov_bond.oci.attachment import Store
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import POSTSTOP_SECONDS, Site
from cni_sriov_bond.oci.state import State
from cni_sriov_bond.oci.stop import Stop

# The part of a poststop's time that it waits for another process that works on the container.
_LOCK_SECONDS = 2.0
_HOW = "start the container with --network none"


def create(state: State, request: Request, site: Site, stop: Stop, *, checked: bool) -> None:
    """Attach the container to the network that it asks for.

    :param checked: whether the runtime wrapper has looked into config.json: the container has a network namespace of its own.
    :raises CniError: nothing is attached then, and the container does not start.
    """
    check_identifiers("ADD", state.container_id, request.ifname)
    if processes.is_rootless():
        raise CniError(INVALID_NETNS, "a rootless engine cannot move the host's VFs; start the container as root of the host")
    namespace = _namespace(state)
    try:
        if not checked:
            _require_own(state, namespace)
        engine.attach(
            Store(site),
            request,
            state.container_id,
            namespace,
            state.pid,
            stop,
            lambda text: report.warn(text, state.container_id),
        )
    except CniError as failed:
        if failed.code != NAME_TAKEN:
            raise
        # An engine's bridge network has it.
        message = f"{failed.msg}; {_HOW}, or request another name for the interface"
        raise CniError(failed.code, message, failed.details) from None
    finally:
        namespace.close()


def poststop(state: State, site: Site) -> None:
    """Detach the container: record that as pending, then try it once. What fails is left to `sriov-bondctl gc`.

    :raises CniError: when it could not even be recorded.
    """
    store = Store(site)
    if not store.of_container(state.container_id):
        return
    try:
        _detach_all(store, state.container_id)
    except CniError as failed:
        if failed.code != TRY_AGAIN_LATER:
            raise
        # Another process works on it, e.g. a createRuntime whose runtime was killed, and undoes it. If not, the container's
        # process is gone, which `gc` sees.
        report.warn(f"{failed.msg}; `sriov-bondctl gc` detaches it", state.container_id)


def _detach_all(store: Store, container_id: str) -> None:
    stop = Stop(POSTSTOP_SECONDS)
    with store.locked(container_id, _LOCK_SECONDS):
        records = store.of_container(container_id)
        for record in records:
            store.make_pending(record)
        for record in records:
            try:
                engine.detach(store, record, stop, lambda text: report.warn(text, container_id))
            except CniError as failed:
                report.warn(f"the DEL of {record} is pending, `sriov-bondctl gc` repeats it: {failed.msg}", container_id)


def _namespace(state: State) -> netns.Netns:
    """Return the container's network namespace, open: its path would lead elsewhere if the pid were used again.

    :raises CniError: INVALID_NETNS when there is none, or it is the host's.
    """
    namespace = netns.find(f"/proc/{state.pid}/ns/net") if state.pid else None
    if namespace is None:
        raise CniError(INVALID_NETNS, f"the container's process {state.pid} has no network namespace; has it ended?")
    host = netns.own()
    is_host = host.same(namespace)
    host.close()
    if is_host:
        namespace.close()
        raise CniError(INVALID_NETNS, f"the container uses the host's network, which must keep its VFs; {_HOW}")
    return namespace


def _require_own(state: State, namespace: netns.Netns) -> None:
    """Refuse a namespace that has a path in config.json: an engine made it, or it is another container's.

    :raises CniError: INVALID_CONFIG with what to do.
    """
    entries = _namespaces(state)
    if entries is None:
        others = [pid for pid in processes.in_namespace(namespace) if pid != state.pid]
        if others:
            raise CniError(INVALID_CONFIG, f"the container shares the network namespace of process {others[0]}; {_HOW}")
        return
    paths = [entry.get("path") for entry in entries if isinstance(entry, dict) and entry.get("type") == "network"]
    if any(paths):
        raise CniError(
            INVALID_CONFIG,
            f"the container's network namespace {paths[0]} is an engine's, a pod's or another container's; {_HOW}",
        )


def _namespaces(state: State) -> list[object] | None:
    """Return linux.namespaces of config.json, or None if it cannot be read: some releases of crun pass a wrong bundle."""
    for directory in (state.bundle, os.getcwd()):  # runtimes run createRuntime in the bundle
        try:
            with open(f"{directory}/config.json", encoding="utf-8") as file:
                document = jsontext.loads(file.read())
        except (OSError, ValueError):
            continue
        linux = document.get("linux") if isinstance(document, dict) else None
        entries = linux.get("namespaces") if isinstance(linux, dict) else None
        if isinstance(entries, list):
            return entries
    return None
