"""Records on disk, and whether their container lives."""

import json
import os
from pathlib import Path

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import attachment
from cni_sriov_bond.oci.attachment import Attachment, Store
from cni_sriov_bond.oci.request import Request
from tests.oci.fakes import Container, Host

REQUEST = Request("db", 7, ("10.0.0.7",), "02:00:00:00:00:07", "eth1", "cbond2")


def record(container: Container, container_id: str = "c1", request: Request = REQUEST, pid: int | None = None) -> Attachment:
    namespace = container.open()
    namespace.close()
    return attachment.new(container_id, request, namespace, container.pid if pid is None else pid, "{}", "/opt/cni/bin")


@pytest.fixture
def store(host: Host) -> Store:
    host.site.make_directories()
    return host.store


def test_a_record_is_read_as_it_was_written(store: Store, container: Container) -> None:
    written = record(container)
    store.write(written)
    assert store.of_container("c1") == [written]
    assert store.of_container("c") == store.of_container("c11") == []
    assert (written.network, written.ifname, written.state) == ("db", "eth1", "adding")
    assert str(written) == "eth1 of container c1 on network db"
    [file] = Path(store.site.directory("attachments")).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "c1" not in file.name


def test_a_pending_record_is_still_one_of_the_container(store: Store, container: Container) -> None:
    written = record(container)
    store.write(written)
    assert not store.is_pending(written)
    store.make_pending(written)
    store.make_pending(written)
    assert store.is_pending(written)
    assert store.of_container("c1") == [written]
    store.erase(written)
    assert store.all() == ([], {})


def test_each_interface_has_its_record(store: Store, container: Container) -> None:
    both = [record(container), record(container, request=REQUEST._replace(ifname="eth2"))]
    for one in both:
        store.write(one)
    assert sorted(store.of_container("c1")) == both
    assert len(store.keys()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1, "request": 7}'])
def test_a_damaged_record_is_an_error_with_its_path(store: Store, container: Container, text: str) -> None:
    store.write(record(container))
    [file] = Path(store.site.directory("attachments")).iterdir()
    file.write_text(text)
    with pytest.raises(CniError, match="is damaged"):
        store.of_container("c1")
    records, damaged = store.all()
    assert (records, list(damaged)) == ([], [str(file)])


def test_a_value_of_another_type_is_damage(store: Store, container: Container) -> None:
    store.write(record(container))
    [file] = Path(store.site.directory("attachments")).iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": "7"}))
    with pytest.raises(CniError, match="is damaged"):
        store.of_container("c1")


def test_a_container_lives_as_long_as_its_process(container: Container) -> None:
    living = record(container)
    assert living.is_alive()
    assert not living._replace(started=living.started + 1).is_alive()  # another process with the same pid
    assert not living._replace(boot_id="before").is_alive()
    container.kill()
    assert not living.is_alive()


def test_without_a_process_it_lives_as_long_as_its_namespace_is_at_its_path(container: Container) -> None:
    living = record(container, pid=0)
    assert living.is_alive()
    assert not living._replace(netns_path="/proc/self/ns/net").is_alive()
    container.kill()
    assert not living.is_alive()


def test_the_lock_of_a_container_ends_with_its_last_record(store: Store, container: Container) -> None:
    written = record(container)
    locks = Path(store.site.directory("locks"))
    with store.locked("c1", 1):
        with pytest.raises(CniError, match="container c1 is in use by"), store.locked("c1", 0):
            pass
        with store.locked("c2", 0):
            store.write(written)
    assert len(os.listdir(locks)) == 1
    with store.locked("c1", 0):
        store.erase(written)
    assert os.listdir(locks) == []
