"""Acquire a bond for an ADD: which pool, which bond, and the state of its VFs before anything is changed."""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.kernel.bond_options import number_of
from cni_sriov_bond.network.bond_rules import moves_its_mac, swaps_macs
from cni_sriov_bond.pool import acquisition, inventory
from cni_sriov_bond.pool.lease import ADDING
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.kernel.netns import Netns
    from cni_sriov_bond.kernel.sriov import Host
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Lease
    from cni_sriov_bond.ports import Bond, Port

# How long to wait for a VF that is not in the host but may be about to return.
_RETURN_SECONDS = 0.5


def pool_of(network: "Network") -> Pool:
    """Return the network's pool: the one that it names, or the only one that exists.

    :raises CniError: POOL_UNUSABLE when it names none and there is not exactly one.
    """
    if network.pool:
        return Pool(network.state_dir, network.pool)
    names = inventory.names(network.state_dir)
    if len(names) != 1:
        have = f"there are {', '.join(names)}" if names else "there is none; run `sriov-bondctl up`"
        raise CniError(POOL_UNUSABLE, f"network {network.name!r} names no pool, and {have}")
    return Pool(network.state_dir, names[0])


def acquire(call: "Call", network: "Network", namespace: "Netns", context: "Context") -> "Lease":
    """Lease a bond, with a durable record of all that its release needs; the kernel is not touched yet.

    :raises CniError: the pool is then as before, except that interrupted calls were finished.
    """
    pool = pool_of(network)
    request = _Request(call, network, namespace)
    if pool.has_unfinished():
        from cni_sriov_bond.plugin import recover  # late: most ADDs find nothing to finish

        recover.recover(pool, recover.Interrupted(), context.within(recover.SECONDS))
    for name in inventory.directories(network.state_dir):  # the network may have named another pool before
        _require_nothing_left(Pool(network.state_dir, name), pool, request.attachment, context)
    return _first_usable(pool, request, context)


def _require_nothing_left(other: Pool, pool: Pool, attachment: Attachment, context: "Context") -> None:
    """Refuse an attachment that has a bond of another pool, and send its pending DEL of any pool.

    What becomes pending or is leased after this look is seen by ``acquisition.acquire``, which looks again under locks.
    """
    if other.pending.holds(attachment.key):
        from cni_sriov_bond.plugin import recover

        recover.require_no_pending_del(other, attachment, context.within(recover.SECONDS))
    if other.name != pool.name:
        acquisition.refuse_second(other, attachment)


class _Request:
    """What one ADD requests of the pool, and the bonds that proved unusable."""

    __slots__ = ("attachment", "broken", "delegate", "netns", "network")

    def __init__(self, call: "Call", network: "Network", namespace: "Netns") -> None:
        self.network = network
        self.attachment = Attachment(network.name, call.container_id, call.ifname)
        self.netns = NetnsIdentity(call.netns, namespace.dev, namespace.ino)
        self.delegate: DelegateCall | None = None
        if network.delegate:
            environ = {name: value for name, value in call.environ.items() if name.startswith("CNI_")}
            text = network.raw.decode("utf-8", "surrogateescape")
            self.delegate = DelegateCall(network.delegate, environ, text)
        self.broken: dict[str, CniError] = {}


def _first_usable(pool: Pool, request: _Request, context: "Context") -> "Lease":
    """Lease the first bond whose VFs are in the host.

    A bond without one of its VFs is passed over, and it is quarantined when another bond is usable. If every bond fails, the
    cause is the host or the NIC, and none is quarantined.
    """
    broken = request.broken
    while True:
        count = len(broken)
        try:
            lease = _lease_with_state(pool, request, context)
        except CniError as refused:
            if len(broken) == count:
                if refused.code == TRY_AGAIN_LATER and broken:
                    first = next(iter(broken.values()))
                    raise first from None
                raise
            context.log.warn(f"{[*broken][-1]} of pool {pool.name} is passed over: {refused.msg}")
            continue
        for name, reason in broken.items():
            _quarantine(pool, name, reason.msg, context.log)
        return lease


def _quarantine(pool: Pool, name: str, reason: str, log: "Log") -> None:
    """Quarantine a free bond; a failure of that does not fail this ADD."""
    from cni_sriov_bond.events import Action, Subject
    from cni_sriov_bond.pool import quarantine

    try:
        lock = pool.lock_free_bond(name)
        if lock is not None:
            try:
                action = Action(log, "quarantine")
                quarantine.add(pool.path, name, reason)
                log.step(f"quarantined {name}: {reason}")
                action.end(pool.state_dir, Subject(pool.name, name))
            finally:
                os.close(lock)
    except CniError as failed:
        log.warn(f"bond {name} could not be quarantined: {failed.msg}")


