"""``sriov-bondctl attach``."""

import argparse
from typing import Any

from cni_sriov_bond.ctl.commands.common import DONE, Subcommands, declare, print_json
from cni_sriov_bond.ctl.dockersocket import SOCKET
from cni_sriov_bond.ctl.text import printable
from cni_sriov_bond.plugin.context import Context


def add(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    attach = declare(
        commands,
        "attach",
        run,
        "give a running container a bond",
        "Attach a running container to a network of /etc/cni/net.d. It has the bond until it stops or is detached, and none "
        "after its next start; for that, start it with the runtime sriov-bond.",
        epilog="Example: sriov-bondctl attach db1 --network db --ip 10.100.0.20 --ifname net1",
        with_json=True,
    )
    add_container(attach)
    attach.add_argument(
        "--network", default="", help="network (default: network in [docker] of the host file, or the only one)"
    )
    attach.add_argument("--vlan", default="", help="VLAN, as far as the network's vlanAllowed has it; 0 for untagged")
    attach.add_argument("--ip", action="append", default=[], metavar="ADDRESS", help="address; may be repeated")
    attach.add_argument("--mac", default="", help="MAC of the bond")
    attach.add_argument("--ifname", default="", metavar="NAME", help="name of the interface in the container (default: eth0)")
    attach.add_argument("--device", default="", metavar="BOND", help="bond to take, by its name or the PCI address of a VF")


def add_container(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a container."""
    parser.add_argument(
        "container",
        metavar="CONTAINER",
        help="name or id of Docker or podman, a process id, or the path of a network namespace",
    )
    parser.add_argument("--docker-socket", default=SOCKET, metavar="PATH", help="socket of dockerd (default: %(default)s)")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Attach the container, print what it has, and return the exit status."""
    from cni_sriov_bond.ctl import attaching, containers
    from cni_sriov_bond.oci import request

    network = arguments.network or attaching.default_network(arguments.config)
    asked = request.of_operator(network, arguments.vlan, arguments.ip, arguments.mac, arguments.ifname, arguments.device)
    container = containers.find(arguments.container, arguments.docker_socket)
    containers.require_own_network(container)
    result = attaching.attach(asked, container, attaching.site_of(arguments.state_dir))
    if arguments.json:
        print_json(result)
    else:
        print(printable(f"{container.label}: {asked.ifname} is on network {network}{_addresses(result)}"))
        if container.pid:
            print("It has this bond until it stops, and none after its next start.")
    return DONE


def _addresses(result: dict[str, Any]) -> str:
    addresses = [str(entry.get("address")) for entry in result.get("ips") or [] if isinstance(entry, dict)]
    return f", with {', '.join(addresses)}" if addresses else ""
