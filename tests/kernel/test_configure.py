"""Each driver's way of being configured, played by tests/kernel/fake_kernel.py."""

from pathlib import Path
from time import monotonic

import pytest

from cni_sriov_bond.deadline import Deadline
from cni_sriov_bond.errors import INVALID_CONFIG, POOL_UNUSABLE, CniError, KernelError
from cni_sriov_bond.kernel import drivers
from cni_sriov_bond.kernel.configure import NO_MAC
from cni_sriov_bond.kernel.objects import Link
from cni_sriov_bond.kernel.sriov import Host
from cni_sriov_bond.ports import Port, VfSettings, VfState
from tests.kernel.fake_kernel import PF, PF_NAME, SPEED, FakeKernel, played

MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
DRIVERS = [driver for driver in drivers.DRIVERS if "/" not in driver] + ["a_new_driver"]
EVERYTHING = VfSettings(
    vlan=100, vlan_qos=0, vlan_proto=0x8100, spoofchk=0, trust=1, link_state=2, min_tx_rate=0, max_tx_rate=500
)


def safe(**requested: int) -> VfSettings:
    """Return what a network wants that says nothing of trust and spoof check."""
    return VfSettings(spoofchk=1, trust=0, defaults=("trust", "spoofchk"), **requested)


def device(host: Host, port: Port) -> Link:
    link = host.netdev(port)
    assert link is not None
    return link


def configure(kernel: FakeKernel, host: Host, requested: VfSettings, mac: str = MAC) -> list[str]:
    port = kernel.ports[0]
    return host.configure(port, device(host, port), requested, mac)


# -- what a driver does not have


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_network_without_wishes_can_have_every_driver(devices: Path, driver: str) -> None:
    """Trust and spoof check are wanted by default. Where a driver lacks one, that is said, and the VF gets its MAC.

    (mlx4 has no trust, be2net neither, enic reports no VF at all, sfc never reports the spoof check.)
    """
    with played(devices, driver) as (kernel, host):
        missing = configure(kernel, host, safe())
        vf = kernel.vfs[0]
        assert vf.mac == MAC
        lacks = {name for name in ("trust", "spoofchk") if drivers.fact(driver, name) == "n"}
        assert set(missing) == lacks
        assert [vf.settings[name] for name in ("trust", "spoofchk")] == [0, 1]
        assert host.differences(kernel.ports[0], safe(), MAC) == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_is_so_already_is_not_asked_for(devices: Path, driver: str) -> None:
    """The second container of a VF makes no request, whatever is reported for "none"; what is never reported is set."""
    with played(devices, driver) as (kernel, host):
        requested = safe(vlan=0, vlan_qos=0, vlan_proto=0x8100, link_state=0, min_tx_rate=0, max_tx_rate=0)
        if not drivers.reports_no_vfs(driver):
            configure(kernel, host, requested)
            kernel.requests.clear()
            configure(kernel, Host(kernel.netlink), requested)
            assert kernel.requests == (["spoofchk"] if driver == "sfc" else [])


@pytest.mark.parametrize(
    ("driver", "requested", "words"),
    [
        (
            "mlx4_core",
            VfSettings(trust=1),
            "the driver mlx4_core of enp1s0 has no trust for VFs: remove trust from the network",
        ),
        (
            "be2net",
            VfSettings(trust=0),
            "the driver be2net of enp1s0 has no trust for VFs: remove trust from the network config",
        ),
        ("fm10k", VfSettings(spoofchk=1), "the driver fm10k of enp1s0 has no spoof check for VFs: remove spoofchk from the"),
        ("enic", VfSettings(spoofchk=0), "the driver enic of enp1s0 has no spoof check for VFs: .*, or set it to leave"),
    ],
)
def test_what_is_asked_for_and_cannot_be_had_is_named_before_a_change(
    devices: Path, driver: str, requested: VfSettings, words: str
) -> None:
    with played(devices, driver) as (kernel, host):
        with pytest.raises(CniError, match=words) as refused:
            host.unsupported(kernel.ports[0], requested)
        assert refused.value.code == INVALID_CONFIG
        with pytest.raises(CniError, match=words):
            configure(kernel, host, requested)
        assert kernel.requests == []


