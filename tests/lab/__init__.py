"""A guest with two emulated SR-IOV NICs, each on its own switch, and the tests that run in it."""
