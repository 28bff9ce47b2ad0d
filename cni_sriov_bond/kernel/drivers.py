"""What the drivers of PFs can do: one row a driver, and the questions that are asked about it. No I/O.

The facts were read in the kernel's sources, Linux 5.17 and newer trees. A driver without a row has ``_NOT_KNOWN``, to which
every question has the answer that loses nothing: it may reset its VFs, it may be slow, and it may refuse a zero MAC.
"""

COLUMNS = (
    "vf",  # driver of its VFs
    "qos", "ad", "min", "max", "spoofchk", "link_state", "trust",  # settings of a VF; "ad" is the protocol 802.1ad
    "own_mac",  # the MAC that an untrusted VF may set on itself after its PF has set one: "any", "equal", "no"
    "zero_mac",  # whether the PF takes 00:00:00:00:00:00, which ends its claim to the VF's MAC
    "mac",  # how a MAC that is set through the PF gets to the VF's network device, see ``way_of_mac``
    "resets",  # settings that reset the VF
    "late",  # whether a setting that was accepted may be reported later
    "carrier",  # how the VF hears of the cable: "event", or the seconds between two looks
    "hwmode",  # whether `bridge link set hwmode` chooses VEB or VEPA
)  # fmt: skip
# "y" has it, "n" has it not, "later" newer kernels have it, "firmware" the firmware decides, "?" not known, "ignored" accepted
# without effect, "unreported" has it and never reports it.
_NOT_KNOWN = ("", "?", "?", "?", "?", "?", "?", "?", "?", "?", "late", "?", "?", "?", "?")
# How "mac" is to be read:
#   claim   the VF sets its MAC itself while its PF claims none; the PF's next claim keeps it
#   late    the VF takes it by a reset or a message, up to seconds later
#   netdev  it stays on the PF's side, or is there at once: if the device does not show it, the device is set too
#   probe   the VF takes it when its driver is bound the next time
DRIVERS: "dict[str, tuple[str, ...]]" = {
    "igb": ("igbvf", "y", "n", "n", "82576", "y", "n", "y", "no", "y", "claim", "-", "n", "event+2", "n"),
    "ixgbe": (
        "ixgbevf", "y", "n", "n", "10G", "y", "later", "y", "equal", "y", "claim", "trust,link_state", "n", "event+2", "y",
    ),
    "i40e": (
        "iavf", "y", "n", "n", "y", "y", "y", "y", "equal", "y", "late", "mac,vlan,trust,link_state", "n", "event", "resets",
    ),
    "ice": ("iavf", "y", "later", "y", "y", "y", "y", "y", "equal", "y", "late", "mac,vlan,trust", "n", "event", "y"),
    "mlx5_core": ("mlx5_core", "y", "n", "y", "y", "y", "y", "y", "any", "y", "netdev", "-", "n", "event", "y"),
    "mlx5_core/switchdev": ("mlx5_core", "n", "n", "y", "y", "n", "n", "n", "any", "y", "netdev", "-", "n", "none", "n"),
    "mlx4_core": ("mlx4_core", "y", "firmware", "n", "vlan", "y", "y", "n", "?", "n", "probe", "-", "n", "event", "n"),
    "bnxt_en": ("bnxt_en", "later", "later", "y", "y", "y", "y", "y", "equal", "y", "late", "-", "n", "event", "y"),
    "be2net": ("be2net", "y", "n", "n", "y", "firmware", "y", "n", "?", "n", "late", "-", "n", "event", "y"),
    "qede": ("qede", "ignored", "n", "y", "y", "y", "y", "y", "no", "n", "late", "-", "y", "1", "n"),
    "bnx2x": ("bnx2x", "ignored", "n", "n", "n", "y", "y", "n", "equal", "n", "late", "-", "y", "1", "n"),
    "sfc": ("sfc", "n", "n", "n", "n", "unreported", "y", "n", "any", "y", "netdev", "mac,vlan", "n", "event", "n"),
    "enic": ("enic", "n", "n", "n", "n", "n", "n", "n", "?", "y", "netdev", "?", "n", "event", "n"),
    "nfp": (
        "nfp_netvf", "y", "later", "later", "later", "firmware", "firmware", "firmware", "?", "y", "probe", "-", "n", "event",
        "n",
    ),
    "fm10k": ("fm10k", "n", "n", "ignored", "y", "n", "n", "n", "equal", "y", "late", "mac,vlan", "n", "2", "n"),
    "hns3": ("hns3", "y", "n", "n", "y", "firmware", "y", "y", "no", "y", "late", "mac", "n", "event", "n"),
    "rvu_nicpf": ("rvu_nicvf", "n", "n", "n", "n", "n", "n", "y", "no", "n", "probe", "-", "n", "0.1", "n"),
    "cxgb4": ("cxgb4vf", "n", "n", "n", "y", "n", "y", "n", "?", "n", "probe", "?", "n", "event", "n"),
    "ionic": ("ionic", "n", "n", "n", "y", "y", "y", "y", "?", "y", "late", "?", "n", "event", "n"),
}  # fmt: skip
# What is not a column: for those who set up a host.
NOTES = {
    "igb": "7 VFs; back within 12 s after the PF was down",
    "ixgbe": "link state enable has no effect; 64 VLANs a port; 82599: VF frames above 1518 need a PF with a larger MTU",
    "i40e": "one change at a time; source pruning",
    "ice": "needs its DDP package",
    "mlx5_core": "reports VLAN protocol 0",
    "mlx5_core/switchdev": "the VF's carrier is that of its representor",
    "mlx4_core": "VFs come from module parameters; reports VLAN 4095 for none; spoof check needs a MAC",
    "bnxt_en": "no VFs while the PF is down",
    "be2net": "rates need a link",
    "qede": "reports the link speed for no rate; a rate cannot be set to 0",
    "bnx2x": "the PF must be up; reports the rate 10000; the PF's MTU is fixed while it has VFs",
    "sfc": "VFs come from sfboot",
    "enic": "reports no VFs; VLANs are in port profiles",
    "nfp": "the firmware says what can be set",
    "fm10k": "a switch chip",
    "hns3": "the PF's MTU must not be below its VFs'",
    "rvu_nicpf": "the PF must be up",
    "cxgb4": "VFs hang on PF 0 to 3, whose device is for management only",
}
_UNREPORTED_VFS = ("enic", "fsl_enetc")


