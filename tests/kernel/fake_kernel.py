"""A kernel with one PF and its VFs, at the other end of a netlink socket: it plays the drivers of kernel/drivers.

It answers what kernel/sriov and kernel/bond ask, as bytes over a socket pair, and keeps a tree like /sys/bus/pci/devices. What
a driver has, refuses or does late is read from the table; what a table cannot say (how long, how often) is an argument.
Attribute numbers and codecs are those of kernel/rtnetlink, which tests/kernel/test_rtnetlink.py compares with pyroute2.
"""

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from errno import EACCES, EADDRNOTAVAIL, EAGAIN, EBUSY, EINVAL, ENODEV, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, SOCK_SEQPACKET, socketpair
from time import monotonic

from cni_sriov_bond.kernel import drivers, rtnetlink
from cni_sriov_bond.kernel.configure import NO_MAC
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.kernel.sriov import Host
from cni_sriov_bond.ports import Port
from tests.support import add_device

PF, PF_NAME, PF_INDEX = "0000:01:00.0", "enp1s0", 5
MAC_OF_OTHERS = "02:00:00:00:00:ff"
SPEED = 25000
UNKNOWN = 0xFFFFFFFF  # what the kernel reports for a setting that a driver does not have
_ERROR, _DONE = 2, 3
_SETTINGS = {
    rtnetlink.VF_MAC: "mac",
    rtnetlink.VF_VLAN_LIST: "vlan",
    rtnetlink.VF_RATE: "rates",
    rtnetlink.VF_SPOOFCHK: "spoofchk",
    rtnetlink.VF_TRUST: "trust",
    rtnetlink.VF_LINK_STATE: "link_state",
}