@pytest.mark.parametrize(
    ("driver", "requested", "key"),
    [
        ("igb", VfSettings(link_state=2), "link_state"),
        ("igb", VfSettings(min_tx_rate=10, max_tx_rate=100), "min_tx_rate"),
        ("igb", VfSettings(vlan=5, vlan_qos=0, vlan_proto=0x88A8), "vlanProto"),
        ("sfc", VfSettings(vlan=5, vlan_qos=3, vlan_proto=0x8100), "vlanQoS"),
        ("ice", VfSettings(vlan=5, vlan_qos=0, vlan_proto=0x88A8), "vlanProto"),
        ("sfc", VfSettings(max_tx_rate=100), "max_tx_rate"),
        ("enic", VfSettings(vlan=100, vlan_qos=0, vlan_proto=0x8100), "vlan"),
        ("mlx5_core/switchdev", VfSettings(vlan=100, vlan_qos=0, vlan_proto=0x8100), "vlan"),
    ],
)
def test_a_refusal_names_the_key_to_remove(devices: Path, driver: str, requested: VfSettings, key: str) -> None:
    """EOPNOTSUPP and EPROTONOSUPPORT are final, and so is EINVAL of a driver that is known to lack the setting."""
    with played(devices, driver) as (kernel, host):
        with pytest.raises(KernelError, match=f"VFs: remove {key} from the network config") as refused:
            configure(kernel, host, requested)
        assert len([request for request in kernel.requests if "mac" not in request]) == 1, "it is not tried again"
        assert "through enp1s0" in refused.value.msg


def test_switchdev_mode_is_told_as_such(devices: Path) -> None:
    """Not the driver lacks the setting: the mode can be changed."""
    advice = (
        f"the NIC is in switchdev mode, in which VLAN, spoof check, trust and link state of VFs cannot be set; run `devlink "
        f"dev eswitch set pci/{PF} mode legacy`"
    )
    with played(devices, "mlx5_core/switchdev") as (kernel, host):
        representor = devices / PF / "net" / "rep0"
        representor.mkdir()
        (representor / "phys_port_name").write_text("pf0vf0\n")
        (devices / PF / "net" / PF_NAME / "phys_port_name").write_text("p0\n")
        with pytest.raises(KernelError) as refused:
            configure(kernel, host, VfSettings(vlan=100, vlan_qos=0, vlan_proto=0x8100))
        assert refused.value.msg.endswith(f"through {PF_NAME} in the host: Operation not supported; {advice}")
        with pytest.raises(CniError) as explicit:
            configure(kernel, host, VfSettings(trust=1))
        assert (explicit.value.code, explicit.value.msg) == (INVALID_CONFIG, f"{PF_NAME} has no trust for VFs: {advice}")
        assert host.consequences(kernel.ports[0], ["trust", "spoofchk"]) == [
            "switchdev mode has no spoof check for VFs, so the container can send frames with any source MAC"
        ]


@pytest.mark.parametrize(
    ("driver", "requested", "words"),
    [
        ("qede", VfSettings(vlan=5, vlan_qos=3, vlan_proto=0x8100), "vlan_qos 3"),
        ("fm10k", VfSettings(min_tx_rate=50, max_tx_rate=100), "min_tx_rate 50"),
    ],
)
def test_a_setting_that_is_accepted_without_effect_is_an_error(
    devices: Path, driver: str, requested: VfSettings, words: str
) -> None:
    with played(devices, driver) as (kernel, host):
        host = Host(kernel.netlink, Deadline(0.3))
        with pytest.raises(CniError, match=f"enp1s0 accepted {words} for VF 0 but does not report it") as refused:
            configure(kernel, host, requested)
        assert refused.value.code == POOL_UNUSABLE


