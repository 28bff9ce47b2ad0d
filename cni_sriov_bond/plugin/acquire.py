"""Acquire a bond for an ADD: which pool, which bond, and the state of its VFs before anything is changed."""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.kernel import sriov, sysfs
from cni_sriov_bond.network.bond_rules import swaps_macs
from cni_sriov_bond.plugin import recover
from cni_sriov_bond.pool import inventory, pool, quarantine
from cni_sriov_bond.pool.lease import ADDING
from cni_sriov_bond.pool.record import Attachment, DelegateCall, NetnsIdentity, Requested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.cni.call import Call
    from cni_sriov_bond.kernel.netns import Netns
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.network.config import Network
    from cni_sriov_bond.plugin.context import Context
    from cni_sriov_bond.pool.lease import Lease
    from cni_sriov_bond.ports import Bond, Port

# How long to wait for a VF that is not in the host but may be on its way.
_RETURN_SECONDS = 0.5


def pool_of(network: "Network") -> pool.Pool:
    """Return the network's pool: the one it names, or the only one there is.

    :raises CniError: POOL_UNUSABLE when it names none and there is not just one.
    """
    if network.pool:
        return pool.Pool(network.state_dir, network.pool)
    names = inventory.names(network.state_dir)
    if len(names) != 1:
        have = f"there are {', '.join(names)}" if names else "there is none; run `sriov-bondctl up`"
        raise CniError(POOL_UNUSABLE, f"network {network.name!r} names no pool, and {have}")
    return pool.Pool(network.state_dir, names[0])


def acquire(call: "Call", network: "Network", target: "Netns", context: "Context") -> "Lease":
    """Lease a bond, with a durable record of all that its release needs; the kernel is not touched yet.

    :raises CniError: after which the pool is as it was, but for interrupted calls that were finished.
    """
    where = pool_of(network)
    request = _Request(call, network, target)
    recover.recover(where, recover.Interrupted(), context.within(recover.SECONDS))
    for name in inventory.directories(network.state_dir):  # the network may have named another pool before
        other = pool.Pool(network.state_dir, name)
        recover.require_no_pending_del(other, request.attachment, context.within(recover.SECONDS))
        if name != where.name:
            other.refuse_second(request.attachment)
    return _first_usable(where, request, context)


class _Request:
    """What one ADD asks of the pool, and the bonds that turned out to be unusable."""

    __slots__ = ("attachment", "broken", "delegate", "netns", "network")

    def __init__(self, call: "Call", network: "Network", target: "Netns") -> None:
        self.network = network
        self.attachment = Attachment(network.name, call.container_id, call.ifname)
        self.netns = NetnsIdentity(call.netns, target.dev, target.ino)
        self.delegate: DelegateCall | None = None
        if network.delegate:
            environ = {name: value for name, value in call.environ.items() if name.startswith("CNI_")}
            text = network.raw.decode("utf-8", "surrogateescape")
            self.delegate = DelegateCall(network.delegate, environ, text)
        self.broken: dict[str, CniError] = {}


def _first_usable(where: pool.Pool, request: _Request, context: "Context") -> "Lease":
    """Lease the first bond whose VFs are there.

    A bond that has lost a VF is passed over, and goes into quarantine when another bond is usable. If every bond fails, the
    cause is the host or the NIC, and none is quarantined.
    """
    broken = request.broken
    while True:
        known = len(broken)
        try:
            lease = _lease_with_state(where, request, context)
        except CniError as refused:
            if len(broken) == known:
                if refused.code == TRY_AGAIN_LATER and broken:
                    first = next(iter(broken.values()))
                    raise first from None
                raise
            context.log.warn(f"{[*broken][-1]} of pool {where.name} is passed over: {refused.msg}")
            continue
        for name, reason in broken.items():
            _quarantine(where, name, reason.msg, context.log)
        return lease


def _quarantine(where: pool.Pool, name: str, reason: str, log: "Log") -> None:
    """Put a free bond into quarantine; a failure of that is no reason for this ADD to fail."""
    try:
        held = where.lock_free_bond(name)
        if held is not None:
            try:
                quarantine.add(where.path, name, reason)
            finally:
                os.close(held)
    except CniError as failed:
        log.warn(f"bond {name} could not be put into quarantine: {failed.msg}")


