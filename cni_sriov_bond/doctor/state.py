"""The state directory: there, for root alone, on a disk that keeps it; inventories of this boot."""

import os
import stat
from collections.abc import Iterator
from errno import ENOENT

from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.doctor.check import Check, Finding, Fix, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host

SUBJECT = "state"
_LEAST_BYTES, _LEAST_FILES = 16 << 20, 256
_IN_MEMORY = ("tmpfs", "ramfs", "overlay", "aufs")
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse.sshfs", "glusterfs")


def directory(host: Host) -> Iterator[Finding]:
    """Check that the state directory is one, and root's alone."""
    path = host.state_dir
    try:
        status = os.lstat(path)
    except OSError as failed:
        sentence = f"there is no {path}" if failed.errno == ENOENT else f"{path} cannot be used: {failed.strerror}"
        yield failure(path, sentence, "run `sriov-bondctl up`, which creates it")
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(os.stat(path).st_mode):
        yield failure(path, f"{path} is not a directory", "move it away and run `sriov-bondctl up`")
    elif status.st_uid != os.geteuid():
        yield failure(path, f"{path} belongs to user {status.st_uid}", f"run `chown -R root:root {path}`")
    elif mode & 0o077:
        yield failure(
            path, f"{path} has the mode {mode:04o}, so others read leases", f"run `chmod 700 {path}`", _restrict(path)
        )
    else:
        yield passed(path, f"{path} is root's alone")


def _restrict(path: str) -> Fix:
    def run() -> str:
        os.chmod(path, 0o700)
        return f"set the mode of {path} to 0700"

    return Fix(f"set the mode of {path} to 0700", True, run)


def disk(host: Host) -> Iterator[Finding]:
    """Check that the state directory is on a file system that survives a boot, is writable, and has room."""
    path = host.state_dir
    if not os.path.isdir(path):
        yield skipped(f"there is no {path}")
        return
    kind, options = mount_of(host.tree.read("/proc/self/mountinfo"), os.path.realpath(path).removeprefix(host.tree.root) or "/")
    room = os.statvfs(path)
    if "ro" in options:
        yield failure(
            path, f"{path} is on a file system that is mounted read-only", "mount it read-write; see `dmesg` for a disk error"
        )
    elif room.f_bavail * room.f_frsize < _LEAST_BYTES or (room.f_files and room.f_favail < _LEAST_FILES):
        yield failure(path, f"the disk of {path} is full", "make room: an ADD needs a few KiB and two files")
    elif kind in _IN_MEMORY:
        yield warning(
            path,
            f"{path} is on {kind}: after a reboot pending IPAM DELs are lost, and addresses stay reserved",
            "put it on a disk: bind-mount a directory of one",
        )
    elif kind in _REMOTE:
        yield warning(
            path, f"{path} is on {kind}, where locks may not hold and hosts share one state", "put it on a local disk"
        )
    else:
        yield passed(path, f"{path} is on {kind or 'a file system'}, with room")


def mount_of(mountinfo: str, path: str) -> tuple[str, list[str]]:
    """Return type and options of the file system that a path is on (proc(5), mountinfo), or empty values.

    :param path: absolute, without symbolic links.
    """
    best, found = "", ("", [""])
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        parts, kind = fields.split(), rest.split()
        if len(parts) < 6 or len(kind) < 3:
            continue
        point = parts[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount at one point covers the earlier
            best, found = point, (kind[0], parts[5].split(",") + kind[2].split(","))
    return found


def inventories(host: Host) -> Iterator[Finding]:
    """Check that each pool of the host file has an inventory of this boot."""
    states = {state.pool.name: state for state in host.pools}
    for name in host.pool_names:
        state, remedy, fix = states.get(name), f"run `sriov-bondctl up {name}`", repairs.up(host, name)
        if state is None:
            yield failure(name, f"pool {name} of the host file is not made", remedy, fix)
        elif state.inventory is None:
            yield failure(name, state.problem, remedy, fix)
        elif state.inventory.being_removed:
            yield failure(name, f"the removal of pool {name} was interrupted", f"run `sriov-bondctl down {name}`, or `up`", fix)
        elif not state.inventory.of_this_boot:
            yield failure(name, f"pool {name} was made before this boot", remedy, fix)
        else:
            yield passed(name, f"pool {name} has {len(state.inventory.bonds)} bonds")
    if not host.pool_names:
        yield skipped("there is no pool")


CHECKS = (
    Check("state-dir", SUBJECT, "the state directory is there and root's alone", directory),
    Check("state-disk", SUBJECT, "the state directory is on a local disk, writable, with room", disk),
    Check("inventory", SUBJECT, "each pool has an inventory of this boot", inventories),
)
