"""The network files: valid, naming pools that exist, without overlaps, with an MTU that the NICs have."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.netfiles import Network, Subnet
from cni_sriov_bond.doctor.tree import NET, PCI

SUBJECT = "networks"
NO_NETWORK = "no network file has sriov-bond"


def files(host: Host) -> Iterator[Finding]:
    """Check every network file that has one of our plugins, as `sriov-bondctl check` does, and names that occur twice."""
    found = host.network_files
    names: dict[str, str] = {}
    for file in found:
        if file.problems:
            more = f" (and {len(file.problems) - 1} more)" if len(file.problems) > 1 else ""
            remedy = f"correct it; `sriov-bondctl check {file.file}` shows every mistake"
            yield failure(file.file, f"{file.file}: {file.problems[0]}{more}", remedy)
        elif file.network and names.setdefault(file.network.name, file.file) != file.file:
            first = names[file.network.name]
            yield failure(
                file.file,
                f"{file.file} and {first} both have the network {file.network.name}; runtimes take the first",
                "rename or remove one of them",
            )
        else:
            yield passed(file.file, f"{file.file} is valid")
    if not found:
        yield skipped(NO_NETWORK)


def pools(host: Host) -> Iterator[Finding]:
    """Check that each network names a pool that exists."""
    found = host.networks
    have = ", ".join(host.pool_names) or "none"
    for network in found:
        if network.state_dir not in ("", host.state_dir):
            yield skipped(f"network {network.name} has the state directory {network.state_dir}", network.name)
        elif network.pool and network.pool not in host.pool_names:
            yield failure(
                network.name,
                f"network {network.name} names pool {network.pool}, which does not exist",
                f"correct pool in {network.file}, or add it to {host.config}; there is {have}",
            )
        elif not network.pool and len(host.pool_names) != 1:
            sentence = f"network {network.name} names no pool, and there is not exactly one"
            yield failure(network.name, sentence, f"set pool in {network.file}; there is {have}")
        else:
            yield passed(network.name, f"network {network.name} uses pool {network.pool or host.pool_names[0]}")
    if not found:
        yield skipped(NO_NETWORK)


def overlaps(host: Host) -> Iterator[Finding]:
    """Look for addresses that two networks may both give, and for subnets that are on several VLANs."""
    found = host.networks
    count = 0
    for first, second in combinations(found, 2):
        pairs = [(a, b) for a in first.subnets for b in second.subnets]
        same = next((pair for pair in pairs if pair[0].range.overlaps(pair[1].range)), None)
        spread = next((pair for pair in pairs if pair[0].vlan != pair[1].vlan and _have_common_addresses(*pair)), None)
        both = f"networks {first.name} and {second.name}"
        if same and same[0].vlan == same[1].vlan and (first.data_dir, first.name) != (second.data_dir, second.name):
            count += 1
            vlan = f"VLAN {same[0].vlan}" if same[0].vlan else "the untagged network"
            yield failure(
                first.name,
                f"{both} both give addresses of {same[1].range} on {vlan}: two containers may get one address",
                f"give each its own range, or use one network, in {first.file} or {second.file}",
            )
        elif spread:
            count += 1
            yield warning(
                first.name,
                f"{both} have the subnet {spread[0].range.subnet} on VLAN {spread[0].vlan} and on VLAN {spread[1].vlan}",
                "give each VLAN its own subnet, unless nothing routes between them",
            )
    if not found:
        yield skipped(NO_NETWORK)
    elif not count:
        names = f"{len(found)} networks" if len(found) > 1 else f"network {found[0].name}"
        yield passed("", f"the addresses of {names} do not overlap{_shared_vlans(found)}")


def _shared_vlans(found: list[Network]) -> str:
    """Return which networks share a VLAN, so that their containers reach each other, as the end of a sentence."""
    users: dict[int, list[str]] = defaultdict(list)
    for network in found:
        if network.vlan:
            users[network.vlan].append(network.name)
    shared = [f"{' and '.join(names)} share VLAN {vlan}" for vlan, names in users.items() if len(names) > 1]
    return f" ({', '.join(shared)})" if shared else ""


def _have_common_addresses(first: Subnet, second: Subnet) -> bool:
    """Return whether two subnets have addresses in common."""
    return first.range.subnet == second.range.subnet or first.range.overlaps(second.range)


def mtu(host: Host) -> Iterator[Finding]:
    """Compare the MTU of each network with that of its NICs: an ADD is refused above it."""
    nics = _nics_of_pools(host)
    found = host.networks
    for network in found:
        pool = host.pool_of(network)
        required = network.mtu
        small = [(name, have) for name, have in nics.get(pool, {}).items() if required and have and have < required]
        for name, have in small:
            yield failure(
                network.name,
                f"network {network.name} has the MTU {required}, and {name} only {have}",
                f"lower mtu in {network.file}, or run `ip link set {name} mtu {required}` (and set the switch)",
                _raise(host, name, required or 0),
            )
        if not small:
            yield passed(network.name, f"the NICs have the MTU of network {network.name}")
    for pool, mtus in nics.items():
        if len(set(mtus.values())) > 1:
            text = ", ".join(f"{name} {value}" for name, value in mtus.items())
            yield warning(pool, f"the NICs of pool {pool} have different MTUs: {text}", "set one MTU on both NICs and switches")
    if not found:
        yield skipped(NO_NETWORK)


def _raise(host: Host, name: str, mtu: int) -> Fix:
    """Return the repair of a NIC's MTU. It is not safe: VFs of some NICs lose their link for it (igb, ixgbe)."""

    def run() -> str:
        host.tree.write(f"{NET}/{name}/mtu", str(mtu))
        return f"set the MTU of {name} to {mtu}"

    return Fix(f"set the MTU of {name} to {mtu}, for which its VFs may lose their link for seconds", False, run)


def _nics_of_pools(host: Host) -> dict[str, dict[str, int]]:
    """Return the MTU of each NIC by the pool and its name."""
    addresses: dict[str, list[str]] = defaultdict(list)
    for plan in host.plans:
        addresses[plan.name] = [host.address_of(name) for name in plan.pfs]
    for state in host.pools:
        if state.inventory and state.pool.name not in addresses:
            addresses[state.pool.name] = [nic.address for nic in state.inventory.nics]
    found: dict[str, dict[str, int]] = {}
    for pool, nics in addresses.items():
        names = [host.netdev(address) for address in nics if address and host.tree.exists(f"{PCI}/{address}")]
        found[pool] = {name: host.tree.number(f"{NET}/{name}/mtu") or 0 for name in names if name}
    return found


CHECKS = (
    Check("network-file", SUBJECT, "network files are valid, and no two have one name", files),
    Check("network-pool", SUBJECT, "each network names a pool that exists", pools),
    Check("network-overlap", SUBJECT, "no two networks give one address; no subnet is on two VLANs", overlaps),
    Check("network-mtu", SUBJECT, "the NICs have the MTU of each network", mtu),
)
