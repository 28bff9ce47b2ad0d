"""Announcements and requests: their bytes, and their effect on a real kernel at the other end of a veth pair."""

import contextlib
from socket import AF_INET, AF_INET6, AF_PACKET, SOCK_RAW, inet_pton, socket
from time import monotonic

import pytest

from cni_sriov_bond.kernel import arp_nd
from cni_sriov_bond.kernel.netns import Entered
from tests.support import TemporaryNetns, veth_pair

MAC = "02:11:22:33:44:55"

# Written by hand from the RFCs, field by field.
ARP_ANNOUNCEMENT = """
    ff ff ff ff ff ff  02 11 22 33 44 55  08 06
    00 01  08 00  06 04  00 01
    02 11 22 33 44 55  0a 00 00 05
    00 00 00 00 00 00  0a 00 00 05
"""
ARP_REQUEST = """
    ff ff ff ff ff ff  02 11 22 33 44 55  08 06
    00 01  08 00  06 04  00 01
    02 11 22 33 44 55  0a 00 00 05
    00 00 00 00 00 00  0a 00 00 01
"""
ADVERTISEMENT = """
    33 33 00 00 00 01  02 11 22 33 44 55  86 dd
    60 00 00 00  00 20  3a  ff
    fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 05
    ff 02 00 00 00 00 00 00 00 00 00 00 00 00 00 01
    88 00  ?? ??  20 00 00 00
    fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 05
    02 01  02 11 22 33 44 55
"""
SOLICITATION = """
    33 33 ff 00 00 01  02 11 22 33 44 55  86 dd
    60 00 00 00  00 20  3a  ff
    fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 05
    ff 02 00 00 00 00 00 00 00 00 00 01 ff 00 00 01
    87 00  ?? ??  00 00 00 00
    fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01
    01 01  02 11 22 33 44 55
"""


def packed(ip: str) -> tuple[int, bytes]:
    family = AF_INET6 if ":" in ip else AF_INET
    return int(family), inet_pton(family, ip)


def sum_of_words(data: bytes) -> int:
    """Add 16-bit words in ones' complement, as in RFC 1071; over a packet with its checksum the sum is 0xffff."""
    total = 0
    for index in range(0, len(data), 2):
        total += data[index] * 256 + data[index + 1]
        total = total % 65536 + total // 65536
    return total


def same(frame: bytes, expected: str) -> None:
    words = expected.split()
    assert len(frame) == len(words)
    assert [word if known != "??" else "??" for word, known in zip(frame.hex(" ").split(), words, strict=True)] == words


@pytest.mark.parametrize(("ip", "expected"), [("10.0.0.5", ARP_ANNOUNCEMENT), ("fd00::5", ADVERTISEMENT)])
def test_an_announcement_is_the_rfcs(ip: str, expected: str) -> None:
    """ARP announcement (RFC 5227) and unsolicited advertisement with the override flag (RFC 4861), byte for byte."""
    same(arp_nd.announcement(packed(ip)[0], MAC, packed(ip)[1]), expected)


@pytest.mark.parametrize(
    ("ip", "target", "expected"), [("10.0.0.5", "10.0.0.1", ARP_REQUEST), ("fd00::5", "fd00::1", SOLICITATION)]
)
def test_a_request_is_the_rfcs(ip: str, target: str, expected: str) -> None:
    """ARP request, and solicitation to the target's own multicast group, byte for byte."""
    family, source = packed(ip)
    same(arp_nd.request_frame(MAC, arp_nd.Request(family, source, packed(target)[1])), expected)


