"""What a container asks for."""

from typing import NamedTuple


class Request(NamedTuple):
    """What a container asks for."""

    network: str
    vlan: int | None = None
    ips: tuple[str, ...] = ()
    mac: str = ""
    ifname: str = "eth0"
    device: str = ""