def test_a_default_that_is_refused_is_missing(devices: Path) -> None:
    """BE3 reports a spoof check that is off and cannot be switched on."""
    with played(devices, "rvu_nicpf") as (kernel, host):
        kernel.vfs[0].settings["link_state"] = 1
        requested = VfSettings(spoofchk=1, trust=0, link_state=0, defaults=("trust", "spoofchk", "link_state"))
        assert configure(kernel, host, requested) == ["spoofchk", "link_state"]
        assert host.consequences(kernel.ports[0], ["trust", "spoofchk", "link_state"]) == [
            "the driver rvu_nicpf has no spoof check for VFs, so the container can send frames with any source MAC"
        ]


# -- order and repetition


def test_settings_are_made_one_by_one_and_set_back_in_reverse(devices: Path) -> None:
    """Of mlx4's kind, which wants the VLAN before the rate and the MAC before the spoof check."""
    with played(devices, "ionic") as (kernel, host):
        port = kernel.ports[0]
        before = host.state(port)
        before.mac = before.admin_mac = OTHER_MAC
        link = device(host, port)
        host.configure(port, link, EVERYTHING, MAC)
        assert kernel.requests == ["trust", "vlan", "rates", f"mac {MAC}", "spoofchk", "link_state"]
        kernel.requests.clear()
        host.unconfigure(port, device(host, port), before)
        assert kernel.requests == ["link_state", "spoofchk", f"mac {OTHER_MAC}", "rates", "vlan", "trust"]
        vf = kernel.vfs[0]
        assert (vf.mac, vf.admin_mac, vf.settings["vlan"], vf.settings["trust"]) == (OTHER_MAC, OTHER_MAC, 0, 0)


@pytest.mark.parametrize("driver", ["i40e", "ice", "hns3", "fm10k"])
def test_a_vf_that_each_setting_resets_is_waited_for(devices: Path, driver: str) -> None:
    """It is not in the list of VFs meanwhile, and its PF refuses the next setting with EAGAIN."""
    requested = VfSettings(vlan=100, vlan_qos=0, vlan_proto=0x8100, trust=1 if drivers.fact(driver, "trust") == "y" else None)
    with played(devices, driver, reset_seconds=0.4, late_seconds=0.2) as (kernel, host):
        began = monotonic()
        configure(kernel, host, requested)
        assert monotonic() - began > 0.4
        assert (kernel.vfs[0].settings["vlan"], kernel.vfs[0].mac) == (100, MAC)
        assert kernel.requests.count("vlan") >= 1


def test_a_setting_that_is_refused_twice_as_busy_is_repeated(devices: Path) -> None:
    with played(devices, "i40e") as (kernel, host):
        kernel.vfs[0].busy = 2
        configure(kernel, host, VfSettings(vlan=100, vlan_qos=0, vlan_proto=0x8100))
        assert kernel.requests[:3] == ["vlan", "vlan", "vlan"]


# -- the MAC


def test_igb_is_asked_in_the_order_that_it_needs(devices: Path) -> None:
    """Without an admin MAC the VF may set its own. No request more than these, and the device is not read again."""
    with played(devices, "igb") as (kernel, host):
        port = kernel.ports[0]
        link = device(host, port)
        host.vf(port)
        questions = kernel.questions
        host.set_macs(port, link, MAC)
        assert (kernel.requests, kernel.questions) == ([f"device mac {MAC}", f"mac {MAC}"], questions)
        kernel.requests.clear()
        host.set_macs(port, device(host, port), OTHER_MAC)
        assert kernel.requests == [f"mac {NO_MAC}", f"device mac {OTHER_MAC}", f"mac {OTHER_MAC}"]
        assert (kernel.vfs[0].mac, kernel.vfs[0].admin_mac) == (OTHER_MAC, OTHER_MAC)


