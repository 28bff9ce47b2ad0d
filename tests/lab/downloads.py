"""Obtain what the guest uses: a kernel, CNI programs and runtimes of other projects, and the built product."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, debian
from tests.lab.progress import StepFailedError, run, step

CHECKOUT = Path(__file__).resolve().parents[2]
CLIENTS = CHECKOUT / "tests/lab/clients"
PRODUCT = CHECKOUT / "dist/root"

# What build/native.py requires; gcc alone comes without the headers of the C library.
BUILD_PACKAGES = ("gcc", "libc6-dev", "binutils", "libpython3-dev", "zlib1g-dev", "libexpat1-dev")
# Tools of the tests outside of the guest.
TEST_PACKAGES = ("binutils", "iproute2", "strace", "systemd", "valgrind")
LAB_PACKAGES = (
    *TEST_PACKAGES,
    *("kmod", "udev", "busybox-static", "pciutils", "file", "e2fsprogs"),  # for virtme-ng and the lab
    *("iputils-ping", "iputils-arping", "ethtool", "iperf3", "procps", "tcpdump", "runc"),  # for the tests in the guest
)

# The reference plugins by their names; every other program of tests/lab/clients/go.mod is a client.
RUNTIME = {"containerd", "ctr", "containerd-shim-runc-v2"}
COMMANDS = {"cnitool", "cni-calls"}


# Unpacked and linked into the guest's file system, because installing would change this machine: podman brings networks, and
# iptables changes its firewall.
UNPACKED_PACKAGES = ("podman", "conmon", "iptables", "crun", "docker.io")


@dataclass(frozen=True)
class Downloads:
    """Paths on this machine."""

    kernel: Path
    tools_image: Path


def provide() -> Downloads:
    """Return the kernel and the image of programs, after installing, downloading and building what is missing."""
    with cache.locked("lab"):
        cache.sweep()
        debian.install(LAB_PACKAGES)
        debian.install_qemu()
        kernel = debian.kernel()
        return Downloads(kernel=kernel, tools_image=_tools(_clients(), _old_containerd(), _unpacked()))


def install_tools() -> None:
    """Install the programs that the tests outside of the guest use."""
    with cache.locked("lab"):
        debian.install(TEST_PACKAGES)


def build_product() -> Path:
    """Return dist/root, built again if the sources have changed."""
    with cache.locked("lab"):
        debian.install(BUILD_PACKAGES)
    # It reports its own progress, and returns at once if nothing has changed.
    done = subprocess.run([sys.executable, CHECKOUT / "build/build.py"], stdout=2, cwd=CHECKOUT, check=False)
    if done.returncode != 0:
        raise StepFailedError("the executables could not be built")
    return PRODUCT


def tracer() -> Path:
    """Return the tracer of the kill sweep, compiled from tests/lab/inside/tracer.c."""
    source = CHECKOUT / "tests/lab/inside/tracer.c"

    def make(scratch: Path) -> None:
        run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", scratch / "tracer", source], "tracer")

    with cache.locked("lab"):
        debian.install(BUILD_PACKAGES)
        return cache.entry(f"tracer-{cache.digest([source])}", make) / "tracer"


def clients() -> Path:
    """Return the directory of the Go programs that tests/lab/clients/go.mod lists, built at its versions."""
    with cache.locked("lab"):
        return _clients()


def prometheus() -> Path:
    """Return the directory of Debian's prometheus and promtool, unpacked; installing them would start a daemon here."""

    def fetch(scratch: Path) -> None:
        with step("Debian's prometheus, unpacked for the tests"):
            debian.Archive().unpack("prometheus", scratch)

    with cache.locked("lab"):
        return cache.entry("debian-prometheus", fetch) / "usr/bin"


def _clients() -> Path:
    go = Path(sys.executable).with_name("go")
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    sources = [path for path in CLIENTS.rglob("*") if path.is_file()]

    def make(scratch: Path) -> None:
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",  # never download another toolchain
            "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -modcacherw",
            "GOMODCACHE": str(cache.root() / "go/modules"),
            "GOCACHE": str(cache.root() / "go/objects"),
        }
        with step("CNI reference plugins, clients and containerd from Go sources (once; minutes)"):
            run([go, "build", "-ldflags=-s -w", "-o", f"{scratch}/", "tool"], "clients", env=environment, cwd=CLIENTS)

    return cache.entry(f"clients-{cache.digest(sources, version)}", make)


def _old_containerd() -> Path:
    """Unpack Debian's containerd; installing it would start a daemon on this machine."""

    def fetch(scratch: Path) -> None:
        with step("Debian's containerd, unpacked for the guest"):
            debian.Archive().unpack("containerd", scratch)

    return cache.entry("debian-containerd", fetch)


def _unpacked() -> Path:
    """Return a directory with the Debian packages that are only in the guest."""

    def fetch(scratch: Path) -> None:
        with step(f"Debian packages for the guest: {' '.join(UNPACKED_PACKAGES)}"):
            debian.Archive().unpack_with_needs(UNPACKED_PACKAGES, scratch)
            for folder in ("bin", "sbin", "lib"):  # on a machine with merged /usr these must not be directories
                if (scratch / folder).exists():
                    shutil.copytree(scratch / folder, scratch / "usr" / folder, symlinks=True, dirs_exist_ok=True)
                    shutil.rmtree(scratch / folder)
            shutil.rmtree(scratch / "etc/cni", ignore_errors=True)  # podman's network would be used by every client
            (scratch / "usr/sbin").mkdir(parents=True, exist_ok=True)  # the machine's directory for them
            for name in ("iptables", "ip6tables"):  # links that the package's script would create
                for verb in ("", "-save", "-restore"):
                    (scratch / "usr/sbin" / f"{name}{verb}").symlink_to("xtables-nft-multi")

    return cache.entry(f"debian-{cache.digest([], *UNPACKED_PACKAGES)}", fetch)


def _tools(clients: Path, old_containerd: Path, unpacked: Path) -> Path:
    """Create a file system image with the programs: starting them from 9p is ten times slower."""

    def make(scratch: Path) -> None:
        with step("Image with the guest's programs"):
            tree = scratch / "tree"
            for path in clients.iterdir():
                folder = "containerd-2" if path.name in RUNTIME else "bin" if path.name in COMMANDS else "cni"
                (tree / folder).mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, tree / folder)
            shutil.copytree(old_containerd / "usr/bin", tree / "containerd-1.6", symlinks=True)
            shutil.copytree(unpacked, tree / "debian", symlinks=True, ignore=shutil.ignore_patterns("doc", "man", "locale"))
            filesystem_image(tree, scratch / "tools.ext4")
            shutil.rmtree(tree)

    key = cache.digest([], clients.name, unpacked.name)
    return cache.entry(f"tools-{key}", make) / "tools.ext4"


def filesystem_image(tree: Path, image: Path) -> None:
    """Create an ext4 image of a directory. It is sparse, so a generous size costs nothing."""
    content = sum(path.lstat().st_size for path in tree.rglob("*")) // 1024
    options = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0"]
    run([_mke2fs(), *options, "-d", tree, image, f"{2 * content + 32768}k"], "images")


def empty_disk(image: Path, mebibytes: int) -> None:
    """Create an image of an empty ext4 file system as a host has it, with a journal."""
    run([_mke2fs(), "-q", "-t", "ext4", image, f"{mebibytes}M"], "images")


def _mke2fs() -> str:
    return shutil.which("mke2fs", path=f"{os.environ['PATH']}:/sbin:/usr/sbin") or "mke2fs"