@pytest.mark.parametrize("last", [":1", ":ffff", "1234:5678:9abc:def0:1111:2222:3333", "ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
def test_the_checksum_of_icmpv6_is_right(last: str) -> None:
    """The sum over pseudo header and message is 0xffff, with carries (RFC 4443 2.3)."""
    ip = packed(f"fd00:{last}")[1]
    for frame in (arp_nd.announcement(10, MAC, ip), arp_nd.request_frame(MAC, arp_nd.Request(10, ip, ip))):
        packet = frame[14:]
        pseudo = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + bytes([0, 0, 0, 58])
        assert sum_of_words(pseudo + packet[40:]) == 0xFFFF


def raw_socket(namespace: TemporaryNetns, name: str) -> "contextlib.closing[arp_nd.RawSocket]":
    with Entered(namespace.netns):
        return contextlib.closing(arp_nd.RawSocket(name, namespace.show(name).get("address")))


def add_address(namespace: TemporaryNetns, name: str, ip: str) -> None:
    namespace.theirs.addr(
        "add", index=namespace.index(name), address=ip, prefixlen=64 if ":" in ip else 24, flags=2 if ":" in ip else 0
    )


@pytest.mark.root
@pytest.mark.parametrize("ip", ["10.0.0.5", "fd00::5"])
def test_an_announcement_arrives_at_the_other_end(ip: str) -> None:
    """The other end receives the frame as it was encoded."""
    family, raw = packed(ip)
    with veth_pair() as (left, right), raw_socket(left, "a") as sender:
        with Entered(right.netns):
            listener = socket(AF_PACKET, SOCK_RAW, 0)
        with listener:
            listener.bind(("b", 3))
            listener.settimeout(5)
            sender.announce(family, raw)
            expected = arp_nd.announcement(family, left.show("a").get("address"), raw)
            frames = [listener.recv(2048)]
            while frames[-1] != expected:  # the kernel sends frames too; the timeout ends this
                frames.append(listener.recv(2048))


@pytest.mark.root
@pytest.mark.parametrize(("ip", "ours"), [("10.0.0.1", "10.0.0.5"), ("fd00::1", "fd00::5")])
def test_an_announcement_corrects_the_neighbours_cache(ip: str, ours: str) -> None:
    """A neighbour that had another MAC for the address replaces it."""
    family, raw = packed(ours)
    with veth_pair() as (left, right), raw_socket(left, "a") as sender:
        add_address(right, "b", ip)
        old = {"dst": ours, "lladdr": "02:99:99:99:99:99", "ifindex": right.index("b"), "family": family}
        right.theirs.neigh("add", state="stale", **old)
        if family == AF_INET:
            # The kernel ignores a change within a second of the last one (locktime); the entry of a real router is older.
            right.write("net/ipv4/neigh/b/locktime", "0")
        sender.announce(family, raw)
        mac = left.show("a").get("address")
        deadline = monotonic() + 5
        known = ""
        while known != mac and monotonic() < deadline:
            [entry] = [entry for entry in right.theirs.get_neighbours(family=family) if entry.get("dst") == ours]
            known = entry.get("lladdr")
        assert known == mac


@pytest.mark.root
@pytest.mark.parametrize(("ours", "gateway"), [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")])
def test_a_gateway_that_answers_is_returned(ours: str, gateway: str) -> None:
    """The kernel at the other end answers, and the wait ends with its answer."""
    family, source = packed(ours)
    target = packed(gateway)[1]
    with veth_pair() as (left, right), raw_socket(left, "a") as sender:
        add_address(left, "a", ours)
        add_address(right, "b", gateway)
        start = monotonic()
        assert arp_nd.answering([(sender, [arp_nd.Request(family, source, target)])], seconds=10, interval=0.2) == {target}
        assert monotonic() - start < 5


@pytest.mark.root
def test_of_several_gateways_those_that_answer_are_returned() -> None:
    """One of each family answers and one does not exist, so the wait takes the full time."""
    with veth_pair() as (left, right), raw_socket(left, "a") as sender:
        for ip in ("10.0.0.5", "fd00::5"):
            add_address(left, "a", ip)
        for ip in ("10.0.0.1", "fd00::1"):
            add_address(right, "b", ip)
        requests = []
        for ours, gateway in (
            ("10.0.0.5", "10.0.0.1"),
            ("10.0.0.5", "10.0.0.2"),
            ("fd00::5", "fd00::1"),
            ("fd00::5", "fd00::2"),
        ):
            family, source = packed(ours)
            requests.append(arp_nd.Request(family, source, packed(gateway)[1]))
        start = monotonic()
        answered = arp_nd.answering([(sender, requests)], seconds=0.6, interval=0.1)
        assert 0.6 <= monotonic() - start < 3
        assert answered == {packed("10.0.0.1")[1], packed("fd00::1")[1]}


@pytest.mark.root
@pytest.mark.parametrize(("ours", "gateway"), [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")])
def test_our_own_requests_are_no_answers(ours: str, gateway: str) -> None:
    """The target does not exist: our own requests, and a neighbour's announcement, are no answer."""
    family, source = packed(ours)
    target = packed(gateway)[1]
    with veth_pair() as (left, right), raw_socket(left, "a") as sender, raw_socket(right, "b") as other:
        other.announce(family, source)
        assert arp_nd.answering([(sender, [arp_nd.Request(family, source, target)])], seconds=0.3, interval=0.05) == set()


@pytest.mark.root
def test_a_device_that_is_down_is_no_error() -> None:
    """Nothing is sent or received, and the wait ends in time."""
    family, source = packed("10.0.0.5")
    with veth_pair() as (left, _), raw_socket(left, "a") as sender:
        left.ours.set_up(left.ours.links()[-1], False)
        sender.announce(family, source)
        start = monotonic()
        requests = [arp_nd.Request(family, source, packed("10.0.0.1")[1])]
        assert arp_nd.answering([(sender, requests)], seconds=0.3, interval=0.05) == set()
        assert monotonic() - start < 3


@pytest.mark.root
@pytest.mark.parametrize(("ours", "gateway"), [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")])
def test_all_devices_ask_at_once(ours: str, gateway: str) -> None:
    """The first of two devices leads nowhere: the wait ends with the answer that the second one receives."""
    family, source = packed(ours)
    asked = [arp_nd.Request(family, source, packed(gateway)[1])]
    with veth_pair() as (dead, _), veth_pair() as (left, right):
        add_address(right, "b", gateway)
        with raw_socket(dead, "a") as first, raw_socket(left, "a") as second:
            start = monotonic()
            assert arp_nd.answering([(first, asked), (second, asked)], seconds=10, interval=0.1) == {asked[0].target}
            assert monotonic() - start < 5


@pytest.mark.root
@pytest.mark.parametrize(("ours", "gateway"), [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")])
def test_a_request_without_a_source_is_answered_and_teaches_nothing(ours: str, gateway: str) -> None:
    """A port asks so: its MAC is not the one at which the container's address is reached."""
    family, _ = packed(ours)
    target = packed(gateway)[1]
    with veth_pair() as (left, right), raw_socket(left, "a") as sender:
        add_address(right, "b", gateway)
        assert arp_nd.answering([(sender, [arp_nd.Request(family, b"", target)])], seconds=10, interval=0.1) == {target}
        learnt = [entry.get("dst") for entry in right.theirs.get_neighbours(family=family)]
        assert [ip for ip in learnt if ip and not ip.startswith(("fe80:", "ff02:", "224."))] == []
