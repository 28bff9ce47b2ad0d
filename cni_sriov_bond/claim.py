"""Lease a bond for an ADD: which pool, which bond, and what its VFs are like before anything is changed."""

import posix as os  # os itself costs an ADD 4 million instructions

from cni_sriov_bond import debts, inventory, leases, pool, quarantine, reclaim, sriov
from cni_sriov_bond.bondrules import swaps_macs
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from cni_sriov_bond.call import Call
    from cni_sriov_bond.config import Network
    from cni_sriov_bond.inventory import Bond
    from cni_sriov_bond.leases import Lease
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.netns import Netns

# How long a VF that is not in the host may be on its way home.
_HOME_SECONDS = 0.5


def pool_of(network: "Network") -> pool.Pool:
    """Give the network's pool: the one it names, or the only one there is.

    :raises CniError: POOL_UNUSABLE when it names none and there is not just one.
    """
    if network.pool:
        return pool.Pool(network.state_dir, network.pool)
    names = pool.names(network.state_dir)
    if len(names) != 1:
        have = f"there are {', '.join(names)}" if names else "there is none; run `sriov-bondctl up`"
        raise CniError(POOL_UNUSABLE, f"network {network.name!r} names no pool, and {have}")
    return pool.Pool(network.state_dir, names[0])


def lease(call: "Call", network: "Network", target: "Netns", log: "Log") -> "tuple[Lease, Bond]":
    """Lease a bond and make the record durable with all that a release needs; the kernel is not touched yet.

    :raises CniError: after which the pool is as it was, but for what was found in it that died.
    """
    where = pool_of(network)
    who = leases.Attachment(network.name, call.container_id, call.ifname)
    record: dict[str, Any] = {
        "netns": {"path": call.netns, "id": [target.dev, target.ino]},
        "asked": {"options": network.bond, "vf": network.vf.to_json(), "mtu": network.mtu},
    }
    if network.delegate:
        # The delegate's DEL may have to be made by a process that has nothing but this lease.
        environ = {name: value for name, value in call.environ.items() if name.startswith("CNI_")}
        text = network.raw.decode("utf-8", "surrogateescape")
        record["delegate"] = {"type": network.delegate, "environ": environ, "config": text}
    reclaim.settle(where, log)  # first: a delegate that cannot be told just now is not asked again at once
    reclaim.finish(where, log)
    for name in pool.directories(network.state_dir):  # the network may have named another pool before
        settle(pool.Pool(network.state_dir, name), who, log)
        if name != where.name:
            pool.Pool(network.state_dir, name).refuse_second(who)
    return _first_usable(where, who, record, network, log)


def settle(where: pool.Pool, who: leases.Attachment, log: "Log") -> None:
    """Tell the delegate what it has still to be told of this attachment, or it would free what comes now.

    :raises CniError: TRY_AGAIN_LATER when it fails, and the attachment has addresses that it would free.
    """
    for found in reclaim.settle(where, log, who.key):
        if found.state != reclaim.FAILED:
            continue
        record = debts.read(where.path, who.key)
        if record is None or "ips" in record:
            raise CniError(TRY_AGAIN_LATER, f"{who} was here before, and {found.words}; try again later")
        # An ADD that died before it was answered, perhaps before the delegate was asked: this ADD will show it.
        debts.settle(where.path, who.key)


def _first_usable(
    where: pool.Pool, who: leases.Attachment, record: "dict[str, Any]", network: "Network", log: "Log"
) -> "tuple[Lease, Bond]":
    """Lease the first bond whose VFs are there.

    One that has lost a VF does not keep the others from being used, and goes into quarantine when another can be: what they
    all have is the host's fault, or the NIC's, and passes for all at once.
    """
    broken: dict[str, CniError] = {}
    while True:
        known = len(broken)
        try:
            found = _lease_recorded(where, who, record, network, broken, log)
        except CniError as refused:
            if len(broken) == known:
                if refused.code == TRY_AGAIN_LATER and broken:
                    first = next(iter(broken.values()))
                    raise first from None
                raise
            log.warn(f"{[*broken][-1]} of pool {where.name} is passed over: {refused.msg}")
            continue
        for name, reason in broken.items():
            _quarantine(where, name, reason.msg, log)
        return found


def _quarantine(where: pool.Pool, name: str, reason: str, log: "Log") -> None:
    """Keep a bond that is free from being handed out; a failure of that is no reason for this ADD to fail."""
    try:
        held = where.lock_free_bond(name)
        if held is not None:
            try:
                quarantine.begin(where.path, name, reason)
            finally:
                os.close(held)
    except CniError as failed:
        log.warn(f"bond {name} could not be put into quarantine: {failed.msg}")


