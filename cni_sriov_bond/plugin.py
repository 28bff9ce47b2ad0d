"""The CNI verbs as stories: what is done in which order, and how it is undone."""

from cni_sriov_bond import addresses as ip_addresses
from cni_sriov_bond import bond as bonds
from cni_sriov_bond import config, ipam, netns, pool, release, result, sriov
from cni_sriov_bond.bonding import encode
from cni_sriov_bond.bondrules import MIIMON
from cni_sriov_bond.errors import (
    CHECK_DIFFERS,
    DECODING_FAILURE,
    DELEGATE_FAILED,
    INVALID_CONFIG,
    LIMITED_CONNECTIVITY,
    NAME_TAKEN,
    NOT_AVAILABLE,
    POOL_UNUSABLE,
    TRY_AGAIN_LATER,
    CniError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from cni_sriov_bond.config import Call, Network
    from cni_sriov_bond.log import Log
    from cni_sriov_bond.netlink import Netlink
    from cni_sriov_bond.netns import Netns

# A fresh port has carrier after 0.6 to 1.4 s on emulated igb, sooner on real NICs; an ADD does not fail for want of it.
_CARRIER_SECONDS = 3.0


class _Site:
    """What one ADD works on."""

    __slots__ = ("bond", "inside", "lease", "target")

    def __init__(self, target: "Netns", inside: "Netlink", lease: pool.Lease, bond: pool.Bond) -> None:
        self.target = target
        self.inside = inside
        self.lease = lease
        self.bond = bond


def add(call: "Call", network: "Network", log: "Log", answer: "Callable[[str], None]") -> None:
    """Lease a bond, make it in the container, and answer with the result.

    :param answer: delivers the result; should it fail, the runtime has no result and everything is undone.
    :raises CniError: after which everything is as it was before the call.
    """
    for hint in config.hints(network.document):
        log.warn(hint)
    executable = ipam.find(network.delegate, call.path) if network.delegate else ""
    before = _prev_result(network)
    if not executable and network.version in ("0.1.0", "0.2.0"):
        raise CniError(INVALID_CONFIG, f"a result of version {network.version} must have an address; add an ipam")
    target = netns.require(call.netns)
    inside = release.open_inside(target)
    if inside.link(call.ifname) is not None:
        raise CniError(NAME_TAKEN, f"the container {call.netns} has a device {call.ifname} already; DEL it first")
    log.step("validated")
    site = _Site(target, inside, *_acquire(call, network, target, log))
    undo = _Undo(site, log)
    try:
        _make(call, network, site, log)
        undo.delegate = bool(executable)
        said = _ask_delegate(call, network, executable)
        log.step("asked the delegate")
        _use(call, network, site, said, log)
        ours = _result(call, network, site, said)
        site.lease.record["ips"] = [ip["address"] for ip in ours["ips"]]
        site.lease.save(pool.READY)
        log.step("recorded")
        answer(result.build(result.join(before, ours), network.version))
    except BaseException as failed:
        undo.run(failed)
        raise
    finally:
        site.lease.close()


class _Undo:
    """The reversal of an unfinished ADD: a release, which goes by the lease and so knows every step."""

    def __init__(self, site: _Site, log: "Log") -> None:
        self._site = site
        self._log = log
        self.delegate = False

    def run(self, failed: BaseException) -> None:
        """Undo, and tell in the error's details what could not be undone."""
        outcome = release.release(self._site.lease, self._log, self._site.target, self.delegate)
        if outcome.problems and isinstance(failed, CniError):
            left = "; ".join(problem.msg for problem in outcome.problems)
            failed.details = f"{failed.details}; while undoing: {left}".lstrip("; ")


def _pool(network: "Network") -> pool.Pool:
    """Give the network's pool: the one it names, or the only one there is."""
    if network.pool:
        return pool.Pool(network.state_dir, network.pool)
    names = pool.names(network.state_dir)
    if len(names) != 1:
        have = f"there are {', '.join(names)}" if names else "there is none; run `sriov-bondctl up`"
        raise CniError(POOL_UNUSABLE, f"network {network.name!r} names no pool, and {have}")
    return pool.Pool(network.state_dir, names[0])


def _acquire(call: "Call", network: "Network", target: "Netns", log: "Log") -> tuple[pool.Lease, pool.Bond]:
    """Lease a bond and make the record durable with all that a release needs; the kernel is not touched yet."""
    where = _pool(network)
    who = pool.Attachment(network.name, call.container_id, call.ifname)
    record: dict[str, Any] = {
        "netns": {"path": call.netns, "id": [target.dev, target.ino]},
        "asked": {"options": network.bond, "vf": network.vf, "mtu": network.mtu},
    }
    if network.delegate:
        # The delegate's DEL may have to be made by a process that has nothing but this lease.
        environ = {name: value for name, value in call.environ.items() if name.startswith("CNI_")}
        text = network.raw.decode("utf-8", "surrogateescape")
        record["delegate"] = {"type": network.delegate, "environ": environ, "config": text}
    release.finish_draining(where, log)
    lease, bond = _first_usable(where, who, record, network, log)
    log.step(f"leased {bond.name}")
    return lease, bond


def _first_usable(
    where: pool.Pool, who: pool.Attachment, record: "dict[str, Any]", network: "Network", log: "Log"
) -> tuple[pool.Lease, pool.Bond]:
    """Lease the first bond whose VFs are there; one that has lost a VF does not keep the others from being used."""
    broken: dict[str, CniError] = {}
    while True:
        known = len(broken)
        try:
            return _lease_recorded(where, who, record, network, broken, log)
        except CniError as refused:
            if len(broken) == known:
                if refused.code == TRY_AGAIN_LATER and broken:
                    first = next(iter(broken.values()))
                    raise first from None
                raise
            log.warn(f"a bond of pool {where.name} is passed over: {refused.msg}")


def _lease_recorded(
    where: pool.Pool,
    who: pool.Attachment,
    record: "dict[str, Any]",
    network: "Network",
    broken: "dict[str, CniError]",
    log: "Log",
) -> tuple[pool.Lease, pool.Bond]:
    """Lease a bond and record its state; a bond that cannot be used is added to ``broken`` and raises."""
    lease, bond = _acquire_or_reclaim(where, who, record, network.device, broken, log)
    try:
        _record_state(lease, bond, network)
    except BaseException as unusable:
        lease.erase()
        lease.close()
        if isinstance(unusable, CniError) and unusable.code == POOL_UNUSABLE:
            broken[bond.name] = unusable
        raise
    return lease, bond


def _acquire_or_reclaim(
    where: pool.Pool, who: pool.Attachment, record: "dict[str, Any]", wish: str, broken: "Collection[str]", log: "Log"
) -> tuple[pool.Lease, pool.Bond]:
    """Lease a bond; where none is free, take back first what nobody else will give back."""
    try:
        return where.acquire(who, record, broken, wish)
    except CniError as refused:
        if refused.code != TRY_AGAIN_LATER:
            raise
    release.reclaim(where, log)
    return where.acquire(who, record, broken, wish)


def _record_state(lease: pool.Lease, bond: pool.Bond, network: "Network") -> None:
    """Write into the lease what its VFs are like now, so that every way back can put it back."""
    host = sriov.Host()
    record = lease.record
    record["mac"] = network.mac or bond.mac
    record["ports_of"] = {
        "name": bond.name,
        "mac": bond.mac,
        "ports": [{"pci": port.pci, "name": port.name, "pf": port.pf, "vf": port.vf} for port in bond.ports],
    }
    record["asked"]["primary"] = _primary(network, bond)
    record["before"] = {}
    for port in bond.ports:
        pf = host.pf(port.pf)
        if network.mtu is not None and network.mtu > pf.mtu:
            raise CniError(
                INVALID_CONFIG,
                f"the MTU {network.mtu} is above the {pf.mtu} of {pf.name}; lower mtu or run `ip link set {pf.name} mtu "
                f"{network.mtu}`, and the same on the switch",
            )
        # The MACs that go back are the pool's: what an accident left on the VF is repaired, not kept.
        record["before"][port.pci] = {**host.state(port), "mac": bond.mac, "admin_mac": bond.mac}
    lease.save(pool.ADDING)


def _primary(network: "Network", bond: pool.Bond) -> str:
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


def _make(call: "Call", network: "Network", site: _Site, log: "Log") -> None:
    """Make the bond in the container and give it its two VFs."""
    mac = site.lease.record["mac"]
    options = {"miimon": MIIMON, **network.bond}
    if network.bond.get("arp_interval"):
        options["miimon"] = 0
    link = bonds.make(site.inside, call.ifname, mac, options)
    log.step("made the bond")
    host = sriov.Host()
    for port in site.bond.ports:
        _move_in(host, port, network, site, mac)
    log.step("moved the VFs in")
    ports = bonds.ports(site.inside, site.bond.ports)
    members = [ports[port.pci] for port in site.bond.ports if port.pci in ports]
    if len(members) != len(site.bond.ports):
        raise CniError(POOL_UNUSABLE, f"a VF of {site.lease} was lost on its way into {call.netns}")
    for member in members:
        site.inside.drop_altnames(member)
    bonds.fill(site.inside, link, members, network.mtu, ports.get(site.lease.record["asked"]["primary"]))
    log.step("brought the bond up")


def _move_in(host: sriov.Host, port: pool.Port, network: "Network", site: _Site, mac: str) -> None:
    link = host.netdev(port)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"{port.name} at {port.pci} left the host while it was leased")
    if link.up:
        host.netlink.set_up(link, False)
    host.apply(port, network.vf)
    host.set_macs(port, link, mac)
    name = port.name if link.name != port.name else ""
    host.netlink.move(link, site.target.fd, f"the container's namespace {site.target.path}", name)


