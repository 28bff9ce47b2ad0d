"""What uses a device, as the kernel and its own tools set it up in a namespace."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_sriov_bond.ctl.users import users
from cni_sriov_bond.kernel.netns import Entered
from tests.support import TemporaryNetns, temporary_netns

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[TemporaryNetns]:
    """A namespace in the place of the host, with a device `nic` that is up and has what the kernel gives it."""
    with temporary_netns("the host") as netns:
        run(netns, "ip link add nic type veth peer name wire", "ip link set nic up", "ip link set wire up")
        yield netns


def run(netns: TemporaryNetns, *commands: str) -> None:
    for command in commands:
        subprocess.run(["nsenter", f"--net={netns.path}", *command.split()], check=True, timeout=20)


def of(netns: TemporaryNetns) -> list[str]:
    link = netns.ours.link("nic")
    assert link is not None
    with Entered(netns.netns):
        return users(netns.ours, link)


def test_what_the_kernel_gives_a_device_is_no_user(host: TemporaryNetns) -> None:
    """Its link-local address and routes come with being up, and go with it."""
    assert host.ours.addresses() or host.ours.routes()
    assert of(host) == []


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        (["ip addr add 192.0.2.7/24 dev nic"], "it has the address 192.0.2.7/24"),
        (["ip addr add 2001:db8::7/64 dev nic"], "it has the address 2001:db8::7/64"),
        (["ip route add 198.51.100.0/24 dev nic"], "it has the route to 198.51.100.0/24"),
        (["ip route add default dev nic"], "it has a default route"),
        (["ip -6 route add 2001:db8:1::/48 dev nic"], "it has the route to 2001:db8:1::/48"),
        (["ip route add 198.51.100.0/24 nexthop dev nic nexthop dev wire"], "it has the route to 198.51.100.0/24"),
        (["ip link add br0 type bridge", "ip link set nic master br0"], "it is a port of br0"),
        (["ip link add link nic name mv type macvlan mode bridge"], "mv is on it"),
        (["ip link set nic promisc on"], "it is promiscuous"),
    ],
)
def test_a_user_is_named(host: TemporaryNetns, commands: list[str], reason: str) -> None:
    """Each of these was cut off by `down` before."""
    run(host, *commands)
    assert reason in of(host)


def test_a_device_in_a_container_is_a_user(host: TemporaryNetns) -> None:
    """Docker's macvlan networks: nothing in the host shows that the NIC is in use."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE) as container:
        try:
            assert container.stdout and container.stdout.readline() == b"ready\n"
            run(host, "ip link add link nic name mv type macvlan mode bridge", f"ip link set mv netns {container.pid}")
            assert [reason.partition(" in ")[::2] for reason in of(host)] == [("mv", f"/proc/{container.pid}/ns/net is on it")]
        finally:
            container.kill()


def test_a_program_that_listens_is_a_user(host: TemporaryNetns) -> None:
    """LLDP agents and DHCP clients need no address."""
    script = (
        "import socket,sys; s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3)); s.bind(('nic',0)); print(1,"
        "flush=True); sys.stdin.read()"
    )
    command = ["nsenter", f"--net={host.path}", "python3", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout and listener.stdin and listener.stdout.readline() == b"1\n"
        assert "a program listens on it (`ss -0 -p` shows which)" in of(host)
        listener.stdin.close()


def test_a_pair_is_no_user(host: TemporaryNetns) -> None:
    """The other end of a veth has its index too, in IFLA_LINK."""
    assert of(host) == []
    assert Path("/proc/net/packet").exists()
