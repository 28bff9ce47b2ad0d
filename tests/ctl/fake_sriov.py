"""A directory tree that behaves like the kernel's: whoever writes sriov_numvfs finds VFs there a moment later."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.support import add_device

_POLL = 0.005


class FakeKernel:
    """NICs in a tree like /sys/bus/pci, and a thread that acts on what is written there, as the kernel does.

    :param tree: becomes /sys/bus/pci; the devices are in its directory ``devices``.
    :param creates: how many VFs come into being for a number that was written.
    :param together: whether VFs come into being only once every NIC has been asked, as where all need one firmware.
    """

    def __init__(self, tree: Path, creates: Callable[[int], int] = lambda asked: asked, together: bool = False) -> None:
        self.devices = tree / "devices"
        self.devices.mkdir(parents=True, exist_ok=True)
        (tree / "drivers_probe").write_text("")
        self.rebound: list[str] = []
        self.driver = "igbvf"
        self.attributes: dict[str, str] = {}  # files of each VF
        self.netdevs: Callable[[int], bool] = lambda index: True  # whether a VF gets a network device at first
        self._probe = tree / "drivers_probe"
        self._creates, self._together = creates, together
        self._nics: list[Path] = []
        self._counts: dict[Path, int] = {}
        self._lock = threading.Lock()  # the NICs and their VFs
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def add_nic(self, place: int, name: str = "", vfs: int = 0, total: int = 7) -> str:
        """Add a NIC with this many VFs, and return its PCI address."""
        address = f"ffff:0{place}:00.0"
        path = add_device(self.devices, address, name or f"enp{place}s0", "igb")
        values = {
            "sriov_totalvfs": total,
            "sriov_numvfs": 0,
            "sriov_offset": 128,
            "sriov_stride": 2,
            "sriov_drivers_autoprobe": 1,
        }
        for attribute, value in values.items():
            (path / attribute).write_text(f"{value}\n")
        with self._lock:
            self._nics.append(path)
            self._counts[path] = 0
            self._set(path, vfs)
            self._write(path, vfs)
        return address

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def count(self, address: str) -> int:
        """Return the number of VFs of a NIC."""
        return self._counts[self.devices / address]

    def _run(self) -> None:
        while not self._end.is_set():
            with self._lock:
                self._look()
            if address := self._probe.read_text():
                self._probe.write_text("")
                self.rebound.append(address)
                (self.devices / address / "net" / f"re{len(self.rebound)}").mkdir(parents=True)
            time.sleep(_POLL)

    def _look(self) -> None:
        asked = {path: self._asked(path) for path in self._nics}
        if self._together and not all(asked.values()):
            return
        for path, number in asked.items():
            if number != self._counts[path]:
                self._set(path, made := self._creates(number))
                if made != number:
                    self._write(path, made)

    def _set(self, path: Path, number: int) -> None:
        for index in range(self._counts[path], number):
            bus = path.name[5:7]
            address = f"ffff:{bus}:{16 + index // 4:02x}.{index % 4 * 2}"
            vf = add_device(self.devices, address, f"eth{bus}{index}" if self.netdevs(index) else "", self.driver)
            if self.driver:
                (self.devices.parent / "drivers" / self.driver).mkdir(parents=True, exist_ok=True)
                (vf / "driver").unlink()
                (vf / "driver").symlink_to(f"../../drivers/{self.driver}")
            for name, value in self.attributes.items():
                (vf / name).write_text(f"{value}\n")
            (vf / "physfn").symlink_to(f"../{path.name}")
            (path / f"virtfn{index}").symlink_to(f"../{address}")
        self._counts[path] = number

    def _asked(self, path: Path) -> int:
        """Return the number that was written; of a write that has just begun nothing is there."""
        return int((path / "sriov_numvfs").read_text().strip() or self._counts[path])

    @staticmethod
    def _write(path: Path, number: int) -> None:
        """Replace the number at once: no reader of sysfs ever sees a part."""
        (path / "new").write_text(f"{number}\n")
        (path / "new").rename(path / "sriov_numvfs")