def _ask_delegate(call: "Call", network: "Network", executable: str) -> "dict[str, Any]":
    """Give the delegate's answer; without a delegate, one without addresses."""
    if not executable:
        return {"interfaces": [], "ips": [], "routes": [], "dns": {}}
    text = ipam.run(executable, "ADD", call.environ, network.raw)
    found = result.parse(text, network.version, f"the IPAM plugin {network.delegate}")
    if not found["ips"]:
        raise CniError(DELEGATE_FAILED, f"IPAM plugin {network.delegate} returned missing IP config")
    return found


def _use(call: "Call", network: "Network", site: _Site, said: "dict[str, Any]", log: "Log") -> None:
    """Give the bond its addresses and routes, wait for its carrier, tell the neighbours, and choose its monitor."""
    link = site.inside.link(call.ifname)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"the bond {call.ifname} vanished from {call.netns}")
    ip_addresses.put(site.inside, site.target, link, said)
    log.step("set addresses and routes")
    if not site.inside.wait_for_carrier(call.ifname, _CARRIER_SECONDS):
        log.warn(f"{call.ifname} of container {call.container_id} has no carrier after {_CARRIER_SECONDS:.0f} s")
    log.step("waited for carrier")
    if said["ips"]:
        ip_addresses.announce(site.target, call.ifname, link.mac, said["ips"])
    _watch(call, network, site, said, log)


