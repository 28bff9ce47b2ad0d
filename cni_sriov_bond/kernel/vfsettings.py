"""Settings of VFs as requests to the kernel, in the order in which NICs take them, and why one was refused. No I/O."""

from errno import EINVAL, EOPNOTSUPP, EPROTONOSUPPORT

from cni_sriov_bond.kernel import rtnetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_sriov_bond.errors import KernelError
    from cni_sriov_bond.ports import VfSettings

# These errors are final: the driver does not have the setting.
NOT_SUPPORTED = (EOPNOTSUPP, EPROTONOSUPPORT)
# Settings that come before the MAC, and after it. mlx4 wants the VLAN before the rate and the MAC before the spoof check, and
# the reset that the last setting may cause takes all others over.
BEFORE_MAC = ("trust", "vlan", "vlan_qos", "vlan_proto", "min_tx_rate", "max_tx_rate")
AFTER_MAC = ("spoofchk", "link_state")
# What a container can do if a driver does not have what it gets by default. No trust is what such a driver gives.
CONSEQUENCES = {"spoofchk": "the container can send frames with any source MAC"}
# Key of the config and column of kernel/drivers, where they differ from the name of the setting.
_KEYS = {"vlan_qos": "vlanQoS", "vlan_proto": "vlanProto"}
_COLUMNS = {"vlan_qos": "qos", "vlan_proto": "ad", "min_tx_rate": "min", "max_tx_rate": "max"}
_WORDS = {"spoofchk": "spoof check"}


class SettingRequest:
    """One request: the names of the settings that it changes, its bytes, and its text for an error."""

    __slots__ = ("names", "setting", "text")

    def __init__(self, names: "tuple[str, ...]", setting: bytes, text: str) -> None:
        self.names = names
        self.setting = setting
        self.text = text


def requests(
    number: int, present: "VfSettings", requested: "VfSettings", differing: list[str], no_rate: int = 0
) -> list[SettingRequest]:
    """Return the requests for the settings that differ, in the order in which they are to be made.

    One setting a request: the kernel applies several in an order of its own, and stops at the first error (rtnetlink.c,
    do_setvfinfo). VLAN, priority and protocol are one setting to it, and so are both rates. A value of such a group that is not
    requested is sent as it is at present.

    :param number: of the VF.
    :param no_rate: the maximum rate that removes a limit.
    """

    def value(name: str) -> int:
        setting = requested.get(name)
        return setting if setting is not None else present.get(name) or 0

    def single(name: str, kind: int, text: str) -> "list[SettingRequest]":
        if name not in differing:
            return []
        return [SettingRequest((name,), rtnetlink.vf_number(kind, number, value(name)), f"{text} {value(name)}")]

    requests_in_order = single("trust", rtnetlink.VF_TRUST, "trust")
    vlan = ("vlan", "vlan_qos", "vlan_proto")
    if set(vlan) & set(differing):
        proto = value("vlan_proto") or rtnetlink.ETH_P_8021Q
        text = f"the VLAN {value('vlan')} (priority {value('vlan_qos')}, protocol {proto:#06x})"
        requests_in_order.append(SettingRequest(vlan, rtnetlink.vf_vlan(number, value("vlan"), value("vlan_qos"), proto), text))
    rates = ("min_tx_rate", "max_tx_rate")
    if set(rates) & set(differing):
        minimum, maximum = value("min_tx_rate"), value("max_tx_rate")
        text = f"the rates {minimum} to {maximum} Mbit/s"
        requests_in_order.append(SettingRequest(rates, rtnetlink.vf_rate(number, minimum, maximum or no_rate), text))
    requests_in_order += single("spoofchk", rtnetlink.VF_SPOOFCHK, "spoof check")
    return requests_in_order + single("link_state", rtnetlink.VF_LINK_STATE, "link state")


def words(name: str) -> str:
    """Return the words for a setting in a sentence."""
    return _WORDS.get(name, name)


def explain(refused: "KernelError", request: SettingRequest, requested: "VfSettings", driver: str) -> str:
    """Return the message of a refusal, with the key of the config to remove if the driver does not have the setting."""
    from cni_sriov_bond.kernel import drivers

    usual = {"vlan_proto": rtnetlink.ETH_P_8021Q}
    names = [name for name in request.names if requested.get(name) not in (None, usual.get(name, 0))] or [request.names[0]]
    lacking = [name for name in names if drivers.lacks(driver, _COLUMNS.get(name, name))]
    if refused.errno not in NOT_SUPPORTED and not (refused.errno == EINVAL and lacking):
        return refused.msg
    by_errno = "vlan_proto" if refused.errno == EPROTONOSUPPORT and "vlan_proto" in names else names[0]
    name = lacking[-1] if lacking else by_errno
    key = _KEYS.get(name, name)
    return (
        f"{refused.msg}; the driver {driver or 'of this NIC'} does not have this for VFs: remove {key} from the network config"
    )
