"""Announcement of addresses, and detection of gateways that answer: ARP and IPv6 neighbour discovery on raw sockets.

The frames are built here, because the kernel announces an address only when its device comes up. A container's bond gets
its addresses after that.

Formats: RFC 826 and RFC 5227 (ARP announcement), RFC 4861 4.3 and 4.4 (neighbour solicitation and advertisement).
"""

import _struct as struct
from _socket import AF_PACKET, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket
from select import POLLIN, poll
from time import monotonic

from cni_sriov_bond.kernel.rtnetlink import AF_INET, mac_bytes

_ARP, _IPV6 = 0x0806, 0x86DD  # EtherTypes
_ETH_P_ALL = 3
_BROADCAST = b"\xff" * 6
_ALL_NODES = bytes.fromhex("ff02" + "00" * 13 + "01")
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000  # flag of an advertisement: replace the MAC in the neighbour's cache


def _arp(mac: bytes, sender: bytes, target: bytes) -> bytes:
    """Return an ARP request; sender and target are IP addresses."""
    head = _BROADCAST + mac + struct.pack(">HHHBBH", _ARP, 1, 0x0800, 6, 4, 1)
    return head + mac + sender + bytes(6) + target


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _icmpv6(mac: bytes, source: bytes, destination: bytes, body: bytes) -> bytes:
    """Return an ICMPv6 frame to a multicast address."""
    pseudo_header = source + destination + struct.pack(">II", len(body), _ICMPV6)
    body = body[:2] + struct.pack(">H", _checksum(pseudo_header + body)) + body[4:]
    ethernet = b"\x33\x33" + destination[-4:] + mac + struct.pack(">H", _IPV6)
    # Hop limit 255: receivers discard neighbour discovery with any other (RFC 4861 7.1).
    return ethernet + struct.pack(">IHBB", 0x60000000, len(body), _ICMPV6, 255) + source + destination + body


def announcement(family: int, mac: str, ip: bytes) -> bytes:
    """Return the frame that announces an address to every host on the link."""
    raw = mac_bytes(mac)
    if family == AF_INET:
        return _arp(raw, ip, ip)
    # Option 2: target link-layer address, one unit of eight bytes.
    body = struct.pack(">BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + ip + b"\x02\x01" + raw
    return _icmpv6(raw, ip, _ALL_NODES, body)


class Request:
    """The question for the MAC of an address.

    :param source: the address to ask from. If it is empty the request is one that neighbours do not learn from: an ARP probe
        (RFC 5227 1.1), or a solicitation from the link-local address of the sender's MAC.
    """

    __slots__ = ("family", "source", "target")

    def __init__(self, family: int, source: bytes, target: bytes) -> None:
        self.family = family
        self.source = source
        self.target = target


def request_frame(mac: str, request: Request) -> bytes:
    """Return the frame that asks for the MAC of an address: an ARP request or a neighbour solicitation."""
    raw = mac_bytes(mac)
    if request.family == AF_INET:
        return _arp(raw, request.source or bytes(4), request.target)
    group = bytes.fromhex("ff02" + "00" * 9 + "01ff") + request.target[-3:]
    # Option 1: source link-layer address.
    body = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + request.target + b"\x01\x01" + raw
    return _icmpv6(raw, request.source or _link_local(raw), group, body)


def _link_local(mac: bytes) -> bytes:
    """Return the link-local address of a MAC (RFC 4291, appendix A)."""
    return bytes.fromhex("fe80" + "00" * 6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


def _is_reply(frame: bytes, family: int, target: bytes) -> bool:
    """Return whether a frame is the reply of an address; requests for it, also our own, are not."""
    if family == AF_INET:
        return frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02" and frame[28:32] == target
    return frame[12:14] == b"\x86\xdd" and frame[54:55] == bytes([_ADVERTISEMENT]) and frame[62:78] == target


class RawSocket:
    """A packet socket on one device. Create it in the device's network namespace; it can be used from any other."""

    def __init__(self, ifname: str, mac: str) -> None:
        self.mac = mac
        # Protocol 0 until it is bound: with another the socket would receive the frames of all devices before that.
        self._socket = Socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
        self._socket.bind((ifname, _ETH_P_ALL))
        self._socket.setblocking(False)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def announce(self, family: int, ip: bytes) -> None:
        """Send one announcement of an address; a device that cannot send now is no error."""
        try:
            self._socket.send(announcement(family, self.mac, ip))
        except OSError:
            pass  # ENETDOWN, ENOBUFS: the announcement is lost, as any broadcast may be

    def ask(self, request: "Request") -> None:
        """Send one request; a device that cannot send now is no error."""
        try:
            self._socket.send(request_frame(self.mac, request))
        except OSError:
            pass  # as above; it is sent again after the interval

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """Return a waiting frame, or b"" if the device went down."""
        try:
            return self._socket.recv(256)
        except OSError:
            return b""


def answering(asked: "list[tuple[RawSocket, list[Request]]]", seconds: float, interval: float) -> set[bytes]:
    """Return the targets that reply to any of the devices within ``seconds``; others are asked again every ``interval``.

    All devices are asked at once, so silence costs ``seconds`` once. It ends when every target has replied.

    :param asked: the requests of each device.
    """
    waiting = {request.target: request.family for _, requests in asked for request in requests}
    sockets = {socket.fileno(): socket for socket, _ in asked}
    ready = poll()
    for fd in sockets:
        ready.register(fd, POLLIN)
    answered: set[bytes] = set()
    deadline = monotonic() + seconds
    again = 0.0
    while len(answered) < len(waiting) and (now := monotonic()) < deadline:
        if now >= again:
            again = now + interval
            _ask(asked, answered)
        for fd, _ in ready.poll((min(again, deadline) - now) * 1000):
            frame = sockets[fd].receive()
            if not frame:
                ready.unregister(fd)  # else poll would return at once, again and again
            answered.update(target for target, family in waiting.items() if _is_reply(frame, family, target))
    return answered


def _ask(asked: "list[tuple[RawSocket, list[Request]]]", answered: set[bytes]) -> None:
    for socket, requests in asked:
        for request in requests:
            if request.target not in answered:
                socket.ask(request)
