"""Debian packages: those to install, and those to unpack without installing them."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import cache
from tests.lab.progress import StepFailedError, run, step

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL_SERIES = "6.12"
# The first QEMU that emulates a NIC with SR-IOV (igb).
OLDEST_QEMU = 8


def installed(packages: "Sequence[str]") -> dict[str, str]:
    """Return the installed ones of the packages, with their versions."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n", *packages]
    lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return {fields[1]: fields[2] for fields in map(str.split, lines) if fields[0] == "installed"}


def install(packages: "Sequence[str]") -> None:
    """Install the missing ones of the packages."""
    present = installed(packages)
    if missing := [package for package in packages if package not in present]:
        _need_root(missing)
        with step(f"Debian packages: {' '.join(missing)}"):
            Archive().install(missing)


def install_qemu() -> None:
    """Install a QEMU with the igb NIC, from backports if that of the release is too old."""
    package = "qemu-system-x86"
    version = installed([package]).get(package)
    if version and _major(version) >= OLDEST_QEMU:
        return
    _need_root([package])
    with step("Debian packages: QEMU"):
        archive = Archive()
        # Only if needed: apt takes the dependencies from a target release too.
        backports = _major(archive.candidate(package)) < OLDEST_QEMU
        archive.install([package], release=f"{archive.codename}-backports" if backports else None)


def kernel() -> Path:
    """Return the root (with boot/ and lib/modules/) of an unpacked Debian kernel, the newest of the series."""

    def fetch(scratch: Path) -> None:
        with step(f"Debian kernel, the newest {KERNEL_SERIES}"):
            archive = Archive()
            package = archive.newest_kernel()
            archive.unpack(package, scratch)
            version = package.removeprefix("linux-image-")
            if not (scratch / "lib").exists():  # since Debian 13
                (scratch / "lib").symlink_to("usr/lib")
            run(["depmod", "-b", scratch, version], "kernel")

    return cache.entry(f"kernel-{KERNEL_SERIES}", fetch)


def kernel_image(root: Path) -> Path:
    """Return the kernel image of an unpacked kernel."""
    (image,) = (root / "boot").glob("vmlinuz-*")
    return image


class Archive:
    """The machine's Debian mirror with backports, in package lists of our own; the machine's apt is not changed."""

    def __init__(self) -> None:
        """Find the mirror in the machine's apt sources and download its package lists."""
        self.codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
        self.folder = cache.root() / "apt"
        for part in ("lists/partial", "archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        sources = self.folder / "sources.list"
        sources.write_text("".join(self._sources()))
        self.options = [
            *("-o", f"Dir::Etc::sourcelist={sources}"),
            *("-o", "Dir::Etc::sourceparts=/dev/null"),
            *("-o", f"Dir::State::lists={self.folder / 'lists'}"),
            *("-o", f"Dir::Cache={self.folder}"),
            # The user _apt cannot read this directory.
            *("-o", "APT::Sandbox::User=root"),
            *("-o", "APT::Color=0"),
            *("-o", "DPkg::Lock::Timeout=300"),
        ]
        self._apt("update")

    def install(self, packages: "Sequence[str]", release: str | None = None) -> None:
        """Install packages, without removing any."""
        target = ["-t", release] if release else []
        self._apt("-y", "install", "--no-install-recommends", "--no-remove", *target, *packages)

    def candidate(self, package: str) -> str:
        """Return the version that would be installed."""
        match = re.search(r"Candidate: (\S+)", self._ask("policy", package))
        if match is None or match[1] == "(none)":
            raise StepFailedError(f"this machine's apt sources have no package {package}")
        return match[1]

    def newest_kernel(self) -> str:
        """Return the name of the package with the series' newest kernel."""
        names = self._ask("pkgnames", f"linux-image-{KERNEL_SERIES}").split()
        pattern = re.compile(rf"linux-image-{re.escape(KERNEL_SERIES)}\.[0-9]+\+deb[0-9.]+-amd64")
        kernels = [name for name in names if pattern.fullmatch(name)]
        if not kernels:
            raise StepFailedError(f"this machine's Debian mirror has no kernel {KERNEL_SERIES}")
        return max(kernels, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def unpack(self, package: str, target: Path) -> None:
        """Download and unpack a package, without installing it."""
        box = target / ".packages"
        box.mkdir()
        self._apt("download", package, cwd=box)
        self._unpack(box, target)

    def unpack_with_needs(self, packages: "Sequence[str]", target: Path) -> None:
        """Download and unpack packages and their missing dependencies, without installing them."""
        box = target / ".packages"
        (box / "partial").mkdir(parents=True)
        options = ("--no-install-recommends", "--download-only", "-o", f"Dir::Cache::archives={box}")
        self._apt("-y", "install", *options, *packages)
        (box / "partial").rmdir()
        self._unpack(box, target)

    @staticmethod
    def _unpack(box: Path, target: Path) -> None:
        for file in box.glob("*.deb"):
            run(["dpkg-deb", "-x", file, target], "apt")
        shutil.rmtree(box)

    def _sources(self) -> list[str]:
        fields = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
        ask = ["apt-get", "indextargets", "--no-release-info", "--format", fields, "Created-By: Packages"]
        lines = set(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines())
        own = {f"{self.codename}{suffix}" for suffix in ("", "-updates", "-security", "-backports")}
        targets = {(fields[0], fields[1]) for fields in map(str.split, lines) if fields[1] in own}
        mirror = next((uri for uri, release in targets if release == self.codename), None)
        if mirror is None:
            raise StepFailedError(f"this machine's apt sources do not have Debian {self.codename}")
        targets.add((mirror, f"{self.codename}-backports"))
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        return [f"deb [signed-by={keyring}] {uri} {release} main\n" for uri, release in sorted(targets)]

    def _apt(self, *arguments: str, cwd: Path | None = None) -> None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "-q", *self.options, *arguments], "apt", env=environment, cwd=cwd)

    def _ask(self, *arguments: str) -> str:
        command = ["apt-cache", *self.options, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _major(version: str) -> int:
    """Return the first number of a Debian version, past its epoch."""
    match = re.match(r"(?:\d+:)?(\d+)", version)
    return int(match[1]) if match else 0


def _need_root(packages: "Sequence[str]") -> None:
    if os.geteuid() != 0:
        raise StepFailedError(f"needs root to install Debian packages: {' '.join(packages)}")
