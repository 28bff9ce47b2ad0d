"""Who has what: every pool, its bonds, their ports and holders, as a value for programs and as a table for people."""

from typing import Any

from cni_sriov_bond import files
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.kernel import sysfs
from cni_sriov_bond.kernel.netlink import Netlink
from cni_sriov_bond.plugin import recover
from cni_sriov_bond.plugin.context import Context
from cni_sriov_bond.pool import pool, quarantine
from cni_sriov_bond.pool.lease import Entry

FREE, QUARANTINED = "free", "quarantined"


def collect(state_dir: str, name: str) -> dict[str, Any]:
    """Give one pool's state.

    :raises CniError: when it is not provisioned.
    """
    where = pool.Pool(state_dir, name)
    inventory = where.inventory()
    host = Netlink()
    entries = {entry.bond: entry for entry in where.entries()}
    nics = []
    for nic in inventory["nics"]:
        device = sysfs.netdev(nic["pci"])
        link = host.link(device) if device else None
        nics.append(
            {
                "pci": nic["pci"],
                "name": device or nic["name"],
                "number": nic["number"],
                "present": link is not None,
                "up": bool(link and link.up),
                "carrier": bool(link and link.carrier),
            }
        )
    aside = quarantine.reasons(where.path)
    bonds = [_bond(where, value, entries.get(value["name"]), aside.get(value["name"])) for value in inventory["bonds"]]
    this_boot = inventory["boot_id"] == files.boot_id()
    return {"name": name, "this_boot": this_boot, "nics": nics, "bonds": bonds, "pending_dels": len(where.pending.listed())}


def finish(state_dir: str, name: str, context: Context) -> None:
    """Finish interrupted calls, and releases that waited for VFs."""
    recover.recover(pool.Pool(state_dir, name), recover.Interrupted(), context.within(recover.SECONDS))


def _bond(where: pool.Pool, value: dict[str, Any], entry: Entry | None, quarantined: str | None) -> dict[str, Any]:
    ports = [{**port, "device": sysfs.netdev(port["pci"])} for port in value["ports"]]
    found: dict[str, Any] = {"name": value["name"], "mac": value["mac"], "state": FREE, "ports": ports}
    if entry is None and quarantined is not None:
        return {**found, "state": QUARANTINED, "problem": quarantined}
    if entry is None:
        missing = [port for port in ports if not port["device"]]
        if missing:
            names, why = " and ".join(port["name"] for port in missing), sysfs.absence(missing[0]["pci"])
            found.update(state="broken", problem=f"{names} not in the host though nobody has leased them: {why}")
        return found
    found["state"] = entry.state
    try:
        record = where.read(entry)
    except CniError as damaged:
        found["problem"] = damaged.msg
        return found
    if record and record.attachment and record.netns:
        found["lease"] = {
            "network": record.attachment.network,
            "container_id": record.attachment.container_id,
            "ifname": record.attachment.ifname,
            "netns": record.netns.path,
            "ips": record.addresses or [],
            "vlan": record.requested.vf.vlan,
            "created": record.created,
            "this_boot": record.boot_id == files.boot_id(),
        }
    return found
