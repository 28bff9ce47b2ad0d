"""The cache of results, as the CNI library's in /var/lib/cni/results, but in a directory of our own.

There, `cnitool gc` and CRI-O's GC of the same network name would DEL our attachments.
"""

from binascii import b2a_base64
from typing import Any

from cni_sriov_bond import files, jsontext
from cni_sriov_bond.oci.site import Site

_KIND = "cniCacheV1"


def name(network: str, container_id: str, ifname: str) -> str:
    """Return the name of an attachment's file. Each part has been checked: none can contain a slash."""
    return f"{network}-{container_id}-{ifname}"


def write(site: Site, network: str, container_id: str, ifname: str, **values: Any) -> None:
    """Write the file of an attachment.

    :param values: ``config`` (text of the list), ``netns``, ``args`` (CNI_ARGS), ``capabilities`` and ``result``.
    :raises CniError: IO_FAILURE when it cannot be written.
    """
    document: dict[str, Any] = {
        "kind": _KIND,
        "containerId": container_id,
        "config": b2a_base64(values["config"].encode(), newline=False).decode(),
        "ifName": ifname,
        "networkName": network,
        "netns": values["netns"],
    }
    if values["args"]:
        document["cniArgs"] = [pair.split("=", 1) for pair in values["args"].split(";")]
    if values["capabilities"]:
        document["capabilityArgs"] = values["capabilities"]
    document["result"] = values["result"]
    files.write(site.directory("results"), name(network, container_id, ifname), jsontext.dumps(document))


def read(site: Site, network: str, container_id: str, ifname: str) -> dict[str, Any] | None:
    """Return the result of an attachment, or None if it has none; an unreadable file counts as none, as in libcni 1.2."""
    try:
        with open(f"{site.directory('results')}/{name(network, container_id, ifname)}", encoding="utf-8") as file:
            document = jsontext.loads(file.read())
    except (OSError, ValueError):
        return None
    result = document.get("result") if isinstance(document, dict) and document.get("kind") == _KIND else None
    return result if isinstance(result, dict) else None


def remove(site: Site, network: str, container_id: str, ifname: str) -> None:
    """Remove the file of an attachment, if it exists.

    :raises CniError: IO_FAILURE when it cannot be deleted.
    """
    files.unlink(f"{site.directory('results')}/{name(network, container_id, ifname)}")
