"""Release a bond: for a DEL, for an ADD that failed, and for recovery.

It works from the lease alone, so it needs no netns, no prevResult and no config of the network. Three steps, in this order:

1. Return the VFs to the host and restore them. While that is not done the lease stays, and so do the addresses.
2. Send the delegate its DEL. The container cannot use the addresses any more.
3. Free the bond: erase the lease, or make it a pending DEL if the delegate could not be asked.
"""

from cni_sriov_bond import files
from cni_sriov_bond.cni import invoke
from cni_sriov_bond.errors import IO_FAILURE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import netns, sriov, sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Netns
from cni_sriov_bond.kernel.objects import Link
from cni_sriov_bond.pool.lease import DRAINING, READY, RELEASING, Lease
from cni_sriov_bond.pool.record import LeaseRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.ports import Port

# How long a delegate must have left to be asked at all: less would kill it half way for nothing.
_LEAST_DELEGATE_SECONDS = 3.0


class Policy:
    """What differs between releases.

    :param vf_seconds: how long to wait for VFs that are on their way from a namespace that was entered.
    :param idle_vf_seconds: the same when no namespace was entered.
    :param delegate_seconds: the longest that the delegate may take.
    :param send_del: whether the delegate may have allocated addresses.
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


# A runtime, or an operator, waits for this bond alone; the VFs of a namespace that was just deleted need a moment.
DEL = Policy(2.0, 2.0, invoke.SECONDS)
# One of many. VFs in a temporary namespace of a process that died need a moment. VFs that a container gave to a namespace of
# its own may never come, and every ADD waits here. A delegate that hangs is asked again later.
RECOVERY = Policy(0.5, 0.0, 10.0)


def undo_policy(asked: bool, refused: bool) -> Policy:
    """Return the policy for undoing an ADD.

    :param asked: whether the delegate's ADD was started.
    :param refused: whether it returned a CNI error. Then it allocated nothing, and its DEL may fail for ever in the same way.
    """
    return Policy(DEL.vf_seconds, DEL.idle_vf_seconds, DEL.delegate_seconds, send_del=asked, keep_del=not refused)


class Outcome:
    """The result of a release: whether the bond is free, which VFs are not in the host, and every failure on the way."""

    __slots__ = ("free", "missing", "problems")

    def __init__(self) -> None:
        self.free = False
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
        """Run one step and return whether it was done; a failure is kept, so that the next step is done too."""
        try:
            step(*arguments)
        except CniError as problem:
            self.problems.append(problem)
        except OSError as problem:
            self.problems.append(CniError(IO_FAILURE, f"the release stopped half way: {problem.strerror or problem}"))
        else:
            return True
        return False


def open_netlink(target: Netns) -> Netlink:
    """Return a netlink socket of a container's namespace."""
    with Entered(target):
        return Netlink(f"the container's namespace {target.path}")


def release(lease: Lease, context: "Context", policy: Policy, target: Netns | None = None) -> Outcome:
    """Release a bond.

    :param target: a namespace that may be entered; it is used only if it is the recorded one.
    """
    outcome = Outcome()
    container = target if target is not None and _is_recorded(target, lease.record) else None
    if _may_be_changed(lease.record) and not _return_vfs(outcome, lease, context, policy, container):
        return outcome
    # A VF that could not be restored keeps the bond, but not the addresses: it is in the host.
    outcome.free = not outcome.problems
    sent = _send_del(outcome, lease, context, policy, container)
    if outcome.free:
        outcome.free = outcome.run_step(lease.erase if sent or not policy.keep_del else lease.make_pending)
    return outcome


def release_unattended(lease: Lease, context: "Context", policy: Policy, *, enter: bool) -> Outcome:
    """Release a bond for which no runtime gave a namespace.

    :param enter: whether the recorded namespace may be entered, if its path still leads to it.
    """
    target = recorded_netns(lease.record) if enter else None
    try:
        return release(lease, context, policy, target)
    finally:
        if target is not None:
            target.close()


def _may_be_changed(record: LeaseRecord) -> bool:
    """Return whether the kernel may have something of a lease: not before the VFs' state was recorded, nor after a reboot."""
    return record.boot_id == files.boot_id() and bool(record.before or record.damage) and bool(record.ports)


# -- step 1: the VFs


def _return_vfs(outcome: Outcome, lease: Lease, context: "Context", policy: Policy, container: Netns | None) -> bool:
    """Return the VFs to the host and restore them; return whether all are in the host."""
    seconds = policy.vf_seconds if container else policy.idle_vf_seconds
    outcome.run_step(lambda: _restore_vfs(outcome, lease, context, seconds, container))
    if outcome.missing or outcome.problems:
        # Keep the lease until its VFs are restored; the next ADD, GC or `sriov-bondctl gc` retries. A failed ADD stays
        # adding, so that the retry may enter its namespace.
        if lease.entry.state == READY or (outcome.missing and lease.entry.state != RELEASING):
            outcome.run_step(lambda: lease.mark(RELEASING if container else DRAINING))
        if outcome.missing:
            context.log.warn(f"{lease} is {lease.entry.state}: {', '.join(outcome.missing)} not yet in the host")
    return not outcome.missing


