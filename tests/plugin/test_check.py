"""CHECK where there is nothing to compare, or where it differs from the ADD."""

from pathlib import Path
from typing import Any

import pytest

from cni_sriov_bond.errors import CHECK_DIFFERS, DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIG
from cni_sriov_bond.pool.lease import ADDING, READY
from cni_sriov_bond.pool.record import NetnsIdentity
from tests.support import Plugin, contents, lease, make_pool, temporary_netns


def test_a_check_without_a_lease_or_a_result_is_an_error(plugin: Plugin, state: Path) -> None:
    """Without a lease there is nothing to compare; without prevResult neither (K2, K6); old versions have no CHECK (K1)."""
    before = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/none"}]}
    assert "has no bond; ADD it again" in plugin.run("CHECK", plugin.config(prevResult=before)).error(103)
    assert "required prevResult missing" in plugin.run("CHECK").error(INVALID_CONFIG)
    old = plugin.run("CHECK", plugin.config(cniVersion="0.3.1"))
    assert "config version does not allow CHECK" in old.error(INCOMPATIBLE_VERSION, "1.1.0")


@pytest.mark.parametrize("before", [{"cniVersion": "9.9.9"}, {"cniVersion": "1.0.0", "interfaces": [5]}])
def test_k3_a_prevresult_of_an_unknown_version_is_refused(plugin: Plugin, before: dict[str, Any]) -> None:
    make_pool(plugin.state)
    words = plugin.run("CHECK", plugin.config(prevResult=before)).error(DECODING_FAILURE)
    assert "prevResult of network 'net1' is not a valid CNI result" in words


def test_a_check_changes_nothing(plugin: Plugin) -> None:
    """What interrupted ADDs left is for the next DEL, GC or ADD to remove."""
    pool = make_pool(plugin.state)
    taken = lease(pool)
    taken.close()
    Path(pool.leases, taken.entry.file).write_text("{")
    Path(pool.leases, f".cbond2.{taken.entry.key}.adding.12345").write_text("{")
    before = contents(plugin.state)
    previous = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/none"}]}
    assert "has no bond; ADD it again" in plugin.run("CHECK", plugin.config(prevResult=previous)).error(CHECK_DIFFERS)
    assert contents(plugin.state) == before


@pytest.mark.root
def test_k4_check_requires_our_interface_in_the_recorded_namespace(plugin: Plugin) -> None:
    pool = make_pool(plugin.state)
    with temporary_netns() as container, temporary_netns() as other:
        here = NetnsIdentity(container.path, container.netns.dev, container.netns.ino)
        taken = lease(pool, netns=here)
        taken.save(READY)
        taken.close()
        before = contents(plugin.state)
        for name, sandbox in (("eth1", container.path), ("eth0", container.path + "/")):
            result = {"cniVersion": "1.0.0", "interfaces": [{"name": name, "sandbox": sandbox}]}
            answer = plugin.run("CHECK", plugin.config(prevResult=result), CNI_NETNS=container.path)
            assert f"prevResult has no interface eth0 in {container.path}" in answer.error(CHECK_DIFFERS)
        result = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": other.path}]}
        answer = plugin.run("CHECK", plugin.config(prevResult=result), CNI_NETNS=other.path)
        assert "is not the namespace of the ADD" in answer.error(CHECK_DIFFERS)
    assert contents(plugin.state) == before


@pytest.mark.parametrize(("state", "words"), [(ADDING, "it is adding, not ready"), ("", "is damaged")])
def test_k6_a_lease_that_is_not_ready_or_damaged_is_a_difference(plugin: Plugin, state: str, words: str) -> None:
    pool = make_pool(plugin.state)
    taken = lease(pool)
    taken.save(state or READY)
    taken.close()
    if not state:
        Path(pool.leases, taken.entry.file).write_text("{")
    before = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/none"}]}
    assert words in plugin.run("CHECK", plugin.config(prevResult=before)).error(CHECK_DIFFERS)
