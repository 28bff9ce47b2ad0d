"""The emulated machine: its hardware, its start, and its reliable end."""

import itertools
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import cache, debian
from tests.lab.errors import LabError, LostGuestError
from tests.lab.progress import step

if TYPE_CHECKING:
    from collections.abc import Sequence

INSIDE = Path(__file__).with_name("inside")
# From 3 GiB on the firmware maps the VFs above 4 GiB, where QEMU 10.0's igb does not deliver a VF's mailbox messages to its PF
# ("PF still in reset state. Is the PF interface up?"), and no VF gets a link.
MEMORY = "2G"
# On a busy machine an emulated processor can lose the one-shot timer that should wake it, and then sleeps for ever
# ("rcu_preempt kthread timer wakeup didn't happen"). A periodic tick does not have this problem.
STEADY_CLOCK = ("--kopt=highres=off", "--kopt=nohz=off")
# Features that are slow to emulate and that no test needs: retpolines (QEMU cannot predict such returns), five-level page
# tables, and grace periods that wait for a tick of every processor. Without them ADD takes a third less time.
QUICK_KERNEL = ("--kopt=mitigations=off", "--kopt=rcupdate.rcu_expedited=1")
QUICK_PROCESSOR = ("-cpu", "max,la57=off")
CONSOLE_TAIL = 30
KVM_DEADLINE = 15.0
_NUMBERS = itertools.count(1)  # of machines of this process; two may run at once

# The switches, each a QEMU hub: NIC 1 is on A, NIC 2 on B, and so on; the outside world has a virtio NIC on each. Most guests
# have the first two.
SWITCHES = ("A", "B", "C", "D")
# The PCI functions of the SR-IOV NICs, as root port and function. Each card has a root port: its VFs need their own bus.
# NIC 3 and NIC 4 are the two ports of one card. The kernel names them enp1s0, enp2s0, enp3s0f0 and enp3s0f1.
_FUNCTIONS = (("rp1", 0), ("rp2", 0), ("rp3", 0), ("rp3", 1))


def hardware(nics: int = 2) -> tuple[str, ...]:
    """Return QEMU's options for a machine with this many SR-IOV NICs, each on a switch of its own."""
    options = ["-machine", "q35"]
    ports = list(dict.fromkeys(port for port, _ in _FUNCTIONS[:nics]))
    for number, port in enumerate(ports, 1):
        options += ["-device", f"pcie-root-port,id={port},chassis={number},slot={number}"]
    for number, (switch, (port, function)) in enumerate(zip(SWITCHES, _FUNCTIONS[:nics], strict=False), 1):
        letter = switch.lower()
        place = f"bus={port}"
        if _FUNCTIONS[:nics].count((port, 1)):
            # ARI, which igb has, finds the second function by the first one's capability.
            place += f",addr=0.{function},multifunction=on,x-pcie-ari-nextfn-1={'off' if function else 'on'}"
        # An unconnected port, the third, accepts every packet. Without it a hub makes the world's NIC wait for a NIC of the
        # host that is administratively down (NETDEV WATCHDOG in the guest), which no real switch does.
        for end in range(3):
            options += ["-netdev", f"hubport,hubid={number},id={letter}{end}"]
        options += ["-device", f"igb,id=nic{switch},{place},netdev={letter}0,mac=52:54:00:00:00:{letter}1"]
        options += ["-device", f"virtio-net-pci,id=world{switch},netdev={letter}1,mac=52:54:00:00:00:{letter}2"]
    return tuple(options)


# This machine's /usr a second time: virtme-ng's root reads a program again at each start; init.sh mounts this one with a cache.
PROGRAMS = (
    *("-fsdev", "local,id=programs,path=/usr,security_model=none,readonly=on,multidevs=remap"),
    *("-device", "virtio-9p-pci,fsdev=programs,mount_tag=programs"),
)


@dataclass(frozen=True)
class Channels:
    """The sockets of QEMU: the agent's port, the QMP monitor, and perhaps a terminal."""

    agent: socket.socket
    qmp: socket.socket
    terminal: socket.socket | None

    def close(self) -> None:
        """Close them all."""
        for channel in (self.agent, self.qmp, self.terminal):
            if channel is not None:
                channel.close()