def quarantine_leased(state_dir: str, lease: "Lease", reason: str) -> None:
    """Put the bond of a lease that is released, but still locked, into quarantine.

    :raises CniError: IO_FAILURE.
    """
    quarantine.add(pool.Pool(state_dir, lease.pool).path, lease.entry.bond, reason)


def _lease_with_state(where: pool.Pool, request: _Request, context: "Context") -> "Lease":
    """Lease a bond and record the state of its VFs; a bond that is unusable is added to ``request.broken`` and raises."""
    lease = _acquire_or_recover(where, request, context)
    bond = lease.record.bond
    try:
        # An `up` that was killed while it renamed VFs left some in a temporary namespace, and the kernel returns them. After
        # the first unusable bond there is no more waiting: if all VFs are missing, each bond would cost this time.
        sriov.wait_for_vfs(bond.ports, context.deadline.part(0 if request.broken else _RETURN_SECONDS))
        _record_state(lease, request.network, context.log)
    except BaseException as unusable:
        lease.erase()
        lease.close()
        if isinstance(unusable, CniError) and unusable.code == POOL_UNUSABLE:
            request.broken[bond.name] = unusable
        raise
    return lease


def _acquire_or_recover(where: pool.Pool, request: _Request, context: "Context") -> "Lease":
    """Lease a bond; where none is free, first release the leases of containers that are gone."""

    def attempt() -> "Lease":
        return where.acquire(
            request.attachment,
            request.netns,
            Requested(request.network.bond, request.network.vf, request.network.mtu),
            request.delegate,
            unusable=request.broken,
            device=request.network.device,
            deadline=context.deadline,
        )

    try:
        return attempt()
    except CniError as refused:
        if refused.code != TRY_AGAIN_LATER:
            raise
    recover.recover(where, recover.Unused(), context.within(recover.SECONDS))
    return attempt()


def _record_state(lease: "Lease", network: "Network", log: "Log") -> None:
    """Write into the lease the present state of its VFs, so that every release can restore it."""
    host = sriov.Host()
    record = lease.record
    bond = record.bond
    record.mac = network.mac or bond.mac
    record.port_macs = _port_macs(network, bond)
    record.requested.primary = _primary(network, bond)
    for port in bond.ports:
        _check_pf(host, port, bond, network, log)
        state = host.state(port)
        # The MACs that are restored are the pool's: what a crash left on the VF is repaired, not kept.
        state.mac = state.admin_mac = bond.mac
        record.before[port.pci] = state
    lease.save(ADDING)


def _check_pf(host: sriov.Host, port: "Port", bond: "Bond", network: "Network", log: "Log") -> None:
    pf = host.pf(port.pf)
    if not sysfs.is_vf(port):
        raise CniError(
            POOL_UNUSABLE, f"VF {port.vf} of {pf.name} is not at {port.pci}, where the pool has it; run `sriov-bondctl up`"
        )
    if not (pf.up and pf.carrier):
        what = "has no carrier; look at its cable and switch" if pf.up else f"is down; run `ip link set {pf.name} up`"
        log.warn(f"{bond.name} starts with one path down: {pf.name} {what}")
    if network.mtu is not None and network.mtu > pf.mtu:
        raise CniError(
            INVALID_CONFIG,
            f"the MTU {network.mtu} is above the {pf.mtu} of {pf.name}; lower mtu or run `ip link set {pf.name} mtu "
            f"{network.mtu}`, and the same on the switch",
        )


def _port_macs(network: "Network", bond: "Bond") -> dict[str, str]:
    """Return the MAC of each port by PCI address: the bond's, but where the mode needs ports to differ.

    A second port's is derived from the bond's, so it is the same at every ADD.
    """
    mac = network.mac or bond.mac
    macs = {port.pci: mac for port in bond.ports}
    if swaps_macs(network.bond):
        for place, port in enumerate(bond.ports[1:], 2):
            macs[port.pci] = inventory.stable_mac(f"sriov-bond {mac} port {place}")
    return macs


def _primary(network: "Network", bond: "Bond") -> str:
    """Return the PCI address of the port to prefer, or ""; "A" is the port on the pool's first NIC, "B" on its second."""
    if not network.primary:
        return ""
    names = {"ABCDEFGH"[place]: port.pci for place, port in enumerate(bond.ports[:8])}
    names |= {port.name: port.pci for port in bond.ports}
    if network.primary not in names:
        raise CniError(
            INVALID_CONFIG, f"primary {network.primary!r} is no port of bond {bond.name}; it may be {', '.join(names)}"
        )
    return names[network.primary]