def _restore_vfs(outcome: Outcome, lease: Lease, context: "Context", seconds: float, container: Netns | None) -> None:
    record = lease.record
    ports = []
    for port in record.ports:
        if sysfs.exists(port.pci):
            ports.append(port)
        else:
            context.log.warn(f"{lease}: there is no VF at {port.pci} any more, so nothing of {port.name} is restored")
    if container is not None:
        # First: the state tells a later process that it may enter the namespace, should we be killed in it.
        outcome.run_step(lambda: lease.mark(RELEASING))
        outcome.run_step(lambda: _remove_bond(container, record, ports))
    outcome.missing = [port.name for port in sriov.wait_for_vfs(ports, context.deadline.part(seconds))]
    context.log.step("returned the VFs")
    if outcome.missing:
        return
    host = sriov.Host()
    for port in ports:
        outcome.run_step(_restore, host, port, record)
    for port in ports:
        # The kernel may have returned one VF under the name of the other, which the first could not have then.
        if sysfs.netdev(port.pci) not in ("", port.name):
            outcome.run_step(host.name, port)
    context.log.step("restored the VFs")


def _restore(host: sriov.Host, port: "Port", record: LeaseRecord) -> None:
    host.restore(port, record.before.get(port.pci) or host.default_state(port, record.mac))


def _remove_bond(target: Netns, record: LeaseRecord, ports: "list[Port]") -> None:
    """Move the VFs that are in the container to the host, and delete the bond that they were ports of.

    The kernel reuses inodes of namespaces, so the namespace alone proves nothing: a bond is deleted only if it has one of our
    VFs, or has no port and carries the lease's MAC or name. (A bond whose last port leaves takes a random MAC: bond_main.c,
    __bond_release_one.)
    """
    container = open_netlink(target)
    try:
        links = container.links()
        vfs = [link for link in links if link.parent in {port.pci for port in ports}]
        for link in links:
            # A VLAN or macvlan that the container put on a VF would stay on it, and receive the next container's traffic.
            if link.lower in {vf.index for vf in vfs}:
                container.delete_link(link)
        for link in links:
            if link.kind == "bond" and _is_leased_bond(link, links, vfs, record):
                # Deleting it also removes its ports: removing them one by one, a crash between would hide the bond from us.
                container.delete_link(link)
        names = {port.pci: port.name for port in ports}
        for link in vfs:
            fresh = container.link(index=link.index)
            if fresh is not None:
                sriov.move_out(container, fresh, names[link.parent])
    finally:
        container.close()


def _is_leased_bond(bond: Link, links: list[Link], vfs: list[Link], record: LeaseRecord) -> bool:
    if any(link.master == bond.index for link in vfs):
        return True
    named = record.attachment is not None and bond.name == record.attachment.ifname
    return (named or bond.mac == record.mac) and not any(link.master == bond.index for link in links)


# -- step 2: the delegate


def _send_del(outcome: Outcome, lease: Lease, context: "Context", policy: Policy, container: Netns | None) -> bool:
    """Send the delegate its DEL; return whether that was done, or there is none to send."""
    record = lease.record
    if record.delegate is None or not policy.send_del:
        return True
    seconds = context.deadline.left(policy.delegate_seconds)
    if seconds < _LEAST_DELEGATE_SECONDS:
        if policy is not RECOVERY:  # which asks as many as it can, and leaves the others for later
            message = f"no time was left to send the IPAM plugin {record.delegate.kind} its DEL; it is pending"
            outcome.problems.append(CniError(TRY_AGAIN_LATER, message))
        return False
    path = container.path if container else ""
    sent = outcome.run_step(lambda: send_del(record, context, seconds, lease.lock, path))
    context.log.step("sent the IPAM DEL")
    return sent


def send_del(record: LeaseRecord, context: "Context", seconds: float, lock: int = -1, netns_path: str = "") -> None:
    """Send a delegate its DEL, from what the lease recorded; without a recorded delegate do nothing.

    :param seconds: how long it may take.
    :param lock: the descriptor of a lock that the delegate keeps until its end, should we be killed before it.
    :param netns_path: the path of the attachment's namespace, if that is known to be there.
    :raises CniError: with the delegate's own message, or when it is not installed any more.
    """
    call = record.delegate
    if call is None:
        return
    environ = context.delegates.environment_for_replay(call.environ, netns_path)
    executable = invoke.find(call.kind, environ["CNI_PATH"])
    config = call.config.encode("utf-8", "surrogateescape")
    with context.deadline.wait(f"the IPAM plugin {call.kind} at DEL"):
        context.delegates.run(executable, "DEL", environ, config, seconds, lock)


# -- what a lease was made for


def _is_recorded(target: Netns, record: LeaseRecord) -> bool:
    """Return whether a namespace is the one of a lease. A damaged lease does not say; only our VFs are touched in it then."""
    if record.netns is None:
        return bool(record.damage)
    return (target.dev, target.ino) == (record.netns.dev, record.netns.ino)


def recorded_netns(record: LeaseRecord) -> Netns | None:
    """Return the namespace of a lease, if its path still leads there; the caller closes it."""
    if record.netns is None:
        return None
    target = netns.find(record.netns.path)
    if target is not None and not _is_recorded(target, record):
        target.close()
        return None
    return target


def has_netns(record: LeaseRecord) -> bool:
    """Return whether the namespace of a lease is still at its path."""
    target = recorded_netns(record)
    if target is not None:
        target.close()
    return target is not None


def is_unused(record: LeaseRecord) -> bool:
    """Return whether a lease that is ready serves no container: it is of an earlier boot, or its VFs are all in the host.

    The kernel returns them when the container's namespace ends, as after a runtime that sends no DEL.
    """
    if record.boot_id != files.boot_id():
        return True
    # A record of an ADD that has not looked at its VFs yet says nothing of them.
    return bool(record.before or record.damage) and bool(record.ports) and all(sysfs.netdev(port.pci) for port in record.ports)
