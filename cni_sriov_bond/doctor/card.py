"""How the NICs of a pool are fitted: on which cards, at which NUMA nodes, with which speed of link and PCIe."""

from collections.abc import Iterator

from cni_sriov_bond.doctor.check import Check, Finding, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host, Nic
from cni_sriov_bond.doctor.nic import NO_NICS
from cni_sriov_bond.doctor.tree import NET, PCI
from cni_sriov_bond.kernel import nic_models

SUBJECT = "NICs"


def _groups(host: Host) -> list[tuple[str, list[Nic]]]:
    """Return the NICs of each pool that are here."""
    groups = [(plan.name, [host.address_of(name) for name in plan.pfs]) for plan in host.plans]
    if not groups:
        groups = [(state.pool.name, [nic.address for nic in state.inventory.nics]) for state in host.pools if state.inventory]
    return [(name, [host.nic(address) for address in addresses if address and host.tree.exists(f"{PCI}/{address}")])
            for name, addresses in groups]  # fmt: skip


def cards(host: Host) -> Iterator[Finding]:
    """Check that the NICs of a pool are on different cards, and at one NUMA node."""
    seen = False
    for pool, nics in _groups(host):
        if len(nics) < 2:
            continue
        seen = True
        slots = {nic.address.rpartition(".")[0] for nic in nics}
        nodes = sorted({node for nic in nics if (node := host.tree.number(f"{PCI}/{nic.address}/numa_node")) not in (None, -1)})
        names = " and ".join(nic.label for nic in nics)
        if len(slots) < len(nics):
            yield warning(
                pool,
                f"{names} of pool {pool} are ports of one card, so both paths of each bond end with it",
                "use ports of two cards",
            )
        elif len(nodes) > 1:
            where = " and ".join(map(str, nodes))
            yield warning(
                pool,
                f"{names} of pool {pool} are at the NUMA nodes {where}, so a container is far from one of them",
                "put both cards into slots of one processor, unless each is to survive the loss of one",
            )
        else:
            yield passed(pool, f"{names} are two cards{f' at NUMA node {nodes[0]}' if nodes else ''}")
    if not seen:
        yield skipped("no pool has two NICs here")


def speed(host: Host) -> Iterator[Finding]:
    """Compare the speed of each link with what the model can, and with the other NIC of the pool."""
    known = [(nic, mbits) for nic in host.pool_nics if (mbits := host.tree.number(f"{NET}/{nic.name}/speed") or 0) > 0]
    for nic, mbits in known:
        most = nic_models.model_of(nic.vendor, nic.device)[2]
        if most and mbits < most:
            yield warning(
                nic.label,
                f"{nic.label} runs at {mbits} Mbit/s, and {nic.model} can {most}",
                "look at the switch's port, the cable or transceiver, and `ethtool`, unless the network is slower by design",
            )
        else:
            yield passed(nic.label, f"{nic.label} runs at {mbits} Mbit/s")
    for pool, nics in _groups(host):
        speeds = {nic.label: mbits for nic, mbits in known if nic in nics}
        if len(set(speeds.values())) > 1:
            text = ", ".join(f"{name} {mbits} Mbit/s" for name, mbits in speeds.items())
            yield warning(pool, f"the NICs of pool {pool} have different speeds: {text}", "use two equal links for each pool")
    if not known:
        yield skipped("no NIC of a pool has a link with a known speed")


def pcie(host: Host) -> Iterator[Finding]:
    """Compare speed and width of each NIC's PCIe link with what the card can."""
    for nic in host.pool_nics:
        at = f"{PCI}/{nic.address}"
        read = host.tree.read
        now = (_gigatransfers(read(f"{at}/current_link_speed")), host.tree.number(f"{at}/current_link_width") or 0)
        most = (_gigatransfers(read(f"{at}/max_link_speed")), host.tree.number(f"{at}/max_link_width") or 0)
        if not (all(now) and all(most)) or host.hypervisor:
            yield skipped(f"{nic.label}: the PCIe link is not known here", nic.label)
        elif now[0] < most[0] or now[1] < most[1]:
            yield warning(
                nic.label,
                f"{nic.label} has PCIe x{now[1]} at {now[0]:g} GT/s, and can have x{most[1]} at {most[0]:g} GT/s",
                "put the card into a slot with as many lanes, and look at the slot's speed in the BIOS setup",
            )
        else:
            yield passed(nic.label, f"{nic.label} has PCIe x{now[1]} at {now[0]:g} GT/s")
    if not host.pool_nics:
        yield skipped(NO_NICS)


def _gigatransfers(text: str) -> float:
    """Return the number of a speed such as "8.0 GT/s PCIe", 0 where it is unknown."""
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return 0.0


CHECKS = (
    Check("nic-cards", SUBJECT, "the NICs of a pool are on two cards, at one NUMA node", cards),
    Check("nic-speed", SUBJECT, "each link is as fast as the card can, and both are equal", speed),
    Check("nic-pcie", SUBJECT, "each card has the PCIe speed and lanes that it can have", pcie),
)