def _watch(call: "Call", network: "Network", site: _Site, said: "dict[str, Any]", log: "Log") -> None:
    """Let the bond watch its path where its carrier tells nothing; it must not depend on a gateway that never answers."""
    drivers = [sriov.driver(port.pci) for port in site.bond.ports]
    if not bonds.wants_path(network.bond, network.link_monitor, drivers):
        return
    link = site.inside.link(call.ifname)
    targets = ip_addresses.answering(site.target, call.ifname, site.lease.record["mac"], said["ips"])
    if link is None or not targets:
        log.warn(
            f"{call.ifname} of container {call.container_id} is watched by carrier, which {' and '.join(set(drivers))} may "
            "not lose with the cable: no gateway answers; set arp_interval and arp_ip_target to have the path watched"
        )
        return
    options = bonds.path_monitor(network.bond, targets)
    site.inside.change_bond(link.index, encode(options), f"watch the path of {call.ifname}")
    site.lease.record["asked"]["options"] = {**network.bond, **options}
    log.step(f"watches the path to {targets}")


def _result(call: "Call", network: "Network", site: _Site, said: "dict[str, Any]") -> "dict[str, Any]":
    link = site.inside.link(call.ifname)
    if link is None:
        raise CniError(POOL_UNUSABLE, f"the bond {call.ifname} vanished from {call.netns}")
    interface: dict[str, Any] = {"name": call.ifname, "mac": link.mac, "mtu": link.mtu, "sandbox": call.netns}
    if network.vlan is not None:
        interface["vlan"] = network.vlan
    site.lease.record["asked"]["mtu"] = link.mtu
    return {
        "interfaces": [interface],
        "ips": [{**ip, "interface": 0} for ip in said["ips"]],
        "routes": said["routes"],
        "dns": network.dns or said["dns"],
    }


