"""Give a bond back: the one way home, for DEL, for an ADD that failed, and for whoever finds an unfinished lease.

It works from the lease alone, so that it needs no netns, no prevResult and no config of the network.
"""

from cni_sriov_bond import inventory, ipam, netns, sriov, store
from cni_sriov_bond.errors import IO_FAILURE, CniError
from cni_sriov_bond.leases import DRAINING, READY, RELEASING, Lease
from cni_sriov_bond.netlink import Netlink
from cni_sriov_bond.netns import Entered, Netns
from cni_sriov_bond.wire import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.inventory import Port
    from cni_sriov_bond.log import Log

# How long the VFs of a dead container may take to come home before the lease is left draining, in seconds.
HOME_SECONDS = 2.0
# The same where nobody waits for this bond alone. VFs that a process had in a temporary namespace when it died need a moment;
# those that the container gave to a namespace of its own may take for ever, and every ADD comes by here.
_UNATTENDED_SECONDS = 0.5


class Outcome:
    """What became of a release: whether the bond is free, which VFs are not home, and every failure on the way."""

    __slots__ = ("free", "missing", "problems")

    def __init__(self) -> None:
        self.free = False
        self.missing: list[str] = []
        self.problems: list[CniError] = []

    def raise_any(self) -> None:
        """Raise one error that tells all failures, with the code of the first.

        :raises CniError: when there was one.
        """
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise CniError(self.problems[0].code, "; ".join(problem.msg for problem in self.problems))

    def attempt(self, action: "Any") -> bool:
        """Do one step and tell whether it was done; a failure is kept and the next step is done."""
        try:
            action()
        except CniError as problem:
            self.problems.append(problem)
        except OSError as problem:
            self.problems.append(CniError(IO_FAILURE, f"the release stopped half way: {problem.strerror or problem}"))
        else:
            return True
        return False


def open_inside(target: Netns) -> Netlink:
    """Give a netlink socket of a container's namespace."""
    with Entered(target):
        return Netlink(f"the container's namespace {target.path}")


def release(
    lease: Lease,
    log: "Log",
    target: Netns | None = None,
    delegate: bool = True,
    seconds: float = HOME_SECONDS,
    delegate_seconds: float = ipam.SECONDS,
    owe: bool = True,
) -> Outcome:
    """Take the bond apart, put its VFs back as they were, tell the delegate, and erase the lease.

    :param target: the container's namespace if the runtime gave one; it is entered only if it is the recorded one.
    :param delegate: whether the delegate may have given addresses.
    :param seconds: how long to wait for VFs that are not home; after that the lease stays.
    :param delegate_seconds: how long the delegate may take; 0 not to ask it now.
    :param owe: whether a delegate that cannot be told must be told later.
    """
    outcome = Outcome()
    record = lease.record
    inside = target if target is not None and _is_its(target, record) else None
    if _touched(record):
        outcome.attempt(lambda: _bring_home(outcome, lease, log, inside, seconds))
        if outcome.missing or outcome.problems:
            # Not handed out as it is: whoever looks next tries again, and `sriov-bondctl status` shows it. An ADD that could
            # not be undone stays one, so that the namespace may be entered for it.
            if lease.entry.state == READY or (outcome.missing and lease.entry.state != RELEASING):
                outcome.attempt(lambda: lease.mark(RELEASING if inside else DRAINING))
            if outcome.missing:
                log.warn(f"{lease} is {lease.entry.state}: {', '.join(outcome.missing)} still to come home")
                return outcome
    outcome.free = not outcome.problems
    told = True
    if delegate and record.get("delegate"):
        where = inside.path if inside else ""
        told = delegate_seconds > 0 and outcome.attempt(lambda: tell_delegate(record, delegate_seconds, lease.lock, where))
        log.step("told the delegate")
    if outcome.free:
        outcome.free = outcome.attempt(lease.erase if told or not owe else lease.owe)
    return outcome


def unattended(lease: Lease, log: "Log", enter: bool, *, seconds: float = 0, delegate_seconds: float = ipam.SECONDS) -> Outcome:
    """Release a bond for which no runtime gave a namespace.

    :param enter: whether the namespace that the lease was made for may be entered, if its path still leads there.
    :param seconds: how long at least to wait for VFs that are not home. 0 for one of many: they are home or on their way, and
        one wait for each of 63 would be too long.
    :param delegate_seconds: how long the delegate may take; 0 not to ask it now.
    """
    target = _recorded_netns(lease.record) if enter else None
    try:
        seconds = max(seconds, _UNATTENDED_SECONDS if target else 0)
        return release(lease, log, target, seconds=seconds, delegate_seconds=delegate_seconds)
    finally:
        if target is not None:
            target.close()


def _touched(record: "dict[str, Any]") -> bool:
    """Tell whether the kernel may have something of a lease: not before the VFs' state was recorded, nor after a reboot."""
    return record["boot_id"] == store.boot_id() and bool(record.get("before") or "rebuilt" in record) and "ports_of" in record