class Machine:
    """A running QEMU. It ends with ``kill``, and at the latest with this process."""

    def __init__(
        self,
        folder: Path,
        kernel: Path,
        images: "dict[str, Path]",
        *,
        kvm: bool,
        terminal: bool = False,
        disks: "dict[str, Path] | None" = None,
        nics: int = 2,
        systemd: bool = False,
    ) -> None:
        """Start QEMU.

        :param folder: directory for files of the running machine, removed at its end.
        :param images: read-only disks, /dev/disk/by-id/virtio-NAME in the guest.
        :param disks: writable disks. If the machine is killed, flushed data is kept and unsent data lost, as in a power cut.
        :param nics: the number of SR-IOV NICs, two to four.
        :param systemd: whether systemd is the first process, started by inside/systemd.sh.
        """
        self.folder = folder
        self.console = cache.log(f"console-{os.getpid()}-{next(_NUMBERS)}")
        names = ("agent", "qmp", "terminal") if terminal else ("agent", "qmp")
        listeners = {name: socket.socket(socket.AF_UNIX) for name in names}
        try:
            for name, listener in listeners.items():
                listener.bind(str(self.folder / name))
                listener.listen(1)
                listener.settimeout(20)
            script = f"exec bash {shlex.quote(str(INSIDE / 'init.sh'))} {shlex.quote(str(INSIDE))}"
            options = [*hardware(nics), *PROGRAMS]
            options += [*self._disks(images, "on"), *self._disks(disks or {}, "off"), *self._ports(terminal=terminal)]
            plan = _plan(self.folder, kernel, script, options, kvm=kvm)
            self.process = _start(_with_systemd(plan) if systemd else plan)
            self._console_keeper = threading.Thread(target=self._keep_console, daemon=True)
            self._console_keeper.start()
            connections = {name: self._accept(name, listener) for name, listener in listeners.items()}
            self.channels = Channels(connections["agent"], connections["qmp"], connections.get("terminal"))
        except BaseException:
            self.kill()
            raise
        finally:
            for listener in listeners.values():
                listener.close()

    def kill(self, *, keep_console: bool = False) -> None:
        """End the machine at once, without a shutdown; may be called again."""
        if process := getattr(self, "process", None):
            process.kill()
            process.wait(20)
            self._console_keeper.join(20)
        if channels := getattr(self, "channels", None):
            channels.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if not keep_console:
            self.console.unlink(missing_ok=True)

    def how_it_ended(self) -> str:
        """Return how QEMU ended, after its channels were closed."""
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return "QEMU is still running"
        return f"QEMU was killed by signal {-status}" if status < 0 else f"QEMU ended with exit status {status}"

    def drop_files(self) -> None:
        """Remove the files that a booted machine has read or has open, so that none remains if this process is killed."""
        for path in self.folder.iterdir():
            if path.is_file():
                path.unlink()

    def console_tail(self) -> str:
        """Return the last lines of the guest's console."""
        try:
            lines = self.console.read_text(errors="replace").splitlines()[-CONSOLE_TAIL:]
        except OSError:
            lines = []
        text = "\n".join(f"  {line.rstrip()}" for line in lines if line.strip())
        return f"the end of its console ({self.console}):\n{text}" if text else "its console is empty"

    def _keep_console(self) -> None:
        # Through a pipe: QEMU opens its output several times, and the descriptors would overwrite each other's data.
        stream = self.process.stdout
        assert stream is not None
        with stream, self.console.open("wb", buffering=0) as file:
            while chunk := os.read(stream.fileno(), 65536):
                file.write(chunk)

    def _accept(self, name: str, listener: socket.socket) -> socket.socket:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            raise LostGuestError(f"QEMU did not open its socket {name}; {self.console_tail()}") from None
        connection.settimeout(None)
        return connection

    @staticmethod
    def _disks(images: "dict[str, Path]", readonly: str) -> list[str]:
        options = []
        for name, image in images.items():
            options += ["-drive", f"file={image},format=raw,if=none,id=disk-{name},readonly={readonly}"]
            options += ["-device", f"virtio-blk-pci,drive=disk-{name},serial={name}"]
        return options

    def _ports(self, *, terminal: bool) -> list[str]:
        options = ["-device", "virtio-serial-pci,id=lab"]
        options += ["-chardev", f"socket,id=agent,path={self.folder}/agent"]
        options += ["-device", "virtserialport,bus=lab.0,name=lab.agent,chardev=agent"]
        options += ["-qmp", f"unix:{self.folder}/qmp"]
        if terminal:
            options += ["-chardev", f"socket,id=terminal,path={self.folder}/terminal"]
            options += ["-device", "virtconsole,bus=lab.0,chardev=terminal"]
        return options


