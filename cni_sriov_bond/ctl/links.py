"""Facts about NICs for ``sriov-bondctl status``, read through pyroute2: link, counters, speed, driver and firmware.

Every fact that a driver does not have is None, never an error. pyroute2 takes over 100 ms to import, so it is imported
when the first NIC is read. What changes links is not here: ``up`` does that with the plugin's own netlink code.
"""

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from types import TracebackType
from typing import Any, NamedTuple, Self

from cni_sriov_bond.ctl.text import JsonObject
from cni_sriov_bond.errors import KERNEL_REFUSED, CniError
from cni_sriov_bond.kernel import sysfs

# linux/if.h and linux/ethtool.h
_IFF_UP = 0x1
_SIOCETHTOOL, _GDRVINFO = 0x8946, 3
_DRVINFO = struct.Struct("=I32s32s32s32s32s12s5I")
_IFNAMSIZ = 16
_DUPLEX = {0: "half", 1: "full"}
_NO_SPEED = (0, 0xFFFF, 0xFFFFFFFF)  # what drivers answer while there is no link
_INFO_GET = 51  # linux/devlink.h, DEVLINK_CMD_INFO_GET


class Counters(NamedTuple):
    """What a NIC has received and sent since its driver was loaded (IFLA_STATS64)."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class Driver(NamedTuple):
    """A device's driver and the firmware that runs on the device; empty where the driver reports none."""

    name: str
    version: str
    firmware: str


class Nic(NamedTuple):
    """What is known of a NIC of a pool.

    ``present`` is whether it has a network device here; if not, the facts of the link are None. ``state`` is the kernel's
    operational state (RFC 2863), ``speed`` in Mbit/s.
    """

    address: str
    name: str
    number: int
    present: bool = False
    up: bool = False
    carrier: bool = False
    state: str | None = None
    speed: int | None = None
    duplex: str | None = None
    mtu: int | None = None
    mac: str | None = None
    driver: str | None = None
    driver_version: str | None = None
    firmware: str | None = None
    vfs: int | None = None
    total_vfs: int | None = None
    numa_node: int | None = None
    counters: Counters | None = None

    def to_json(self) -> JsonObject:
        """Return the NIC as ``status --json`` has it; docs/reference.md lists the keys."""
        value = self._asdict()
        return {"pci": value.pop("address"), **value, "counters": self.counters._asdict() if self.counters else None}


