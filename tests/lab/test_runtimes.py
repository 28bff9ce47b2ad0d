"""Real container runtimes run containers on bonds."""

from typing import TYPE_CHECKING

import pytest

from tests.lab.product import PEER, PEER6, Product, look, network
from tests.lab.runtimes import Containerd, containerd
from tests.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["/opt/lab/tools/containerd-2", "/usr/bin"], ids=["containerd 2", "containerd 1.6"])
def runtime(product: Product, request: pytest.FixtureRequest) -> "Iterator[Containerd]":
    with containerd(product, request.param, network()) as running:
        yield running


def test_a_container_sees_a_bond_and_reaches_its_peer(runtime: Containerd) -> None:
    output = runtime.run("box", f"ip addr show eth0; ip link; ping -c 2 {PEER}; ping -c 1 {PEER6}")
    assert "2 packets transmitted, 2 packets received" in output
    assert "1 packets transmitted, 1 packets received" in output
    assert "inet 10.100.0." in output
    assert output.count("master eth0") == 2
    runtime.product.wait_free("every bond to be free after ctr")


def test_a_container_that_is_killed_gives_its_bond_back(runtime: Containerd) -> None:
    """``ctr`` sends DEL with an empty CNI_NETNS while the namespace exists, and kills the container afterwards."""
    runtime.run("box", "sleep 1000", detached=True)
    (held,) = (bond["lease"] for bond in runtime.product.status()["bonds"] if bond["state"] == "ready")
    assert held["container_id"].endswith("box")
    runtime.remove("box")
    if runtime.version.startswith("1.6"):
        # Its ctr sends no DEL for a container that it did not wait for. The kernel returns the VFs, and the bond is freed then.
        wait_until(lambda: "VF11" in [link["ifname"] for link in look(runtime.product.guest).links.values()], "VF11", 30)
        runtime.product.ctl("up")
    runtime.product.wait_free("every bond to be free", 30)
