"""Requests for the settings of a VF: bytes, order, and what is sent of a group."""

from errno import EINVAL, EOPNOTSUPP, EPERM, EPROTONOSUPPORT

import pytest

from cni_sriov_bond.errors import KernelError
from cni_sriov_bond.kernel import rtnetlink, vfsettings
from cni_sriov_bond.ports import VfSettings

PRESENT = VfSettings(50, 3, 0x88A8, spoofchk=1, trust=0, link_state=0, min_tx_rate=10, max_tx_rate=500)


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (VfSettings(vlan=100), [(rtnetlink.vf_vlan(6, 100, 3, 0x88A8), "the VLAN 100 (priority 3, protocol 0x88a8)")]),
        (VfSettings(vlan=0, vlan_qos=0, vlan_proto=0x8100),
         [(rtnetlink.vf_vlan(6, 0, 0, 0x8100), "the VLAN 0 (priority 0, protocol 0x8100)")]),
        (VfSettings(max_tx_rate=0), [(rtnetlink.vf_rate(6, 10, 0), "the rates 10 to 0 Mbit/s")]),
        (VfSettings(min_tx_rate=20, max_tx_rate=300), [(rtnetlink.vf_rate(6, 20, 300), "the rates 20 to 300 Mbit/s")]),
        (VfSettings(trust=1, spoofchk=0, link_state=2),
         [(rtnetlink.vf_number(rtnetlink.VF_TRUST, 6, 1), "trust 1"),
          (rtnetlink.vf_number(rtnetlink.VF_SPOOFCHK, 6, 0), "spoof check 0"),
          (rtnetlink.vf_number(rtnetlink.VF_LINK_STATE, 6, 2), "link state 2")]),
    ],
)  # fmt: skip
def test_requests_send_groups_of_settings_as_a_whole(requested: VfSettings, expected: list[tuple[bytes, str]]) -> None:
    """What is not requested of VLAN, priority and protocol, or of the two rates, is sent as it is at present."""
    requests = vfsettings.requests(6, PRESENT, requested, requested.differing(PRESENT))
    assert [(request.setting, request.text) for request in requests] == expected


def test_the_order_is_that_which_nics_take() -> None:
    requested = VfSettings(1, 0, 0x8100, spoofchk=0, trust=1, link_state=2, min_tx_rate=1, max_tx_rate=2)
    requests = vfsettings.requests(0, PRESENT, requested, requested.differing(PRESENT))
    assert [request.names[0] for request in requests] == ["trust", "vlan", "min_tx_rate", "spoofchk", "link_state"]
    assert [request.names[0] in vfsettings.BEFORE_MAC for request in requests] == [True, True, True, False, False]


def test_a_rate_may_be_removed_by_a_number() -> None:
    requested = VfSettings(max_tx_rate=0)
    [request] = vfsettings.requests(0, PRESENT, requested, ["max_tx_rate"], no_rate=25000)
    assert request.setting == rtnetlink.vf_rate(0, 10, 25000)


@pytest.mark.parametrize(
    ("errno", "driver", "requested", "key"),
    [
        (EOPNOTSUPP, "", VfSettings(vlan=5, vlan_qos=0, vlan_proto=0x8100), "vlan"),
        (EPROTONOSUPPORT, "x", VfSettings(vlan=5, vlan_qos=2, vlan_proto=0x88A8), "vlanProto"),
        (EPROTONOSUPPORT, "cxgb4", VfSettings(vlan=5, vlan_qos=2, vlan_proto=0x8100), "vlanQoS"),
        (EINVAL, "sfc", VfSettings(vlan=5, vlan_qos=2, vlan_proto=0x8100), "vlanQoS"),
        (EOPNOTSUPP, "igb", VfSettings(vlan=0, vlan_qos=0, vlan_proto=0x8100), "vlan"),
        (EINVAL, "x", VfSettings(vlan=5, vlan_qos=2, vlan_proto=0x8100), ""),
        (EINVAL, "igb", VfSettings(vlan=5, vlan_qos=2, vlan_proto=0x8100), ""),
        (EPERM, "sfc", VfSettings(vlan=5, vlan_qos=2, vlan_proto=0x8100), ""),
    ],
)
def test_a_refusal_is_explained_by_what_is_known(errno: int, driver: str, requested: VfSettings, key: str) -> None:
    """EINVAL says nothing of a driver that has the setting, or that is not known."""
    [request] = vfsettings.requests(0, VfSettings(9, 9, 9), requested, ["vlan"])
    message = vfsettings.explain(KernelError(errno, "no"), request, requested, driver)
    advice = f"; the driver {driver or 'of this NIC'} does not have this for VFs: remove {key} from the network config"
    assert message == f"no{advice if key else ''}"
