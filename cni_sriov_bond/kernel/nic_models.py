"""Models of NICs with SR-IOV by PCI vendor and device: driver, highest speed of a port, and most VFs of a port. No I/O.

Sources: pci.ids for ids and names; the drivers' tables for which ids are theirs (``igb_pci_tbl``, ``ixgbe_pci_tbl``,
``i40e_pci_tbl``, ``ice_pci_tbl``, ``mlx5_core_pci_table``, ``bnxt_pci_tbl``). The numbers of VFs are limits of the drivers
(igb_main.c, IGB_MAX_VF_FUNCTIONS; ixgbe_sriov.h, IXGBE_MAX_VFS_DRV_LIMIT) or of the data sheets; 0 where the firmware
decides. Where a model has ports of several speeds it is the highest.
"""

# vendor:device -> model, driver, Mbit/s, VFs
MODELS: "dict[str, tuple[str, str, int, int]]" = {
    "8086:10c9": ("Intel 82576", "igb", 1000, 7),
    "8086:10e6": ("Intel 82576", "igb", 1000, 7),
    "8086:10e7": ("Intel 82576", "igb", 1000, 7),
    "8086:10e8": ("Intel 82576", "igb", 1000, 7),
    "8086:150a": ("Intel 82576NS", "igb", 1000, 7),
    "8086:150d": ("Intel 82576", "igb", 1000, 7),
    "8086:1518": ("Intel 82576NS", "igb", 1000, 7),
    "8086:1526": ("Intel 82576", "igb", 1000, 7),
    "8086:1521": ("Intel I350", "igb", 1000, 7),
    "8086:1522": ("Intel I350", "igb", 1000, 7),
    "8086:1523": ("Intel I350", "igb", 1000, 7),
    "8086:1524": ("Intel I350", "igb", 1000, 7),
    "8086:10f8": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:10f9": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:10fb": ("Intel 82599ES", "ixgbe", 10000, 63),
    "8086:10fc": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:1517": ("Intel 82599ES", "ixgbe", 10000, 63),
    "8086:151c": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:1529": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:152a": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:1557": ("Intel 82599", "ixgbe", 10000, 63),
    "8086:1528": ("Intel X540-AT2", "ixgbe", 10000, 63),
    "8086:1560": ("Intel X540", "ixgbe", 10000, 63),
    "8086:1563": ("Intel X550", "ixgbe", 10000, 63),
    "8086:15d1": ("Intel X550T", "ixgbe", 10000, 63),
    "8086:104e": ("Intel X710", "i40e", 10000, 0),
    "8086:104f": ("Intel X710", "i40e", 10000, 0),
    "8086:1572": ("Intel X710", "i40e", 10000, 0),
    "8086:1581": ("Intel X710", "i40e", 10000, 0),
    "8086:1585": ("Intel X710", "i40e", 10000, 0),
    "8086:1586": ("Intel X710", "i40e", 10000, 0),
    "8086:1589": ("Intel X710", "i40e", 10000, 0),
    "8086:15ff": ("Intel X710", "i40e", 10000, 0),
    "8086:1580": ("Intel XL710", "i40e", 40000, 0),
    "8086:1583": ("Intel XL710", "i40e", 40000, 0),
    "8086:1584": ("Intel XL710", "i40e", 40000, 0),
    "8086:158a": ("Intel XXV710", "i40e", 25000, 0),
    "8086:158b": ("Intel XXV710", "i40e", 25000, 0),
    "8086:1591": ("Intel E810-C", "ice", 100000, 0),
    "8086:1592": ("Intel E810-C", "ice", 100000, 0),
    "8086:1593": ("Intel E810-C", "ice", 25000, 0),
    "8086:1599": ("Intel E810-XXV", "ice", 25000, 0),
    "8086:159a": ("Intel E810-XXV", "ice", 25000, 0),
    "8086:159b": ("Intel E810-XXV", "ice", 25000, 0),
    "15b3:1003": ("Mellanox ConnectX-3", "mlx4_core", 40000, 0),
    "15b3:1013": ("Mellanox ConnectX-4", "mlx5_core", 100000, 0),
    "15b3:1015": ("Mellanox ConnectX-4 Lx", "mlx5_core", 50000, 0),
    "15b3:1017": ("Mellanox ConnectX-5", "mlx5_core", 100000, 0),
    "15b3:1019": ("Mellanox ConnectX-5 Ex", "mlx5_core", 100000, 0),
    "15b3:101b": ("Mellanox ConnectX-6", "mlx5_core", 200000, 0),
    "15b3:101d": ("Mellanox ConnectX-6 Dx", "mlx5_core", 200000, 0),
    "15b3:101f": ("Mellanox ConnectX-6 Lx", "mlx5_core", 50000, 0),
    "15b3:1021": ("NVIDIA ConnectX-7", "mlx5_core", 400000, 0),
    "14e4:16d0": ("Broadcom BCM57402", "bnxt_en", 10000, 0),
    "14e4:16d1": ("Broadcom BCM57404", "bnxt_en", 25000, 0),
    "14e4:16d2": ("Broadcom BCM57406", "bnxt_en", 10000, 0),
    "14e4:16d6": ("Broadcom BCM57412", "bnxt_en", 10000, 0),
    "14e4:16d7": ("Broadcom BCM57414", "bnxt_en", 25000, 0),
    "14e4:16d8": ("Broadcom BCM57416", "bnxt_en", 10000, 0),
    "14e4:16d9": ("Broadcom BCM57417", "bnxt_en", 10000, 0),
    "14e4:16e2": ("Broadcom BCM57417", "bnxt_en", 25000, 0),
    "14e4:16e3": ("Broadcom BCM57416", "bnxt_en", 10000, 0),
    "14e4:1614": ("Broadcom BCM57454", "bnxt_en", 100000, 0),
    "14e4:1750": ("Broadcom BCM57508", "bnxt_en", 200000, 0),
    "14e4:1751": ("Broadcom BCM57504", "bnxt_en", 200000, 0),
    "14e4:1752": ("Broadcom BCM57502", "bnxt_en", 50000, 0),
}
# What the firmware of a driver's NICs needs before they offer VFs, as the rest of "...; " (nics.md's sources: NVIDIA's and
# Broadcom's manuals, ice_main.c: ice_check_sriov_allowed).
FIRMWARE = {
    "mlx5_core": "run `mlxconfig -d PCI_ADDRESS set SRIOV_EN=1 NUM_OF_VFS=N`, then reboot",
    "mlx4_core": "run `mlxconfig -d PCI_ADDRESS set SRIOV_EN=1 NUM_OF_VFS=N`, load mlx4_core with num_vfs=N, then reboot",
    "bnxt_en": "turn SR-IOV on in the NIC's NVM: `devlink dev param set pci/PCI_ADDRESS name enable_sriov value true cmode "
    "permanent`, then reboot",
    "ice": "turn SR-IOV on in the BIOS and in the NIC's own menu, and install its DDP package (linux-firmware, intel/ice/ddp)",
    "sfc": "run `sfboot switch-mode=sriov vf-count=N`, then reboot",
}
# Kernels before (major, minor) and what then is wrong with a driver.
OLD_KERNELS = (
    ("ixgbe", (5, 18), "cannot set the link state of VFs"),
    ("iavf", (6, 0), "reports a MAC of a VF before its PF has taken it"),
    ("qede", (6, 5), "refuses a bond to set the MAC that a VF has already"),
)


def model_of(vendor: str, device: str) -> "tuple[str, str, int, int]":
    """Return model, driver, Mbit/s and VFs of a PCI id, or empty values where the model is not known.

    :param vendor, device: as sysfs has them, such as 0x8086.
    """
    return MODELS.get(f"{vendor.removeprefix('0x')}:{device.removeprefix('0x')}", ("", "", 0, 0))
