"""Release a bond: for a DEL, for an ADD that failed, and for recovery.

It works from the lease alone, so it needs no netns, no prevResult and no config of the network. It has three steps. Their order
matters, because another container may get what a step frees:

1. Return the VFs to the host and restore them. Until that is done the lease stays, and the addresses stay reserved.
2. Send the delegate its DEL. The container cannot use the addresses any more.
3. Free the bond: erase the lease, or turn it into a pending DEL if the delegate could not be run or failed.
"""

from cni_sriov_bond import files
from cni_sriov_bond.cni import invoke
from cni_sriov_bond.errors import IO_FAILURE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import netns, sriov, sysfs
from cni_sriov_bond.pool.lease import DRAINING, READY, RELEASING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.kernel.netns import Netns
    from cni_sriov_bond.kernel.objects import Link
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Lease
    from cni_sriov_bond.pool.record import LeaseRecord
    from cni_sriov_bond.ports import Port

# With less time left than this a delegate is not started: it would be killed before it ends.
_LEAST_DELEGATE_SECONDS = 3.0


class Policy:
    """What differs between the releases of a DEL, of an undo and of recovery.

    :param vf_seconds: how long to wait for VFs that are being moved out of a namespace that was entered.
    :param idle_vf_seconds: how long to wait for VFs when no namespace was entered.
    :param delegate_seconds: the longest time that the delegate may take.
    :param send_del: whether to send the delegate a DEL; false if it cannot have allocated addresses.
    :param keep_del: whether a DEL that fails is kept as pending.
    """

    __slots__ = ("delegate_seconds", "idle_vf_seconds", "keep_del", "send_del", "vf_seconds")

    def __init__(
        self,
        vf_seconds: float,
        idle_vf_seconds: float,
        delegate_seconds: float,
        *,
        send_del: bool = True,
        keep_del: bool = True,
    ) -> None:
        self.vf_seconds = vf_seconds
        self.idle_vf_seconds = idle_vf_seconds
        self.delegate_seconds = delegate_seconds
        self.send_del = send_del
        self.keep_del = keep_del


# A runtime or an operator waits for this bond only. The kernel returns the VFs of a namespace after it was deleted, which takes
# a moment.
DEL = Policy(2.0, 2.0, invoke.SECONDS)
# One of many releases, and every ADD waits for them. So there is no waiting for VFs that no process moves: a container may have
# put them into a namespace of its own and never return them. A delegate that hangs gets the DEL again later.
RECOVERY = Policy(0.5, 0.0, 10.0)


def undo_policy(started: bool, refused: bool) -> Policy:
    """Return the policy for undoing an ADD.

    :param started: whether the delegate's ADD was started.
    :param refused: whether it returned a CNI error. Then it allocated nothing, and its DEL may fail for ever in the same way.
    """
    return Policy(DEL.vf_seconds, DEL.idle_vf_seconds, DEL.delegate_seconds, send_del=started, keep_del=not refused)


class Outcome:
    """The result of a release: whether the bond is free, which VFs are not in the host, and every failure.

    ``in_host`` is whether all VFs are known to be in the host. It is false also where that could not be seen, with ``missing``
    empty: then the container may still use its addresses.
    """

    __slots__ = ("free", "in_host", "missing", "problems")

    def __init__(self) -> None:
        self.free = False
        self.in_host = False
        self.missing: list[str] = []
        self.problems: list[CniError] = []

    def raise_any(self) -> None:
        """Raise one error that reports all failures, with the code of the first.

        :raises CniError: when there was one.
        """
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise CniError(self.problems[0].code, "; ".join(problem.msg for problem in self.problems))

    def run_step(self, step: "Callable[..., object]", *arguments: object) -> bool:
        """Run one step and return whether it succeeded; a failure is added to ``problems``, so that the next step runs too."""
        try:
            step(*arguments)
        except CniError as problem:
            self.problems.append(problem)
        except OSError as problem:
            self.problems.append(CniError(IO_FAILURE, f"a step of the release failed: {problem.strerror or problem}"))
        else:
            return True
        return False


