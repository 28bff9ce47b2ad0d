"""Leases and containers, addresses and pending DELs: what an interrupted call or a runtime without a DEL leaves."""

import json
import os
from collections.abc import Iterator
from typing import Any

from cni_sriov_bond import files, lock_holder
from cni_sriov_bond.cni.address import to_number
from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host, LeaseState
from cni_sriov_bond.doctor.netfiles import Network
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.ipam import reservations
from cni_sriov_bond.ipam.reservations import Owner
from cni_sriov_bond.pool.lease import DRAINING, READY

SUBJECT = "leases"
_NO_POOL = "there is no pool"
# Where libcni keeps what it attached (libcni/api.go, CacheDir), and where the OCI hook does.
_CACHES = ("/var/lib/cni/results", "/var/lib/cni/sriov-bond-oci/results")
_HOOK_PENDING = "/var/lib/cni/sriov-bond-oci/pending"
_MOST = 1 << 20  # bytes of a cached result


def leases(host: Host) -> Iterator[Finding]:
    """Look for leases that no container has, and for those that an interrupted call left."""
    sound = 0
    for state in host.leases():
        finding = _lease(host, state)
        if finding:
            yield finding
        else:
            sound += 1
    if host.pools:
        yield passed("", f"{sound} leases are as they should be")
    else:
        yield skipped(_NO_POOL)


def _lease(host: Host, state: LeaseState) -> Finding | None:
    bond, pool, record = state.entry.bond, state.pool, state.record
    name = f"{pool.name}/{bond}"
    remedy, fix = f"run `sriov-bondctl gc {pool.name}`", repairs.gc(host, pool.name)
    if record is None:
        return (
            failure(name, state.problem, f"run `sriov-bondctl release {name}` once its container is gone")
            if state.problem
            else None
        )
    if lock_holder.is_held(f"{pool.path}/bonds/{bond}"):
        return None  # a call works on it
    owner = f"{bond} is leased by container {record.owner}"
    if record.boot_id != files.boot_id():
        return failure(name, f"{owner} of before this boot", remedy, fix)
    missing = [port.name for port in record.ports if not host.netdev(port.address)]
    if state.entry.state == READY:
        return (
            failure(name, f"{owner}, which is gone: its VFs are back in the host", remedy, fix)
            if record.before and not missing
            else None
        )
    if state.entry.state == DRAINING and missing:
        return warning(
            name,
            f"{owner}, whose runtime sent DEL while {' and '.join(missing)} stayed in the container",
            f"end the container, then {remedy}",
            fix,
        )
    return failure(name, f"the ADD or DEL of {bond} for container {record.owner} was interrupted", remedy, fix)


def containers(host: Host) -> Iterator[Finding]:
    """Look for containers that a runtime attached to a network of ours, still run, and have no lease."""
    ours = {network.name for network in host.networks}
    if not ours:
        yield skipped("no network file has sriov-bond")
        return
    attached = [
        entry for path in _CACHES for name in host.tree.listed(path) if (entry := _cached(host, f"{path}/{name}", ours))
    ]
    # After the cached results: a runtime writes them after the ADD, and removes them after the DEL.
    records = [state.record for state in host.leases()]
    owners = {(record.attachment.network, record.owner) for record in records if record and record.attachment}
    lost = [(network, owner) for network, owner in attached if (network, owner) not in owners]
    for network, owner in lost:
        sentence = f"container {owner} is attached to network {network}, but has no lease: its bond may be given to another"
        yield failure(owner, sentence, "stop the container and start it again")
    if not lost:
        yield passed("", f"{len(attached)} attachments that runtimes keep have their leases")


