"""Which port of a bond becomes the active one, with a bond that this end of a socket plays."""

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from errno import EINVAL, EPERM
from socket import AF_UNIX, SOCK_SEQPACKET, socket, socketpair

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import active_port, rtnetlink
from cni_sriov_bond.kernel.netlink import Netlink

PREFERRED, OTHER = ("ffff:01:10.0", 21), ("ffff:02:10.0", 22)
BOND = 9
UP, DOWN = 0, 2  # uapi/linux/if_bonding.h, BOND_LINK_UP and BOND_LINK_DOWN
_ERROR, _DONE = 2, 3


class FakeBond:
    """A bond of two ports, of which the second is active.

    :ivar status: the link of the preferred port, as the bond sees it.
    :ivar refusals: errnos with which the next changes of the active port are refused.
    :ivar requests: the index of each port that was to be the active one.
    :ivar listings: called before each list of links, with its number.
    """

    def __init__(self) -> None:
        self.status, self.refusals = UP, list[int]()
        self.active, self.bond = OTHER[1], BOND
        self.requests: list[int] = []
        self.lists = 0
        self.listings: Callable[[int], None] = lambda number: None

    def serve(self, end: socket) -> None:
        while data := end.recv(1 << 16):
            [(kind, _, sequence, body)] = rtnetlink.messages(data)
            for number, answer in self._list() if kind == rtnetlink.RTM_GETLINK else self._change(body):
                end.send(rtnetlink.message(number, 0, answer, sequence))

    def _list(self) -> list[tuple[int, bytes]]:
        self.lists += 1
        self.listings(self.lists)
        kind, data = rtnetlink.text(rtnetlink.IFLA_INFO_KIND, "bond"), rtnetlink.nest(2, rtnetlink.u32(2, self.active))
        info = rtnetlink.nest(rtnetlink.IFLA_LINKINFO, kind, data)
        links = [rtnetlink.link_body(BOND, rtnetlink.text(rtnetlink.IFLA_IFNAME, "eth0"), info)]
        for (address, index), status in ((PREFERRED, self.status), (OTHER, UP)):
            known = rtnetlink.nest(5, rtnetlink.attribute(1, b"\1"), rtnetlink.attribute(2, bytes([status])))
            parts = [rtnetlink.text(rtnetlink.IFLA_IFNAME, f"vf{index}"), rtnetlink.text(rtnetlink.IFLA_PARENT_DEV, address)]
            parts += [rtnetlink.u32(rtnetlink.IFLA_MASTER, self.bond), rtnetlink.nest(rtnetlink.IFLA_LINKINFO, known)]
            links.append(rtnetlink.link_body(index, *parts))
        return [*((rtnetlink.RTM_NEWLINK, link) for link in links), (_DONE, bytes(4))]

    def _change(self, body: bytes) -> list[tuple[int, bytes]]:
        info = dict(rtnetlink.attributes(dict(rtnetlink.attributes(body, 16))[rtnetlink.IFLA_LINKINFO]))
        [(option, value)] = rtnetlink.attributes(info[rtnetlink.IFLA_INFO_DATA])
        assert option == 2  # IFLA_BOND_ACTIVE_SLAVE
        index = int.from_bytes(value, "little")
        self.requests.append(index)
        refused = self.refusals.pop() if self.refusals else 0
        if not refused:
            self.active = index
        return [(_ERROR, struct.pack("=i", -refused) + bytes(16))]


@contextlib.contextmanager
def played() -> Iterator[tuple[FakeBond, Callable[[float], bool]]]:
    """Play a bond for the duration of the block; yield it, and a function that activates the preferred port."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    fake, netlink = FakeBond(), Netlink("c1", ours)
    thread = threading.Thread(target=fake.serve, args=(theirs,), daemon=True)
    thread.start()
    try:
        yield fake, lambda seconds: active_port.activate(netlink, "eth0", PREFERRED[0], Deadline(seconds))
    finally:
        netlink.close()
        thread.join()
        theirs.close()


def test_the_preferred_port_is_activated_at_once() -> None:
    with played() as (bond, activate):
        assert activate(60)
        assert (bond.active, bond.requests, bond.lists) == (PREFERRED[1], [PREFERRED[1]], 1)


def test_a_port_that_is_active_is_left_alone() -> None:
    with played() as (bond, activate):
        bond.active = PREFERRED[1]
        assert activate(60)
        assert (bond.requests, bond.lists) == ([], 1)


def test_a_port_whose_link_the_bond_does_not_see_yet_is_waited_for() -> None:
    """Nothing is tried meanwhile: the kernel writes an error into its log for each refusal."""
    with played() as (bond, activate):
        bond.status = DOWN

        def come_up(number: int) -> None:
            bond.status = UP if number > 3 else DOWN

        bond.listings = come_up
        assert activate(60)
        assert (bond.active, bond.requests, bond.lists) == (PREFERRED[1], [PREFERRED[1]], 4)


def test_a_port_without_a_link_does_not_become_active() -> None:
    with played() as (bond, activate):
        bond.status = DOWN
        assert not activate(0.1)
        assert (bond.active, bond.requests) == (OTHER[1], [])


def test_a_port_whose_link_goes_in_between_is_tried_again() -> None:
    with played() as (bond, activate):
        bond.refusals = [EINVAL]
        assert activate(60)
        assert bond.requests == [PREFERRED[1]] * 2
        bond.active, bond.refusals = OTHER[1], [EPERM]
        with pytest.raises(KernelError, match="cannot let vf21 be the active port of eth0 in c1: Operation not permitted"):
            activate(60)


def test_a_port_of_another_bond_is_not_activated() -> None:
    with played() as (bond, activate):
        bond.bond = BOND + 1
        assert not activate(60)
        assert bond.requests == []
