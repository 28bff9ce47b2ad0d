"""The NICs of the pools: whether they are there, their drivers, their VFs, and whether they are up with carrier."""

import os
from collections.abc import Iterator

from cni_sriov_bond.ctl.hostfile import PoolPlan
from cni_sriov_bond.doctor import repairs
from cni_sriov_bond.doctor.check import Check, Finding, failure, passed, skipped, warning
from cni_sriov_bond.doctor.host import Host, Nic
from cni_sriov_bond.doctor.tree import NET, PCI
from cni_sriov_bond.kernel import drivers, nic_models

SUBJECT = "NICs"
NO_NICS = "no pool has a NIC here"
_IFF_UP = 1  # linux/if.h


def host_file(host: Host) -> Iterator[Finding]:
    """Read the host file, and look for the NICs that it names."""
    if not os.path.lexists(host.config):
        here = [nic.name for nic in host.nics if nic.total_vfs and nic.name]
        names = ", ".join(f'"{name}"' for name in (here[:2] if len(here) > 1 else ("enp1s0", "enp2s0")))
        yield failure("", f"there is no {host.config}", f'write it, e.g. `pools.db = {{pfs = [{names}], vfs = "max"}}`')
        return
    if host.config_problem:
        yield failure("", host.config_problem, f"correct {host.config}; `sriov-bondctl check` shows each mistake")
        return
    missing = [(plan.name, pf) for plan in host.plans for pf in plan.pfs if not host.address_of(pf)]
    for pool, pf in missing:
        able = ", ".join(nic.label for nic in host.nics if nic.total_vfs) or "none"
        yield failure(pf, f"pool {pool} names {pf}, which is not here", f"name one of the NICs with SR-IOV: {able}")
    if not missing:
        yield passed("", f"{host.config} has {', '.join(f'pool {plan.name}' for plan in host.plans)}")


def driver(host: Host) -> Iterator[Finding]:
    """Compare model, driver and firmware with what is known of them."""
    for nic in host.pool_nics:
        version = ", ".join(
            part for part in (host.tree.read(f"/sys/module/{nic.driver}/version"), _firmware(host, nic)) if part
        )
        what = f"{nic.label} is {nic.model}, driver {nic.driver or 'none'}{f' ({version})' if version else ''}"
        expected = nic_models.model_of(nic.vendor, nic.device)[1]
        note = drivers.NOTES.get(nic.driver, "")
        if not nic.driver:
            yield failure(
                nic.label, what, f"load its driver: `modprobe {expected}`" if expected else "load its driver, see `lspci -k`"
            )
        elif expected and nic.driver != expected:
            yield failure(nic.label, f"{what}, not {expected}", f"bind {nic.address} to {expected}, the driver of this model")
        elif nic.driver not in drivers.DRIVERS:
            yield warning(nic.label, f"{what}, of which nothing is known", "run a container, and report what does not work")
        else:
            yield passed(nic.label, f"{what}{f': {note}' if note else ''}")
    if not host.pool_nics:
        yield skipped(NO_NICS)


def _firmware(host: Host, nic: Nic) -> str:
    """Return the firmware version, as ethtool has it."""
    from cni_sriov_bond.ctl import links

    firmware = links.driver_info(nic.name).firmware if nic.name and not host.tree.root else ""
    return f"firmware {firmware}" if firmware else ""


def vfs(host: Host) -> Iterator[Finding]:
    """Compare the number of VFs with what the pools ask for and the NIC offers."""
    for plan in host.plans:
        for name in plan.pfs:
            address = host.address_of(name)
            if address:
                yield _count(host, plan, host.nic(address))
    if not any(host.address_of(name) for plan in host.plans for name in plan.pfs):
        yield skipped(NO_NICS)


def _count(host: Host, plan: PoolPlan, nic: Nic) -> Finding:
    total, count, required = nic.total_vfs or 0, nic.vf_count or 0, plan.required
    firmware = nic_models.FIRMWARE.get(nic.driver, "raise the number in the BIOS setup or the NIC's own menu there")
    if total < (required or 1):
        return failure(
            nic.label,
            f"pool {plan.name} asks for {required or 'the most'} VFs of {nic.label}, which offers {total}",
            f"lower vfs in {host.config}, or {firmware.replace('PCI_ADDRESS', nic.address)}",
        )
    if count < (required or 1):
        have = f"{count} VFs" if count else "no VFs"
        sentence = f"{nic.label} has {have}, and pool {plan.name} asks for {required or 'the most'} of {total}"
        return failure(nic.label, sentence, f"run `sriov-bondctl up {plan.name}`", repairs.up(host, plan.name))
    most = nic_models.model_of(nic.vendor, nic.device)[3]
    limited = f" (its model can have {most}: firmware has lowered it)" if total < most else ""
    return passed(nic.label, f"{nic.label} has {count} of {total} VFs{limited}")


def autoprobe(host: Host) -> Iterator[Finding]:
    """Check that new VFs get a driver."""
    for nic in host.pool_nics:
        if host.tree.read(f"{PCI}/{nic.address}/sriov_drivers_autoprobe") == "0":
            yield failure(
                nic.label,
                f"sriov_drivers_autoprobe of {nic.label} is 0, so its VFs get no driver",
                f"run `echo 1 > {PCI}/{nic.address}/sriov_drivers_autoprobe`",
                repairs.probe_vfs(host, nic.address, nic.label),
            )
        else:
            yield passed(nic.label, f"VFs of {nic.label} get their driver")
    if not host.pool_nics:
        yield skipped(NO_NICS)


def up(host: Host) -> Iterator[Finding]:
    """Check that the NICs are up."""
    for nic in host.pool_nics:
        if not nic.name:
            yield failure(nic.label, f"{nic.label} has no network device", "look at `dmesg`, and at the driver")
        elif is_up(host, nic):
            yield passed(nic.label, f"{nic.label} is up")
        else:
            yield failure(
                nic.label, f"{nic.label} is down", f"run `ip link set {nic.label} up`", repairs.bring_up(host, nic.name)
            )
    if not host.pool_nics:
        yield skipped(NO_NICS)


def is_up(host: Host, nic: Nic) -> bool:
    """Return whether the administrator has set a NIC up."""
    try:
        return bool(int(host.tree.read(f"{NET}/{nic.name}/flags"), 16) & _IFF_UP)
    except ValueError:
        return False


def carrier(host: Host) -> Iterator[Finding]:
    """Check that the NICs that are up have carrier."""
    present = [nic for nic in host.pool_nics if nic.name and is_up(host, nic)]
    for nic in present:
        if host.tree.read(f"{NET}/{nic.name}/carrier") == "1":
            yield passed(nic.label, f"{nic.label} has carrier")
        else:
            yield failure(
                nic.label, f"{nic.label} has no carrier", "look at its cable, its transceiver and the port of the switch"
            )
    if not present:
        yield skipped("no NIC of a pool is up")


CHECKS = (
    Check("host-file", SUBJECT, "the host file can be used, and the NICs that it names are here", host_file),
    Check("nic-driver", SUBJECT, "model, driver and firmware are ones that are known", driver),
    Check("nic-vfs", SUBJECT, "each NIC has the VFs that its pool asks for (sriov_totalvfs, sriov_numvfs)", vfs),
    Check("nic-autoprobe", SUBJECT, "VFs get a driver (sriov_drivers_autoprobe)", autoprobe),
    Check("nic-up", SUBJECT, "the NICs are up", up),
    Check("nic-carrier", SUBJECT, "the NICs have carrier", carrier),
)
