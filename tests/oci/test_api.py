"""What `sriov-bondctl attach` and `detach` call."""

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import api
from cni_sriov_bond.oci.request import Request
from tests.oci.fakes import Container, Host


def test_attach_and_detach(host: Host, container: Container) -> None:
    host.network()
    result = api.attach(Request("db"), "c1", container.path, container.pid, site=host.site)
    assert result["interfaces"] == [{"name": "eth0"}]
    api.attach(Request("db", ifname="eth1"), "c1", container.path, container.pid, site=host.site)
    assert [record.ifname for record in api.attachments("c1", site=host.site)] in (["eth0", "eth1"], ["eth1", "eth0"])
    assert api.attachments("c2", site=host.site) == []
    assert api.detach("c1", "eth1", site=host.site) == ["eth1"]
    assert api.detach("c1", "eth7", site=host.site) == []
    assert api.detach("c1", site=host.site) == ["eth0"]
    assert api.detach("c1", site=host.site) == []
    assert host.left() == []


def test_a_detach_that_fails_is_pending_and_the_others_are_done(host: Host, container: Container) -> None:
    host.network()
    host.network("other", plugins=("third",))
    for network, ifname in (("db", "eth0"), ("other", "eth1")):
        api.attach(Request(network, ifname=ifname), "c1", container.path, container.pid, site=host.site)
    host.refuse("DEL", "third", 7, "stuck")
    with pytest.raises(CniError, match=r"`sriov-bondctl gc` tries again: eth1 of container c1 on network other: .*stuck"):
        api.detach("c1", site=host.site)
    [record] = api.attachments(site=host.site)
    assert host.store.is_pending(record)
    host.obey("DEL", "third")
    assert api.detach("c1", site=host.site) == ["eth1"]


def test_the_host_s_own_namespace_is_refused(host: Host) -> None:
    host.network()
    with pytest.raises(CniError, match="is the namespace of the plugin itself"):
        api.attach(Request("db"), "c1", "/proc/self/ns/net", site=host.site)
    with pytest.raises(CniError, match="invalid characters in containerID"):
        api.attach(Request("db"), "../c1", "/proc/self/ns/net", site=host.site)
