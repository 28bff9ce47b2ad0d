"""Who has what: every pool, its bonds, their ports and holders, as a value for programs and as a table for people."""

from typing import Any

from cni_sriov_bond import pool, release, sriov
from cni_sriov_bond.errors import CniError
from cni_sriov_bond.log import Log
from cni_sriov_bond.netlink import Netlink

FREE = "free"


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
        device = sriov.netdev(nic["pci"])
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
    bonds = [_bond(where, value, entries.get(value["name"])) for value in inventory["bonds"]]
    return {"name": name, "this_boot": inventory["boot_id"] == pool.boot_id(), "nics": nics, "bonds": bonds}


def finish(state_dir: str, name: str, log: Log) -> None:
    """Finish releases that waited for VFs: whoever looks next does it."""
    release.finish_draining(pool.Pool(state_dir, name), log)


def _bond(where: pool.Pool, value: dict[str, Any], entry: pool.Entry | None) -> dict[str, Any]:
    ports = [{**port, "device": sriov.netdev(port["pci"])} for port in value["ports"]]
    found: dict[str, Any] = {"name": value["name"], "mac": value["mac"], "state": FREE, "ports": ports}
    if entry is None:
        missing = [port["name"] for port in ports if not port["device"]]
        if missing:
            found.update(state="broken", problem=f"{' and '.join(missing)} not in the host though nobody has leased them")
        return found
    found["state"] = entry.state
    try:
        record = where.read(entry)
    except CniError as damaged:
        found["problem"] = damaged.msg
        return found
    if record:
        vlan = record["asked"]["vf"].get("vlan")
        found["lease"] = {
            "network": record["network"],
            "container_id": record["container_id"],
            "ifname": record["ifname"],
            "netns": record["netns"]["path"],
            "ips": record.get("ips", []),
            "vlan": vlan,
            "created": record["created"],
            "this_boot": record["boot_id"] == pool.boot_id(),
        }
    return found