def _cached(host: Host, path: str, ours: set[str]) -> tuple[str, str] | None:
    """Return network and owner of an attachment whose namespace exists, or None."""
    try:
        octets = host.tree.octets(path)
        value: Any = json.loads(octets) if len(octets) <= _MOST else None
        network, owner = value["networkName"], f"{value['containerId']} {value['ifName']}"
        sandboxes = [interface.get("sandbox", "") for interface in value["result"]["interfaces"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # of a runtime that keeps another form
    alive = any(isinstance(sandbox, str) and sandbox and host.tree.exists(sandbox) for sandbox in sandboxes)
    return (network, owner) if network in ours and alive else None


def addresses(host: Host) -> Iterator[Finding]:
    """Look for addresses of networks of ours that are reserved for no lease and no pending DEL."""
    found = [network for network in host.networks if network.data_dir]
    for network in found:
        taken = _reserved(host, network)
        # After the reservations: a lease is there before its addresses are, and erased after they are freed.
        owners = _owners(host, network.name)
        lost = {text: owner for text, owner in taken.items() if (owner.container_id, owner.ifname) not in owners}
        for text, owner in lost.items():
            yield warning(
                text,
                f"{text} of network {network.name} is reserved for {owner}, which has no lease",
                f"run `rm {network.data_dir}/{network.name}/{text}`, if no other plugin uses this network",
                _free(host, network, owner, text),
            )
        if not lost:
            yield passed(network.name, f"{len(taken)} addresses of network {network.name} are reserved for leases")
    if not found:
        yield skipped("no network keeps its addresses in files")


def _reserved(host: Host, network: Network) -> dict[str, Owner]:
    """Return the owner of each reserved address, in host-local's files; an empty one is of nobody, and is not counted."""
    path = f"{network.data_dir}/{network.name}"
    found = {}
    for text in host.tree.listed(path):
        try:
            to_number(text)
        except ValueError:
            continue
        container_id, _, ifname = host.tree.read(f"{path}/{text}").partition("\n")
        if container_id:
            found[text] = Owner(container_id.strip(), ifname.strip())
    return found


def _owners(host: Host, network: str) -> set[tuple[str, str]]:
    """Return container and interface of every lease and pending DEL of a network; an old host-local wrote no interface."""
    records = [state.record for state in host.leases()]
    for state in host.pools:
        for key in state.pool.pending.listed():
            try:
                records.append(state.pool.pending.read(key))
            except CniError:
                continue  # reported as a pending DEL
    attachments = [record.attachment for record in records if record and record.attachment]
    mine = [attachment for attachment in attachments if attachment.network == network]
    return {(attachment.container_id, ifname) for attachment in mine for ifname in (attachment.ifname, "")}


def _free(host: Host, network: Network, owner: Owner, text: str) -> Fix:
    def run() -> str:
        held = reservations.lock(host.tree.path(network.data_dir), network.name, create=False)
        if held is None:
            return f"{text} is free by now"
        try:
            if (owner.container_id, owner.ifname) in _owners(host, network.name):
                return f"{text} is used by now"
            held.free(owner, only={text})
        finally:
            held.close()
        return f"freed {text} of network {network.name}"

    return Fix(f"free {text} of network {network.name}, which {owner} has", False, run)


def pending(host: Host) -> Iterator[Finding]:
    """Look for IPAM DELs that are still to be sent."""
    for state in host.pools:
        keys = state.pool.pending.listed()
        for key in keys:
            yield _pending(host, state.pool.name, f"{state.pool.path}/pending/{key}", key)
        if not keys:
            yield passed(state.pool.name, f"no IPAM DEL of pool {state.pool.name} is pending")
    waiting = [name for name in host.tree.listed(_HOOK_PENDING) if not name.startswith(".") and name != "lock"]
    if waiting:
        yield failure("", f"{len(waiting)} DELs of the OCI hook are pending", "run `sriov-bondctl gc`")
    if not host.pools and not waiting:
        yield skipped(_NO_POOL)


def _pending(host: Host, pool: str, path: str, key: str) -> Finding:
    remedy, fix = f"run `sriov-bondctl gc {pool}`, after the cause is gone", repairs.gc(host, pool)
    target = next(state.pool for state in host.pools if state.pool.name == pool)
    try:
        record = target.pending.read(key)
    except CniError as failed:
        return failure(key, failed.msg, f"remove {path}, and free its addresses by hand")
    if record is None or record.delegate is None:
        return passed(key, "a DEL was sent meanwhile")
    names = ", ".join(record.addresses or ()) or "its addresses"
    sentence = f"the DEL of {names} for container {record.owner} to {record.delegate.kind} is pending"
    return failure(os.path.basename(path), sentence, remedy, fix)


CHECKS = (
    Check("lease", SUBJECT, "each lease has a container, and no call on it was interrupted", leases),
    Check("container", SUBJECT, "each container that a runtime attached has its lease", containers),
    Check("address", SUBJECT, "each reserved address has a lease", addresses),
    Check("pending-del", SUBJECT, "no IPAM DEL is pending", pending),
)