def _prev_result(network: "Network") -> "dict[str, Any] | None":
    """Give prevResult in our form, or None where there is none.

    :raises CniError: DECODING_FAILURE when it is no result.
    """
    if network.prev_result is None:
        return None
    try:
        return result.normal(network.prev_result, network.version)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as wrong:
        raise CniError(DECODING_FAILURE, f"prevResult of network {network.name!r} is no CNI result: {wrong}") from None


def delete(call: "Call", network: "Network", log: "Log") -> None:
    """Give the attachment's bond back and forward the DEL; without a lease, only the second.

    :raises CniError: telling every step that failed; the others are done.
    """
    who = pool.Attachment(network.name, call.container_id, call.ifname)
    lease = pool.find(network.state_dir, who)
    if lease is None:
        if network.delegate:
            ipam.run(ipam.find(network.delegate, call.path), "DEL", call.environ, network.raw)
        return
    log.step(f"found {lease}")
    try:
        outcome = release.release(lease, log, netns.find(call.netns))
    finally:
        lease.close()
    outcome.raise_any()


def check(call: "Call", network: "Network", log: "Log") -> None:
    """Compare the kernel with the lease and prevResult, then forward the CHECK.

    :raises CniError: CHECK_DIFFERS saying everything that differs.
    """
    before = _prev_result(network)
    if before is None:
        raise CniError(INVALID_CONFIG, "required prevResult missing")
    who = pool.Attachment(network.name, call.container_id, call.ifname)
    lease = pool.find(network.state_dir, who)
    if lease is None:
        raise CniError(CHECK_DIFFERS, f"{who} has no bond; ADD it again")
    try:
        found = _differences(call, lease, before)
    finally:
        lease.close()
    if found:
        raise CniError(CHECK_DIFFERS, f"{lease} is not as it was given to {who}: {'; '.join(found)}")
    log.step("compared")
    if network.delegate:
        ipam.run(ipam.find(network.delegate, call.path), "CHECK", call.environ, network.raw)


def _differences(call: "Call", lease: pool.Lease, before: "dict[str, Any]") -> list[str]:
    record = lease.record
    target = netns.require(call.netns)
    if [target.dev, target.ino] != record["netns"]["id"]:
        return [f"{call.netns} is not the namespace that it was made in"]
    ours = _our_interface(call, before)
    inside = release.open_inside(target)
    host = sriov.Host()
    ports = pool.bond(record["ports_of"]).ports
    link = inside.link(call.ifname)
    # A later plugin of the chain may have given the bond another MAC, and its ports with it: the result says which is meant.
    mac = str(ours.get("mac", "")).lower()
    asked = {**record["asked"], "name": call.ifname, "mac": mac, "ports": [port.pci for port in ports]}
    found = bonds.differences(link, inside.links(), asked)
    if link is not None:
        place = before["interfaces"].index(ours)
        ips = [ip for ip in before["ips"] if ip.get("interface", place) == place]
        found += ip_addresses.differences(inside, link, ips, before["routes"])
    for port in ports:
        of_port = host.differences(port, {**record["asked"]["vf"], "mac": record["mac"]})
        if of_port and mac != record["mac"]:  # a PF that trusts its VF takes its new MAC over, others keep the one we set
            of_port = host.differences(port, {**record["asked"]["vf"], "mac": mac})
        found += of_port
    inside.close()
    return found


