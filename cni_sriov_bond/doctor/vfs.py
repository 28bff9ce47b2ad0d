"""The VFs of the pools: bound to their driver, in the host while their bond is free, with MACs of their own."""

from collections import defaultdict
from collections.abc import Iterator

from cni_sriov_bond.ctl import recover
from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.tree import NET, PCI
from cni_sriov_bond.kernel import drivers
from cni_sriov_bond.pool import quarantine
from cni_sriov_bond.ports import Bond, Port

SUBJECT = "VFs"
_NO_POOL = "there is no pool of this boot"
_IFF_UP = 1  # linux/if.h
_UPPER = "master"  # the link in sysfs to the bond or bridge that a device is a port of
_ZERO = "00:00:00:00:00:00"


def _ports(host: Host) -> list[tuple[str, Bond, Port]]:
    """Return every port of pools of this boot, with its pool and its bond."""
    states = [state for state in host.pools if state.inventory and state.inventory.of_this_boot]
    return [(state.pool.name, bond, port) for state in states for bond, port in state.ports]


def bound(host: Host) -> Iterator[Finding]:
    """Check that each VF is on the PCI bus and bound to its network driver."""
    ports = _ports(host)
    count = 0
    for pool, _, port in ports:
        problem = _binding(host, pool, port)
        if problem:
            yield problem
        else:
            count += 1
    if count:
        yield passed("", f"{count} of {len(ports)} VFs are bound to their driver")
    if not ports:
        yield skipped(_NO_POOL)


def _binding(host: Host, pool: str, port: Port) -> Finding | None:
    driver, expected = host.driver(port.address), drivers.fact(host.driver(port.pf_address), "vf")
    if not host.tree.exists(f"{PCI}/{port.address}"):
        remedy = f"run `sriov-bondctl up {pool}`"
        return failure(port.name, f"{port.name} is not on the PCI bus at {port.address}", remedy, repairs.up(host, pool))
    if not driver:
        return failure(
            port.name,
            f"{port.name} at {port.address} has no driver",
            f"run `echo {port.address} > /sys/bus/pci/drivers_probe`, and see `dmesg`",
            Fix(f"bind {port.name} to its driver", True, lambda: _bind(host, port)),
        )
    if expected and driver != expected:
        remedy = f"give it back from the virtual machine or program that has it, and bind it to {expected}"
        return failure(port.name, f"{port.name} at {port.address} is bound to {driver}, not {expected}", remedy)
    return None


def _bind(host: Host, port: Port) -> str:
    repairs.bind(host, port.address)
    return f"let the kernel look for a driver of {port.name}"


def place(host: Host) -> Iterator[Finding]:
    """Check that the VFs of free bonds are in the host, under their names, and not in use there."""
    ports = _ports(host)
    present = {port.address: host.netdev(port.address) for _, _, port in ports}
    # After the VFs: the lease is there before its VFs are moved, and erased after they have returned.
    leased = host.leased()
    free = [(pool, bond, port) for pool, bond, port in ports if (pool, bond.name) not in leased]
    count = 0
    for pool, bond, port in free:
        problem = _place(host, pool, bond, port) if present[port.address] != port.name or _use(host, port) else None
        if problem:
            yield problem
        else:
            count += 1
    if count:
        yield passed("", f"{count} VFs of free bonds are in the host")
    if not free:
        yield skipped("no bond is free" if ports else _NO_POOL)


def _place(host: Host, pool: str, bond: Bond, port: Port) -> Finding | None:
    """Return what is wrong with the place of a VF, which is read again: a release may have returned it meanwhile."""
    name = host.netdev(port.address)
    if not name and host.driver(port.address) == drivers.fact(host.driver(port.pf_address), "vf"):
        return failure(
            port.name,
            f"{port.name} is in another network namespace, though {bond.name} is not leased",
            f"find it with `ip -all netns exec ip link`, and move it back: `ip -n NETNS link set {port.name} netns 1`",
            repairs.bring_home(host, pool, bond, port),
        )
    if name and name != port.name:
        remedy = f"run `sriov-bondctl up {pool}`"
        return failure(port.name, f"{port.name} is called {name}", remedy, repairs.up(host, pool))
    use = _use(host, port) if name else ""
    if use:
        remedy = "take it away from there, and name VFs that are not for containers in `exclude` of the host file"
        return warning(port.name, f"{port.name} of the free {bond.name} is in use in the host: it {use}", remedy)
    return None


