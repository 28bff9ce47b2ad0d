"""Whether the gateways of the networks answer on the VLAN of each NIC: asked by raw ARP or ND from the VFs of a free bond.

The bond is leased meanwhile, as by an ADD, so that no ADD takes it, and so that `sriov-bondctl gc` restores its VFs if this
process is killed. The ports are asked one after the other: they have one MAC, and switches learn at which port it is.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from time import monotonic
from typing import NamedTuple

from cni_sriov_bond.cni.address import family_of, packed
from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.doctor.check import Check, Finding, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host, PoolState
from cni_sriov_bond.doctor.nic import is_up
from cni_sriov_bond.doctor.tree import NET
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import sriov
from cni_sriov_bond.kernel.arp_nd import RawSocket, Request, answering
from cni_sriov_bond.plugin import release
from cni_sriov_bond.pool import acquisition
from cni_sriov_bond.pool.lease import ADDING, Lease
from cni_sriov_bond.pool.record import Attachment, NetnsIdentity, Requested
from cni_sriov_bond.ports import Port, VfSettings

SUBJECT = "networks"
# The attachment of the lease while gateways are asked.
ATTACHMENT = Attachment("sriov-bondctl doctor", "doctor", "doctor")
# The VFs stay in the host: recovery must enter no namespace for them.
NO_NETNS = NetnsIdentity("", 0, 0)
_CARRIER_SECONDS = 4.0
_ANSWER_SECONDS, _INTERVAL = 1.0, 0.2
_ALL_SECONDS = 20.0
_IPV6 = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"


class _Gateway(NamedTuple):
    """A gateway on a VLAN, with the networks that have it; ``routed`` is whether one of them counts on it."""

    vlan: int | None
    address: str
    networks: tuple[str, ...]
    routed: bool

    @property
    def place(self) -> str:
        """The VLAN as the end of a sentence."""
        return f"on VLAN {self.vlan}" if self.vlan else "untagged"


def gateways(host: Host) -> Iterator[Finding]:
    """Ask the gateways of each pool's networks, on each of its NICs."""
    by_pool = _by_pool(host)
    for state in host.pools:
        asked = by_pool.get(state.pool.name, [])
        if asked and state.inventory and state.inventory.of_this_boot:
            yield from _of_pool(host, state, asked)
    if not any(by_pool.get(state.pool.name) for state in host.pools):
        yield skipped("no network of a pool of this boot has a gateway")


def _by_pool(host: Host) -> dict[str, list[_Gateway]]:
    found: dict[tuple[str, int | None, str], list[tuple[str, bool]]] = defaultdict(list)
    for network in host.networks:
        pool = host.pool_of(network)
        for subnet in network.subnets:
            if subnet.gateway:
                found[pool, subnet.vlan, subnet.gateway].append((network.name, subnet.routed))
    by_pool: dict[str, list[_Gateway]] = defaultdict(list)
    for (pool, vlan, address), users in found.items():
        names = tuple(dict.fromkeys(name for name, _ in users))
        by_pool[pool].append(_Gateway(vlan, address, names, any(routed for _, routed in users)))
    return by_pool


def _of_pool(host: Host, state: PoolState, asked: list[_Gateway]) -> Iterator[Finding]:
    name = state.pool.name
    try:
        lease = acquisition.acquire(state.pool, ATTACHMENT, NO_NETNS, Requested())
    except CniError as refused:
        yield skipped(f"pool {name} has no free bond to ask with: {refused.msg}", name)
        return
    answers: dict[str, set[_Gateway]] = {}
    try:
        problem = _ask_all(host, lease, asked, answers)
    finally:  # also if it is interrupted
        outcome = release.release(lease, repairs.quiet(host), release.DEL)
        lease.close()
    if problem:
        yield failure(name, f"gateways cannot be asked from {lease}: {problem}", "see `dmesg`, and run `sriov-bondctl gc`")
    for failed in outcome.problems:
        yield failure(
            name, f"{lease} was not given back: {failed.msg}", f"run `sriov-bondctl gc {name}`", repairs.gc(host, name)
        )
    for gateway in asked:
        yield from _judge(gateway, answers)