def fact(driver: str, column: str) -> str:
    """Return one value of the table."""
    return DRIVERS.get(driver, _NOT_KNOWN)[COLUMNS.index(column)]


def lacks(driver: str, setting: str) -> bool:
    """Return whether a driver is known not to have a setting, or to have it without an effect."""
    return setting in COLUMNS and fact(driver, setting) in ("n", "ignored")


def takes_zero_mac(driver: str) -> bool:
    """Return whether the zero MAC may be set through the PF; be2net, qede, bnx2x, cxgb4 and others refuse it."""
    return fact(driver, "zero_mac") == "y"


def way_of_mac(driver: str) -> str:
    """Return how a MAC that is set through the PF gets to the VF: "claim", "late", "netdev" or "probe"."""
    return fact(driver, "mac")


def reports_late(driver: str) -> bool:
    """Return whether a setting that was accepted may be reported only later: the driver hands it to a queue."""
    return fact(driver, "late") != "n"


def reports_no_vfs(driver: str) -> bool:
    """Return whether a driver has VFs of which it reports nothing (no ``ndo_get_vf_config``)."""
    return driver in _UNREPORTED_VFS


def accepts_unreported(driver: str, setting: str) -> bool:
    """Return whether a driver has a setting that it never reports."""
    return setting in COLUMNS and fact(driver, setting) == "unreported"


def may_be_resetting(vf_driver: str) -> bool:
    """Return whether a VF of this driver may still be in a reset that a setting of its PF caused."""
    resets = [row[COLUMNS.index("resets")] for row in DRIVERS.values() if row[0] == vf_driver]
    return not resets or any(settings != "-" for settings in resets)


def vf_refuses_own_mac(vf_driver: str) -> bool:
    """Return whether an untrusted VF of this driver may set no MAC once its PF has set one, not even the same."""
    return any(row[0] == vf_driver and row[COLUMNS.index("own_mac")] == "no" for row in DRIVERS.values())


def reports_rate_for_none(driver: str) -> bool:
    """Return whether a driver reports a maximum rate for a VF that has none."""
    return driver in ("qede", "bnx2x")


def rate_of_none(driver: str, speed: int) -> int:
    """Return the maximum rate, in Mbit/s, that a driver reports for a VF that has none.

    :param speed: of the PF's link, in Mbit/s.
    """
    return {"qede": speed, "bnx2x": 10000}.get(driver, 0)


def rate_for_none(driver: str, speed: int) -> int:
    """Return the maximum rate to set for a VF that is to have none: qede ignores 0, but not the speed of its link."""
    return speed if driver == "qede" else 0