def release(lease: "Lease", context: "Context", policy: Policy, namespace: "Netns | None" = None) -> Outcome:
    """Release a bond.

    :param namespace: a namespace that may be entered; it is used only if it is the recorded one.
    """
    outcome = Outcome()
    if namespace is not None and not _is_recorded(namespace, lease.record):
        namespace = None
    if _may_be_changed(lease.record):
        _return_vfs(outcome, lease, context, policy, namespace)
    else:
        outcome.in_host = True
    if not outcome.in_host:
        return outcome
    # All VFs are in the host, so the addresses can be freed. But a VF that could not be restored must not be leased again.
    outcome.free = not outcome.problems
    sent = _send_del(outcome, lease, context, policy, namespace)
    # Last: a process that is killed before this leaves a lease, from which recovery repeats the steps.
    if outcome.free:
        outcome.free = outcome.run_step(lease.erase if sent or not policy.keep_del else lease.make_pending)
    return outcome


def release_unattended(lease: "Lease", context: "Context", policy: Policy, *, enter: bool) -> Outcome:
    """Release a bond for which no runtime named a namespace.

    :param enter: whether the recorded namespace may be entered, if it is still at its path.
    """
    namespace = recorded_netns(lease.record) if enter else None
    try:
        return release(lease, context, policy, namespace)
    finally:
        if namespace is not None:
            namespace.close()


def _may_be_changed(record: "LeaseRecord") -> bool:
    """Return whether VFs may be changed: not before their state was recorded, and not after a reboot, which removed them."""
    return record.boot_id == files.boot_id() and bool(record.before or record.damage) and bool(record.ports)


# -- step 1: the VFs


def _return_vfs(outcome: Outcome, lease: "Lease", context: "Context", policy: Policy, namespace: "Netns | None") -> None:
    """Return the VFs to the host and restore them."""
    seconds = policy.vf_seconds if namespace else policy.idle_vf_seconds
    outcome.run_step(lambda: _restore_vfs(outcome, lease, context, seconds, namespace))
    if outcome.missing or outcome.problems:
        # Keep the lease until its VFs are restored; the next ADD, GC or `sriov-bondctl gc` retries. A failed ADD stays
        # adding, so that the retry may enter its namespace.
        if lease.entry.state == READY or (outcome.missing and lease.entry.state != RELEASING):
            outcome.run_step(lambda: lease.mark(RELEASING if namespace else DRAINING))
        if outcome.missing:
            context.log.warn(f"{lease} is {lease.entry.state}: {', '.join(outcome.missing)} not yet in the host")


def _restore_vfs(outcome: Outcome, lease: "Lease", context: "Context", seconds: float, namespace: "Netns | None") -> None:
    record = lease.record
    ports = []
    for port in record.ports:
        if sysfs.exists(port.address):
            ports.append(port)
        else:
            context.log.warn(f"{lease}: there is no VF at {port.address} any more, so nothing of {port.name} is restored")
    if namespace is not None:
        # Before the kernel is changed: only this state allows recovery to enter the namespace, if we are killed in it.
        outcome.run_step(lambda: lease.mark(RELEASING))
        outcome.run_step(lambda: _remove_bond(namespace, record, ports))
    outcome.missing = [port.name for port in sriov.wait_for_vfs(ports, context.deadline.part(seconds))]
    context.log.step("returned the VFs")
    if outcome.missing:
        return
    outcome.in_host = True
    host = sriov.Host(deadline=context.deadline)
    for port in ports:
        outcome.run_step(_restore, host, port, record)
    for port in ports:
        # Again: the kernel may have returned one VF under the name of the other, so the first could not get its name.
        if sysfs.netdev(port.address) not in ("", port.name):
            outcome.run_step(host.name, port)
    context.log.step("restored the VFs")


def _restore(host: sriov.Host, port: "Port", record: "LeaseRecord") -> None:
    host.restore(port, record.before.get(port.address) or host.default_state(port, record.mac))


