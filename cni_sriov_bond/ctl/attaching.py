"""Attach a running container to a network, and detach it."""

import os
from typing import Any

from cni_sriov_bond import jsontext
from cni_sriov_bond.ctl import containers
from cni_sriov_bond.ctl.containers import Container
from cni_sriov_bond.errors import INVALID_CONFIG, CniError
from cni_sriov_bond.oci import api, policy
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.site import NETWORK_DIR, Site

_SECONDS = 60.0  # of an ADD


def default_network(host_file: str, directory: str = NETWORK_DIR) -> str:
    """Return the network of a container if none is named: that of the host file, or the only one in the directory.

    :raises CniError: INVALID_CONFIG when there is none or more than one.
    """
    allowed = policy.read(host_file)
    if allowed.network:
        return allowed.network
    names = _networks(directory)
    if len(names) == 1:
        return names[0]
    have = f"there are {', '.join(names)}" if names else "there is none yet"
    raise CniError(INVALID_CONFIG, f"name a network of {directory} by --network; {have}")


def attach(asked: Request, container: Container, site: Site) -> dict[str, Any]:
    """Attach a container and return the CNI result.

    :raises CniError: when it fails; then nothing is attached.
    """
    return api.attach(asked, container.id, container.netns, container.pid, site=site, seconds=_SECONDS)


def attached(name: str, docker: str, site: Site) -> str:
    """Return the id of a container that may have attachments.

    One that its engine no longer knows is found by what is recorded: its id, or the beginning of it.

    :raises CniError: INVALID_CONFIG when there is no such container.
    """
    recorded = {attachment.container_id for attachment in api.attachments(site=site)}
    for identifier in (name, f"pid-{name}"):
        if identifier in recorded:
            return identifier
    begins = [identifier for identifier in recorded if len(name) >= 8 and identifier.startswith(name)]
    if len(begins) == 1:
        return begins[0]
    return containers.find(name, docker).id


def detach(identifier: str, ifname: str, site: Site) -> list[str]:
    """Detach one interface of a container, or all, and return their names.

    :raises CniError: when a DEL fails; `sriov-bondctl gc` tries again.
    """
    return api.detach(identifier, ifname, site=site)


def site_of(state_dir: str) -> Site:
    """Return where attachments are recorded: beside the directory of the pools."""
    return Site(state_dir=f"{state_dir}-oci")


def _networks(directory: str) -> list[str]:
    """Return the names of the networks in a directory; files that cannot be read are reported when they are used."""
    names = set()
    for entry in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        if entry.endswith((".conflist", ".conf", ".json")):
            try:
                with open(f"{directory}/{entry}", encoding="utf-8") as file:
                    document = jsontext.loads(file.read())
            except (OSError, ValueError):
                continue
            if isinstance(document, dict) and isinstance(document.get("name"), str):
                names.add(document["name"])
    return sorted(names)