def _bring_home(outcome: Outcome, lease: Lease, log: "Log", inside: Netns | None, seconds: float) -> None:
    """Get the VFs home and put them back as they were before the lease.

    :param inside: the container's namespace, if it is there.
    """
    record = lease.record
    ports = []
    for port in inventory.bond(record["ports_of"]).ports:
        if sriov.exists(port.pci):
            ports.append(port)
        else:
            log.warn(f"{lease}: there is no VF at {port.pci} any more, so nothing of {port.name} is put back")
    if inside is not None:
        # First, so that whoever finds the lease after our death knows that the container's namespace may be entered.
        outcome.attempt(lambda: lease.mark(RELEASING))
        outcome.attempt(lambda: _take_apart(inside, record, ports))
    outcome.missing = [port.name for port in sriov.wait_home(ports, seconds)]
    log.step("took the bond apart")
    if outcome.missing:
        return
    host = sriov.Host()
    for port in ports:
        outcome.attempt(lambda port=port: host.restore(port, _before(host, port, record)))
    for port in ports:
        # The kernel may have brought one VF home under the other's name, which the first could not have then.
        if sriov.netdev(port.pci) not in ("", port.name):
            outcome.attempt(lambda port=port: host.name(port))
    log.step("restored the VFs")


def _before(host: sriov.Host, port: "Port", record: "dict[str, Any]") -> "dict[str, Any]":
    found: dict[str, Any] | None = record.get("before", {}).get(port.pci)
    return found or host.plain_state(port, record["mac"])


def _is_its(target: Netns, record: "dict[str, Any]") -> bool:
    """Tell whether a namespace is the one that a lease was made for. A damaged lease does not say: only our VFs are touched."""
    return "rebuilt" in record or [target.dev, target.ino] == record["netns"]["id"]


def tell_delegate(record: "dict[str, Any]", seconds: float, lock: int = -1, where: str = "") -> None:
    """Send the delegate its DEL, from what the lease recorded.

    :param seconds: how long it may take.
    :param lock: the descriptor of a lock that the delegate keeps until its end, should we die before it.
    :param where: the path of the attachment's namespace, if that is known to be there.
    :raises CniError: with the delegate's own words, or when it is not there any more.
    """
    kept = record["delegate"]
    environ = ipam.again(kept["environ"], where)
    executable = ipam.find(kept["type"], environ["CNI_PATH"])
    ipam.run(executable, "DEL", environ, kept["config"].encode("utf-8", "surrogateescape"), seconds, lock)


def lives(record: "dict[str, Any]") -> bool:
    """Tell whether the namespace that a lease was made for is at its path still."""
    found = _recorded_netns(record)
    if found is not None:
        found.close()
    return found is not None


def _recorded_netns(record: "dict[str, Any]") -> Netns | None:
    """Give the namespace that a lease was made for, if its path still leads there; the caller closes it."""
    if "netns" not in record:
        return None
    target = netns.find(record["netns"]["path"])
    if target is not None and [target.dev, target.ino] != record["netns"]["id"]:
        target.close()
        return None
    return target


def is_over(record: "dict[str, Any]") -> bool:
    """Tell whether a lease that was ready serves nobody: it is of an earlier boot, or its VFs are all in the host.

    They come home by themselves when the container's namespace dies, as after a runtime that sends no DEL.
    """
    if record["boot_id"] != store.boot_id():
        return True
    return "ports_of" in record and all(sriov.netdev(port.pci) for port in inventory.bond(record["ports_of"]).ports)


def _take_apart(target: Netns, record: "dict[str, Any]", ports: "list[Port]") -> None:
    """Send the VFs that are in the container home, and delete the bond that they were ports of.

    Inodes of namespaces are used again: a bond is deleted only if it had one of our VFs, or has no port and is what the lease
    made by its MAC or its name. (A bond whose last port leaves takes a random MAC: bond_main.c, __bond_release_one.)
    """
    inside = open_inside(target)
    try:
        links = inside.links()
        mine = [link for link in links if link.parent in {port.pci for port in ports}]
        for link in links:
            # A VLAN or macvlan that the container put on a VF would stay on it, and hear the next container's traffic.
            if link.lower in {one.index for one in mine}:
                inside.delete_link(link)
        for link in links:
            if link.kind == "bond" and _is_ours(link, links, mine, record):
                inside.delete_link(link)  # which also takes its ports out: done one by one, a crash between would hide it
        names = {port.pci: port.name for port in ports}
        for link in mine:
            fresh = inside.link(index=link.index)
            if fresh is not None:
                sriov.move_out(inside, fresh, names[link.parent])
    finally:
        inside.close()


def _is_ours(bond: Link, links: list[Link], mine: list[Link], record: "dict[str, Any]") -> bool:
    if any(link.master == bond.index for link in mine):
        return True
    known = bond.mac == record["mac"] or bond.name == record.get("ifname")
    return known and not any(link.master == bond.index for link in links)