def _lease_with_state(pool: Pool, request: _Request, context: "Context") -> "Lease":
    """Lease a bond and record the state of its VFs.

    :raises CniError: POOL_UNUSABLE when the bond is unusable; it has then been added to ``request.broken``.
    """
    lease = _acquire_or_recover(pool, request, context)
    bond = lease.record.bond
    try:
        from cni_sriov_bond.kernel import sriov  # late: an ADD that gets no bond needs none of it

        # A process that was killed while it renamed VFs left them in a temporary namespace, and the kernel returns them within
        # this time. After the first unusable bond there is no more waiting: if all VFs are missing, every bond would cost it.
        sriov.wait_for_vfs(bond.ports, context.deadline.part(0 if request.broken else _RETURN_SECONDS))
        _record_state(lease, request.network, context)
    except BaseException as unusable:
        lease.erase()
        lease.close()
        if isinstance(unusable, CniError) and unusable.code == POOL_UNUSABLE:
            request.broken[bond.name] = unusable
        raise
    return lease


def _acquire_or_recover(pool: Pool, request: _Request, context: "Context") -> "Lease":
    """Lease a bond; where none is free, or the MAC is in use, first release the leases of containers that are gone."""

    def attempt() -> "Lease":
        network = request.network
        return acquisition.acquire(
            pool,
            request.attachment,
            request.netns,
            Requested(network.bond, network.vf, network.mtu, mac=network.mac),
            request.delegate,
            unusable=request.broken,
            device=network.device,
            deadline=context.deadline,
        )

    try:
        return attempt()
    except CniError as refused:
        if refused.code != TRY_AGAIN_LATER:
            raise
    from cni_sriov_bond.plugin import recover

    recovery = context.within(recover.SECONDS)
    # A container of any pool may have the requested MAC.
    for name in inventory.directories(pool.state_dir) if request.network.mac else [pool.name]:
        recover.recover(Pool(pool.state_dir, name), recover.Unused(), recovery)
    return attempt()


def _record_state(lease: "Lease", network: "Network", context: "Context") -> None:
    """Write the present state of its VFs into the lease, durable before the first of them is changed.

    A process that is killed later leaves a record from which every release can restore them.
    """
    from cni_sriov_bond.kernel.sriov import Host

    host = Host(deadline=context.deadline)
    record = lease.record
    bond = record.bond
    record.mac = network.mac or bond.mac
    record.requested.primary = _primary(network, bond)
    record.port_macs = _port_macs(network, bond, record.requested.primary)
    _check_min_links(network, bond)
    for port in bond.ports:
        _check_pf(host, port, bond, network, context.log)
        state = host.state(port)
        host.unsupported(port, network.vf)  # refuses what is asked for explicitly
        # Restore the pool's MACs, not the present ones: a crash may have left others on the VF.
        state.mac = state.admin_mac = bond.mac
        record.before[port.address] = state
    lease.save(ADDING)


def _check_pf(host: "Host", port: "Port", bond: "Bond", network: "Network", log: "Log") -> None:
    pf = host.pf(port.pf_address)
    if not sysfs.is_vf(port):
        raise CniError(
            POOL_UNUSABLE,
            f"VF {port.vf_index} of {pf.name} is not at {port.address}, its address in the pool; run `sriov-bondctl up`",
        )
    if not (pf.up and pf.carrier):
        cause = "has no carrier; look at its cable and switch" if pf.up else f"is down; run `ip link set {pf.name} up`"
        log.warn(f"{bond.name} starts with one path down: {pf.name} {cause}")
    if network.mtu is not None and network.mtu > pf.mtu:
        raise CniError(
            INVALID_CONFIG,
            f"the MTU {network.mtu} is above the {pf.mtu} of {pf.name}; lower mtu or run `ip link set {pf.name} mtu "
            f"{network.mtu}`, and the same on the switch",
        )


def _port_macs(network: "Network", bond: "Bond", primary: str) -> dict[str, str]:
    """Return the MAC of each port by PCI address: the bond's MAC, except where the mode needs ports with different MACs.

    Then the preferred port has the bond's MAC, or the first if none is preferred. The others have MACs that are derived from
    it, so they are the same at every ADD.

    :param primary: the PCI address of the preferred port, or "".
    """
    mac = network.mac or bond.mac
    macs = {port.address: mac for port in bond.ports}
    if swaps_macs(network.bond) or moves_its_mac(network.bond):
        for number, port in enumerate(bond.ports, 1):
            if port.address != (primary or bond.ports[0].address):
                macs[port.address] = inventory.port_mac(mac, number)
    return macs


def _check_min_links(network: "Network", bond: "Bond") -> None:
    """Refuse a bond that could never be up. The kernel accepts the number (bond_main.c, bond_set_carrier)."""
    minimum = number_of(network.bond, "min_links")
    if minimum > len(bond.ports):
        raise CniError(
            INVALID_CONFIG, f"min_links {minimum} is above the {len(bond.ports)} ports of bond {bond.name}; lower min_links"
        )


def _primary(network: "Network", bond: "Bond") -> str:
    """Return the PCI address of the preferred port, or "". "A" is the port on the pool's first NIC, "B" on its second."""
    if not network.primary:
        return ""
    names = {"ABCDEFGH"[index]: port.address for index, port in enumerate(bond.ports[:8])}
    names |= {port.name: port.address for port in bond.ports}
    if network.primary not in names:
        raise CniError(
            INVALID_CONFIG, f"primary {network.primary!r} is not a port of bond {bond.name}; it may be {', '.join(names)}"
        )
    return names[network.primary]