def set_aside(state_dir: str, taken: "Lease", reason: str) -> None:
    """Keep the bond of a lease that is given back, but locked still, from being handed out.

    :raises CniError: IO_FAILURE.
    """
    quarantine.begin(pool.Pool(state_dir, taken.pool).path, taken.entry.bond, reason)


def _lease_recorded(
    where: pool.Pool,
    who: leases.Attachment,
    record: "dict[str, Any]",
    network: "Network",
    broken: "dict[str, CniError]",
    log: "Log",
) -> "tuple[Lease, Bond]":
    """Lease a bond and record its state; a bond that cannot be used is added to ``broken`` and raises."""
    # A copy: what was recorded of a bond that cannot be used must not be in the lease of the next.
    fresh = {**record, "asked": {**record["asked"]}}
    taken, bond = _acquire_or_reclaim(where, who, fresh, network.device, broken, log)
    try:
        # `up` that was killed while it renamed VFs has them on their way home. All missing is not a matter of waiting.
        sriov.wait_home(bond.ports, 0 if broken else _HOME_SECONDS)
        _record_state(taken, bond, network, log)
    except BaseException as unusable:
        taken.erase()
        taken.close()
        if isinstance(unusable, CniError) and unusable.code == POOL_UNUSABLE:
            broken[bond.name] = unusable
        raise
    return taken, bond


def _acquire_or_reclaim(
    where: pool.Pool, who: leases.Attachment, record: "dict[str, Any]", wish: str, broken: "Collection[str]", log: "Log"
) -> "tuple[Lease, Bond]":
    """Lease a bond; where none is free, take back first what nobody else will give back."""
    try:
        return where.acquire(who, record, broken, wish)
    except CniError as refused:
        if refused.code != TRY_AGAIN_LATER:
            raise
    reclaim.reclaim(where, log)
    return where.acquire(who, record, broken, wish)


def _record_state(taken: "Lease", bond: "Bond", network: "Network", log: "Log") -> None:
    """Write into the lease what its VFs are like now, so that every way back can put it back."""
    host = sriov.Host()
    record = taken.record
    record["mac"] = network.mac or bond.mac
    record["macs"] = _port_macs(network, bond)
    record["ports_of"] = inventory.described(bond)
    record["asked"]["primary"] = _primary(network, bond)
    record["before"] = {}
    for port in bond.ports:
        pf = host.pf(port.pf)
        if not sriov.is_vf(port):
            raise CniError(
                POOL_UNUSABLE, f"VF {port.vf} of {pf.name} is not at {port.pci}, where the pool has it; run `sriov-bondctl up`"
            )
        if not (pf.up and pf.carrier):
            what = "has no carrier; look at its cable and switch" if pf.up else f"is down; run `ip link set {pf.name} up`"
            log.warn(f"{bond.name} begins with a dead path: {pf.name} {what}")
        if network.mtu is not None and network.mtu > pf.mtu:
            raise CniError(
                INVALID_CONFIG,
                f"the MTU {network.mtu} is above the {pf.mtu} of {pf.name}; lower mtu or run `ip link set {pf.name} mtu "
                f"{network.mtu}`, and the same on the switch",
            )
        # The MACs that go back are the pool's: what an accident left on the VF is repaired, not kept.
        record["before"][port.pci] = {**host.state(port), "mac": bond.mac, "admin_mac": bond.mac}
    taken.save(leases.ADDING)


def _port_macs(network: "Network", bond: "Bond") -> dict[str, str]:
    """Give the MAC of each port by PCI address: the bond's, but where the mode wants ports to differ.

    A second port's comes from the bond's, so that it is the same at every ADD.
    """
    mac = network.mac or bond.mac
    found = {port.pci: mac for port in bond.ports}
    if swaps_macs(network.bond):
        for place, port in enumerate(bond.ports[1:], 2):
            found[port.pci] = inventory.stable_mac(f"sriov-bond {mac} port {place}")
    return found


def _primary(network: "Network", bond: "Bond") -> str:
    """Give the PCI address of the port to prefer, or ""; "A" is the port on the pool's first NIC, "B" on its second."""
    if not network.primary:
        return ""
    names = {"ABCDEFGH"[place]: port.pci for place, port in enumerate(bond.ports[:8])}
    names |= {port.name: port.pci for port in bond.ports}
    if network.primary not in names:
        raise CniError(
            INVALID_CONFIG, f"primary {network.primary!r} is no port of bond {bond.name}; it may be {', '.join(names)}"
        )
    return names[network.primary]
