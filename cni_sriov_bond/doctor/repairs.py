"""Repairs that several checks offer. What other commands do is done by their modules."""

import os
import stat
from time import monotonic, sleep

from cni_sriov_bond.ctl import provision, recover, users
from cni_sriov_bond.doctor.check import Fix
from cni_sriov_bond.doctor.host import Host
from cni_sriov_bond.doctor.tree import NET, PCI
from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import netns, sriov
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.log import Log
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool.pool import Pool
from cni_sriov_bond.ports import Bond, Port

_IFF_UP = 1  # linux/if.h
_CARRIER_SECONDS, _POLL = 5.0, 0.1  # an igb has carrier 2 to 3 s after it was set up


def gc(host: Host, pool: str) -> Fix:
    """Return the repair of leases and pending DELs. It frees nothing that is in use, so it is safe."""

    def run() -> str:
        findings = recover.gc(host.state_dir, pool, quiet(host))
        failed = next((finding for finding in findings if finding.failed), None)
        if failed:
            raise CniError(failed.code, failed.message)
        return f"finished {len(findings)} leases and pending DELs of pool {pool}"

    return Fix(f"run `sriov-bondctl gc {pool}`", True, run)


def up(host: Host, pool: str) -> Fix | None:
    """Return the repair of names, MACs and rules of VFs, or None if the host file does not have the pool.

    It is safe while every NIC has its VFs: then `up` creates and removes none.
    """
    plan = next((plan for plan in host.plans if plan.name == pool), None)
    if plan is None:
        return None
    counts = [host.nic(address).vf_count for name in plan.pfs if (address := host.address_of(name))]
    safe = all(count and (plan.required is None or plan.required == count or plan.shares) for count in counts)

    def run() -> str:
        changed = provision.up(host.state_dir, plan, quiet(host), lambda stage, done, total: None)
        return f"ran `sriov-bondctl up {pool}`{'' if changed else ', which had nothing to change'}"

    return Fix(f"run `sriov-bondctl up {pool}`", safe, run, last=True)


def bring_up(host: Host, name: str) -> Fix:
    """Return the repair of a NIC that is down."""
    path = f"{NET}/{name}/flags"

    def run() -> str:
        # net/core/net-sysfs.c, flags_store: as `ip link set up`
        host.tree.write(path, f"{int(host.tree.read(path), 16) | _IFF_UP:#x}")
        end = monotonic() + _CARRIER_SECONDS
        while host.tree.read(f"{NET}/{name}/carrier") != "1" and monotonic() < end:
            sleep(_POLL)
        return f"set {name} up"

    return Fix(f"set {name} up", True, run)


def probe_vfs(host: Host, address: str, name: str) -> Fix:
    """Return the repair of a PF whose new VFs get no driver, and of those that have none."""

    def run() -> str:
        host.tree.write(f"{PCI}/{address}/sriov_drivers_autoprobe", "1")
        bound = [vf for vf in _vfs(host, address) if not host.driver(vf)]
        for vf in bound:
            bind(host, vf)
        return f"set sriov_drivers_autoprobe of {name} to 1{f' and bound {len(bound)} VFs' if bound else ''}"

    return Fix(f"let the VFs of {name} get their driver", True, run)


def bind(host: Host, vf: str) -> None:
    """Let the kernel look for a driver of a VF.

    :raises OSError: when the kernel refuses.
    """
    host.tree.write("/sys/bus/pci/drivers_probe", vf)


def _vfs(host: Host, address: str) -> list[str]:
    names = [name for name in host.tree.listed(f"{PCI}/{address}") if name.startswith("virtfn")]
    return [host.tree.link(f"{PCI}/{address}/{name}") for name in names]


def make_executable(host: Host, path: str, safe: bool) -> Fix:
    """Return the repair of a plugin without the permission to execute it."""

    def run() -> str:
        file = host.tree.path(path)
        os.chmod(file, stat.S_IMODE(os.stat(file).st_mode) | 0o755)
        return f"made {path} executable"

    return Fix(f"make {path} executable", safe, run)


def bring_home(host: Host, pool: str, bond: Bond, port: Port) -> Fix:
    """Return the repair of a VF that somebody moved into another namespace though its bond is free; it may be in use there."""

    def run() -> str:
        lock = Pool(host.state_dir, pool).lock_free_bond(bond.name)
        if lock is None:
            raise CniError(POOL_UNUSABLE, f"bond {bond.name} is leased by now")
        try:
            where = _move_home(port)
            present = sriov.Host()
            try:
                present.restore(port, present.default_state(port, bond.mac))
            finally:
                present.netlink.close()
        finally:
            os.close(lock)
        return f"moved {port.name} from {where} back to the host"

    return Fix(f"move {port.name} back to the host", False, run)


def _move_home(port: Port) -> str:
    """Move a VF to this namespace from the one that has it, and return a path of that.

    :raises CniError: POOL_UNUSABLE when no namespace has it that a process is in or that has a name.
    """
    for path in users.namespaces():
        namespace = netns.find(path)
        if namespace is None:
            continue
        try:
            with netns.Entered(namespace):
                inside = Netlink(path)
            try:
                link = next((link for link in inside.links() if link.parent == port.address), None)
                if link is not None:
                    if link.master:
                        inside.set_port(link, None)
                    sriov.move_out(inside, link, port.name)
                    return path
            finally:
                inside.close()
        finally:
            namespace.close()
    raise CniError(POOL_UNUSABLE, f"no namespace was found that has {port.name}; end the program that keeps it")


def quiet(host: Host) -> Context:
    """Return the context of a step whose result is printed by the caller."""
    return Context(Log(level="panic"), host.context.deadline, host.context.delegates)
