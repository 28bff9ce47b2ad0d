"""A guest with two emulated SR-IOV NICs, each on a switch of its own, and what it takes to have one."""