def _our_interface(call: "Call", before: "dict[str, Any]") -> "dict[str, Any]":
    for one in before["interfaces"]:
        if one.get("name") == call.ifname and one.get("sandbox") == call.netns:
            found: dict[str, Any] = one
            return found
    raise CniError(CHECK_DIFFERS, f"prevResult has no interface {call.ifname} in {call.netns}")


def collect(call: "Call", network: "Network", log: "Log") -> None:
    """GC: release what this network has leased to attachments that are no more, and forward the GC.

    :raises CniError: telling everything that failed; the rest is done.
    """
    kept = config.valid_attachments(network)
    outcome = release.Outcome()
    for name in pool.names(network.state_dir):  # the network may have named another pool before
        outcome.problems += release.collect(pool.Pool(network.state_dir, name), network.name, kept, log)
    if network.delegate:
        try:
            ipam.run(ipam.find(network.delegate, call.path), "GC", call.environ, network.raw)
        except CniError as problem:
            outcome.problems.append(problem)
    outcome.raise_any()


def status(call: "Call", network: "Network", log: "Log") -> None:
    """Tell whether an ADD could be served now, changing nothing, and forward the STATUS.

    :raises CniError: NOT_AVAILABLE when not; LIMITED_CONNECTIVITY when containers that are attached suffer too.
    """
    try:
        executable = ipam.find(network.delegate, call.path) if network.delegate else ""
        where = _pool(network)
        bonds, made = where.bonds(), where.inventory()["boot_id"]
        if made != pool.boot_id():
            raise CniError(POOL_UNUSABLE, f"pool {where.name} was made before this boot; run `sriov-bondctl up`")
        _check_nics(where.name, bonds)
        _check_free(where, bonds)
    except CniError as unable:
        code = unable.code if unable.code == LIMITED_CONNECTIVITY else NOT_AVAILABLE
        raise CniError(code, unable.msg, unable.details) from None
    log.step("the pool can serve")
    if executable:
        ipam.run(executable, "STATUS", call.environ, network.raw)


def _check_nics(name: str, bonds: list[pool.Bond]) -> None:
    nics = sorted({port.pf for bond in bonds for port in bond.ports})
    missing = [nic for nic in nics if not sriov.netdev(nic)]
    if missing:
        raise CniError(
            LIMITED_CONNECTIVITY,
            f"pool {name}: the NIC at {' and '.join(missing)} has no network device; is it there, and its driver loaded?",
        )
    if not any(sriov.has_carrier(nic) for nic in nics):
        names = " and ".join(sriov.netdev(nic) for nic in nics)
        raise CniError(LIMITED_CONNECTIVITY, f"pool {name}: no NIC has carrier; look at the cables and switches of {names}")


def _check_free(where: pool.Pool, bonds: list[pool.Bond]) -> None:
    """Find one bond that an ADD could have: free with its VFs at home, or leased to what is gone, which ADD takes back."""
    entries = where.entries()
    taken = {entry.bond for entry in entries}
    free = [bond for bond in bonds if bond.name not in taken]
    if any(all(sriov.netdev(port.pci) for port in bond.ports) for bond in free):
        return
    for entry in entries:
        record = where.read(entry) if entry.state != pool.ADDING else None
        if record and release.is_over(record):
            return
    if free:
        raise CniError(POOL_UNUSABLE, f"pool {where.name}: the VFs of its {len(free)} free bonds are not in the host")
    raise CniError(POOL_UNUSABLE, f"pool {where.name} is empty: all {len(bonds)} bonds are leased")
