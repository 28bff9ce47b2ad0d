"""The plugin's only rtnetlink socket: typed requests on links, VFs, addresses and routes of one network namespace.

A socket belongs to the namespace in which it was created, also after the thread has left it. So it is created in the
container's namespace and used from the host's.
"""

import posix as os  # os itself costs an ADD 4 million instructions
from _socket import AF_NETLINK, MSG_PEEK, MSG_TRUNC, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket
from errno import EEXIST, EINTR, EMSGSIZE, ENODEV, ENOENT, ENOTCONN
from time import monotonic, sleep

from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import rtnetlink
from cni_sriov_bond.kernel.objects import Address, Link, NewRoute, Route

# uapi/linux/netlink.h. With NETLINK_CAP_ACK an error does not repeat the request, so with NETLINK_EXT_ACK its attributes are
# at a fixed offset: after errno (4 bytes) and the header of the request (16). In NLMSG_DONE they follow the errno.
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_NETLINK_ROUTE = 0
_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN = 2, 3, 4
_ERROR_ATTRIBUTES, _DONE_ATTRIBUTES, _ERROR_TEXT = 20, 4, 1
_DUMP_RETRIES = 5
_CARRIER_POLL = 0.01


def open_socket(protocol: int) -> Socket:
    """Open a netlink socket of a protocol.

    :raises OSError: when it cannot be created.
    """
    socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
    socket.bind((0, 0))
    return socket


