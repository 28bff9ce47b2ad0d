"""Leases without containers, containers without leases, addresses of nobody, pending DELs."""

import json
import shutil
from pathlib import Path
from typing import Any

from cni_sriov_bond.doctor.check import SKIPPED, WARNING
from cni_sriov_bond.pool.lease import DRAINING
from cni_sriov_bond.pool.record import DelegateCall, NetnsIdentity
from tests.doctor.fake_host import FakeHost, vf_address
from tests.support import holder, lease, ready, vf_state

VFS = {"VF11": vf_address(0, 0), "VF21": vf_address(1, 0)}
MAC = "02:00:00:00:00:01"
# What an ADD records before it changes the VFs.
BEGUN: dict[str, Any] = {
    "before": {address: vf_state() for address in VFS.values()},
    "mac": MAC,
    "port_macs": dict.fromkeys(VFS.values(), MAC),
}
NETWORKS = "/var/lib/cni/networks"


def in_container(fake: FakeHost) -> None:
    for name, address in VFS.items():
        fake.take_netdev(address, name)


def back(fake: FakeHost) -> None:
    for name, address in VFS.items():
        fake.return_netdev(address, name)


def test_a_lease_without_container_is_named(fake: FakeHost) -> None:
    in_container(fake)
    ready(fake.pool, "c1", **BEGUN)
    words = "cbond1 is leased by container c1 eth0, which is gone: its VFs are back in the host"
    finding = fake.broken_and_repaired("lease", lambda: back(fake), words, lambda: in_container(fake))
    assert finding.fix is not None
    assert (finding.remedy, finding.fix.safe) == ("run `sriov-bondctl gc db`", True)


