"""The VFs of a pool: create them, wait for their network devices, name them, set their MACs, and undo that."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from time import monotonic, sleep
from typing import NamedTuple

from cni_sriov_bond.ctl import vfdriver
from cni_sriov_bond.ctl.changes import SavedVf
from cni_sriov_bond.ctl.nic import PhysicalFunction
from cni_sriov_bond.ctl.users import users
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import sriov, sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.netns import Entered, Temporary
from cni_sriov_bond.kernel.objects import Link
from cni_sriov_bond.log import Log
from cni_sriov_bond.ports import Bond, Port

# Creating VFs takes a driver some seconds, and each VF has to be bound to its own driver and registered.
_CREATE_SECONDS, _MORE_PER_VF = 30.0, 1.0
# VFs that exist have their devices, unless they were created a moment ago.
_EXISTING_SECONDS = 5.0
_POLL = 0.05

Report = Callable[[str, int, int], None]


class NicRequest(NamedTuple):
    """The VFs that are requested of a NIC.

    ``size`` is how many, ``indices`` which of them are the pool's, and ``replace`` whether VFs of another number may be
    removed. ``leased`` are PCI addresses of VFs that containers have; they are not waited for.
    """

    pf: PhysicalFunction
    size: int
    indices: list[int]
    replace: bool
    leased: set[str]

    @property
    def is_to_be_made(self) -> bool:
        """Whether ``create`` is going to create VFs."""
        count = self.pf.vf_count
        return not count or (count != self.size and self.replace)


def create(requests: list[NicRequest], report: Report) -> set[str]:
    """Create the VFs of NICs that have not as many, on all NICs at once, and wait for the network devices of the pool's VFs.

    :return: the PCI addresses of the NICs whose VFs were created.
    :raises CniError: IO_FAILURE when the kernel refuses; POOL_UNUSABLE when a driver created too few, or no VF gets a driver.
    """
    stage = f"creating the VFs of {' and '.join(request.pf.name for request in requests)}"
    ready = dict.fromkeys((request.pf.address for request in requests), 0)
    total = sum(len(request.indices) for request in requests)
    stop = threading.Event()

    def work(request: NicRequest) -> bool:
        def progress(count: int) -> None:
            ready[request.pf.address] = count

        return _create(request, progress, stop)

    with ThreadPoolExecutor(len(requests)) as threads:
        futures = [threads.submit(work, request) for request in requests]
        try:
            while wait(futures, _POLL).not_done:
                report(stage, sum(ready.values()), total)
        except BaseException:
            stop.set()  # interrupted: the threads must not go on waiting for devices
            raise
    outcomes = [(request, future) for request, future in zip(requests, futures, strict=True)]
    return {request.pf.address for request, future in outcomes if future.result()}


def _create(request: NicRequest, progress: Callable[[int], None], stop: threading.Event) -> bool:
    pf = request.pf
    creates = request.is_to_be_made
    if creates:
        if pf.vf_count:
            pf.remove_vfs()
        pf.create_vfs(request.size)
    addresses = pf.vfs()
    own_addresses = [addresses[index] for index in request.indices if addresses[index] not in request.leased]
    if creates:
        _wait_for_new(pf, own_addresses, progress, stop)
    else:
        _wait_for_existing(own_addresses, progress, stop)
    return creates


def _wait_for_existing(addresses: list[str], progress: Callable[[int], None], stop: threading.Event) -> None:
    """Wait for VFs that may be about to return to the host, but not for those that get no driver or are handed over."""
    vfdriver.bind_unbound(addresses)
    deadline = monotonic() + _EXISTING_SECONDS
    while not stop.is_set() and monotonic() < deadline:
        awaited = [vf for vf in addresses if sysfs.driver(vf) and not vfdriver.is_settled(vf)]
        progress(len(addresses) - len(awaited))
        if not awaited:
            return
        sleep(_POLL)


def _wait_for_new(pf: PhysicalFunction, addresses: list[str], progress: Callable[[int], None], stop: threading.Event) -> None:
    """Wait for the network devices of VFs that were created. The time is limited in all, and while nothing happens."""
    end = monotonic() + _CREATE_SECONDS + _MORE_PER_VF * len(addresses)
    arrival = vfdriver.Arrival(pf.name, addresses)
    while not stop.is_set() and monotonic() < end and arrival.goes_on():
        progress(arrival.ready)
        sleep(_POLL)
    progress(arrival.ready)


def restore(saved: Iterable[SavedVf], log: Log) -> None:
    """Give VFs that stay what they had before ``up``: name, altnames, MACs, settings, and whether they were up.

    A VF that is not in the host, or that has a user by now, is left as it is.

    :param saved: what ``save`` returned.
    """
    host = sriov.Host()
    try:
        for vf in saved:
            port = vf.port
            link = host.netdev(port)
            if link is None or not sysfs.is_vf(port):
                continue
            uses = users(host.netlink, link)
            if uses:
                log.warn(f"{link.name} stays as it is: {uses[0]}")
                continue
            try:
                host.restore(port, vf.state)
                link = host.netdev(port)
                if link is not None:
                    for name in vf.altnames:
                        host.netlink.add_altname(link, name)
                    if vf.up:
                        host.netlink.set_up(link, True)
            except CniError as failed:
                log.warn(f"{port.name} (the VF at {port.address}) is not quite as it was before `up`: {failed.msg}")
    finally:
        host.netlink.close()


def save(host: sriov.Host, port: Port) -> SavedVf | None:
    """Return what ``restore`` needs of a VF, or None if it is not in the host."""
    link = host.netdev(port)
    if link is None:
        return None
    present = Port(port.address, link.name, port.pf_address, port.vf_index)
    return SavedVf(present, tuple(link.altnames), link.up, host.state(port))


def set_names(bonds: list[Bond], report: Report) -> bool:
    """Give the VFs their names in the inventory and remove their altnames; return whether a VF was changed."""
    host = sriov.Host()
    try:
        renamed = []
        for bond in bonds:
            for port in bond.ports:
                link = host.netdev(port)
                if link is not None and (link.name != port.name or link.altnames):
                    renamed.append((port, link))
        if renamed:
            _rename(host, renamed, report)
    finally:
        host.netlink.close()
    return bool(renamed)


def _rename(host: sriov.Host, renamed: list[tuple[Port, Link]], report: Report) -> None:
    """Rename VFs in a temporary namespace, where udev does not interfere.

    All are moved there before the first is moved back: a VF may have the name that another is to get.
    """
    stage, total = "naming the VFs", 2 * len(renamed)
    with Temporary() as netns:
        with Entered(netns):
            temporary = Netlink("a temporary namespace")
        for count, (_, link) in enumerate(renamed):
            report(stage, count, total)
            if link.up:
                host.netlink.set_up(link, False)
            host.netlink.move(link, netns.fd, "a temporary namespace", "vf%d")
        names = {port.address: port.name for port, _ in renamed}
        moved = [link for link in temporary.links() if link.parent in names]
        # Before the first moves out: an altname that exists in the host would make its move fail.
        for link in moved:
            temporary.drop_altnames(link)
            temporary.set_name(link, "vf%d")
        for count, link in enumerate(moved, len(renamed)):
            report(stage, count, total)
            link.name, link.altnames = "", []
            sriov.move_out(temporary, link, names[link.parent])
        temporary.close()


def set_macs(bonds: list[Bond], report: Report) -> bool:
    """Set the bond's MAC on the VFs of every bond; return whether a VF was changed."""
    host = sriov.Host()
    changed = False
    try:
        for count, bond in enumerate(bonds):
            report("setting MACs", count, len(bonds))
            for port in bond.ports:
                link = host.netdev(port)
                if link is not None and (link.mac != bond.mac or host.vf(port).mac != bond.mac):
                    host.set_macs(port, link, bond.mac)
                    changed = True
        report("setting MACs", len(bonds), len(bonds))
    finally:
        host.netlink.close()
    return changed