def _judge(gateway: _Gateway, answers: dict[str, set[_Gateway]]) -> Iterator[Finding]:
    """Return what the answers on each NIC say of a gateway."""
    silent = [nic for nic, answered in answers.items() if gateway not in answered]
    what = (
        f"gateway {gateway.address} of {'network' if len(gateway.networks) == 1 else 'networks'} {', '.join(gateway.networks)}"
    )
    if not answers:
        yield skipped(f"{what}: no NIC of the pool could ask it", gateway.address)
    elif not silent:
        yield passed(gateway.address, f"{what} answers {gateway.place} on {' and '.join(answers)}")
    elif len(silent) < len(answers):
        other = " and ".join(nic for nic in answers if nic not in silent)
        yield failure(
            gateway.address,
            f"{what} answers {gateway.place} on {other}, but not on {' and '.join(silent)}",
            f"allow the VLAN at the switch's port of {' and '.join(silent)}, and between both switches",
        )
    elif gateway.routed:
        remedy = "look at the gateway, and at the VLAN at the switches' ports of both NICs"
        yield failure(gateway.address, f"{what} does not answer {gateway.place}", remedy)
    else:
        yield warning(
            gateway.address,
            f"{what}, the subnet's first address, does not answer {gateway.place}",
            "set gateway in the ipam of the network, or ignore it where there is no router",
        )


def _ask_all(host: Host, lease: Lease, asked: list[_Gateway], answers: dict[str, set[_Gateway]]) -> str:
    """Ask every gateway on every port, and return why that had to end, or ""."""
    end = monotonic() + _ALL_SECONDS
    present = sriov.Host()
    record = lease.record
    try:
        record.mac = record.bond.mac
        record.port_macs = {port.address: record.mac for port in record.ports}
        record.before = {port.address: present.state(port) for port in record.ports}
        for state in record.before.values():
            state.mac = state.admin_mac = record.mac
        lease.save(ADDING)
        for port in record.ports:
            nic = host.nic(port.pf_address)
            if is_up(host, nic) and host.tree.read(f"{NET}/{nic.name}/carrier") == "1":
                found = _ask_port(present, lease, port, asked, end)
                if found is not None:
                    answers[nic.name] = found
    except CniError as failed:
        return failed.msg
    except OSError as failed:
        return f"{failed.strerror or failed}"
    finally:
        present.netlink.close()
    return ""


def _ask_port(present: sriov.Host, lease: Lease, port: Port, asked: list[_Gateway], end: float) -> set[_Gateway] | None:
    """Return the gateways that answer on a port, or None where it has no carrier in time.

    :raises CniError: when the kernel refuses a setting.
    """
    before = lease.record.before[port.address].settings.vlan
    answered: set[_Gateway] = set()
    for vlan in dict.fromkeys(gateway.vlan for gateway in asked):
        mine = [gateway for gateway in asked if gateway.vlan == vlan]
        link = present.name(port)
        present.configure(port, link, VfSettings(vlan=before if vlan is None else vlan), lease.record.mac)
        with _without_ipv6(port.name):
            present.netlink.set_up(link, True)
            try:
                if monotonic() > end or not present.netlink.wait_for_carrier(port.name, _CARRIER_SECONDS):
                    return None
                answered |= _answering(port.name, lease.record.mac, mine)
            finally:
                present.netlink.set_up(link, False)
    return answered


def _answering(name: str, mac: str, asked: list[_Gateway]) -> set[_Gateway]:
    targets = {packed(gateway.address): gateway for gateway in asked}
    requests = [Request(family_of(gateway.address), b"", target) for target, gateway in targets.items()]
    socket = RawSocket(name, mac)
    try:
        return {targets[target] for target in answering([(socket, requests)], _ANSWER_SECONDS, _INTERVAL)}
    finally:
        socket.close()


@contextlib.contextmanager
def _without_ipv6(name: str) -> Iterator[None]:
    """Keep the kernel from giving a VF a link-local address in the host, and asking for routers, while the block runs."""
    path = _IPV6.format(name)
    try:
        with open(path, encoding="ascii") as file:
            before = file.read().strip()
    except OSError:
        before = ""  # a kernel without IPv6
    if before:
        _write(path, "1")
    try:
        yield
    finally:
        if before:
            _write(path, before)


def _write(path: str, value: str) -> None:
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as file:
        file.write(value)


CHECKS = (Check("gateway", SUBJECT, "each gateway answers on the VLAN of each NIC", gateways, alone=True),)