def _use(host: Host, port: Port) -> str:
    """Return how the host uses a VF of a free bond, as the end of a sentence, or ""."""
    user = host.tree.link(f"{NET}/{port.name}/{_UPPER}")
    if user:
        return f"is a port of {user}"
    flags = host.tree.read(f"{NET}/{port.name}/flags")
    return "is up" if flags and int(flags, 16) & _IFF_UP else ""


def mac(host: Host) -> Iterator[Finding]:
    """Check that no two bonds, and no other device of the host, have one MAC."""
    ports = _ports(host)
    owners: dict[str, set[str]] = defaultdict(set)
    names: dict[str, set[str]] = defaultdict(set)
    for text, owner, name in (*_macs_of_vfs(host, ports), *_macs_of_leases(host), *_macs_of_others(host, ports)):
        if text and text != _ZERO:
            owners[text].add(owner)
            names[text].add(name)
    bonds = {f"{pool}/{bond.name}" for pool, bond, _ in ports}
    doubles = [text for text, who in owners.items() if len(who) > 1 and who & bonds]
    for text in doubles:
        pool = min(owners[text] & bonds).partition("/")[0]
        who = " and ".join(sorted(names[text]))
        yield failure(text, f"{who} have one MAC, {text}", f"run `sriov-bondctl up {pool}`", repairs.up(host, pool))
    if ports and not doubles:
        yield passed("", f"{len(bonds)} bonds have different MACs")
    if not ports:
        yield skipped(_NO_POOL)


# Each yields MAC, owner, and the name for a sentence; the ports of a bond are of one owner.


def _macs_of_vfs(host: Host, ports: list[tuple[str, Bond, Port]]) -> Iterator[tuple[str, str, str]]:
    for pool, bond, port in ports:
        name = host.netdev(port.address)
        if name:
            yield host.tree.read(f"{NET}/{name}/address"), f"{pool}/{bond.name}", port.name


def _macs_of_leases(host: Host) -> Iterator[tuple[str, str, str]]:
    for state in host.leases():
        record, bond = state.record, f"{state.pool.name}/{state.entry.bond}"
        for address, text in record.port_macs.items() if record else ():
            if not host.netdev(address):
                yield text, bond, f"{state.entry.bond} of {record.owner if record else ''}"


def _macs_of_others(host: Host, ports: list[tuple[str, Bond, Port]]) -> Iterator[tuple[str, str, str]]:
    ours = {host.netdev(port.address) for _, _, port in ports}
    for name in host.tree.listed(NET):
        if name not in ours and _has_own_mac(host, name):
            yield host.tree.read(f"{NET}/{name}/address"), name, name


def _has_own_mac(host: Host, name: str) -> bool:
    """Return whether a device's MAC is its own: not a bridge's, bond's or VLAN's, which is that of a device below."""
    return not any(entry.startswith("lower_") for entry in host.tree.listed(f"{NET}/{name}"))


def quarantined(host: Host) -> Iterator[Finding]:
    """Look for bonds in quarantine."""
    for state in host.pools:
        for bond, reason in quarantine.reasons(state.pool.path).items():
            name = f"{state.pool.name}/{bond}"
            yield warning(
                name, f"{name} is in quarantine: {reason}", f"run `sriov-bondctl release {name}`", _release(host, name)
            )
        if not state.pool.quarantined():
            yield passed(state.pool.name, f"no bond of pool {state.pool.name} is in quarantine")
    if not host.pools:
        yield skipped("there is no pool")


def _release(host: Host, name: str) -> Fix:
    def run() -> str:
        target, bond = recover.find(host.state_dir, name)
        return f"{name}: {recover.release_bond(target, bond, repairs.quiet(host))}"

    return Fix(f"run `sriov-bondctl release {name}`", False, run)


CHECKS = (
    Check("vf-driver", SUBJECT, "each VF is on the PCI bus, bound to its network driver", bound),
    Check("vf-place", SUBJECT, "VFs of free bonds are in the host, under their names, not in use there", place),
    Check("vf-mac", SUBJECT, "no two bonds, and no other device, have one MAC", mac),
    Check("quarantine", SUBJECT, "no bond is in quarantine", quarantined),
)
