"""The switch mode of a NIC: requests as pyroute2 encodes them, and answers over a socket pair."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EOPNOTSUPP
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair

import pyroute2.netlink.devlink  # type: ignore[import-untyped]
import pytest

from cni_sriov_bond.kernel import devlink, rtnetlink
from cni_sriov_bond.kernel.netlink import Netlink

PF = "0000:01:00.0"
FAMILY = 0x17


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[Netlink, list[tuple[int, bytes]]]]:
    """Yield a socket whose other end gives these answers, and the requests that it got, as type and body."""
    theirs, ours = socketpair(AF_UNIX, SOCK_SEQPACKET)
    requests = []

    def serve() -> None:
        for answer in answers:
            [(kind, _, sequence, body)] = rtnetlink.messages(theirs.recv(4096))
            requests.append((kind, body))
            number = 2 if len(answer) == 4 else kind
            theirs.send(rtnetlink.message(number, 0, answer, sequence))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Netlink("the host", ours), requests
    finally:
        thread.join()
        theirs.close()


def answer(attribute: int, value: int) -> bytes:
    return bytes(4) + rtnetlink.attribute(attribute, struct.pack("=H", value))


@pytest.mark.parametrize(("number", "mode"), [(0, "legacy"), (1, "switchdev"), (7, "")])
def test_the_mode_is_read(number: int, mode: str) -> None:
    """Of this PCI device, in the request that pyroute2 would send for it; a mode that is not known is none."""
    with answering(answer(1, FAMILY), answer(25, number)) as (socket, requests):
        assert devlink.eswitch_mode(PF, socket) == mode
    assert requests[1][0] == FAMILY
    expected = pyroute2.netlink.devlink.devlinkcmd()
    expected["cmd"], expected["version"] = 29, 1
    expected["attrs"] = [("DEVLINK_ATTR_BUS_NAME", "pci"), ("DEVLINK_ATTR_DEV_NAME", PF)]
    expected.encode()
    assert requests[1][1].hex(" ") == bytes(expected.data)[16:].hex(" ")


@pytest.mark.parametrize("refusals", [0, 1])
def test_without_devlink_there_is_no_mode(refusals: int) -> None:
    """Neither where the kernel has no devlink nor where the driver has no switch."""
    refused = struct.pack("=i", -EOPNOTSUPP)
    with answering(*[answer(1, FAMILY)] * refusals, refused) as (socket, _):
        assert devlink.eswitch_mode(PF, socket) == ""


@pytest.mark.root
def test_the_kernel_understands_the_request() -> None:
    """This machine has no such NIC."""
    assert devlink.eswitch_mode("ffff:01:00.0") == ""
