"""Send router advertisements on a device: who takes them gets an address of the prefix, and a default route.

usage: advertise.py DEVICE PREFIX [COUNT]
"""

import socket
import struct
import sys
import time

EVERYBODY = "ff02::1"
_INTERVAL = 0.1


def advertise(device: str, prefix: str, count: int = 3) -> None:
    """Send advertisements of a /64 prefix from the link-local address of a device in the present network namespace.

    RFC 4861, 4.2 and 4.6.2: lifetime of the router 600 s, prefix on the link and for autoconfiguration. The kernel adds the
    checksum. Receivers take only what has a hop limit of 255.
    """
    head = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 600, 0, 0)
    option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 600, 600, 0, socket.inet_pton(socket.AF_INET6, prefix))
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        for _ in range(count):
            sender.sendto(head + option, (EVERYBODY, 0, 0, socket.if_nametoindex(device)))
            time.sleep(_INTERVAL)


if __name__ == "__main__":
    advertise(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
