"""One container interface from two SR-IOV virtual functions: CNI plugin, IPAM delegate, operator's command."""

VERSION = "0.1.0"