class Reader:
    """``with Reader() as reader:`` reads NICs; its sockets are opened with the first and closed at the end."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._route: Any = None
        self._ethtool: Any = None
        self._devlink: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def read(self, address: str, name: str, number: int) -> Nic:
        """Return what is known of the NIC at a PCI address.

        :param name: its name in the inventory, for a NIC that has no network device here.
        :raises CniError: KERNEL_REFUSED when the kernel does not answer about a link that is there.
        """
        device = sysfs.netdev(address)
        nic = Nic(
            address,
            device or name,
            number,
            vfs=_number(address, "sriov_numvfs"),
            total_vfs=_number(address, "sriov_totalvfs"),
            numa_node=_numa_node(address),
            driver=sysfs.driver(address) or None,
        )
        return self._with_link(nic) if device else nic

    def _with_link(self, nic: Nic) -> Nic:
        self._connect()
        link = self._link(nic.name)
        if link is None:  # it was removed after its name was read
            return nic
        up = bool(link["flags"] & _IFF_UP)
        driver = driver_info(nic.name)
        speed, duplex = self._mode(nic.name)
        return nic._replace(
            present=True,
            up=up,
            carrier=up and link.get_attr("IFLA_CARRIER") == 1,  # some drivers report 1 for a device that is down
            state=str(link.get_attr("IFLA_OPERSTATE") or "unknown").lower(),
            speed=speed,
            duplex=duplex,
            mtu=link.get_attr("IFLA_MTU"),
            mac=link.get_attr("IFLA_ADDRESS"),
            driver=nic.driver or driver.name or None,
            driver_version=driver.version or None,
            firmware=self._devlink_firmware(nic.address) or driver.firmware or None,
            counters=_counters(link.get_attr("IFLA_STATS64")),
        )

    def _connect(self) -> None:
        if self._route is not None:
            return
        from pyroute2 import IPRoute  # type: ignore[import-untyped]
        from pyroute2.netlink.devlink import devlinkcmd  # type: ignore[import-untyped]
        from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
        from pyroute2.netlink.generic import GenericNetlinkSocket  # type: ignore[import-untyped]
        from pyroute2.netlink.generic.ethtool import NlEthtool  # type: ignore[import-untyped]

        self._refused = NetlinkError
        self._route = self._open.enter_context(contextlib.closing(IPRoute()))
        self._ethtool = self._open.enter_context(contextlib.closing(NlEthtool()))
        # Not pyroute2.DL: where the kernel has no devlink its constructor fails and leaves an event loop unclosed.
        devlink = self._open.enter_context(contextlib.closing(GenericNetlinkSocket()))
        try:
            devlink.bind("devlink", devlinkcmd)
            self._devlink = devlink
        except NetlinkError:
            pass  # a kernel without devlink, or its module is not loaded: then no driver here has it

    def _link(self, name: str) -> Any:
        """Return a link or None. Its VFs are left out, because their list can outgrow a netlink message."""
        try:
            return next(iter(self._route.link("get", ifname=name, ext_mask=0)), None)
        except self._refused as refused:
            if refused.code == errno.ENODEV:
                return None
            raise CniError(KERNEL_REFUSED, f"cannot read the link {name}: {os.strerror(refused.code)}") from None

    def _mode(self, name: str) -> tuple[int | None, str | None]:
        try:
            [mode] = self._ethtool.get_linkmode(name)
        except (self._refused, ValueError):  # a driver without it, or a kernel without ethtool's netlink
            return None, None
        speed = mode.get_attr("ETHTOOL_A_LINKMODES_SPEED")
        return None if speed in _NO_SPEED else speed, _DUPLEX.get(mode.get_attr("ETHTOOL_A_LINKMODES_DUPLEX"))

    def _devlink_firmware(self, address: str) -> str:
        if self._devlink is None:
            return ""
        from pyroute2.netlink import NLM_F_REQUEST  # type: ignore[import-untyped]
        from pyroute2.netlink.devlink import devlinkcmd

        request = devlinkcmd()
        request["cmd"], request["version"] = _INFO_GET, 1
        request["attrs"] = [("DEVLINK_ATTR_BUS_NAME", "pci"), ("DEVLINK_ATTR_DEV_NAME", address)]
        try:
            answers = list(self._devlink.nlm_request(request, msg_type=self._devlink.prid, msg_flags=NLM_F_REQUEST))
        except self._refused:
            return ""  # a driver without devlink, or without its "info"
        return firmware_of(answers[0]) if answers else ""


def firmware_of(info: Any) -> str:
    """Return the firmware version of a devlink "info" message: the running "fw", or else the first "fw.*"."""
    versions = {
        version.get_attr("DEVLINK_ATTR_INFO_VERSION_NAME"): version.get_attr("DEVLINK_ATTR_INFO_VERSION_VALUE")
        for version in info.get_attrs("DEVLINK_ATTR_INFO_VERSION_RUNNING")
    }
    names = [name for name in versions if name == "fw"] + [name for name in versions if str(name).startswith("fw.")]
    return str(versions[names[0]]) if names else ""


def driver_info(name: str) -> Driver:
    """Return driver and firmware of a network device; empty texts where the driver reports none.

    They are asked by ioctl: ethtool's netlink, and so pyroute2, has no such request (ethtool(8), ``-i``).
    """
    answer = array.array("B", _DRVINFO.pack(_GDRVINFO, b"", b"", b"", b"", b"", b"", 0, 0, 0, 0, 0))
    request = struct.pack(f"{_IFNAMSIZ}sP16x", os.fsencode(name), answer.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    except OSError:
        return Driver("", "", "")
    texts = _DRVINFO.unpack(answer.tobytes())[1:4]
    driver, version, firmware = (text.partition(b"\0")[0].decode("utf-8", "replace").strip() for text in texts)
    return Driver(driver, version, "" if firmware == "N/A" else firmware)


def _counters(values: Any) -> Counters | None:
    return Counters(*(int(values[name]) for name in Counters._fields)) if values else None


def _number(address: str, attribute: str) -> int | None:
    try:
        with open(f"{sysfs.PCI_DEVICES}/{address}/{attribute}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _numa_node(address: str) -> int | None:
    """Return the NUMA node; sysfs has -1 on a machine with a single node."""
    node = _number(address, "numa_node")
    return None if node is None or node < 0 else node
