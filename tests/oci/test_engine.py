"""Attach and detach with fake plugins: retries, what came before, and an undo that fails."""

import threading
import time

import pytest

from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, TRY_AGAIN_LATER, CniError
from cni_sriov_bond.oci import engine, pin, results
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.stop import Stop
from tests.oci.fakes import Container, Host, wait

DB = Request("db")


def attach(host: Host, container: Container, request: Request = DB, seconds: float = 20, container_id: str = "c1") -> None:
    namespace = container.open()
    try:
        engine.attach(host.store, request, container_id, namespace, container.pid, Stop(seconds), print)
    finally:
        namespace.close()


def detach(host: Host, container_id: str = "c1") -> None:
    with host.store.locked(container_id, 1):
        for record in host.store.of_container(container_id):
            engine.detach(host.store, record, Stop(20), print)


def test_what_is_attached_is_recorded_and_cached(host: Host, container: Container) -> None:
    host.network()
    attach(host, container)
    [record] = host.store.of_container("c1")
    assert (record.state, record.pid, record.request) == ("ready", container.pid, DB)
    assert pin.holds(host.store.pin("c1"), record.netns)
    cached = results.read(host.site, "db", "c1", "eth0")
    assert cached
    assert cached["dns"] == {"domain": "second"}
    detach(host)
    assert host.left() == []


@pytest.mark.parametrize("code", [TRY_AGAIN_LATER, POOL_UNUSABLE])
def test_it_waits_for_a_bond_and_for_the_pool(host: Host, container: Container, code: int) -> None:
    """Each ADD that fails is followed by its DEL; and the network of the DEL is that of the ADD."""
    host.network(plugins=("first",))
    host.refuse("ADD", "first", code, "no bond is free")
    thread = threading.Thread(target=attach, args=(host, container))
    thread.start()
    wait(lambda: host.sequence().count("ADD first") >= 2)
    host.obey("ADD", "first")
    thread.join()
    calls = host.sequence()
    assert calls == ["ADD first", "DEL first"] * (len(calls) // 2) + ["ADD first"]
    detach(host)


def test_the_wait_ends_at_the_deadline(host: Host, container: Container) -> None:
    host.network(plugins=("first",))
    host.refuse("ADD", "first", TRY_AGAIN_LATER, "no bond is free")
    began = time.monotonic()
    with pytest.raises(CniError, match="plugin first: no bond is free") as failed:
        attach(host, container, seconds=2)
    assert 1 < time.monotonic() - began < 4
    assert "waited" in failed.value.details
    assert host.left() == []


def test_another_error_is_not_waited_for(host: Host, container: Container) -> None:
    host.network(plugins=("first",))
    host.refuse("ADD", "first", INVALID_CONFIG, "no")
    with pytest.raises(CniError):
        attach(host, container)
    assert host.sequence() == ["ADD first", "DEL first"]


def test_an_undo_that_fails_is_pending_and_gets_another_try_at_the_next_start(host: Host, container: Container) -> None:
    host.network()
    host.refuse("ADD", "second", 7, "broken")
    host.refuse("DEL", "first", 8, "stuck")
    with pytest.raises(CniError, match="broken") as failed:
        attach(host, container)
    assert "not all is undone, `sriov-bondctl gc` finishes it" in failed.value.details
    [record] = host.store.of_container("c1")
    assert host.store.is_pending(record)
    assert pin.holds(host.store.pin("c1"), record.netns)
    with pytest.raises(
        CniError, match=r"the DEL of an earlier eth0 of container c1 on network db is pending, and fails: .*stuck"
    ):
        attach(host, container)
    host.obey("ADD", "second")
    host.obey("DEL", "first")
    host.forget_calls()
    attach(host, container)
    assert host.sequence() == ["DEL second", "DEL first", "ADD first", "ADD second"]
    detach(host)


def test_a_restart_with_the_same_id_first_finishes_the_container_before(host: Host) -> None:
    """No poststop came for it. Its DEL gets the namespace, which the pin has kept."""
    from tests.oci import fakes

    host.network(plugins=("first",))
    with fakes.container() as before:
        attach(host, before)
    with fakes.container() as after:
        host.forget_calls()
        attach(host, after)
        assert host.sequence() == ["DEL first", "ADD first"]
        assert host.calls()[0].netns == host.store.pin("c1")
        [record] = host.store.of_container("c1")
        assert pin.holds(host.store.pin("c1"), record.netns)
        detach(host)
    assert host.left() == []


def test_a_start_after_a_reboot_gives_the_dels_no_namespace(host: Host, container: Container) -> None:
    host.network(plugins=("first",))
    attach(host, container)
    [record] = host.store.of_container("c1")
    pin.remove(host.store.pin("c1"))
    host.store.write(record._replace(boot_id="before"))
    host.forget_calls()
    attach(host, container)
    assert [(call.verb, call.netns) for call in host.calls()] == [("DEL", ""), ("ADD", host.store.pin("c1"))]
    detach(host)


def test_an_interface_that_is_attached_is_refused_and_another_is_not(host: Host, container: Container) -> None:
    host.network(plugins=("first",))
    attach(host, container)
    with pytest.raises(CniError, match="eth0 of container c1 on network db is attached already"):
        attach(host, container)
    attach(host, container, Request("db", ifname="eth1"))
    assert len(host.store.of_container("c1")) == 2
    first, second = host.store.of_container("c1")
    engine.detach(host.store, first, Stop(20), print)
    assert pin.holds(host.store.pin("c1"), second.netns)  # for the other one
    detach(host)
    assert host.left() == []


def test_a_network_that_changes_meanwhile_does_not_change_the_del(host: Host, container: Container) -> None:
    host.network(plugins=("first",), first={"vlan": 7})
    attach(host, container)
    host.network(plugins=("second",))
    detach(host)
    assert host.sequence() == ["ADD first", "DEL first"]
    assert host.calls()[1].config["vlan"] == 7
