"""What a container requests: annotations, environment, policy, and the hook's arguments."""

import pytest

from cni_sriov_bond.errors import CniError
from cni_sriov_bond.oci import request
from cni_sriov_bond.oci.policy import Policy
from cni_sriov_bond.oci.request import Request

FULL = Request("db", 100, ("10.1.2.3/24", "fd00::3"), "02:11:22:33:44:55", "bond0", "cbond3")
ANY = Policy("all")


def test_annotations_are_read() -> None:
    annotations = {
        "sriov-bond.network": "db",
        "sriov-bond.vlan": "100",
        "sriov-bond.ip": "10.1.2.3/24, fd00::3",
        "sriov-bond.mac": "02:11:22:33:44:55",
        "sriov-bond.ifname": "bond0",
        "sriov-bond.device": "cbond3",
        "io.kubernetes.pod": "x",
    }
    assert request.from_annotations(annotations, Policy()) == FULL


def test_other_annotations_request_nothing() -> None:
    assert request.from_annotations({"sriov-bonding": "x", "sriov-bond": "y"}, Policy(network="db")) is None


def test_unknown_annotation_is_refused() -> None:
    with pytest.raises(CniError, match=r"'sriov-bond\.vlanid' is unknown; use sriov-bond\.network, sriov-bond\.vlan"):
        request.from_annotations({"sriov-bond.network": "db", "sriov-bond.vlanid": "1"}, Policy())


def test_environment_is_read() -> None:
    environment = [
        "PATH=/bin",
        "SRIOV_BOND_NETWORK=db",
        "SRIOV_BOND_VLAN=100",
        "SRIOV_BOND_IP=10.1.2.3/24 fd00::3",
        "SRIOV_BOND_MAC=02:11:22:33:44:55",
        "SRIOV_BOND_IFNAME=bond0",
        "SRIOV_BOND_DEVICE=cbond3",
    ]
    assert request.of_container({}, environment, ANY) == FULL


def test_by_default_the_environment_chooses_network_and_vlan() -> None:
    environment = ["SRIOV_BOND_NETWORK=db", "SRIOV_BOND_VLAN=7"]
    assert request.of_container({}, environment, Policy()) == Request("db", 7)


@pytest.mark.parametrize("name", ["IP", "MAC", "IFNAME", "DEVICE"])
def test_by_default_the_environment_chooses_nothing_else(name: str) -> None:
    environment = ["SRIOV_BOND_NETWORK=db", f"SRIOV_BOND_{name}=x"]
    with pytest.raises(
        CniError, match=f"SRIOV_BOND_{name}, but may choose only network and VLAN; use the annotation sriov-bond"
    ):
        request.of_container({}, environment, Policy())


def test_an_annotation_replaces_what_the_environment_may_not_choose() -> None:
    environment = ["SRIOV_BOND_NETWORK=other", "SRIOV_BOND_IP=10.0.0.66"]
    annotations = {"sriov-bond.network": "db", "sriov-bond.ip": "10.0.0.5"}
    assert request.of_container(annotations, environment, Policy()) == Request("db", ips=("10.0.0.5",))


def test_policy_none_ignores_the_environment() -> None:
    environment = ["SRIOV_BOND_NETWORK=../x", "SRIOV_BOND_IP=1", "DOCKER_RESOURCE_SRIOV_BOND=cbond1"]
    assert request.of_container({}, environment, Policy("none")) is None
    assert request.of_container({"sriov-bond.network": "db"}, environment, Policy("none")) == Request("db")


def test_last_of_equal_variables_counts() -> None:
    environment = ["SRIOV_BOND_NETWORK=a", "SRIOV_BOND_NETWORK=b"]
    assert request.of_container({}, environment, Policy()) == Request("b")


def test_an_empty_variable_unsets() -> None:
    environment = ["SRIOV_BOND_NETWORK=a", "SRIOV_BOND_IP=10.0.0.1", "SRIOV_BOND_IP=", "SRIOV_BOND_MAC"]
    assert request.of_container({}, environment, Policy()) == Request("a")
    assert request.of_container({}, ["SRIOV_BOND_NETWORK="], Policy()) is None


@pytest.mark.parametrize("name", ["DOCKER_RESOURCE_SRIOV_BOND", "DOCKER_RESOURCE_SRIOV-BOND"])
def test_swarm_names_the_bond(name: str) -> None:
    """The manager's variable is the last; a service author's own comes first."""
    environment = [f"{name}=cbond7", "SRIOV_BOND_NETWORK=db", "SRIOV_BOND_DEVICE=cbond6", f"{name}=cbond2"]
    assert request.of_container({}, environment, ANY) == Request("db", device="cbond2")


