"""The commands of ``sriov-bondctl``: a module declares the arguments of each, and runs it."""
