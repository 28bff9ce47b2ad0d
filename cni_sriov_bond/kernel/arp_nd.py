"""Announce a new address to its neighbours, and ask a gateway whether it answers: ARP and neighbour discovery.

Raw frames: the kernel announces an address only when a device with that address comes up (net/ipv4/devinet.c, inetdev_event),
and our bonds get theirs when they are up.
Frames: RFC 826 and RFC 5227 (ARP announcement), RFC 4861 4.3 and 4.4 (neighbour solicitation and advertisement).
"""

import _struct as struct
from _socket import AF_PACKET, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket
from time import monotonic

from cni_sriov_bond.kernel.rtnetlink import AF_INET, mac_bytes

_ARP, _IPV6, _ANY = 0x0806, 0x86DD, 3
_BROADCAST = b"\xff" * 6
_ALL_NODES = bytes.fromhex("ff02" + "00" * 13 + "01")
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_OVERRIDE = 0x20000000


def _arp(mac: bytes, sender: bytes, target: bytes) -> bytes:
    head = _BROADCAST + mac + struct.pack(">HHHBBH", _ARP, 1, 0x0800, 6, 4, 1)
    return head + mac + sender + bytes(6) + target


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _icmpv6(mac: bytes, source: bytes, to: bytes, body: bytes) -> bytes:
    pseudo = source + to + struct.pack(">II", len(body), _ICMPV6)
    body = body[:2] + struct.pack(">H", _checksum(pseudo + body)) + body[4:]
    ethernet = b"\x33\x33" + to[-4:] + mac + struct.pack(">H", _IPV6)
    return ethernet + struct.pack(">IHBB", 0x60000000, len(body), _ICMPV6, 255) + source + to + body


def announcement(family: int, mac: str, ip: bytes) -> bytes:
    """Return the frame that announces on the link who has an address now."""
    raw = mac_bytes(mac)
    if family == AF_INET:
        return _arp(raw, ip, ip)
    # Option 2: target link-layer address, one unit of eight bytes.
    body = struct.pack(">BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + ip + b"\x02\x01" + raw
    return _icmpv6(raw, ip, _ALL_NODES, body)


def question(family: int, mac: str, source: bytes, target: bytes) -> bytes:
    """Return the frame that asks who has an address."""
    raw = mac_bytes(mac)
    if family == AF_INET:
        return _arp(raw, source, target)
    group = bytes.fromhex("ff02" + "00" * 9 + "01ff") + target[-3:]
    # Option 1: source link-layer address.
    body = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + target + b"\x01\x01" + raw
    return _icmpv6(raw, source, group, body)


def _answers(frame: bytes, family: int, target: bytes) -> bool:
    if family == AF_INET:
        return frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02" and frame[28:32] == target
    return frame[12:14] == b"\x86\xdd" and frame[54:55] == bytes([_ADVERTISEMENT]) and frame[62:78] == target


class RawSocket:
    """A raw socket on one device; create it in the device's namespace."""

    def __init__(self, ifname: str, mac: str) -> None:
        self.mac = mac
        self._socket = Socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
        self._socket.bind((ifname, _ANY))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def announce(self, family: int, ip: bytes) -> None:
        """Send one announcement of an address; a device that cannot send now is no error."""
        try:
            self._socket.send(announcement(family, self.mac, ip))
        except OSError:
            pass  # ENETDOWN, ENOBUFS: as if the broadcast was lost

    def answered(self, questions: "list[tuple[int, bytes, bytes]]", seconds: float, every: float) -> set[bytes]:
        """Ask for each (family, source, target) repeatedly, and return the targets that answered in time."""
        waiting = {target: (family, source) for family, source, target in questions}
        answered: set[bytes] = set()
        deadline = monotonic() + seconds
        while waiting and monotonic() < deadline:
            for target, (family, source) in waiting.items():
                try:
                    self._socket.send(question(family, self.mac, source, target))
                except OSError:
                    pass  # as above; the next round asks again
            answered |= self._listen(waiting, min(deadline, monotonic() + every))
        return answered

    def _listen(self, waiting: "dict[bytes, tuple[int, bytes]]", until: float) -> set[bytes]:
        answered = set()
        while waiting and (left := until - monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame = self._socket.recv(256)
            except OSError:
                break  # timeout, or the device went down
            for target, (family, _) in list(waiting.items()):
                if _answers(frame, family, target):
                    answered.add(target)
                    del waiting[target]
        return answered
