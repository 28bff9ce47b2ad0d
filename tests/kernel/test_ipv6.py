"""IPv6 is enabled on a container's devices, and router advertisements are ignored or taken, by a real kernel."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_sriov_bond.errors import POOL_UNUSABLE, CniError
from cni_sriov_bond.kernel import ipv6
from cni_sriov_bond.kernel.netns import Entered
from tests.lab.inside.advertise import advertise
from tests.support import TemporaryNetns, temporary_netns, veth_pair

pytestmark = pytest.mark.root

PREFIX = "fd00:77::"
SECONDS = 10.0


def setting(namespace: TemporaryNetns, device: str, key: str) -> str:
    with Entered(namespace.netns):
        return Path(f"/proc/sys/net/ipv6/conf/{device}/{key}").read_text().strip()


def set_up(namespace: TemporaryNetns, *names: str, up: bool = True) -> None:
    for name in names:
        namespace.theirs.link("set", index=namespace.index(name), state="up" if up else "down")


@contextlib.contextmanager
def container_and_router() -> Iterator[tuple[TemporaryNetns, TemporaryNetns]]:
    """Return a container with a device ``a`` that is down, and the namespace of a router with ``b``."""
    with veth_pair() as (container, router):
        set_up(container, "a", up=False)
        # Duplicate address detection would keep the router's address unusable for a second.
        router.write("net/ipv6/conf/b/accept_dad", "0")
        set_up(router, "b", up=False)
        set_up(router, "b")
        yield container, router


def taken(container: TemporaryNetns, router: TemporaryNetns) -> tuple[bool, bool]:
    """Bring ``a`` up, advertise, and return whether it has an address of the prefix, and a default route.

    An advertisement is handled in the call that sends it, so what was not taken then is not taken later.
    """
    set_up(container, "a")
    link = container.ours.link("a")
    assert link is not None
    end = time.monotonic() + SECONDS
    while not (link.carrier and any(address.family == socket.AF_INET6 for address in router.ours.addresses())):
        assert time.monotonic() < end
        time.sleep(0.05)
        link = container.ours.link("a")
        assert link is not None
    with Entered(router.netns):
        advertise("b", PREFIX)
    prefix = socket.inet_pton(socket.AF_INET6, PREFIX)[:8]
    address = any(address.ip.startswith(prefix) for address in container.ours.addresses())
    routes = [route for route in container.ours.routes() if route.family == socket.AF_INET6 and route.gateway]
    return address, any(route.prefix == 0 for route in routes)


# -- enabling


def test_ipv6_is_enabled_on_the_device_and_the_loopback() -> None:
    """As in Docker's containers without a network, IPv6 is off before; ::1 can be used after."""
    with veth_pair() as (container, _):
        set_up(container, "lo")
        container.write("net/ipv6/conf/all/disable_ipv6", "1")
        with Entered(container.netns), pytest.raises(OSError), socket.socket(socket.AF_INET6) as server:
            server.bind(("::1", 0))
        ipv6.allow(container.netns, "a")
        assert [setting(container, name, "disable_ipv6") for name in ("lo", "a", "default")] == ["0", "0", "1"]
        assert setting(container, "a", "keep_addr_on_down") == "1"
        with Entered(container.netns), socket.socket(socket.AF_INET6) as server:
            server.bind(("::1", 0))


def test_a_device_without_ipv6_is_named() -> None:
    """Below 1280 bytes the kernel removes IPv6 from a device."""
    with veth_pair(mtu=1000) as (container, _):
        with pytest.raises(CniError, match="cannot set disable_ipv6 of a, which has no IPv6") as refused:
            ipv6.allow(container.netns, "a")
        assert refused.value.code == POOL_UNUSABLE
        ipv6.ignore_advertisements(container.netns, ["a"])


# -- router advertisements


def test_a_device_takes_advertisements_by_itself() -> None:
    """What the kernel does with a device that nobody changed: without it the tests below would prove nothing."""
    with container_and_router() as (container, router):
        assert taken(container, router) == (True, True)


def test_advertisements_are_ignored() -> None:
    """Neither an address nor a route comes from one; its link-local address remains."""
    with container_and_router() as (container, router):
        ipv6.ignore_advertisements(container.netns, ["a", "lo"])
        assert taken(container, router) == (False, False)
        assert any(address.ip[:2] == b"\xfe\x80" for address in container.ours.addresses())
        assert [setting(container, "default", key) for key in ("accept_ra", "autoconf")] == ["1", "1"], "other devices"


def test_advertisements_are_taken_where_the_namespace_refuses_them() -> None:
    """Also where IPv6 is off; a setting that allows more is left."""
    with container_and_router() as (container, router):
        container.write("net/ipv6/conf/all/disable_ipv6", "1")
        for key in ("accept_ra", "autoconf"):
            container.write(f"net/ipv6/conf/a/{key}", "0")
        ipv6.take_advertisements(container.netns, "a")
        assert taken(container, router) == (True, True)
        container.write("net/ipv6/conf/a/accept_ra", "2")
        ipv6.take_advertisements(container.netns, "a")
        assert setting(container, "a", "accept_ra") == "2"


def test_a_setting_that_cannot_be_written_is_an_error() -> None:
    """An ADD must not end with a container that takes them. The kernel refuses a value that is no number."""
    message = "cannot set accept_ra of lo to x: Invalid argument; is /proc/sys writable"
    with temporary_netns() as container, Entered(container.netns), pytest.raises(CniError, match=message):
        ipv6._write("lo", "accept_ra", "x")
