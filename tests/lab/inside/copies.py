"""Count the copies of a broadcast: at another container, and back at its sender.

usage: copies.py SENDER RECEIVER

Both are names of network namespaces with a device eth0. Prints how often ten frames arrived at the receiver, and at the sender.
"""

import ctypes
import os
import socket
import sys
import time

CLONE_NEWNET = 0x40000000
ETHERTYPE = 0x88B5  # for experiments (IEEE 802, local experimental EtherType 1)
FRAMES = 10


def listen(netns: str) -> socket.socket:
    """Return a socket that receives frames of the EtherType in a namespace; those that it sends do not count."""
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
    os.close(fd)
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    listener.bind(("eth0", ETHERTYPE))
    listener.setblocking(False)
    return listener


def count(listener: socket.socket) -> int:
    """Return the number of frames that have arrived."""
    number = 0
    while True:
        try:
            listener.recv(256)
        except BlockingIOError:
            return number
        number += 1


def main(sender: str, receiver: str) -> None:
    """Send the frames, wait for a second, and print the two numbers."""
    ours, theirs = listen(sender), listen(receiver)
    mac = ours.getsockname()[4]
    for number in range(FRAMES):
        ours.send(b"\xff" * 6 + mac + ETHERTYPE.to_bytes(2, "big") + bytes([number]) * 46)
        time.sleep(0.02)
    time.sleep(1)
    print(count(theirs), count(ours))


main(sys.argv[1], sys.argv[2])