def test_a_lease_of_an_earlier_boot_is_finished_by_gc(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired("lease", lambda: ready(fake.pool, "c1", boot_id="earlier"), "of before this boot")
    assert finding.object == "db/cbond1"


def test_an_interrupted_call_is_named_and_finished_but_not_one_that_runs(fake: FakeHost) -> None:
    lease(fake.pool, "c1").close()
    with holder(f"{fake.pool.path}/bonds/cbond1"):
        assert fake.passes("lease")
    [finding] = fake.wrong("lease")
    assert finding.sentence == "the ADD or DEL of cbond1 for container c1 eth0 was interrupted"
    assert finding.fix is not None
    finding.fix.run()
    assert fake.passes("lease")


def test_a_lease_that_waits_for_its_container_is_a_warning(fake: FakeHost) -> None:
    in_container(fake)
    taken = lease(fake.pool, "c1", **BEGUN)
    taken.save(DRAINING)
    taken.close()
    [finding] = fake.wrong("lease")
    assert finding.result == WARNING
    assert "whose runtime sent DEL while VF11 and VF21 stayed in the container" in finding.sentence


def test_a_damaged_lease_is_named(fake: FakeHost) -> None:
    ready(fake.pool, "c1")
    [file] = Path(fake.pool.leases).iterdir()
    whole = file.read_text()
    fake.broken_and_repaired("lease", lambda: file.write_text("{"), "is damaged", lambda: file.write_text(whole))


def cached(sandbox: str = "/run/netns/c1", **keys: object) -> str:
    value = {"kind": "cniCacheV1", "containerId": "c1", "ifName": "eth0", "networkName": "db"}
    return json.dumps({**value, "result": {"interfaces": [{"name": "eth0", "sandbox": sandbox}]}, **keys})


def test_a_container_without_lease_is_named(fake: FakeHost) -> None:
    path = "/var/lib/cni/results/db-c1-eth0"
    fake.write("/run/netns/c1", "")
    words = "container c1 eth0 is attached to network db, but has no lease"
    fake.broken_and_repaired("container", lambda: fake.write(path, cached()), words, lambda: fake.remove(path))
    fake.write(path, cached())
    assert not fake.passes("container")
    ready(fake.pool, "c1", network="db")
    assert fake.passes("container")


def test_what_a_runtime_keeps_of_containers_that_ended_or_others_does_not_count(fake: FakeHost) -> None:
    fake.write("/run/netns/c1", "")
    path = "/var/lib/cni/results/db-c1-eth0"
    for text in (cached("/run/netns/gone"), cached(networkName="other"), cached(result=None), "[]", "{", ""):
        fake.write(path, text)
        assert fake.passes("container"), text
    fake.write("/var/lib/cni/sriov-bond-oci/results/db-c1-eth0", cached())
    assert not fake.passes("container"), "the hook's cache counts too"


def test_an_address_of_nobody_is_freed(fake: FakeHost) -> None:
    path = f"{NETWORKS}/db/10.100.0.9"
    fake.write_network(ipam={"type": "host-local", "ranges": [[{"subnet": "10.100.0.0/24"}]], "dataDir": NETWORKS})
    words = "10.100.0.9 of network db is reserved for container c9 interface eth0, which has no lease"
    fake.write(f"{NETWORKS}/db/last_reserved_ip.0", "10.100.0.9")
    finding = fake.broken_and_repaired("address", lambda: fake.write(path, "c9\r\neth0"), words, result=WARNING)
    assert finding.fix is not None
    assert not finding.fix.safe, "another plugin may use this network"
    assert not (fake.root / path[1:]).exists()


def test_an_address_of_a_lease_or_of_a_pending_del_is_somebodys(fake: FakeHost) -> None:
    ready(fake.pool, "c1", network="db")
    fake.write(f"{NETWORKS}/db/10.100.0.9", "c1\r\neth0")
    fake.write(f"{NETWORKS}/db/10.100.0.10", "c1")
    assert fake.passes("address")
    leave_pending(fake, network="db")
    fake.write(f"{NETWORKS}/db/10.100.0.11", "p1\r\neth0")
    assert fake.passes("address")
    fake.write(f"{NETWORKS}/db/10.100.0.11", "p1\r\neth1")
    assert not fake.passes("address")


def test_an_address_that_was_leased_meanwhile_is_not_freed(fake: FakeHost) -> None:
    fake.write(f"{NETWORKS}/db/10.100.0.9", "c9\r\neth0")
    [finding] = fake.wrong("address")
    ready(fake.pool, "c9", network="db")
    assert finding.fix is not None
    assert finding.fix.run() == "10.100.0.9 is used by now"
    assert (fake.root / f"{NETWORKS[1:]}/db/10.100.0.9").exists()


def leave_pending(fake: FakeHost, network: str = "net1") -> None:
    delegate = DelegateCall("no-such-ipam", {"CNI_PATH": "/none"}, '{"name": "net1"}')
    taken = lease(fake.pool, "p1", network, netns=NetnsIdentity("/none", 1, 1), delegate=delegate, addresses=["10.100.0.11/24"])
    taken.make_pending()
    taken.close()


def test_a_pending_del_is_named_with_its_addresses(fake: FakeHost) -> None:
    finding = fake.broken_and_repaired(
        "pending-del",
        lambda: leave_pending(fake),
        "the DEL of 10.100.0.11/24 for container p1 eth0 to no-such-ipam is pending",
        lambda: shutil.rmtree(f"{fake.pool.path}/pending"),
    )
    assert finding.fix is not None
    assert finding.fix.safe


def test_pending_dels_of_the_hook_are_named(fake: FakeHost) -> None:
    path = "/var/lib/cni/sriov-bond-oci/pending/x"
    fake.broken_and_repaired(
        "pending-del", lambda: fake.write(path, ""), "1 DELs of the OCI hook are pending", lambda: fake.remove(path)
    )


def test_without_pool_and_network_there_is_nothing_to_check(fake: FakeHost) -> None:
    fake.state.rename(fake.root / "elsewhere")
    fake.remove("/etc/cni/net.d/10-db.conflist")
    for check in ("lease", "container", "address", "pending-del"):
        assert [finding.result for finding in fake.check(check)] == [SKIPPED], check