class Netlink:
    """One rtnetlink socket.

    :param namespace: the text for its namespace in errors, e.g. "the host" or "/run/netns/c1".
    :param socket: a connected socket to use instead of a new one; the other end answers in place of the kernel.
    :raises OSError: when no socket can be created.
    """

    def __init__(self, namespace: str = "the host", socket: Socket | None = None) -> None:
        self.namespace = namespace
        self._socket = socket or open_socket(_NETLINK_ROUTE)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; calling it again does nothing."""
        self._socket.close()

    # -- links

    def link(self, name: str = "", index: int = 0, vfs: bool = False) -> Link | None:
        """Return one device, with its VFs if requested, or None if there is no such device."""
        try:
            bodies = self._ask(rtnetlink.RTM_GETLINK, 0, rtnetlink.get_link_body(index, name, vfs), f"show {name or index}")
        except KernelError as refused:
            if refused.errno == ENODEV:
                return None
            raise
        return rtnetlink.parse_link(bodies[0])

    def links(self) -> list[Link]:
        """Return every device of the namespace, without VFs."""
        return [rtnetlink.parse_link(body) for body in self._dump(rtnetlink.RTM_GETLINK, rtnetlink.get_link_body())]

    def link_messages(self) -> list[bytes]:
        """Return the RTM_NEWLINK body of every device of the namespace, with counters, without VFs."""
        return self._dump(rtnetlink.RTM_GETLINK, rtnetlink.link_body(0, rtnetlink.u32(rtnetlink.IFLA_EXT_MASK, 0)))

    def add_bond(self, name: str, mac: str, options: bytes) -> None:
        """Create a bond with this name and MAC; it is down.

        :raises KernelError: EEXIST when the name is taken, EINVAL for options that exclude each other.
        """
        flags = rtnetlink.NLM_CREATE | rtnetlink.NLM_EXCL | rtnetlink.NLM_ACK
        self._ask(rtnetlink.RTM_NEWLINK, flags, rtnetlink.bond_body(name, mac, options), f"create the bond {name}")

    def change_bond(self, index: int, options: bytes, action: str) -> None:
        """Change options of a bond."""
        self._ask(rtnetlink.RTM_NEWLINK, rtnetlink.NLM_ACK, rtnetlink.bond_change_body(index, options), action)

    def delete_link(self, link: Link) -> None:
        """Delete a software device; one that no longer exists is no error."""
        try:
            self._ask(rtnetlink.RTM_DELLINK, rtnetlink.NLM_ACK, rtnetlink.link_body(link.index), f"delete {link.name}")
        except KernelError as refused:
            if refused.errno != ENODEV:
                raise

    def set_up(self, link: Link, up: bool) -> None:
        """Bring a device up or down."""
        self._set(rtnetlink.link_body(link.index, up=up), f"bring {link.name} {'up' if up else 'down'}")

    def clear_promisc(self, link: Link) -> None:
        """Clear IFF_PROMISC and IFF_ALLMULTI."""
        self._set(rtnetlink.clear_promisc_body(link.index), f"clear promiscuous mode of {link.name}")

    def set_mtu(self, link: Link, mtu: int) -> None:
        """Set the MTU, in bytes."""
        self._set(rtnetlink.link_body(link.index, rtnetlink.u32(rtnetlink.IFLA_MTU, mtu)), f"set the MTU {mtu} on {link.name}")

    def set_mac(self, link: Link, mac: str) -> None:
        """Set the device's own MAC."""
        body = rtnetlink.link_body(link.index, rtnetlink.attribute(rtnetlink.IFLA_ADDRESS, rtnetlink.mac_bytes(mac)))
        self._set(body, f"set the MAC {mac} on {link.name}")

    def set_name(self, link: Link, name: str) -> None:
        """Rename a device that is down; kernels before 6.2 refuse it while up (net/core/dev.c, dev_change_name)."""
        self._set(rtnetlink.link_body(link.index, rtnetlink.text(rtnetlink.IFLA_IFNAME, name)), f"rename {link.name} to {name}")

    def set_port(self, port: Link, bond: Link | None) -> None:
        """Add a device to a bond, or remove it from its bond when ``bond`` is None."""
        index = bond.index if bond else 0
        action = f"add {port.name} to the bond {bond.name}" if bond else f"remove {port.name} from its bond"
        self._set(rtnetlink.link_body(port.index, rtnetlink.u32(rtnetlink.IFLA_MASTER, index)), action)

    def move(self, link: Link, netns_fd: int, target: str, name: str = "") -> None:
        """Move a device to another namespace.

        With a name in the same request the kernel moves first and renames in the target (net/core/rtnetlink.c, do_setlink), so
        udev and NetworkManager of the host see no rename.

        :param target: the text for that namespace in errors.
        :param name: its name there, e.g. "vf%d" for a free number; if empty it keeps its own.
        :raises KernelError: EEXIST when the name, or an altname that it still has, exists there.
        """
        parts = [rtnetlink.text(rtnetlink.IFLA_IFNAME, name)] if name else []
        parts.append(rtnetlink.u32(rtnetlink.IFLA_NET_NS_FD, netns_fd))
        self._set(rtnetlink.link_body(link.index, *parts), f"move {link.name} to {target}")

    def drop_altnames(self, link: Link) -> None:
        """Remove every altname of a device.

        Before a move, because altnames move with the device, and one that exists in the target makes the move fail with EEXIST
        (net/core/dev.c, __dev_change_net_namespace). Each in a request of its own: another process may have removed some.
        """
        for name in link.altnames:
            body = rtnetlink.altname_body(link.index, name)
            try:
                self._ask(rtnetlink.RTM_DELLINKPROP, rtnetlink.NLM_ACK, body, f"remove the altname {name} of {link.name}")
            except KernelError as refused:
                if refused.errno != ENOENT:
                    raise

    def add_altname(self, link: Link, name: str) -> None:
        """Add an altname to a device; one that it, or another device, has already is no error."""
        flags = rtnetlink.NLM_CREATE | rtnetlink.NLM_EXCL | rtnetlink.NLM_APPEND | rtnetlink.NLM_ACK
        body = rtnetlink.altname_body(link.index, name)
        try:
            self._ask(rtnetlink.RTM_NEWLINKPROP, flags, body, f"add the altname {name} to {link.name}")
        except KernelError as refused:
            if refused.errno != EEXIST:
                raise

    def set_vf(self, pf: Link, vf: int, setting: bytes, text: str) -> None:
        """Change one setting of a VF through its PF.

        :param setting: what ``rtnetlink.vf_mac`` and the like return.
        :param text: the setting in an error, e.g. "the VLAN 100".
        """
        self._set(rtnetlink.vf_body(pf.index, setting), f"set {text} on VF {vf} through {pf.name}")

    def ask(self, kind: int, body: bytes, action: str) -> bytes:
        """Send a request of another protocol and return the body of its only answer."""
        return (self._ask(kind, 0, body, action) or [b""])[0]

    def wait_for_carrier(self, name: str, seconds: float) -> bool:
        """Wait until a device has carrier, and return whether it has it in time."""
        deadline = monotonic() + seconds
        link = self.link(name)
        while link is not None and not link.carrier:
            if monotonic() > deadline:
                return False
            sleep(_CARRIER_POLL)
            link = self.link(name)
        return link is not None

    # -- addresses and routes

    def add_address(self, link: Link, family: int, ip: bytes, prefix: int, text: str) -> None:
        """Add an IP address; ``text`` is the address in an error."""
        body = rtnetlink.address_body(link.index, family, ip, prefix)
        flags = rtnetlink.NLM_CREATE | rtnetlink.NLM_EXCL | rtnetlink.NLM_ACK
        self._ask(rtnetlink.RTM_NEWADDR, flags, body, f"add the address {text} to {link.name}")

    def addresses(self) -> list[Address]:
        """Return every IP address of the namespace."""
        bodies = self._dump(rtnetlink.RTM_GETADDR, rtnetlink.dump_body(rtnetlink.RTM_GETADDR))
        return [rtnetlink.parse_address(body) for body in bodies]

    def add_route(self, route: NewRoute, text: str) -> bool:
        """Add a route, and return whether it was added; False if there is one to the same network.

        IPv4 with NLM_F_EXCL compares network, table and priority, but not the device (fib_trie.c, fib_table_insert): the
        existing route may be on another.

        :param text: the route in an error.
        """
        flags = rtnetlink.NLM_CREATE | rtnetlink.NLM_EXCL | rtnetlink.NLM_ACK
        try:
            self._ask(rtnetlink.RTM_NEWROUTE, flags, rtnetlink.route_body(route), f"add the route {text}")
        except KernelError as refused:
            if refused.errno != EEXIST:
                raise
            return False
        return True

    def routes(self) -> list[Route]:
        """Return every route of the namespace, in all tables."""
        bodies = self._dump(rtnetlink.RTM_GETROUTE, rtnetlink.dump_body(rtnetlink.RTM_GETROUTE))
        return [rtnetlink.parse_route(body) for body in bodies]

    # -- requests and answers

    def _set(self, body: bytes, action: str) -> None:
        """Change one thing of a device.

        One thing a request, because the kernel applies attributes one after the other and does not undo the first when the
        second fails (net/core/rtnetlink.c, do_setlink), and its errno does not tell which failed.
        """
        self._ask(rtnetlink.RTM_SETLINK, rtnetlink.NLM_ACK, body, action)

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the bodies of a list; ask again if it changed while the kernel wrote it.

        A list of several datagrams is written without a lock in between. The kernel flags one that changed meanwhile
        (NLM_F_DUMP_INTR; include/net/netlink.h, nl_dump_check_consistent): entries may be missing or occur twice.
        """
        for _ in range(_DUMP_RETRIES):
            try:
                return self._ask(kind, rtnetlink.NLM_DUMP, body, "list")
            except KernelError as interrupted:
                if interrupted.errno != EINTR:
                    raise
        return self._ask(kind, rtnetlink.NLM_DUMP, body, "list")

    def _ask(self, kind: int, flags: int, body: bytes, action: str) -> list[bytes]:
        """Send one request and return the bodies of its answer.

        :raises KernelError: with the errno of the answer, or of the socket if there is no answer.
        """
        self._sequence += 1
        try:
            self._socket.send(rtnetlink.message(kind, flags, body, self._sequence))
            return self._answer(flags, action)
        except OSError as failed:
            raise KernelError(failed.errno or 0, f"cannot {action} in {self.namespace}: {failed.strerror or failed}") from None

    def _answer(self, flags: int, action: str) -> list[bytes]:
        bodies: list[bytes] = []
        interrupted = False
        while True:
            for kind, reply_flags, sequence, body in rtnetlink.messages(self._receive()):
                if sequence != self._sequence:
                    continue  # left unread by an earlier request that failed
                interrupted = interrupted or bool(reply_flags & rtnetlink.NLM_DUMP_INTR)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN):
                    self._end(kind, body, interrupted, action)
                    return bodies
                bodies.append(body)
                if not flags & (rtnetlink.NLM_DUMP | rtnetlink.NLM_ACK):
                    return bodies

    def _end(self, kind: int, body: bytes, interrupted: bool, action: str) -> None:
        """Raise an error unless the message that ends an answer says that the answer is complete.

        An acknowledgement is an error with errno 0. The end of a list has an errno too: a list that failed half-way.
        """
        if kind == _NLMSG_OVERRUN:
            raise KernelError(EMSGSIZE, f"cannot {action} in {self.namespace}: the kernel lost a part of its answer")
        self._check(body, action, _DONE_ATTRIBUTES if kind == _NLMSG_DONE else _ERROR_ATTRIBUTES)
        if interrupted and kind == _NLMSG_DONE:
            raise KernelError(EINTR, f"the list changed while it was read in {self.namespace}")

    def _check(self, error: bytes, action: str, offset: int) -> None:
        number = -int.from_bytes(error[:4], "little", signed=True)
        if number:
            attributes = dict(rtnetlink.attributes(error, offset))
            text = attributes.get(_ERROR_TEXT, b"").rstrip(b"\0").decode("utf-8", "replace")
            reason = f"{os.strerror(number)} ({text})" if text else os.strerror(number)
            raise KernelError(number, f"cannot {action} in {self.namespace}: {reason}")

    def _receive(self) -> bytes:
        """Return one complete datagram. Its size is read first, because that of a PF with many VFs cannot be estimated."""
        size = self._socket.recv_into(bytearray(1), 1, MSG_PEEK | MSG_TRUNC)
        data = self._socket.recv(max(size, 4096))
        if not data:
            raise KernelError(ENOTCONN, f"the netlink socket of {self.namespace} was closed by its other end")
        return data