class FakeVf:
    """One VF: what its PF's driver knows of it, and its network device."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.number = PF_INDEX + 1 + index  # the index of its network device
        self.address = f"0000:01:10.{index}"
        self.name = f"VF1{index + 1}"
        self.settings = {"vlan": 0, "qos": 0, "proto": 0x8100, "spoofchk": 1, "trust": 0, "link_state": 0, "min": 0, "max": 0}
        self.admin_mac = NO_MAC
        self.claimed = False  # whether the PF has set the MAC
        self.mac = f"02:00:00:00:01:{index:02x}"
        self.up = False
        self.bond = 0
        self.busy = 0  # how many more settings are answered with EAGAIN
        self.gone_until = 0.0  # it is not in the list of VFs, its settings are refused, and it cannot be brought up
        self.refusals = 0  # how many more times it cannot be opened with "Cannot assign requested address"
        self.refuses_own_mac = False  # a bond that sets the MAC that it has gets an error, as before Linux 6.5
        self.takes_at_start = False  # it takes over its PF's MAC when it is brought up
        self.next_mac: tuple[float, str] | None = None


class FakeKernel:
    """A PF of one driver with VFs.

    :param devices: a directory in place of /sys/bus/pci/devices.
    :param reset_seconds: how long a reset takes, of drivers that reset the VF.
    :param late_seconds: after what time a VF takes a MAC, of drivers that are late.
    :param deaf: no VF ever takes a MAC that is set on its device, without an error (iavf before Linux 6.0).
    :ivar requests: every change, in the order in which it was requested, accepted or not.
    :ivar before_answer: called once, before the next answer.
    :ivar sets_macs: whether the PF can set MACs of VFs.
    :ivar altnames: of network devices, by the PCI address.
    """

    def __init__(
        self,
        devices: Path,
        driver: str = "igb",
        vfs: int = 2,
        *,
        reset_seconds: float = 0.0,
        late_seconds: float = 0.0,
        deaf: bool = False,
    ) -> None:
        self.driver = driver
        self.reset_seconds, self.late_seconds, self.deaf = reset_seconds, late_seconds, deaf
        self.vfs = [FakeVf(index) for index in range(vfs)]
        self.parents = {PF_NAME: PF} | {vf.name: vf.address for vf in self.vfs}
        self.sets_macs = True
        self.altnames: dict[str, list[str]] = {}
        self.requests: list[str] = []
        self.questions = 0
        self.before_answer: Callable[[], None] = lambda: None
        self._devices = devices
        self._make_tree()
        self._theirs, ours = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self.netlink = Netlink("the host", ours)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def ports(self) -> list[Port]:
        """The VFs as a pool has them."""
        return [Port(vf.address, vf.name, PF, vf.index) for vf in self.vfs]

    def close(self) -> None:
        """End the thread."""
        self.netlink.close()
        with contextlib.suppress(OSError):
            self._theirs.shutdown(SHUT_RDWR)
        self._thread.join()
        self._theirs.close()

    def fact(self, column: str) -> str:
        """Return what the table says of this driver."""
        return drivers.fact(self.driver, column)

    def rename(self, address: str, name: str) -> None:
        """Rename the network device of a PCI device, in the kernel and in the tree."""
        [old_name] = [known for known, parent in self.parents.items() if parent == address]
        self.parents[name] = self.parents.pop(old_name)
        directory = self._devices / address / "net"
        (directory / old_name).rename(directory / name)

    def _make_tree(self) -> None:
        pf = add_device(self._devices, PF, PF_NAME, self.driver)
        for attribute, value in (("speed", SPEED), ("type", 1)):
            (pf / "net" / PF_NAME / attribute).write_text(f"{value}\n")
        for vf in self.vfs:
            driver = self.fact("vf") or "vfdriver"
            device = add_device(self._devices, vf.address, vf.name)
            (device / "driver").symlink_to(f"../drivers/{driver}")
            (self._devices / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            (pf / f"virtfn{vf.index}").symlink_to(f"../{vf.address}")

    # -- the socket

    def _serve(self) -> None:
        try:
            self._answer_all()
        finally:
            self._theirs.shutdown(SHUT_RDWR)  # a mistake in here must not let a test wait

    def _answer_all(self) -> None:
        while data := self._theirs.recv(1 << 20):
            [(kind, flags, sequence, body)] = rtnetlink.messages(data)
            self.before_answer, hook = lambda: None, self.before_answer
            hook()
            if kind == rtnetlink.RTM_GETLINK and flags & rtnetlink.NLM_DUMP == rtnetlink.NLM_DUMP:
                links = [rtnetlink.message(rtnetlink.RTM_NEWLINK, 0, link, sequence) for link in self._list()]
                self._theirs.send(b"".join(links) + rtnetlink.message(_DONE, 0, bytes(4), sequence))
                continue
            try:
                answer = self._answer(kind, body)
            except OSError as refused:
                number = refused.errno or 0
                answer = (_ERROR, struct.pack("=i", -number) + bytes(16))
            with contextlib.suppress(OSError):
                self._theirs.send(rtnetlink.message(answer[0], 0, answer[1], sequence))

    def _answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        self._let_time_pass()
        if kind == rtnetlink.RTM_GETLINK:
            self.questions += 1
            return rtnetlink.RTM_NEWLINK, self._show(body)
        self._change(body)
        return _ERROR, bytes(20)  # an acknowledgement

    # -- questions

    def _show(self, body: bytes) -> bytes:
        attributes = dict(rtnetlink.attributes(body, 16))
        with_vfs = struct.unpack("=I", attributes[rtnetlink.IFLA_EXT_MASK])[0] & rtnetlink.EXT_VF
        name = self._name(body)
        if name in self.parents and self.parents[name] not in (PF, *(vf.address for vf in self.vfs)):
            return self._link(99, self.parents[name], MAC_OF_OTHERS, True, 0)  # not of this PF
        device = self._device(body)
        if isinstance(device, FakeVf):
            return self._link(device.number, device.address, device.mac, device.up, device.bond)
        return self._link(PF_INDEX, PF, MAC_OF_OTHERS, True, 0) + (self._vf_list() if with_vfs else b"")

    def _list(self) -> list[bytes]:
        """Return every network device, as a dump without VFs does."""
        vfs = [self._link(vf.number, vf.address, vf.mac, vf.up, vf.bond) for vf in self.vfs]
        return [self._link(PF_INDEX, PF, MAC_OF_OTHERS, True, 0), *vfs]

    def _name(self, body: bytes) -> str:
        return dict(rtnetlink.attributes(body, 16)).get(rtnetlink.IFLA_IFNAME, b"").rstrip(b"\0").decode()

    def _device(self, body: bytes) -> FakeVf | None:
        """Return the VF that a request is about, or None for the PF."""
        index = struct.unpack_from("=4xi", body)[0]
        name = self._name(body)
        if name and name not in self.parents:
            raise OSError(ENODEV, os.strerror(ENODEV))
        address = self.parents[name] if name else PF
        vfs = [vf for vf in self.vfs if vf.address == address or index == vf.number]
        if index not in (0, PF_INDEX) and not vfs:
            raise OSError(ENODEV, os.strerror(ENODEV))
        return vfs[0] if vfs else None

    def _link(self, index: int, address: str, mac: str, up: bool, bond: int) -> bytes:
        [name] = [name for name, parent in self.parents.items() if parent == address]
        parts = [
            rtnetlink.text(rtnetlink.IFLA_IFNAME, name),
            rtnetlink.attribute(rtnetlink.IFLA_ADDRESS, rtnetlink.mac_bytes(mac)),
            rtnetlink.u32(rtnetlink.IFLA_MTU, 1500),
            rtnetlink.text(rtnetlink.IFLA_PARENT_DEV, address),
        ]
        if bond:
            parts.append(rtnetlink.u32(rtnetlink.IFLA_MASTER, bond))
        names = b"".join(rtnetlink.text(rtnetlink.IFLA_ALT_IFNAME, altname) for altname in self.altnames.get(address, ()))
        if names:
            parts.append(rtnetlink.nest(rtnetlink.IFLA_PROP_LIST, names))
        return rtnetlink.link_body(index, *parts, up=up)

    def _vf_list(self) -> bytes:
        shown = [] if drivers.reports_no_vfs(self.driver) else [vf for vf in self.vfs if monotonic() >= vf.gone_until]
        entries = b"".join(rtnetlink.attribute(1, self._vf_entry(vf)) for vf in shown)
        count = rtnetlink.u32(rtnetlink.IFLA_NUM_VF, len(self.vfs))
        # As the kernel does it: a list that is too long for an attribute gets a wrapped length.
        return count + struct.pack("=HH", (4 + len(entries)) & 0xFFFF, rtnetlink.IFLA_VFINFO_LIST) + entries

    def _vf_entry(self, vf: FakeVf) -> bytes:
        known = self._reported(vf)
        vlan = struct.pack("=III", vf.index, known["vlan"], known["qos"]) + struct.pack(">H2x", known["proto"])
        return b"".join(
            [
                rtnetlink.vf_mac(vf.index, vf.admin_mac),
                rtnetlink.attribute(7, struct.pack("=I32s", vf.index, b"\xff" * 6)),  # IFLA_VF_BROADCAST in newer kernels
                rtnetlink.vf_number(rtnetlink.VF_SPOOFCHK, vf.index, known["spoofchk"]),
                rtnetlink.vf_number(rtnetlink.VF_LINK_STATE, vf.index, known["link_state"]),
                rtnetlink.vf_rate(vf.index, known["min"], known["max"]),
                rtnetlink.vf_number(rtnetlink.VF_TRUST, vf.index, known["trust"]),
                rtnetlink.nest(rtnetlink.VF_VLAN_LIST, rtnetlink.attribute(1, vlan)),
            ]
        )

    def _reported(self, vf: FakeVf) -> dict[str, int]:
        """Return a VF's settings as its driver reports them: what it does not have, and its quirks."""
        known = dict(vf.settings)
        for name in ("spoofchk", "trust"):
            if self.fact(name) in ("n", "unreported"):
                known[name] = UNKNOWN
        known["proto"] = 0 if self.driver in ("mlx5_core", "nfp") else known["proto"]
        known["vlan"] = 4095 if self.driver == "mlx4_core" and not known["vlan"] else known["vlan"]
        known["max"] = {"qede": known["max"] or SPEED, "bnx2x": 10000}.get(self.driver, known["max"])
        return known

    # -- changes

    def _change(self, body: bytes) -> None:
        attributes = dict(rtnetlink.attributes(body, 16))
        vf = self._device(body)
        if vf is None:
            [(_, entry)] = rtnetlink.attributes(attributes[rtnetlink.IFLA_VFINFO_LIST])
            [(kind, value)] = rtnetlink.attributes(entry)
            self._change_vf(kind, value)
            return
        flags, change = struct.unpack_from("=8xII", body)
        if change:
            self.requests.append(f"{vf.name} {'up' if flags else 'down'}")
            vf.up = bool(flags)
            vf.mac = vf.admin_mac if vf.takes_at_start and vf.up else vf.mac
        if rtnetlink.IFLA_ADDRESS in attributes:
            self._set_device_mac(vf, rtnetlink.mac_text(attributes[rtnetlink.IFLA_ADDRESS]))
        if rtnetlink.IFLA_MASTER in attributes:
            self._add_to_bond(vf, struct.unpack("=I", attributes[rtnetlink.IFLA_MASTER])[0])

    def _change_vf(self, kind: int, value: bytes) -> None:
        """Change one setting through the PF, as the driver would."""
        if kind == rtnetlink.VF_VLAN_LIST:
            [(_, value)] = rtnetlink.attributes(value)
        vf = self.vfs[struct.unpack_from("=I", value)[0]]
        setting = _SETTINGS[kind]
        self.requests.append(setting if setting != "mac" else f"mac {rtnetlink.mac_text(value[4:10])}")
        if vf.busy or monotonic() < vf.gone_until:
            vf.busy = max(0, vf.busy - 1)
            raise OSError(EAGAIN, os.strerror(EAGAIN))
        if setting == "mac":
            self._set_admin_mac(vf, rtnetlink.mac_text(value[4:10]))
        elif setting == "vlan":
            self._set_vlan(vf, value)
        elif setting == "rates":
            self._set_rates(vf, *struct.unpack("=4xII", value))
        else:
            self._set_number(vf, setting, struct.unpack("=4xI", value)[0])
        if setting in self.fact("resets").split(","):
            vf.gone_until = monotonic() + self.reset_seconds

    def _set_number(self, vf: FakeVf, name: str, number: int) -> None:
        if self.fact(name) == "n":
            raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
        if (self.driver, name, vf.admin_mac) == ("mlx4_core", "spoofchk", NO_MAC):
            raise OSError(EPERM, os.strerror(EPERM))
        vf.settings[name] = number

    def _set_vlan(self, vf: FakeVf, value: bytes) -> None:
        vlan, qos = struct.unpack_from("=4xII", value)
        [proto] = struct.unpack_from(">12xH", value)
        if drivers.reports_no_vfs(self.driver) or (self.driver.endswith("/switchdev") and vlan):
            raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
        if proto != 0x8100 and self.fact("ad") in ("n", "later", "firmware"):
            raise OSError(EPROTONOSUPPORT, os.strerror(EPROTONOSUPPORT))
        if qos and self.fact("qos") == "n":
            raise OSError(EINVAL, os.strerror(EINVAL))
        vf.settings |= {"vlan": vlan, "proto": proto, "qos": qos if self.fact("qos") != "ignored" else 0}

    def _set_rates(self, vf: FakeVf, minimum: int, maximum: int) -> None:
        if self.fact("max") == "n":
            raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
        if minimum and self.fact("min") == "n":
            raise OSError(EINVAL, os.strerror(EINVAL))
        vf.settings["min"] = minimum if self.fact("min") != "ignored" else 0
        if self.driver != "qede":
            vf.settings["max"] = maximum
        elif maximum:  # 0 is ignored; the link's speed is no limit
            vf.settings["max"] = maximum if maximum < SPEED else 0

    def _set_admin_mac(self, vf: FakeVf, mac: str) -> None:
        if not self.sets_macs:
            raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))
        if mac == NO_MAC and self.fact("zero_mac") == "n":
            raise OSError(EINVAL, os.strerror(EINVAL))
        vf.admin_mac, vf.claimed = mac, mac != NO_MAC
        if vf.claimed and self.fact("mac") == "late":
            vf.next_mac = (monotonic() + self.late_seconds, mac)

    def _set_device_mac(self, vf: FakeVf, mac: str) -> None:
        self.requests.append(f"device mac {mac}")
        if self.deaf:
            return
        own_mac = self.fact("own_mac")
        if vf.claimed and (own_mac == "no" or (own_mac == "equal" and mac != vf.admin_mac)):
            raise OSError(EADDRNOTAVAIL if self.driver == "igb" else EACCES, "refused")
        vf.mac = mac
        if self.fact("mac") == "claim":  # igb and ixgbe show the VF's own MAC as if the PF had set it
            vf.admin_mac = mac

    def _add_to_bond(self, vf: FakeVf, bond: int) -> None:
        self.requests.append(f"{vf.name} into {bond}" if bond else f"{vf.name} out")
        if bond and monotonic() < vf.gone_until:
            raise OSError(EBUSY, os.strerror(EBUSY))
        if bond and vf.refusals:
            vf.refusals -= 1
            raise OSError(EADDRNOTAVAIL, os.strerror(EADDRNOTAVAIL))
        if bond and vf.refuses_own_mac and vf.claimed and self.fact("own_mac") == "no" and not vf.settings["trust"]:
            raise OSError(EINVAL, os.strerror(EINVAL))
        vf.bond = bond

    def _let_time_pass(self) -> None:
        for vf in self.vfs:
            bind = self._devices / "drivers" / (self.fact("vf") or "vfdriver") / "bind"
            if bind.exists() and bind.read_text() == vf.address:  # its driver was bound again
                self.requests.append(f"{vf.name} bound")
                bind.unlink()
                vf.mac = vf.admin_mac if vf.claimed else vf.mac
                vf.number += 100
            if vf.next_mac and monotonic() >= vf.next_mac[0]:
                vf.mac, vf.next_mac = vf.next_mac[1], None


@contextlib.contextmanager
def played(
    devices: Path, driver: str, *, vfs: int = 2, reset_seconds: float = 0.0, late_seconds: float = 0.0, deaf: bool = False
) -> Iterator[tuple[FakeKernel, Host]]:
    """Play a driver for the duration of the block; yield the kernel, and a host that asks it."""
    kernel = FakeKernel(devices, driver, vfs, reset_seconds=reset_seconds, late_seconds=late_seconds, deaf=deaf)
    try:
        yield kernel, Host(kernel.netlink)
    finally:
        kernel.close()
