"""The calls of a chain: what plugins get, and what is made of their answers."""

from typing import Any

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import conflist
from cni_sriov_bond.oci.chain import Attached, Chain, find
from cni_sriov_bond.oci.request import Request
from cni_sriov_bond.oci.stop import Stop
from tests.oci.fakes import Host

ALL = Request("db", 7, ("10.0.0.7/24", "fd00::7"), "02:00:00:00:00:07", "net0", "cbond2")


def chain(host: Host, request: Request = ALL, **keys: Any) -> Chain:
    host.network(**keys)
    network = conflist.load(host.site.network_dir, "db")
    warned: list[str] = []
    made = Chain(network, request, Attached("c1", request.ifname, "/run/netns/x"), host.site.cni_path, warned.append)
    made.warned = warned  # type: ignore[attr-defined]
    return made


def test_plugins_are_called_in_order_with_the_result_before(host: Host) -> None:
    host.network()
    result = chain(host, Request("db")).add(Stop(30))
    first, second = host.calls()
    assert (first.verb, first.plugin, first.netns, first.ifname, first.args) == ("ADD", "first", "/run/netns/x", "eth0", "")
    assert first.config == {"type": "first", "name": "db", "cniVersion": "1.0.0"}
    assert second.config["prevResult"]["dns"] == {"domain": "first"}
    assert result["dns"] == {"domain": "second"}


def test_a_request_is_given_as_arguments_and_to_those_who_declare_it(host: Host) -> None:
    """Addresses as capability, or else to the plugin with an ipam, in args.cni: CNI_ARGS has but one."""
    declared = {"capabilities": {"ips": True, "mac": True, "portMappings": True}}
    with_ipam = {"ipam": {"type": "x"}, "args": {"cni": {"labels": []}}}
    chain(host, plugins=("first", "second", "third"), first=declared, second=with_ipam).add(Stop(30))
    first, second, third = (call.config for call in host.calls())
    ips = ["10.0.0.7/24", "fd00::7"]
    assert host.calls()[0].args == "IgnoreUnknown=1;MAC=02:00:00:00:00:07;DEVICE=cbond2;VLAN=7"
    assert first["runtimeConfig"] == {"ips": ips, "mac": "02:00:00:00:00:07"}
    assert "args" not in first
    assert second["args"] == {"cni": {"labels": [], "ips": ips}}
    assert "runtimeConfig" not in second
    assert "runtimeConfig" not in third
    assert "args" not in third


def test_the_dels_are_in_reverse_order_and_go_on_after_a_failure(host: Host) -> None:
    made = chain(host)
    host.refuse("DEL", "second", 7, "it is busy")
    host.refuse("DEL", "first", 8, "it is gone")
    final = {"interfaces": [{"name": "x"}]}
    with pytest.raises(CniError, match="network db, plugin second: it is busy") as failed:
        made.delete(final, Stop(30))
    assert "plugin first: it is gone" in failed.value.details
    assert host.sequence() == ["DEL second", "DEL first"]
    assert [call.config["prevResult"] for call in host.calls()] == [final, final]


def test_a_del_of_an_old_version_has_no_result(host: Host) -> None:
    made = chain(host, cniVersion="0.3.1")
    made.delete({"interfaces": []}, Stop(30))
    assert ["prevResult" in call.config for call in host.calls()] == [False, False]
    with pytest.raises(CniError, match="has no CHECK"):
        made.check({}, Stop(30))


def test_check_gives_the_final_result_to_all(host: Host) -> None:
    final = {"cniVersion": "1.0.0", "interfaces": []}
    chain(host).check(final, Stop(30))
    assert [(call.verb, call.plugin, call.config["prevResult"]) for call in host.calls()] == [
        ("CHECK", "first", final),
        ("CHECK", "second", final),
    ]
    host.forget_calls()
    chain(host, disableCheck=True).check(final, Stop(30))
    assert host.calls() == []


def test_results_are_converted_to_the_network_s_version(host: Host) -> None:
    old = '{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.7/24"}}'
    made = chain(host, Request("db"), plugins=("first",))
    host.on("ADD", "first", f"echo '{old}'; exit 0\n")
    result = made.add(Stop(30))
    assert (result["cniVersion"], result["ips"][0]["address"]) == ("1.0.0", "10.0.0.7/24")
    host.on("ADD", "first", "echo null; exit 0\n")
    assert made.add(Stop(30)) == {"cniVersion": "1.0.0"}


@pytest.mark.parametrize("output", ["", "{", "[]", '"x"'])
def test_what_is_no_result_is_refused(host: Host, output: str) -> None:
    made = chain(host, plugins=("first",))
    host.on("ADD", "first", f"echo '{output}'; exit 0\n")
    with pytest.raises(CniError, match="the plugin first returned no"):
        made.add(Stop(30))


def test_standard_error_of_a_plugin_is_a_warning(host: Host) -> None:
    made = chain(host, plugins=("first",))
    host.on("ADD", "first", "echo one path is down >&2\n")
    made.add(Stop(30))
    assert made.warned == ["first at ADD: one path is down"]  # type: ignore[attr-defined]


def test_nothing_is_called_after_the_deadline(host: Host) -> None:
    made = chain(host)
    with pytest.raises(CniError, match="the plugin first was not called for ADD: 0 s have passed"):
        made.add(Stop(0))
    assert host.calls() == []


def test_a_plugin_that_is_missing_is_named(host: Host) -> None:
    made = chain(host)
    (host.plugins / "second").unlink()
    with pytest.raises(CniError, match="there is no plugin 'second' in"):
        made.add(Stop(30))
    assert host.calls() == []


def test_a_plugin_that_others_can_change_is_refused(host: Host) -> None:
    host.network()
    (host.plugins / "first").chmod(0o777)
    with pytest.raises(CniError, match=r"the plugin .*first can be changed by other users"):
        find(conflist.load(host.site.network_dir, "db"), host.site.cni_path)
