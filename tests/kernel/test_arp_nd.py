"""Announcements and questions: their bytes, and what a real kernel at the other end of a cable makes of them."""

import contextlib
from socket import AF_INET, AF_INET6, AF_PACKET, SOCK_RAW, inet_pton, socket
from time import monotonic

import pytest

from cni_sriov_bond.kernel import arp_nd
from cni_sriov_bond.kernel.netns import Entered
from tests.support import TemporaryNetns, veth_pair

MAC = "02:11:22:33:44:55"

# Written out by hand from the RFCs, field by field.
ARP_ANNOUNCEMENT = """
    ff ff ff ff ff ff  02 11 22 33 44 55  08 06
    00 01  08 00  06 04  00 01
    02 11 22 33 44 55  0a 00 00 05
    00 00 00 00 00 00  0a 00 00 05
"""
ARP_QUESTION = """
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
    """Add 16-bit words in ones' complement, as RFC 1071 describes it: the receiver's check gives 0xffff."""
    total = 0
    for place in range(0, len(data), 2):
        total += data[place] * 256 + data[place + 1]
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
    ("ip", "target", "expected"), [("10.0.0.5", "10.0.0.1", ARP_QUESTION), ("fd00::5", "fd00::1", SOLICITATION)]
)
def test_a_question_is_the_rfcs(ip: str, target: str, expected: str) -> None:
    """ARP request, and solicitation to the target's own multicast group, byte for byte."""
    family, source = packed(ip)
    same(arp_nd.question(family, MAC, source, packed(target)[1]), expected)


@pytest.mark.parametrize("last", [":1", ":ffff", "1234:5678:9abc:def0:1111:2222:3333", "ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
def test_the_checksum_of_icmpv6_is_right(last: str) -> None:
    """Over the pseudo header and the message the receiver's sum is 0xffff, carries included (RFC 4443 2.3)."""
    ip = packed(f"fd00:{last}")[1]
    for frame in (arp_nd.announcement(10, MAC, ip), arp_nd.question(10, MAC, ip, ip)):
        packet = frame[14:]
        pseudo = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + bytes([0, 0, 0, 58])
        assert sum_of_words(pseudo + packet[40:]) == 0xFFFF


def wire_of(where: TemporaryNetns, name: str) -> "contextlib.closing[arp_nd.RawSocket]":
    with Entered(where.netns):
        return contextlib.closing(arp_nd.RawSocket(name, where.show(name).get("address")))


def give(where: TemporaryNetns, name: str, ip: str) -> None:
    where.theirs.addr(
        "add", index=where.index(name), address=ip, prefixlen=64 if ":" in ip else 24, flags=2 if ":" in ip else 0
    )


@pytest.mark.root
@pytest.mark.parametrize("ip", ["10.0.0.5", "fd00::5"])
def test_an_announcement_arrives_at_the_other_end(ip: str) -> None:
    """The frame that was sent is the frame that comes out of the cable."""
    family, raw = packed(ip)
    with veth_pair() as (left, right), wire_of(left, "a") as line:
        with Entered(right.netns):
            listener = socket(AF_PACKET, SOCK_RAW, 0)
        with listener:
            listener.bind(("b", 3))
            listener.settimeout(5)
            line.announce(family, raw)
            expected = arp_nd.announcement(family, left.show("a").get("address"), raw)
            frames = [listener.recv(2048)]
            while frames[-1] != expected:  # the kernel has things of its own to say; the timeout ends this
                frames.append(listener.recv(2048))


@pytest.mark.root
@pytest.mark.parametrize(("ip", "ours"), [("10.0.0.1", "10.0.0.5"), ("fd00::1", "fd00::5")])
def test_an_announcement_corrects_the_neighbours_cache(ip: str, ours: str) -> None:
    """A neighbour that knew another MAC for the address knows ours after: that is what it is for."""
    family, raw = packed(ours)
    with veth_pair() as (left, right), wire_of(left, "a") as line:
        give(right, "b", ip)
        old = {"dst": ours, "lladdr": "02:99:99:99:99:99", "ifindex": right.index("b"), "family": family}
        right.theirs.neigh("add", state="stale", **old)
        if family == AF_INET:
            # The kernel believes no change within a second of the last one (locktime); a router has it too, but is older.
            right.write("net/ipv4/neigh/b/locktime", "0")
        line.announce(family, raw)
        mac = left.show("a").get("address")
        deadline = monotonic() + 5
        known = ""
        while known != mac and monotonic() < deadline:
            [entry] = [one for one in right.theirs.get_neighbours(family=family) if one.get("dst") == ours]
            known = entry.get("lladdr")
        assert known == mac


@pytest.mark.root
@pytest.mark.parametrize(("ours", "gateway"), [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")])
def test_a_gateway_that_answers_is_heard(ours: str, gateway: str) -> None:
    """The kernel at the other end answers the question, and the wait ends with its answer."""
    family, source = packed(ours)
    target = packed(gateway)[1]
    with veth_pair() as (left, right), wire_of(left, "a") as line:
        give(left, "a", ours)
        give(right, "b", gateway)
        start = monotonic()
        assert line.answered([(family, source, target)], seconds=10, every=0.2) == {target}
        assert monotonic() - start < 5


@pytest.mark.root
def test_of_several_gateways_those_that_answer_are_told() -> None:
    """One of each family answers, one of each is not there; the wait takes its time and tells who did."""
    with veth_pair() as (left, right), wire_of(left, "a") as line:
        for ip in ("10.0.0.5", "fd00::5"):
            give(left, "a", ip)
        for ip in ("10.0.0.1", "fd00::1"):
            give(right, "b", ip)
        questions = []
        for ours, asked in (("10.0.0.5", "10.0.0.1"), ("10.0.0.5", "10.0.0.2"), ("fd00::5", "fd00::1"), ("fd00::5", "fd00::2")):
            family, source = packed(ours)
            questions.append((family, source, packed(asked)[1]))
        start = monotonic()
        found = line.answered(questions, seconds=0.6, every=0.1)
        assert 0.6 <= monotonic() - start < 3
        assert found == {packed("10.0.0.1")[1], packed("fd00::1")[1]}


@pytest.mark.root
@pytest.mark.parametrize(("ours", "gateway"), [("10.0.0.5", "10.0.0.1"), ("fd00::5", "fd00::1")])
def test_our_own_questions_are_no_answers(ours: str, gateway: str) -> None:
    """Nobody is there: what we sent, and a neighbour's question about the same address, are not taken for an answer."""
    family, source = packed(ours)
    target = packed(gateway)[1]
    with veth_pair() as (left, right), wire_of(left, "a") as line, wire_of(right, "b") as other:
        other.announce(family, source)
        assert line.answered([(family, source, target)], seconds=0.3, every=0.05) == set()


@pytest.mark.root
def test_a_device_that_is_down_is_no_error() -> None:
    """Nothing can be said or heard over a device that is down: nobody is told, nobody answers, in good time."""
    family, source = packed("10.0.0.5")
    with veth_pair() as (left, _), wire_of(left, "a") as line:
        left.ours.set_up(left.ours.links()[-1], False)
        line.announce(family, source)
        start = monotonic()
        assert line.answered([(family, source, packed("10.0.0.1")[1])], seconds=0.3, every=0.05) == set()
        assert monotonic() - start < 3
