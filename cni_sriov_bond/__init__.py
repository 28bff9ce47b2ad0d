"""One container interface from two SR-IOV virtual functions: CNI plugin, IPAM plugin, operator's command."""

VERSION = "0.1.0"
# The versions of the CNI specification that both plugins support. They are here because VERSION imports no other module.
CNI_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
