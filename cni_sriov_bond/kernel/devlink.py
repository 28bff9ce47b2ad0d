"""The mode of a NIC's switch, from devlink over generic netlink."""

import _struct as struct

from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import rtnetlink
from cni_sriov_bond.kernel.netlink import Netlink, open_socket

# linux/netlink.h, linux/genetlink.h, linux/devlink.h
NETLINK_GENERIC = 16
CTRL_ID, CTRL_GET_FAMILY, CTRL_FAMILY_ID, CTRL_FAMILY_NAME = 16, 3, 1, 2
GET_ESWITCH, BUS_NAME, DEVICE_NAME, ESWITCH_MODE = 29, 1, 2, 25
_MODES = ("legacy", "switchdev")


def eswitch_mode(address: str, netlink: Netlink | None = None) -> str:
    """Return "legacy" or "switchdev", or "" where the kernel or the driver does not say: it is then legacy.

    :param address: of the PF.
    :param netlink: a generic netlink socket to use instead of a new one.
    """
    socket = netlink or Netlink("the host", open_socket(NETLINK_GENERIC))
    try:
        answer = socket.ask(CTRL_ID, _body(CTRL_GET_FAMILY, 2, (CTRL_FAMILY_NAME, "devlink")), "find devlink")
        family = _number(answer, CTRL_FAMILY_ID)
        body = _body(GET_ESWITCH, 1, (BUS_NAME, "pci"), (DEVICE_NAME, address))
        mode = _number(socket.ask(family, body, f"read the switch mode of {address}"), ESWITCH_MODE)
    except KernelError:
        return ""
    finally:
        socket.close()
    return _MODES[mode] if mode < len(_MODES) else ""


def _body(command: int, version: int, *texts: tuple[int, str]) -> bytes:
    """Return a generic netlink request: struct genlmsghdr, and strings as attributes."""
    return struct.pack("=BBxx", command, version) + b"".join(rtnetlink.text(kind, value) for kind, value in texts)


def _number(answer: bytes, kind: int) -> int:
    """Return a 16-bit attribute of an answer; one that is missing is out of every range."""
    value = dict(rtnetlink.attributes(answer, 4)).get(kind, b"")
    return int.from_bytes(value, "little") if value else 0xFFFF