@pytest.mark.parametrize("driver", [driver for driver in DRIVERS if not drivers.takes_zero_mac(driver)])
def test_no_zero_mac_is_set_where_it_is_refused(devices: Path, driver: str) -> None:
    """Nor at the return of a VF that had none: it keeps the one that it has."""
    with played(devices, driver) as (kernel, host):
        port = kernel.ports[0]
        own = kernel.vfs[0].mac
        configure(kernel, host, VfSettings(), MAC)
        configure(kernel, host, VfSettings(), OTHER_MAC)
        host.unconfigure(port, device(host, port), VfState(1500, own, NO_MAC, VfSettings()))
        assert f"mac {NO_MAC}" not in kernel.requests
        assert kernel.vfs[0].mac == own


def test_a_zero_mac_is_restored_where_it_is_taken(devices: Path) -> None:
    with played(devices, "mlx5_core") as (kernel, host):
        port = kernel.ports[0]
        before = host.state(port)
        configure(kernel, host, VfSettings())
        host.unconfigure(port, device(host, port), before)
        assert (kernel.vfs[0].mac, kernel.vfs[0].admin_mac) == (before.mac, NO_MAC)


# -- values that read otherwise than they were written


@pytest.mark.parametrize("driver", ["qede", "bnx2x", "mlx4_core", "mlx5_core"])
def test_a_fresh_vf_has_no_vlan_and_no_rate(devices: Path, driver: str) -> None:
    """Reported as the link's speed, 10000, VLAN 4095 and protocol 0."""
    with played(devices, driver) as (kernel, host):
        settings = host.state(kernel.ports[0]).settings
        assert (settings.vlan, settings.vlan_proto, settings.max_tx_rate) == (0, 0x8100, 0)


def test_a_rate_of_qede_can_be_removed(devices: Path) -> None:
    """It ignores 0, but not its link's speed."""
    with played(devices, "qede") as (kernel, host):
        port = kernel.ports[0]
        before = host.state(port)
        before.mac = before.admin_mac = MAC
        configure(kernel, host, VfSettings(max_tx_rate=500))
        assert kernel.vfs[0].settings["max"] == 500 < SPEED
        host.unconfigure(port, device(host, port), before)
        assert kernel.vfs[0].settings["max"] == 0


def test_a_check_compares_only_what_a_driver_reports(devices: Path) -> None:
    """A default that it lacks does not differ; an explicit setting does."""
    with played(devices, "mlx4_core") as (kernel, host):
        port = kernel.ports[0]
        assert host.differences(port, safe(vlan=0, vlan_qos=0, vlan_proto=0x8100), None) == []
        assert host.differences(port, VfSettings(trust=0), None) == ["VF 0 of enp1s0 has trust None, not 0"]


@pytest.mark.parametrize(
    ("requested", "mac", "requests", "questions"),
    [
        (safe(), "", [], 0),
        (safe(vlan=100, vlan_qos=0, vlan_proto=0x8100), "", ["vlan"], 1),
        (safe(vlan=100, vlan_qos=0, vlan_proto=0x8100), MAC, ["vlan", f"device mac {MAC}", f"mac {MAC}"], 1),
        (VfSettings(trust=1, spoofchk=0), MAC, ["trust", f"device mac {MAC}", f"mac {MAC}", "spoofchk"], 1),
    ],
    ids=["nothing", "VLAN", "VLAN and MAC", "settings before and after the MAC"],
)
def test_igb_costs_no_request_more_than_it_did(
    devices: Path, requested: VfSettings, mac: str, requests: list[str], questions: int
) -> None:
    """Beside the changes only one question, whether the settings are there; none if none was made."""
    with played(devices, "igb") as (kernel, host):
        port = kernel.ports[0]
        if not mac:
            mac = kernel.vfs[0].admin_mac = kernel.vfs[0].mac
        host.state(port)
        link = device(host, port)
        before = kernel.questions
        host.configure(port, link, requested, mac)
        assert (kernel.requests, kernel.questions - before) == (requests, questions)