def working_kvm(kernel: Path) -> bool:
    """Return whether a guest boots on this machine's KVM; on some machines it can be opened but hangs."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = cache.root() / f"kvm-{boot}"
    with cache.locked("kvm"):
        if not answer.exists():
            with step("Trying this machine's KVM"):
                works = _try_kvm(kernel)
            answer.write_text("works" if works else "does not work")
        return answer.read_text() == "works"


def _try_kvm(kernel: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="sriov-bond-kvm.") as folder:
        process = _start(_plan(Path(folder), kernel, "echo this KVM works", ["-machine", "q35"], kvm=True))
        try:
            output, _ = process.communicate(timeout=KVM_DEADLINE)
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()
            process.wait(20)
        return b"this KVM works" in output


def _plan(folder: Path, kernel: Path, script: str, options: "Sequence[str]", *, kvm: bool) -> list[str]:
    """Return the command line of QEMU, made by virtme-ng together with the initramfs.

    virtme-ng does not run it: its child would survive if this process were killed.
    """
    overlays = [part for name in ("etc", "lib", "home", "opt", "srv", "usr", "var", "tmp") for part in _overlay(name)]
    command = [
        *(sys.executable, shutil.which("virtme-run") or Path(sys.executable).with_name("virtme-run")),
        *("--dry-run", "--show-command", "--save-initramfs", folder / "initramfs"),
        *("--kimg", debian.kernel_image(kernel), "--mods=auto", "--name", "lab"),
        *("--force-9p", "--disable-microvm", *([] if kvm else ["--disable-kvm"])),
        *("--cpus", str(min(2, os.cpu_count() or 1)), "--memory", MEMORY),
        *(*overlays, "--show-boot-console", "--script-sh", script),
        # Kernel warnings on the console; with apparmor, dockerd would need its parser.
        *("--kopt=loglevel=5", "--kopt=apparmor=0", *([] if kvm else (*STEADY_CLOCK, *QUICK_KERNEL))),
        *("--qemu-opts", *([] if kvm else QUICK_PROCESSOR), *options),  # the last -cpu is used
    ]
    environment = {**os.environ, "TMPDIR": str(folder), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        check=False,
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise LabError(f"virtme-ng cannot run this kernel: {done.stderr.strip()}")
    return shlex.split(done.stdout.strip().splitlines()[-1])


def _with_systemd(argv: list[str]) -> list[str]:
    """Return the command line of QEMU with inside/systemd.sh as the kernel's first program."""
    place = argv.index("-append") + 1
    append, count = re.subn(r"\binit=\S+", f"init={INSIDE / 'systemd.sh'}", argv[place])
    if count != 1:
        raise LabError(f"virtme-ng names the first program differently: {append}")
    return [*argv[:place], append, *argv[place + 1 :]]


def _overlay(name: str) -> list[str]:
    return ["--overlay-rwdir", f"/{name}"] if Path("/", name).is_dir() else []


def _start(argv: "Sequence[str]") -> "subprocess.Popen[bytes]":
    # setpriv: when this process ends, even by SIGKILL, the kernel kills QEMU. A separate session: Ctrl-C must not reach
    # QEMU, which would quit.
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