def test_swarm_task_without_network_has_that_of_the_host_file() -> None:
    environment = ["DOCKER_RESOURCE_SRIOV_BOND=cbond2"]
    assert request.of_container({}, environment, Policy(network="db")) == Request("db", device="cbond2")
    with pytest.raises(CniError, match="no network is named beside DOCKER_RESOURCE_SRIOV_BOND; set SRIOV_BOND_NETWORK"):
        request.of_container({}, environment, Policy())


@pytest.mark.parametrize(("value", "problem"), [("3", "is the number '3'"), ("cbond1,cbond2", "several bonds")])
def test_swarm_resources_must_be_one_name(value: str, problem: str) -> None:
    with pytest.raises(CniError, match=problem):
        request.of_container({}, ["SRIOV_BOND_NETWORK=db", f"DOCKER_RESOURCE_SRIOV_BOND={value}"], Policy())


def test_a_container_that_requests_nothing_has_no_request() -> None:
    """Its default network, if any, is a matter of its namespace too: oci/prepare."""
    assert request.of_container({}, ["PATH=/bin"], Policy(network="db")) is None


def test_a_vlan_alone_is_for_the_default_network() -> None:
    assert request.of_container({}, ["SRIOV_BOND_VLAN=5"], Policy(network="db")) == Request("db", 5)


def test_only_listed_networks_may_be_requested() -> None:
    allowed = Policy(network="db", networks=("web",))
    assert request.of_container({}, ["SRIOV_BOND_NETWORK=web"], allowed) == Request("web")
    assert request.of_container({}, ["SRIOV_BOND_NETWORK=db"], allowed) == Request("db")
    with pytest.raises(
        CniError, match=r"SRIOV_BOND_NETWORK requests the network admin, which is not in networks of \[docker\]"
    ):
        request.of_container({}, ["SRIOV_BOND_NETWORK=admin"], allowed)
    with pytest.raises(CniError, match=r"it has none"):
        request.from_annotations({"sriov-bond.network": "admin"}, Policy(networks=()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network", "../etc"),
        ("network", "a b"),
        ("network", "a\nb"),
        ("network", "n" * 129),
        ("network", "x" * 1_000_000),
        ("vlan", "4095"),
        ("vlan", "-1"),
        ("vlan", "1 0"),
        ("vlan", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("ip", "10.0.0"),
        ("ip", "10.0.0.1/33"),
        ("ip", "10.0.0.1;rm"),
        ("ip", ","),
        ("ip", " ".join(f"10.0.0.{number}" for number in range(33))),
        ("mac", "01:00:00:00:00:01"),
        ("mac", "00:00:00:00:00:00"),
        ("mac", "02:11:22:33:44"),
        ("ifname", "eth0/../x"),
        ("ifname", "lo"),
        ("ifname", "averylongifname0"),
        ("ifname", "eth%d"),
        ("device", "../cbond1"),
        ("device", "-b"),
        ("device", "a\udc80"),
    ],
)
def test_invalid_values_are_refused_in_one_short_sentence(key: str, value: str) -> None:
    settings = {"sriov-bond.network": "db", f"sriov-bond.{key}": value}
    with pytest.raises(CniError) as failed:
        request.from_annotations(settings, Policy())
    assert failed.value.msg.startswith(f"the annotation sriov-bond.{key}: ")
    assert failed.value.msg.isprintable()
    assert failed.value.msg.isascii()
    assert len(failed.value.msg) < 200
    arguments = ["--network", "db"] if key != "network" else []
    with pytest.raises(CniError, match=f"--{key}: "):
        request.from_arguments([*arguments, f"--{key}", value])


@pytest.mark.parametrize("full", [FULL, Request("db"), Request("db", 0, ifname="x", device="0000:01:10.0")])
def test_arguments_of_the_hook_are_read_back(full: Request) -> None:
    assert request.from_arguments(request.to_arguments(full)) == full


@pytest.mark.parametrize("arguments", [["--network"], ["network", "db"], ["--net", "db"], ["--network", "db", "x"]])
def test_other_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CniError, match="is not an option with a value; use --network, --vlan"):
        request.from_arguments(arguments)


def test_arguments_without_network_are_refused() -> None:
    with pytest.raises(CniError, match="no network is named beside --vlan"):
        request.from_arguments(["--vlan", "5"])


def test_operator_is_not_limited() -> None:
    operator = request.of_operator("db", "100", ("10.1.2.3/24", "fd00::3"), "02:11:22:33:44:55", "bond0", "cbond3")
    assert operator == FULL
    assert request.of_operator("db") == Request("db")
    with pytest.raises(CniError, match="--vlan: '9999' is not a VLAN"):
        request.of_operator("db", "9999")