def _remove_bond(namespace: "Netns", record: "LeaseRecord", ports: "list[Port]") -> None:
    """Move the VFs that are in the container to the host, and delete the bond that they were ports of.

    The kernel reuses inodes of namespaces, so the namespace alone proves nothing: a bond is deleted only if it has one of our
    VFs, or has no port and carries the lease's MAC or name. (A bond whose last port leaves takes a random MAC: bond_main.c,
    __bond_release_one.)
    """
    container = netns.open_netlink(namespace)
    try:
        links = container.links()
        vfs = [link for link in links if link.parent in {port.address for port in ports}]
        for link in links:
            # A VLAN or macvlan that the container put on a VF would stay on it, and receive the next container's traffic.
            if link.lower in {vf.index for vf in vfs}:
                container.delete_link(link)
        for link in links:
            if link.kind == "bond" and _is_leased_bond(link, links, vfs, record):
                # The bond before its ports, which it releases. If the ports were removed one by one and we were killed in
                # between, nothing would show that the bond without ports is ours.
                container.delete_link(link)
        names = {port.address: port.name for port in ports}
        for link in vfs:
            # Read again: deleting the bond has changed the link, and the container may have renamed it.
            present = container.link(index=link.index)
            if present is not None:
                sriov.move_out(container, present, names[link.parent])
    finally:
        container.close()


def _is_leased_bond(bond: "Link", links: "list[Link]", vfs: "list[Link]", record: "LeaseRecord") -> bool:
    if any(link.master == bond.index for link in vfs):
        return True
    has_name = record.attachment is not None and bond.name == record.attachment.ifname
    has_mac = bond.mac in record.macs
    return (has_name or has_mac) and not any(link.master == bond.index for link in links)


# -- step 2: the delegate


def _send_del(outcome: Outcome, lease: "Lease", context: "Context", policy: Policy, namespace: "Netns | None") -> bool:
    """Send the delegate its DEL; return whether it succeeded, or there is none to send."""
    record = lease.record
    if record.delegate is None or not policy.send_del:
        return True
    seconds = context.deadline.left(policy.delegate_seconds)
    if seconds < _LEAST_DELEGATE_SECONDS:
        if policy is not RECOVERY:  # recovery sends as many DELs as it has time for, and leaves the others pending
            message = f"no time was left to send the IPAM plugin {record.delegate.kind} its DEL; it is pending"
            outcome.problems.append(CniError(TRY_AGAIN_LATER, message))
        return False
    path = namespace.path if namespace else ""
    sent = outcome.run_step(lambda: send_del(record, context, seconds, lease.lock, path))
    context.log.step("sent the IPAM DEL")
    return sent


def send_del(record: "LeaseRecord", context: "Context", seconds: float, lock: int = -1, netns_path: str = "") -> None:
    """Send a delegate its DEL, from what the lease recorded; without a recorded delegate do nothing.

    :param seconds: how long it may take.
    :param lock: the descriptor of a lock. The delegate inherits it, so the lock outlives us if we are killed first.
    :param netns_path: the path of the attachment's namespace, if it is known to exist.
    :raises CniError: as the delegate returned it; INVALID_CONFIG when it is no longer installed.
    """
    call = record.delegate
    if call is None:
        return
    environ = context.delegates.environment_for_replay(call.environ, netns_path)
    executable = invoke.find(call.kind, environ["CNI_PATH"])
    config = call.config.encode("utf-8", "surrogateescape")
    with context.deadline.wait(f"the IPAM plugin {call.kind} at DEL"):
        context.delegates.run(executable, "DEL", environ, config, seconds, lock)


# -- the namespace and the VFs of a lease


def _is_recorded(namespace: "Netns", record: "LeaseRecord") -> bool:
    """Return whether a namespace is the one of a lease.

    A damaged lease does not record one, so any namespace counts: ``_remove_bond`` changes only devices that are ours.
    """
    if record.netns is None:
        return bool(record.damage)
    return namespace.same(record.netns)


def recorded_netns(record: "LeaseRecord") -> "Netns | None":
    """Return the namespace of a lease, if it is still at its path; the caller closes it."""
    if record.netns is None:
        return None
    namespace = netns.find(record.netns.path)
    if namespace is not None and not _is_recorded(namespace, record):
        namespace.close()
        return None
    return namespace


def has_netns(record: "LeaseRecord") -> bool:
    """Return whether the namespace of a lease is still at its path."""
    namespace = recorded_netns(record)
    if namespace is not None:
        namespace.close()
    return namespace is not None


def is_unused(record: "LeaseRecord") -> bool:
    """Return whether no container uses a ready lease: it is of an earlier boot, or all its VFs are in the host.

    The kernel returns them when the container's namespace ends, as after a runtime that sends no DEL.
    """
    if record.boot_id != files.boot_id():
        return True
    # The VFs of an ADD that has not read their state yet are in the host too.
    return _may_be_changed(record) and all(sysfs.netdev(port.address) for port in record.ports)
