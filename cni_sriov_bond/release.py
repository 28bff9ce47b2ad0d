"""Give a bond back: the one way home, for DEL, for an ADD that failed, and for whoever finds an unfinished lease.

It works from the lease alone, so that it needs no netns, no prevResult and no config of the network.
"""

from cni_sriov_bond import bond as bonds
from cni_sriov_bond import ipam, netns, pool, sriov
from cni_sriov_bond.errors import INTERNAL, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.netlink import Netlink
from cni_sriov_bond.netns import Entered, Netns
from cni_sriov_bond.wire import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_sriov_bond.log import Log

# How long the VFs of a dead container may take to come home before the lease is left draining, in seconds.
HOME_SECONDS = 2.0


class Outcome:
    """What became of a release: whether the bond is free, and every failure on the way."""

    __slots__ = ("free", "problems")

    def __init__(self) -> None:
        self.free = False
        self.problems: list[CniError] = []

    def raise_any(self) -> None:
        """Raise one error that tells all failures, with the code of the first.

        :raises CniError: when there was one.
        """
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise CniError(self.problems[0].code, "; ".join(problem.msg for problem in self.problems))


def open_inside(target: Netns) -> Netlink:
    """Give a netlink socket of a container's namespace."""
    with Entered(target):
        return Netlink(f"the container's namespace {target.path}")


def release(
    lease: pool.Lease, log: "Log", target: Netns | None = None, delegate: bool = True, seconds: float = HOME_SECONDS
) -> Outcome:
    """Take the bond apart, put its VFs back as they were, tell the delegate, and erase the lease.

    :param target: the container's namespace if the runtime gave one; it is entered only if it is the recorded one.
    :param delegate: whether the delegate may have given addresses.
    :param seconds: how long to wait for VFs that are not home; after that the lease stays, draining.
    """
    outcome = Outcome()
    record = lease.record
    if record["boot_id"] == pool.boot_id() and record.get("before"):  # else the kernel was not touched, or forgot
        ports = pool.bond(record["ports_of"]).ports
        if target is not None and [target.dev, target.ino] == record["netns"]["id"]:
            _attempt(outcome, lambda: _take_apart(target, record, ports))
        missing = sriov.wait_home(ports, seconds)
        log.step("took the bond apart")
        if missing:
            lease.drain()
            log.warn(f"{lease} is draining: {', '.join(port.name for port in missing)} still to come home")
            return outcome
        host = sriov.Host()
        for port in ports:
            _attempt(outcome, lambda port=port: host.restore(port, record["before"][port.pci]))
        log.step("restored the VFs")
        if outcome.problems:
            # Not handed out as it is: whoever looks next tries again, and `sriov-bondctl status` shows it.
            _attempt(outcome, lease.drain)
    outcome.free = not outcome.problems
    if delegate and record.get("delegate"):
        _attempt(outcome, lambda: tell_delegate(record))
        log.step("told the delegate")
    if outcome.free:
        _attempt(outcome, lease.erase)
    return outcome


def tell_delegate(record: "dict[str, Any]") -> None:
    """Send the delegate its DEL, from what the lease recorded.

    :raises CniError: with the delegate's own words, or when it is not there any more.
    """
    kept = record["delegate"]
    environ = kept["environ"]
    executable = ipam.find(kept["type"], environ["CNI_PATH"])
    ipam.run(executable, "DEL", environ, kept["config"].encode("utf-8", "surrogateescape"))


def finish_draining(where: pool.Pool, log: "Log") -> None:
    """Finish every release that waited for VFs, as far as they are home by now; other processes' work is left alone."""
    for entry in where.entries():
        if entry.state == pool.DRAINING:
            _finish(where, entry, log)


def reclaim(where: pool.Pool, log: "Log") -> None:
    """Free what nobody will ask us to free: unfinished releases, ADDs that died, and leases whose containers are gone."""
    for entry in where.entries():
        record = where.read(entry) if entry.state == pool.READY else None
        if entry.state != pool.READY or (record and is_over(record)):
            _finish(where, entry, log)


def collect(where: pool.Pool, network: str, kept: "set[tuple[str, str]] | None", log: "Log") -> list[CniError]:
    """Release every lease of a network that is not one of ``kept``, and give what failed; the others are done.

    :param kept: (container id, interface name) of all that live; None when nobody said, and then a lease is released only
        if its namespace is gone.
    """
    problems = []
    for entry in where.entries():
        try:
            record = where.read(entry)
        except CniError as damaged:
            log.warn(f"left alone: {damaged.msg}")  # whose it is cannot be known
            continue
        if record is None or record["network"] != network:
            continue
        if kept is None or (record["container_id"], record["ifname"]) not in kept:
            problems += _collect_one(where, entry, kept is None, log)
    return problems


def _collect_one(where: pool.Pool, entry: pool.Entry, only_dead: bool, log: "Log") -> list[CniError]:
    try:
        lease = where.take(entry, seconds=0)
    except CniError as failed:
        if failed.code != TRY_AGAIN_LATER:
            return [failed]
        log.warn(f"left alone: {failed.msg}")
        return []
    if lease is None:
        return []
    target = None
    try:
        target = _recorded_netns(lease.record)
        if only_dead and target is not None:
            return []
        # Without a namespace the VFs are home or on their way; one wait for each of 63 would be too long.
        return release(lease, log, target, seconds=HOME_SECONDS if target else 0).problems
    finally:
        if target is not None:
            target.close()
        lease.close()


def _recorded_netns(record: "dict[str, Any]") -> Netns | None:
    """Give the namespace that a lease was made for, if its path still leads there."""
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
    if record["boot_id"] != pool.boot_id():
        return True
    return "ports_of" in record and all(sriov.netdev(port.pci) for port in pool.bond(record["ports_of"]).ports)


def _finish(where: pool.Pool, entry: pool.Entry, log: "Log") -> None:
    try:
        lease = where.take(entry, seconds=0)
    except CniError as busy:
        log.warn(f"left alone: {busy.msg}")
        return
    if lease is None:
        return
    try:
        # Only now, under the lock: an ADD may have finished since its lease was listed, and its container lives.
        if lease.entry.state == pool.READY and not is_over(lease.record):
            return
        outcome = release(lease, log, seconds=0)
    finally:
        lease.close()
    for problem in outcome.problems:
        log.warn(problem.msg)


def _attempt(outcome: Outcome, action: "Any") -> None:
    """Do one step of a release; a failure is kept and the next step is done."""
    try:
        action()
    except CniError as problem:
        outcome.problems.append(problem)
    except OSError as problem:
        outcome.problems.append(CniError(INTERNAL, f"the release stopped half way: {problem}"))


def _take_apart(target: Netns, record: "dict[str, Any]", ports: list[pool.Port]) -> None:
    """Send the VFs that are in the container home, and delete the bond that they were ports of.

    Inodes of namespaces are used again: a bond is deleted only if it had one of our VFs, or has no port and our MAC.
    """
    inside = open_inside(target)
    try:
        links = inside.links()
        mine = [link for link in links if link.parent in {port.pci for port in ports}]
        for link in links:
            if link.kind == "bond" and _is_ours(link, links, mine, record):
                bonds.empty(inside, mine)
                inside.delete_link(link)
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
    return bond.mac == record["mac"] and not any(link.master == bond.index for link in links)
